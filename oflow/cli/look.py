"""explain, check, simulate, view: commands that read a plan and allocate nothing."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from oflow import view
from oflow.actors import simulate as run_simulator
from oflow.check import Proof, fold, to_json
from oflow.check import check as prove
from oflow.check.report import Report
from oflow.check.report import report as report_of
from oflow.cli.files import Given, Options, UsageError, opened
from oflow.cli.layouts import layout_facts, layouts_text
from oflow.cli.machine import machine_of
from oflow.cli.passes import explain_pass
from oflow.cli.questions import KINDS, explain_one
from oflow.cli.report import measured_trace, report
from oflow.cli.schedules import check_schedule, view_schedule
from oflow.cli.slots import curve, explain_period, explain_slots, split_options
from oflow.cli.tensorboard import event_file
from oflow.cli.train import Measured, measured_step
from oflow.graph import Graph
from oflow.plan import Plan
from oflow.trace import Trace
from oflow.view.style import seconds_text

DISTURBED = 0.03
"""Share of waiting for a core from which a measurement is not to be trusted."""
STEPS = 3
"""Steps that are simulated or recorded, if nobody says how many."""
LISTED = 24
"""Devices up to which the text of a simulation has a line for each, and for each of their streams."""
DRAWN = 64
"""Devices up to which `simulate` plays each; of more, one a role."""
SHOWN = ("plan", "graph", "timeline", "memory", "schedule", "slots", "tensorboard")
QUESTIONS = {"slots": explain_slots, "period": explain_period}
"""Words that `explain` answers instead of showing the plan."""


def proof_facts(proof: Proof) -> dict[str, Any]:
    """A proof as plain data."""
    return {
        "deadlock_free": proof.deadlock_free, "acts": proof.acts, "period_seconds": proof.period, "bound": proof.bound,
        "critical_cycle": list(proof.critical_cycle), "arena_nbytes": proof.arenas, "state_nbytes": proof.states,
        "busy_seconds": proof.busy,
    }  # fmt: skip


def explain(args: Namespace, words: list[str], options: Options) -> None:
    """Print the graph or plan after a pass, or the plan, its boxings and its proof; ``boxings`` leaves out the plan, ``slots`` and
    ``period`` say what slots could be and what would make it faster; ``tensor NAME``, ``actor NAME`` and
    ``register NAME`` say all about one."""
    if args.diff and args.after is None:
        raise UsageError("--diff shows what a pass changed; name it: --after PASS --diff")
    if len(words) == 1 and words[0] in QUESTIONS:
        QUESTIONS[words[0]](args.file, options, args.json)
        return
    if words[:1] and words[0] in KINDS:
        explain_one(args.file, words, options, args.json)
        return
    alone = words[:1] == ["boxings"]
    _no_words("explain", words[alone:])
    with opened(args.file, options) as given:
        if alone:
            _explain_layouts(given, args.json)
            return
        if args.after is None:
            _explain_all(given, args.json)
            return
        thing = _after(given, args.after)
        if args.diff:
            explain_pass(given.program.passes, args.after, args.json)
            return
        kind = "graph" if isinstance(thing, Graph) else "plan"
        content = json.loads(to_json(thing)) if isinstance(thing, Plan) else view.text(thing)
        print(json.dumps({"after": args.after, kind: content}) if args.json else view.text(thing), end="\n" if args.json else "")


def _explain_all(given: Given, as_json: bool) -> None:
    proof = prove(given.plan)
    if as_json:
        print(json.dumps({"plan": json.loads(to_json(given.plan)), **layout_facts(given), "proof": proof_facts(proof)}))
        return
    grid = view.text(given.schedule) + "\n" if given.schedule else ""
    layouts = f"{layouts_text(given)}\n" if given.graph is not None else ""
    print(f"{grid}{view.text(given.plan)}\n{layouts}{proof}")


def _explain_layouts(given: Given, as_json: bool) -> None:
    if given.graph is None:
        raise UsageError(f"{given.path} has no logical graph, so nobody knows why its plan moves what it moves; give the .py file")
    print(json.dumps(layout_facts(given)) if as_json else layouts_text(given), end="\n" if as_json else "")


def _after(given: Given, name: str) -> Graph | Plan:
    passes: dict[str, Graph | Plan] = getattr(given.program, "passes", None) or {}
    if not passes:
        raise UsageError(f"--after is for .py files; {given.path} holds a finished plan")
    if name not in passes:
        raise UsageError(f"there is no pass {name!r}; there are {', '.join(passes)}")
    return passes[name]


def check(args: Namespace, words: list[str], options: Options) -> None:
    """Print the proof. A refused plan raises PlanError, DeadlockError or OutOfMemory."""
    _no_words("check", words)
    if Path(args.file).suffix == ".csv" and Path(args.file).is_file():
        check_schedule(args, options)
        return
    with opened(args.file, options) as given:
        proof = prove(given.plan)
        print(json.dumps(proof_facts(proof)) if args.json else proof)


# ---------------------------------------------------------------- simulate


def simulate(args: Namespace, words: list[str], options: Options) -> None:
    """Print period, bubbles and busy shares of a simulated run; ``-o`` writes its trace (.json) or timeline (.svg)."""
    _no_words("simulate", words)
    steps, options = _steps(args, options)
    with opened(args.file, options) as given:
        machine = machine_of(args.machine, given.plan)
        workers = args.workers or machine.workers or None
        plan = given.plan if workers or len(given.plan.devices) <= DRAWN else fold(given.plan, machine).plan
        trace = run_simulator(plan, machine, steps=steps, workers=workers)
        if args.output:
            _write(args.output, picture(replace(given, plan=plan), "timeline", Path(args.output).suffix, trace))
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


def _steps(args: Namespace, options: Options) -> tuple[int, Options]:
    """``steps=N`` is ours for a file that cannot take it; a program's own ``steps`` option needs ``--steps`` for ours."""
    ours = Path(args.file).suffix != ".py" and "steps" in options
    steps = options["steps"] if ours else STEPS if args.steps is None else args.steps
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise UsageError(f"steps={steps} is no number of steps")
    return steps, {k: v for k, v in options.items() if not (ours and k == "steps")}


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


