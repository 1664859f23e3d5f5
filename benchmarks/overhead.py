"""Nanoseconds per act with empty kernels: one thread, two threads, two processes, beside PyTorch's pipeline runtime.

    python benchmarks/overhead.py [--seconds 0.1] [--rounds 9] [--torch yes] [--json FILE]

An act is one kernel call with its messages: take slots, run, a req to the reader, an ack to the producer. The kernel does nothing,
so this is the cost of the protocol, as steady throughput of a chain of 64 actors. "crossing": the chain alternates between two
workers, so every req and every ack crosses. "watched": the session counts the time that its streams work (docs/live.md).
PyTorch's figure is the time of one schedule step over two processes on the loopback
interface divided by the forward and backward actions of one rank; its actions compute (a linear layer of 8).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from plans import EmptyPrograms, chain, shares
from report import Row, options, save, seconds_text, table
from turns import FOREIGN, WAITED, Stopwatch, stopwatch

from oflow.actors import Session, native, processes, threads
from oflow.plan import Plan

ACTORS = 64
Start = Callable[[], Session]


def nothing(act: int, slots: tuple[int, ...]) -> None:
    pass


def watched(session: Session) -> Session:
    """A session that counts how long its streams work."""
    session.meter()
    return session


def variants() -> dict[str, tuple[int, Start]]:
    """By name: workers, and how its session starts."""
    alone, crossing = [0] * ACTORS, [i % 2 for i in range(ACTORS)]
    launch = [nothing] * ACTORS
    made: dict[str, tuple[int, Start]] = {}

    def compiled(name: str, plan: Plan, workers: int, start: Any = native) -> None:
        given = 0 if workers == 1 else shares(plan, workers)
        made[name] = workers, lambda: start(plan, launch, compiled=EmptyPrograms(plan), workers=given)

    for slots in (2, 8):
        for ordered in (True, False):
            words = f"{slots} slots, {'one stream a worker' if ordered else 'a stream an actor'}"
            compiled(f"one thread, {words}", chain(ACTORS, slots, devices=alone, ordered=ordered), 1)
            cut = chain(ACTORS, slots, devices=crossing, ordered=ordered)
            compiled(f"crossing threads, {words}", cut, 2)
            compiled(f"crossing processes, {words}", cut, 2, processes)
    plan = chain(ACTORS, 2, devices=alone, ordered=True)
    start = partial(native, plan, launch, compiled=EmptyPrograms(plan), workers=0)
    made["one thread, 2 slots, one stream a worker, watched"] = 1, lambda: watched(start())
    made["Python machine, one thread, 2 slots"] = 1, lambda: threads(plan, launch, workers=0)
    return made


class Running:
    """An open session and what its turns took, with their acts."""

    def __init__(self, session: Session, workers: int) -> None:
        self.session, self.workers, self.steps, self.done = session, workers, 16, 0
        self.acts = 0
        self.samples: list[tuple[Stopwatch, int]] = []

    def turn(self, seconds: float) -> None:
        found = self._drain()
        while found.seconds < seconds / 2:
            self.steps = min(20 * self.steps, max(self.steps + 1, int(self.steps * seconds / found.seconds)))
            found = self._drain()
        self.samples.append((found, self.acts))

    def _drain(self) -> Stopwatch:
        with stopwatch() as found:
            self.session.drain(self.done + self.steps)
        self.done += self.steps
        self.acts = self.steps * ACTORS
        return found

    def quiet(self) -> list[float]:
        """Seconds per act of the samples in which the machine was."""
        return [s.seconds / acts for s, acts in self.samples if s.waited < WAITED or s.foreign < FOREIGN]

    def times(self) -> list[float]:
        """Seconds per act: CPU time on one thread, else the clock of quiet samples (all where there are none)."""
        if self.workers == 1:
            return [s.cpu / acts for s, acts in self.samples]
        return self.quiet() or [s.seconds / acts for s, acts in self.samples]


def measure(count: int, seconds: float) -> list[Row]:
    found: dict[str, Running] = {}
    with ExitStack() as stack:
        for name, (workers, start) in variants().items():
            found[name] = Running(stack.enter_context(start()), workers)
            found[name].turn(seconds)  # finds out how many steps a turn has
            found[name].samples.clear()
        draw = np.random.default_rng(0)
        for _ in range(count):
            for name in draw.permutation(list(found)):
                found[name].turn(seconds)
    rows = []
    for name, one in found.items():
        times = one.times()
        low, high = np.percentile(times, (10, 90))
        rows.append({
            "name": name, "seconds": median(times), "low": float(low), "high": float(high), "count": len(times),
            "quiet": one.workers == 1 or bool(one.quiet()),
        })  # fmt: skip
    return rows


def torch_rows() -> list[Row]:
    try:
        import torch
        from overhead_torch import MICRO_BATCHES, STAGES, seconds_per_action
    except ImportError:
        print("PyTorch is not installed: its pipeline runtime is left out")
        return []
    rows = []
    for kind in ("gpipe", "1f1b"):
        name = f"torch {torch.__version__} {kind}, {STAGES} processes x {MICRO_BATCHES}, gloo"
        took = [seconds_per_action(kind) for _ in range(3)]
        rows.append({"name": name, "seconds": median(took), "low": min(took), "high": max(took), "count": len(took), "quiet": False})
    return rows


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, seconds=0.1, rounds=9, torch="yes")
    rows = measure(given.rounds, given.seconds) + (torch_rows() if given.torch == "yes" else [])
    lines = [(row["name"], *(seconds_text(row[key]) for key in ("seconds", "low", "high")), row["count"]) for row in rows]
    print(table(lines, (f"an act of a chain of {ACTORS}", "median", "p10", "p90", "samples")))
    save(given.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
