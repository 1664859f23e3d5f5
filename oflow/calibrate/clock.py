"""Timing: what a round of calls takes, on a machine where others may be at work too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, thread_time

import numpy as np

from oflow import native
from oflow.backends.compiled.direct import ROUTINE

Rounds = Callable[[int], None]
"""Runs so many rounds of something."""
LOOPS = "oflow.calibrate.loops"
BATCH = 4e-4
"""Seconds of one timed batch of rounds: a thousand times what it takes to look at the clock."""
FEWEST = 5
"""Batches that are timed at least."""


@dataclass(frozen=True, slots=True)
class Clock:
    """How long each measurement may take, in seconds; see `oflow.calibrate.measure`."""

    budget: float = 0.02

    def longer(self, times: float) -> Clock:
        return Clock(self.budget * times)

    def seconds(self, rounds: Rounds) -> float:
        """Seconds of a round in the caller's thread: the lower quartile of batches, because whoever else is at work only ever
        adds. Time in which the system runs others is not counted."""
        rounds(1)
        count = sized(rounds)
        times: list[float] = []
        end = perf_counter() + self.budget
        while len(times) < FEWEST or perf_counter() < end:
            start = thread_time()
            rounds(count)
            times.append((thread_time() - start) / count)
        return low(times)

    def together(self, sides: Sequence[Rounds]) -> list[float]:
        """Seconds of a round of each, while all run, a thread each; they must release the interpreter."""
        counts = [sized(side) for side in sides]
        times: list[list[float]] = [[] for _ in sides]
        barrier = threading.Barrier(len(sides))
        batches = max(FEWEST, int(self.budget / BATCH))

        def run(number: int) -> None:
            for _ in range(batches):
                barrier.wait()
                start = thread_time()
                sides[number](counts[number])
                times[number].append((thread_time() - start) / counts[number])

        threads = [threading.Thread(target=run, args=(n,)) for n in range(len(sides))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [low(found) for found in times]


def low(times: Sequence[float]) -> float:
    """The lower quartile: what disturbs a measurement only ever adds."""
    return sorted(times)[len(times) // 4]


def sized(rounds: Rounds) -> int:
    """How many rounds make a batch."""
    count = 1
    while True:
        start = thread_time()
        rounds(count)
        took = thread_time() - start
        if took >= BATCH / 2:
            return max(1, round(count * BATCH / took))
        count = max(2 * count, int(count * BATCH / max(took, 1e-7) / 2))


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of compiled routines, (address of the routine, its argument block), made one after the other a round."""

    calls: tuple[tuple[int, np.ndarray], ...]
    keep: object = None
    """What the blocks point into."""

    def rounds(self) -> Rounds:
        block = np.array([0, len(self.calls), *(w for routine, b in self.calls for w in (routine, b.ctypes.data))], np.int64)
        loop = routine(f"{LOOPS}:repeat")

        def run(count: int) -> None:
            block[0] = count
            if status := loop(block.ctypes.data):
                raise AssertionError(f"a kernel that is calibrated returned status {status}")

        run.keep = self  # type: ignore[attr-defined]
        return run


def routine(name: str) -> Callable[[int], int]:
    """A compiled routine as a function; the call leaves the interpreter."""
    made: Callable[[int], int] = ROUTINE(native.addresses([name])[name])
    return made


def loops() -> list[str]:
    """The routines of the calibration itself."""
    return [f"{LOOPS}:{name}" for name in ("repeat", "exchange")]


def python_rounds(calls: Sequence[Callable[[], object]]) -> Rounds:
    """The same for functions of Python's."""

    def run(count: int) -> None:
        for _ in range(count):
            for one in calls:
                one()

    return run


