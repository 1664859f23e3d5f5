"""Buffers that may well lie as one: a smaller question for the packer, whose answer is one for all of them.

Some that stop and some that start at one time, with one lifetime on each side and the same sum of bytes, can lie in the same place
(siblings of a cut through time). Any packing of what is joined is a packing of the parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True, slots=True)
class Part:
    """Live in [start, stop); `members`: buffers and their offsets within the part."""

    start: int
    stop: int
    nbytes: int
    members: tuple[tuple[int, int], ...]


def join(parts: list[Part], most: int) -> list[Part]:
    """Join groups of at most `most` parts, smallest groups first, until there is none. Reproducible."""
    size = 2
    while size <= most:
        group = next(_groups(parts, size), None)
        if group is None:
            size += 1
            continue
        before, after = group
        members = _stacked(before) + _stacked(after)
        whole = Part(before[0].start, after[0].stop, sum(p.nbytes for p in before), members)
        parts = [p for p in parts if p not in before and p not in after] + [whole]
        size = 2
    return parts


def _stacked(parts: tuple[Part, ...]) -> tuple[tuple[int, int], ...]:
    found, top = [], 0
    for part in parts:
        found += [(buffer, top + offset) for buffer, offset in part.members]
        top += part.nbytes
    return tuple(found)


def _groups(parts: list[Part], size: int) -> Iterator[tuple[tuple[Part, ...], tuple[Part, ...]]]:
    """(before, after): `size` parts together that stop and start at one time, of one lifetime a side and of equal bytes."""
    stopping: dict[int, dict[int, list[Part]]] = {}
    starting: dict[int, dict[int, list[Part]]] = {}
    for part in parts:
        stopping.setdefault(part.stop, {}).setdefault(part.start, []).append(part)
        starting.setdefault(part.start, {}).setdefault(part.stop, []).append(part)
    for time in sorted(stopping.keys() & starting.keys()):
        sums: dict[tuple[int, int], tuple[Part, ...]] = {}
        for some in _some(stopping[time], size - 1):
            sums.setdefault((sum(p.nbytes for p in some), len(some)), some)
        for some in _some(starting[time], size - 1):
            if (before := sums.get((sum(p.nbytes for p in some), size - len(some)))) is not None:
                yield before, some


def _some(groups: dict[int, list[Part]], most: int) -> Iterator[tuple[Part, ...]]:
    for group in groups.values():
        for count in range(1, min(most, len(group)) + 1):
            yield from combinations(group, count)
