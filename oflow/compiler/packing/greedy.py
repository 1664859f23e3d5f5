"""Greedy packing: one buffer after another into the smallest gap among those it lives together with that holds it (best fit)."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from heapq import heappop, heappush

import numpy as np

from oflow.compiler.packing.free import Column, Free, Gaps, beside, kept, smallest, smallest_of, take

Buffer = tuple[int, int, int]
"""(start, stop, nbytes): live from `start` up to, not including, `stop`."""
MANY = 400
"""Buffers from which on a look at all of them, for each, costs more than to find out who lives together."""
CROWD = 64
"""Most buffers that live together with one for it to look through their places; above, free bytes are kept by lifetime."""
LATE = 30
"""Turns after which the free bytes of a lifetime are made anew, instead of taking in buffers one by one."""
SETTLED = 200
"""Turns after which places are put in order again: what is nearly in order is soon sorted."""


def place_in_turn(buffers: Sequence[Buffer], order: Sequence[int]) -> list[int]:
    """Offsets of buffers that take their place in this order, each in the smallest gap that holds it."""
    living = [i for i in order if buffers[i][2] and buffers[i][0] != buffers[i][1]]
    place = _among_all if len(living) < MANY else _among_neighbours
    offsets = [0] * len(buffers)
    for i, offset in zip(living, place([buffers[i] for i in living]), strict=True):
        offsets[i] = offset
    return offsets


def _among_all(buffers: Sequence[Buffer]) -> list[int]:
    """Each looks at all that have their place."""
    placed: list[tuple[int, int, int, int]] = []
    offsets: list[int] = []
    for start, stop, nbytes in buffers:
        low = _best_gap([(low, high) for low, high, begins, ends in placed if begins < stop and start < ends], nbytes)
        insort(placed, (low, low + nbytes, start, stop))
        offsets.append(low)
    return offsets


def _best_gap(taken: Sequence[tuple[int, int]], nbytes: int) -> int:
    """The smallest gap, the lowest of equals, that holds nbytes, between bytes (low, high) in order; else the end of all."""
    best, best_size, top = -1, -1, 0
    for low, high in taken:
        size = low - top
        if size >= nbytes and (best < 0 or size < best_size):
            best, best_size = top, size
            if size == nbytes:
                break
        if high > top:
            top = high
    return best if best >= 0 else top


def _among_neighbours(buffers: Sequence[Buffer]) -> list[int]:
    """Each looks at few others: at those that live together with it, where they are few, else at what is free in its lifetime."""
    starts, stops, _ = np.array(buffers, np.int64).reshape(-1, 3).T.copy()
    lows, highs = np.zeros((2, len(buffers)), np.int64)
    by_low = np.zeros(0, np.int64)
    offsets: list[int] = []
    known: dict[tuple[int, int], tuple[int, Gaps | Free]] = {}
    for turn, ((start, stop, nbytes), near) in enumerate(zip(buffers, _neighbours(starts, stops), strict=True)):
        since, free = known.get((start, stop), (-LATE, None))
        if near is not None:
            low = _best_gap(sorted([(offsets[i], offsets[i] + buffers[i][2]) for i in near]), nbytes)
        elif free is None or turn - since >= LATE:
            if turn - len(by_low) >= SETTLED:
                by_low = np.argsort(lows[:turn], kind="stable")
            others = _together(starts[:turn], stops[:turn], (start, stop), by_low)
            gaps = beside(lows[others], highs[others])
            known[start, stop] = turn, gaps
            low = smallest_of(gaps, nbytes)
        else:
            free = free if isinstance(free, Free) else kept(free)
            for i in range(since, turn):
                if buffers[i][0] < stop and start < buffers[i][1]:
                    take(free, offsets[i], offsets[i] + buffers[i][2])
            known[start, stop] = turn, free
            low = smallest(free, nbytes)
        offsets.append(low)
        lows[turn], highs[turn] = low, low + nbytes
    return offsets


def _together(starts: Column, stops: Column, life: tuple[int, int], first: Column) -> Column:
    """The buffers that live together with one of that life, those of `first` (the lowest numbers, in any order) in its order."""
    alive = (starts < life[1]) & (life[0] < stops)
    return np.concatenate((first[alive[first]], len(first) + np.flatnonzero(alive[len(first) :])))


def _neighbours(starts: Column, stops: Column) -> list[list[int] | None]:
    """Buffers of lower numbers that live together with each; None where more than CROWD of all do."""
    by_start = np.argsort(starts, kind="stable")
    until = np.searchsorted(starts[by_start], stops)
    crowds = until - np.searchsorted(np.sort(stops), starts, side="right") - 1
    found: list[list[int] | None] = [None] * len(starts)
    turns, begins, ends = by_start.tolist(), starts.tolist(), stops.tolist()
    alive: dict[int, None] = {}
    stopping: list[tuple[int, int]] = []
    for at, i in enumerate(turns):
        while stopping and stopping[0][0] <= begins[i]:
            del alive[heappop(stopping)[1]]
        if crowds[i] <= CROWD:
            found[i] = [j for j in (*alive, *turns[at + 1 : until[i]]) if j < i]
        alive[i] = None
        heappush(stopping, (ends[i], i))
    return found
