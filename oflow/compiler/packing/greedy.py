"""Greedy packing: one buffer after another into the smallest gap among those it lives together with that holds it (best fit)."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence

import numpy as np

Buffer = tuple[int, int, int]
"""(start, stop, nbytes): live from `start` up to, not including, `stop`."""
MANY = 800
"""Buffers from which on array operations beat a loop."""


def place_in_turn(buffers: Sequence[Buffer], order: Iterable[int]) -> list[int]:
    """Offsets of buffers that take their place in this order, each in the smallest gap that holds it."""
    offsets = [0] * len(buffers)
    placed = _Few() if len(buffers) < MANY else _Many(len(buffers))
    for i in order:
        start, stop, nbytes = buffers[i]
        if nbytes and start != stop:
            offsets[i] = placed.best_gap(start, stop, nbytes)
            placed.add(start, stop, offsets[i], offsets[i] + nbytes)
    return offsets


class _Few:
    """The buffers that have their place, sorted by offset. A loop: array operations cost more for a few hundred."""

    def __init__(self) -> None:
        self.placed: list[tuple[int, int, int, int]] = []

    def add(self, start: int, stop: int, low: int, high: int) -> None:
        insort(self.placed, (low, high, start, stop))

    def best_gap(self, start: int, stop: int, nbytes: int) -> int:
        """The smallest gap, the lowest of equals, between what lives in [start, stop) that holds nbytes; else the end."""
        best, best_size, top = -1, -1, 0
        for low, high, begins, ends in self.placed:
            if begins < stop and start < ends:
                size = low - top
                if size >= nbytes and (best < 0 or size < best_size):
                    best, best_size = top, size
                    if size == nbytes:
                        break
                if high > top:
                    top = high
        return best if best >= 0 else top


class _Many:
    """The same as columns: begin and end in time, low and high in bytes."""

    def __init__(self, room: int) -> None:
        self.count = 0
        self.columns = np.zeros((4, room), np.int64)

    def add(self, start: int, stop: int, low: int, high: int) -> None:
        count, columns = self.count, self.columns
        at = int(np.searchsorted(columns[2, :count], low))
        columns[:, at + 1 : count + 1] = columns[:, at:count].copy()
        columns[:, at] = start, stop, low, high
        self.count = count + 1

    def best_gap(self, start: int, stop: int, nbytes: int) -> int:
        """As that of `_Few`."""
        begins, ends, lows, highs = self.columns[:, : self.count]
        together = np.flatnonzero((begins < stop) & (start < ends))
        tops = np.zeros(len(together) + 1, np.int64)
        np.maximum.accumulate(highs[together], out=tops[1:])
        gaps = lows[together] - tops[:-1]
        fits = np.flatnonzero(gaps >= nbytes)
        return int(tops[fits[np.argmin(gaps[fits])]] if len(fits) else tops[-1])
