"""A chain of 8 products cut into 2 stages on two workers: speed-up over one worker, by size of the kernel and slots.

    python benchmarks/pipeline.py [--seconds 0.1] [--rounds 9] [--executor native] [--json FILE]

Weights stay, pieces stream through in one long run, as in `step.stream`. Each figure is the median over rounds of the time of one
worker over that of two, measured one after the other; both run the same plan with the same slots and the same compiled kernels.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

import numpy as np
from plans import chain, shares
from report import Row, options, save, seconds_text, table
from threadpoolctl import threadpool_limits
from turns import FOREIGN, WAITED, Stopwatch, stopwatch

from oflow.actors import Session, native, processes, shared_bytes
from oflow.arrays import tables
from oflow.backends import Memory
from oflow.backends.compiled import LinkedPlan, lower

ACTORS = 8
SHAPES = ((16, 64), (64, 128), (64, 256), (128, 512))
"""(rows, width) of the data; the products are rows x width x width."""
SLOTS = (1, 2, 4)


def session(shape: tuple[int, int], slots: int, workers: int, executor: str) -> Session:
    """The chain on one worker (the caller's thread) or on two."""
    plan = chain(ACTORS, slots, devices=[i * 2 // ACTORS for i in range(ACTORS)], ordered=True, shape=shape, weight=shape[1])
    apart = executor == "processes" and workers > 1
    memory = Memory(plan, allocate=shared_bytes) if apart else Memory(plan)
    draw = np.random.default_rng(0)
    for register in plan.registers:
        scale = shape[1] ** -0.5 if register.state else 1.0
        for slot in range(register.slots):
            memory.slot(register, slot)[...] = scale * draw.standard_normal(register.type.shape)
    stamped = tables(plan)
    linked = LinkedPlan(plan, stamped, lower(plan, stamped), memory)
    start: Any = processes if apart else native
    made: Session = start(plan, linked.launchers(), compiled=linked, workers=shares(plan, workers) if workers > 1 else 0)
    return made


class Running:
    """An open session and the time of a piece in each of its turns."""

    def __init__(self, made: Session) -> None:
        self.session, self.steps, self.done = made, 8, 0

    def turn(self, seconds: float) -> Stopwatch:
        found = self._drain()
        while found.seconds * self.steps < seconds / 2:
            self.steps = min(20 * self.steps, max(self.steps + 1, int(seconds / found.seconds)))
            found = self._drain()
        return found

    def _drain(self) -> Stopwatch:
        with stopwatch() as found:
            self.session.drain(self.done + self.steps)
        self.done += self.steps
        found.seconds /= self.steps
        return found


def measure(shape: tuple[int, int], slots: int, executor: str, count: int, seconds: float) -> Row:
    with ExitStack() as stack:
        one, two = (Running(stack.enter_context(session(shape, slots, n, executor))) for n in (1, 2))
        for running in (one, two):
            running.turn(seconds)
        pairs = [(one.turn(seconds), two.turn(seconds)) for _ in range(count)]
    quiet = [p for p in pairs if all(s.waited < WAITED or s.foreign < FOREIGN for s in p)]
    ratios = [a.seconds / b.seconds for a, b in quiet or pairs]
    low, high = np.percentile(ratios, (10, 90))
    return {
        "shape": [*shape, shape[1]], "slots": slots, "kernel_seconds": median(a.seconds for a, _ in quiet or pairs) / ACTORS,
        "speed_up": median(ratios), "low": float(low), "high": float(high), "count": len(ratios), "quiet": len(quiet),
    }  # fmt: skip


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, seconds=0.1, rounds=9, executor="native")
    with threadpool_limits(1, user_api="blas"):  # parallelism comes from the workers
        rows = [measure(shape, slots, given.executor, given.rounds, given.seconds) for shape in SHAPES for slots in SLOTS]
    lines = [
        (
            "x".join(map(str, row["shape"])), seconds_text(row["kernel_seconds"]), row["slots"], f"{row['speed_up']:.2f}",
            f"{row['low']:.2f} - {row['high']:.2f}", f"{row['quiet']}/{given.rounds}",
        )
        for row in rows
    ]  # fmt: skip
    print(table(lines, ("product", "kernel", "slots", "speed-up", "p10 - p90", "quiet")))
    save(given.json, rows, executor=given.executor)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
