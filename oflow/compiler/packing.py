"""pack: offsets for buffers with known lifetimes (dynamic storage allocation).

Greedy by size, best fit: the largest buffer first, into the smallest gap among the buffers it lives together with. The lower
bound is the largest sum of live bytes; greedy by size stays within a few percent of it on training graphs (Pisarchyk & Lee 2020).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np

from oflow.errors import PlanError

Buffer = tuple[int, int, int]
"""(start, stop, nbytes): live from `start` up to, not including, `stop`."""
MANY = 800
"""Buffers from which on array operations beat a loop."""


def pack(buffers: Sequence[Buffer]) -> list[int]:
    """Offsets, in bytes, for buffers (start, stop, nbytes); two that live at the same time never overlap.

    Raises PlanError for a negative size or a lifetime that ends before it starts.
    """
    for start, stop, nbytes in buffers:
        if nbytes < 0 or stop < start:
            raise PlanError(f"a buffer needs start <= stop and nbytes >= 0, got {(start, stop, nbytes)}")
    order = sorted(range(len(buffers)), key=lambda i: (-buffers[i][2], buffers[i][0] - buffers[i][1], i))
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


def peak(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """Bytes of the arena that these offsets need."""
    return max((offset + nbytes for (_, _, nbytes), offset in zip(buffers, offsets, strict=True)), default=0)


def successions(buffers: Sequence[Buffer], offsets: Sequence[int]) -> set[tuple[int, int, bool]]:
    """(before, after, wraps) for each two buffers where a byte passes from one to the next; wraps: to the first, over a step.

    Offsets are those of `pack`: who lives at the same time shares no byte. In order of time each buffer takes its bytes from
    whoever had them; a second round finds what wraps.
    """
    lows, owners = [0], [(-1, 0)]  # pieces of the arena, and (buffer, round) that had each last
    found: set[tuple[int, int, bool]] = set()
    living = sorted((start, i) for i, (start, stop, nbytes) in enumerate(buffers) if nbytes and start != stop)
    for turn in (0, 1):
        for _, i in living:
            first = _cut(lows, owners, offsets[i])
            last = _cut(lows, owners, offsets[i] + buffers[i][2])
            for owner, had in set(owners[first:last]):
                if owner not in (-1, i) and had == 0:
                    found.add((owner, i, turn == 1))
            lows[first:last], owners[first:last] = [offsets[i]], [(i, turn)]
    return found


def _cut(lows: list[int], owners: list[tuple[int, int]], at: int) -> int:
    """The place of the piece that begins at byte `at`, after cutting the one that holds it."""
    place = bisect_left(lows, at)
    if place == len(lows) or lows[place] != at:
        lows.insert(place, at)
        owners.insert(place, owners[place - 1])
    return place
