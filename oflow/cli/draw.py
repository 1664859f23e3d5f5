"""view: a plan, graph, timeline or memory as a picture, a page or a text."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

from oflow import view
from oflow.actors import simulate as run_simulator
from oflow.check import to_json
from oflow.cli.files import Given, Options, UsageError, opened, output
from oflow.cli.report import measured_trace, report
from oflow.cli.schedules import view_schedule
from oflow.cli.slots import curve, split_options
from oflow.cli.tensorboard import event_file
from oflow.trace import Trace

STEPS = 3
"""Steps that are simulated or recorded, if nobody says how many."""
SHOWN = ("plan", "graph", "timeline", "memory", "schedule", "slots", "tensorboard")


def view_file(args: Namespace, words: list[str], options: Options) -> None:
    """Draw what WORD names (default: plan) into the form that the suffix of ``-o`` names, or print it as text."""
    what = words[0] if words else "plan"
    if len(words) > 1 or what not in SHOWN:
        raise UsageError(f"view shows one of {', '.join(SHOWN)}, not {' '.join(words)}")
    drawn = Path(args.output or "").suffix != ".html"  # the report is that of the plan which a schedule file stands for
    if drawn and words in ([], ["schedule"]) and Path(args.file).suffix == ".csv" and Path(args.file).is_file():
        view_schedule(args, options)
        return
    steps, options = steps_of(args, options)
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
        output(args, made)


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


def steps_of(args: Namespace, options: Options) -> tuple[int, Options]:
    """``steps=N`` is ours for a file that cannot take it; a program's own ``steps`` option needs ``--steps`` for ours."""
    ours = Path(args.file).suffix != ".py" and "steps" in options
    steps = options["steps"] if ours else STEPS if args.steps is None else args.steps
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise UsageError(f"steps={steps} is no number of steps")
    return steps, {k: v for k, v in options.items() if not (ours and k == "steps")}
