"""Simulated acts per second of processor time: the compiled loop in virtual time beside the same actors in Python.

    python benchmarks/simulate.py [--actors 1000,10000,100000] [--steps 10] [--python 10000] [--json FILE]

A plan of rows of actors on 10 to 1000 devices, each reading its own rank and the next one. Seconds are those of the whole call:
plan to arrays, durations of all acts, the run, spans in order of time. The Python actors are left out above `python` actors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from time import process_time

from plans import rows_of_ranks
from report import Row, options, save, seconds_text, table

from oflow.actors import simulate
from oflow.actors.simulate import interpreted
from oflow.trace import Trace


def seconds(run: Callable[[], Trace]) -> tuple[float, int]:
    began = process_time()
    acts = len(run().spans)
    return process_time() - began, acts


def measure(actors: int, steps: int, in_python: bool) -> Row:
    ranks = min(1000, max(10, actors // 100))
    plan = rows_of_ranks(actors // ranks, ranks)
    compiled, acts = seconds(lambda: simulate(plan, steps=steps, events=False))
    row: Row = {"actors": actors, "acts": acts, "compiled": compiled, "python": None}
    if in_python:
        row["python"] = seconds(lambda: interpreted(plan, plan.machine, steps, events=False))[0]
    return row


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, actors="1000,10000,100000", steps=10, python=10_000)
    simulate(rows_of_ranks(2, 4))  # loads the compiled loop
    rows = [measure(int(n), given.steps, int(n) <= given.python) for n in given.actors.split(",")]
    lines = [
        (
            f"{row['actors']:,}", f"{row['acts']:,}", seconds_text(row["compiled"]), f"{row['acts'] / row['compiled'] / 1e6:.2f}",
            f"{row['acts'] / row['python'] / 1e6:.3f}" if row["python"] else "-",
        )
        for row in rows
    ]  # fmt: skip
    print(table(lines, ("actors", "acts", "seconds", "million acts a second", "in Python")))
    save(given.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
