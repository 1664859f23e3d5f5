"""simulate: a run on a machine model, in figures and words."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from oflow import view
from oflow.actors import simulate as run_simulator
from oflow.check import fold
from oflow.check.report import Report
from oflow.check.report import report as report_of
from oflow.cli.draw import picture, steps_of
from oflow.cli.files import Options, no_words, opened, write
from oflow.cli.machine import machine_of
from oflow.cli.train import Measured, measured_step
from oflow.plan import Plan
from oflow.trace import Trace
from oflow.view.style import seconds_text

DISTURBED = 0.03
"""Share of waiting for a core from which a measurement is not to be trusted."""
LISTED = 24
"""Devices up to which the text of a simulation has a line for each, and for each of their streams."""
DRAWN = 64
"""Devices up to which `simulate` plays each; of more, one a role."""


def simulate(args: Namespace, words: list[str], options: Options) -> None:
    """Print period, bubbles and busy shares of a simulated run; ``-o`` writes its trace (.json) or timeline (.svg)."""
    no_words("simulate", words)
    steps, options = steps_of(args, options)
    with opened(args.file, options) as given:
        machine = machine_of(args.machine, given.plan)
        workers = args.workers or machine.workers or None
        plan = given.plan if workers or len(given.plan.devices) <= DRAWN else fold(given.plan, machine).plan
        trace = run_simulator(plan, machine, steps=steps, workers=workers)
        if args.output:
            write(args.output, picture(replace(given, plan=plan), "timeline", Path(args.output).suffix, trace))
        facts = trace_facts(trace, plan) | {"machine": machine.name, "workers": workers}
        if not workers:
            facts |= {"devices": len(given.plan.devices), "roles": len(plan.devices), "report": asdict(report_of(given.plan, machine))}
        if args.measure:
            facts |= _compared(facts, measured_step(given))
        print(json.dumps(facts) if args.json else _trace_text(facts))


def _compared(facts: dict[str, Any], measured: Measured) -> dict[str, Any]:
    """The measured step beside the predicted one; the error is that of the prediction, relative to the measurement."""
    predicted = facts["period_seconds"] or facts["first_step_seconds"]
    return {"measured_seconds": measured.seconds, "error": predicted / measured.seconds - 1.0, "waited": measured.waited}


def step_ends(trace: Trace, plan: Plan) -> list[float]:
    """Seconds at which the last act of each step ends."""
    acts = np.repeat([t.acts for t in plan.actor_templates], np.diff(plan.actor_bases))
    ends = np.zeros(trace.steps)
    np.maximum.at(ends, trace.spans.act // acts[trace.spans.actor], trace.spans.stop)
    return [float(end) for end in ends]


def trace_facts(trace: Trace, plan: Plan) -> dict[str, Any]:
    """Length, first step, period (mean distance of step ends), idle and busy shares of the whole run."""
    ends = step_ends(trace, plan)
    period = (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else None
    total = trace.seconds or 1.0
    return {
        "source": trace.source, "steps": trace.steps, "acts": len(trace.spans), "seconds": trace.seconds,
        "first_step_seconds": ends[0], "period_seconds": period, "bubble": view.bubbles(trace),
        "busy": {stream: busy / total for stream, busy in sorted(trace.busy().items())},
    }  # fmt: skip


def _trace_text(facts: dict[str, Any]) -> str:
    lines = [f"{facts['source']}: {facts['steps']} steps, {facts['acts']} acts in {seconds_text(facts['seconds'])}"]
    lines.append(f"first step: {seconds_text(facts['first_step_seconds'])}")
    if facts["period_seconds"] is not None:
        workers = f", {facts['workers']} workers" if facts["workers"] else ""
        lines.append(f"period: {seconds_text(facts['period_seconds'])} a step, predicted for machine {facts['machine']}{workers}")
    if "measured_seconds" in facts:
        lines.append(f"measured: {seconds_text(facts['measured_seconds'])} a step; the prediction is off by {facts['error']:+.1%}")
        if facts["waited"] > DISTURBED:
            lines.append(f"but others are at work: threads waited {facts['waited']:.0%} of that time for a core")
    if "report" in facts:
        lines.append(str(Report(**facts["report"])))
        if facts["roles"] < facts["devices"]:
            lines.append(f"{facts['devices']:,} devices have {facts['roles']} roles; what follows is of one device each")
    return "\n".join(lines + (_few_shares(facts) if len(facts["bubble"]) <= LISTED else _many_shares(facts)))


def _few_shares(facts: dict[str, Any]) -> list[str]:
    lines = [f"idle {device}: {share:.1%}" for device, share in facts["bubble"].items()]
    return lines + [f"stream {stream}: busy {share:.1%}" for stream, share in facts["busy"].items()]


def _many_shares(facts: dict[str, Any]) -> list[str]:
    """The mean, the least and the most of all devices, and of all streams of a name."""
    streams: dict[str, dict[str, float]] = {}
    for stream, share in facts["busy"].items():
        streams.setdefault(stream.partition("/")[2], {})[stream] = share
    lines = [f"idle, {len(facts['bubble'])} devices: {_range(facts['bubble'])}"]
    return lines + [f"streams {name}, {len(shares)}: busy {_range(shares)}" for name, shares in streams.items()]


def _range(shares: dict[str, float]) -> str:
    least, most = min(shares, key=lambda name: shares[name]), max(shares, key=lambda name: shares[name])
    mean = sum(shares.values()) / len(shares)
    return f"{mean:.1%} in the mean, {shares[least]:.1%} ({least}) to {shares[most]:.1%} ({most})"
