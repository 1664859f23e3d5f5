"""Who has which bytes after whom, in a packing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from oflow.compiler.packing.greedy import Buffer


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
