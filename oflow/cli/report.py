"""``oflow view FILE -o report.html``: the report, with the run that was measured, if one is asked for."""

from __future__ import annotations

import itertools
from contextlib import suppress
from pathlib import Path

from oflow import view
from oflow.actors import simulate
from oflow.check import Proof, check
from oflow.cli.files import Given, UsageError
from oflow.cli.train import few_batches
from oflow.errors import PlanError
from oflow.trace import Trace

WARM_UP = 3


def report(given: Given, steps: int | None, measured: Trace | None) -> str:
    """The report of a FILE: of a program also its graph and its changes of layout."""
    plan, program = given.plan, given.program
    proof: Proof | None = None
    with suppress(PlanError):  # a plan that cannot be proved is still looked at
        proof = check(plan)
    if steps is None and measured is not None:
        steps = measured.steps  # so that the two runs lie over one another step by step
    trace = simulate(plan, steps=steps) if steps is not None else None
    boxings = program.boxings() if given.graph is not None else ()
    return view.html(plan, trace, given.graph, proof, measured=measured, boxings=boxings, file=given.path.name)


def measured_trace(given: Given, word: str, steps: int) -> Trace:
    """The recording in a file, or of `steps` steps of the program (``run``), after some that are not recorded."""
    if word != "run":
        if not Path(word).is_file():
            raise UsageError(f"there is no file {word}; --measured takes a .trace file, or run")
        return Trace.from_json(Path(word).read_bytes())
    feed, program = itertools.cycle(few_batches(given)), given.program
    for count, record in ((WARM_UP, False), (steps, True)):
        program.record(record)
        for _ in program.stream(itertools.islice(feed, count)):
            pass
    found: Trace = program.trace()
    if found.source != "measured":
        raise UsageError(f"{given.path} runs in virtual time, so there is nothing to measure; build it with another executor")
    return found
