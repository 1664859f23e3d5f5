"""The bytes that stay free beside some buffers, as gaps between them: made at once from arrays, or kept while more are taken."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import NamedTuple

import numpy as np

ENDLESS = 1 << 62
"""Where the last gap ends."""

Column = np.ndarray[tuple[int], np.dtype[np.int64]]
Gaps = tuple[Column, Column]
"""Where gaps begin, in order, and where they end."""


class Free(NamedTuple):
    """Gaps that change: where they begin, in order, where they end, and (size, begin) in order."""

    lows: list[int]
    highs: list[int]
    sizes: list[tuple[int, int]]


def beside(lows: Column, highs: Column) -> Gaps:
    """What buffers at these bytes leave free."""
    order = np.argsort(lows, kind="stable")
    tops, ends = np.zeros(len(order) + 1, np.int64), np.full(len(order) + 1, ENDLESS)
    np.maximum.accumulate(highs[order], out=tops[1:])
    ends[:-1] = lows[order]
    gaps = ends > tops
    return tops[gaps], ends[gaps]


def smallest_of(gaps: Gaps, nbytes: int) -> int:
    """As `smallest`."""
    lows, highs = gaps
    sizes = highs - lows
    return int(lows[np.where(sizes >= nbytes, sizes, ENDLESS).argmin()])


def kept(gaps: Gaps) -> Free:
    lows, highs = gaps[0].tolist(), gaps[1].tolist()
    return Free(lows, highs, sorted([(high - low, low) for low, high in zip(lows, highs, strict=True)]))


def take(free: Free, low: int, high: int) -> None:
    """Bytes from `low` up to, not including, `high` are free no longer; some may not have been."""
    lows, highs, sizes = free
    first = bisect_right(highs, low)
    last = bisect_left(lows, high)
    if first >= last:
        return
    left = [(since, until) for since, until in ((lows[first], low), (high, highs[last - 1])) if since < until]
    for since, until in zip(lows[first:last], highs[first:last], strict=True):
        del sizes[bisect_left(sizes, (until - since, since))]
    for since, until in left:
        insort(sizes, (until - since, since))
    lows[first:last] = [since for since, _ in left]
    highs[first:last] = [until for _, until in left]


def smallest(free: Free, nbytes: int) -> int:
    """Where the smallest gap that holds so many bytes begins, the lowest of equals."""
    return free.sizes[bisect_left(free.sizes, (nbytes, 0))][1]