# ---------------------------------------------------------------- view


def view_file(args: Namespace, words: list[str], options: Options) -> None:
    """Draw what WORD names (default: plan) into the form that the suffix of ``-o`` names, or print it as text."""
    what = words[0] if words else "plan"
    if len(words) > 1 or what not in SHOWN:
        raise UsageError(f"view shows one of {', '.join(SHOWN)}, not {' '.join(words)}")
    drawn = Path(args.output or "").suffix != ".html"  # the report is that of the plan which a schedule file stands for
    if drawn and words in ([], ["schedule"]) and Path(args.file).suffix == ".csv" and Path(args.file).is_file():
        view_schedule(args, options)
        return
    steps, options = _steps(args, options)
    asked, options = split_options(options) if what == "slots" else ({}, options)
    with opened(args.file, options) as given:
        if what == "tensorboard":
            event_file(given, args.output, args.json)
            return
        suffix = Path(args.output).suffix if args.output else ".json" if args.json else ".txt"
        measured = measured_trace(given, args.measured, steps) if args.measured else None
        if suffix == ".html":
            made = report(given, args.steps, measured)
        elif what == "slots":
            made = curve(given, suffix, asked)
        else:
            trace = measured or (run_simulator(given.plan, steps=steps) if what == "timeline" else None)
            made = picture(given, what, suffix, trace)
        if args.output:
            _write(args.output, made)
            print(json.dumps({"file": args.output, "nbytes": len(made.encode())}) if args.json else f"wrote {args.output}")
        else:
            print(made, end="" if made.endswith("\n") else "\n")


def picture(given: Given, what: str, suffix: str, trace: Trace | None) -> str:
    """What to show, in the form a suffix names. Raises UsageError for a pair that does not exist."""
    makers = _makers(given, what, trace)
    if suffix not in makers:
        forms = ", ".join(sorted({*makers, ".html"}))
        raise UsageError(f"{what} cannot be written as {suffix or 'a file without suffix'}; it can be {forms}")
    return makers[suffix]()


def _makers(given: Given, what: str, trace: Trace | None) -> dict[str, Callable[[], str]]:
    """The forms of `what` by suffix. Raises UsageError where the file has no such thing."""
    plan, graph = given.plan, given.graph
    if what == "graph":
        if graph is None:
            raise UsageError(f"{given.path} has no logical graph")
        return {
            ".txt": partial(view.text, graph), ".dot": partial(view.dot, graph), ".svg": partial(view.svg, graph),
            ".json": lambda: json.dumps({"graph": view.text(graph)}),
        }  # fmt: skip
    if what == "schedule":
        raise UsageError(f"{given.path} is no schedule; its plan shows the order of every stream")
    if what == "timeline" and trace is not None:
        return {
            ".txt": partial(view.text, trace, plan), ".svg": partial(view.timeline, trace, plan),
            ".json": partial(view.perfetto, trace, plan), ".trace": trace.to_json,
        }  # fmt: skip
    if what == "memory":
        return {".svg": partial(view.memory, plan)}
    views = {".txt": view.text, ".dot": view.dot, ".svg": view.svg, ".json": to_json}
    return {suffix: partial(draw, plan) for suffix, draw in views.items()}


def _write(path: str, text: str) -> None:
    Path(path).write_text(text)


def _no_words(command: str, words: list[str]) -> None:
    if words:
        raise UsageError(f"{command} does not know what {words[0]!r} means; options are key=value")
