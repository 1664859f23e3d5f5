"""Whether a packing keeps buffers apart that live at the same time: a sweep over time. Shares no code with the packer."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Sequence

from oflow.errors import PlanError


def check_overlap(buffers: Sequence[tuple[int, int, int]], offsets: Sequence[int]) -> int:
    """The bytes that the offsets need, where no two buffers (start, stop, nbytes) that live at one time share a byte; stop is exclusive.

    Raises PlanError, naming the two buffers, the bytes and the time, where two do; likewise for a negative offset, and for fewer or more
    offsets than buffers.
    """
    if len(buffers) != len(offsets):
        raise PlanError(f"{len(buffers)} buffers have {len(offsets)} offsets")
    low = next((i for i, offset in enumerate(offsets) if offset < 0), None)
    if low is not None:
        raise PlanError(f"buffer {low} lies at offset {offsets[low]}")
    holding: list[tuple[int, int, int]] = []  # (first byte, byte after the last, buffer) of what lives, disjoint and in order
    ending: list[tuple[int, int, int]] = []
    for i in sorted(range(len(buffers)), key=lambda i: buffers[i][0]):
        start, stop, nbytes = buffers[i]
        if stop <= start or nbytes == 0:
            continue
        while ending and ending[0][0] <= start:
            _, first, other = heapq.heappop(ending)
            del holding[bisect_left(holding, (first, 0, other))]
        mine = (offsets[i], offsets[i] + nbytes, i)
        place = bisect_left(holding, mine)
        for first, end, other in holding[max(place - 1, 0) : place + 1]:
            if first < mine[1] and mine[0] < end:
                raise PlanError(
                    f"buffers {other} and {i} share bytes [{max(first, mine[0])}, {min(end, mine[1])}) from time {start} on: "
                    f"{other} is {tuple(buffers[other])} at {offsets[other]}, {i} is {tuple(buffers[i])} at {offsets[i]}"
                )
        holding.insert(place, mine)
        heapq.heappush(ending, (stop, mine[0], i))
    return max((offset + nbytes for (_, _, nbytes), offset in zip(buffers, offsets, strict=True)), default=0)
