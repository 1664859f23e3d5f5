"""What lies between workers: the time of a message, and of bytes that another core wrote."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from time import perf_counter

import numpy as np

from oflow.calibrate.cases import Bound, bound, numbers, rounds_of
from oflow.calibrate.clock import LOOPS, Clock, low, routine
from oflow.machine import Curve

ROUNDS = 1000
PATIENCE = 1 << 24
APART = 128
"""Words between what the two sides write: no cache line is shared."""
HANDED = 1 << 16
"""Numbers of an array that one core writes and another reads."""


def handover(clock: Clock, byte: Curve) -> tuple[float, float]:
    """(seconds of a message from one worker to another, bytes a second that a worker takes from another's memory).

    On one core there is nobody else: a message takes no time, and bytes are copied as any.
    """
    if (os.cpu_count() or 1) == 1:
        return 0.0, 0.5 / byte.at(4.0 * HANDED)
    return message_seconds(clock), handed_bandwidth(clock)


def message_seconds(clock: Clock) -> float:
    """Half of the time in which a word goes to another core and back."""
    times = list[float]()
    end = perf_counter() + clock.budget
    while len(times) < 5 or perf_counter() < end:
        times.append(_exchanged() / (2 * ROUNDS))
    return min(times)


def _exchanged() -> float:
    """Seconds of ROUNDS exchanges."""
    loop, words = routine(f"{LOOPS}:exchange"), np.zeros(3 * APART, np.int64)
    mine, theirs = (int(words.ctypes.data) + 8 * APART * side for side in (0, 1))
    blocks = [np.array([ROUNDS, *pair, first, PATIENCE], np.int64) for pair, first in (((mine, theirs), 1), ((theirs, mine), 0))]
    answering = threading.Thread(target=_pinned(1, lambda: loop(blocks[1].ctypes.data)))
    took: list[float] = []

    def ask() -> None:
        start = perf_counter()
        loop(blocks[0].ctypes.data)
        took.append(perf_counter() - start)

    asking = threading.Thread(target=_pinned(0, ask))
    for thread in (answering, asking):
        thread.start()
    for thread in (answering, asking):
        thread.join()
    return took[0]


def handed_bandwidth(clock: Clock) -> float:
    """Bytes a second of a copy of what another core has just written."""
    source, target = numbers(HANDED), numbers(HANDED)
    write = rounds_of([_copy(numbers(HANDED), source)])
    read = rounds_of([_copy(source, target)])
    turns, times = max(8, int(clock.budget / 1e-3)), list[float]()
    ready, done = threading.Semaphore(0), threading.Semaphore(0)

    def writer() -> None:
        for _ in range(turns):
            write(1)
            ready.release()
            done.acquire()

    def reader() -> None:
        for _ in range(turns):
            ready.acquire()
            start = perf_counter()
            read(1)
            times.append(perf_counter() - start)
            done.release()

    threads = [threading.Thread(target=_pinned(core, side)) for core, side in enumerate((writer, reader))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return source.nbytes / low(times)


def _copy(source: np.ndarray, target: np.ndarray) -> Bound:
    return bound("assign", (target, source), {})


def _pinned(number: int, work: Callable[[], object]) -> Callable[[], None]:
    """`work` on one core, the `number`-th that this process may use; anywhere where the system cannot say."""

    def run() -> None:
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[number % len(cores)]})
        work()

    return run
