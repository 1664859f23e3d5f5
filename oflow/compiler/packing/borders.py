"""What can take whose place at one time: buffers that stop there and buffers that start there, of equal sums of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import NamedTuple

from oflow.compiler.packing.orders import BIT, log_factorial

SUBSETS = 70_000
"""Most sets of buffers on a side whose sums are made: the smallest sets, and those that leave out the fewest."""
PAIRS = 20_000
"""Most pairs that are kept at a border."""
LEAST = -10 * BIT
"""Pairs of less worth are taken to be chance."""


class Pair(NamedTuple):
    """Buffers that stop and buffers that start, of one sum. `worth`: how little such a pair is to be expected by chance (a
    logarithm: the number of sums that there are, less the ways to choose so many on each side)."""

    worth: int
    stopping: int
    starting: int


def choose(n: int, k: int) -> int:
    return log_factorial(n) - log_factorial(k) - log_factorial(n - k)


def pairs(stopping: Sequence[int], starting: Sequence[int], size: Sequence[int], sums: int) -> tuple[list[Pair], int]:
    """Pairs, those of most worth first, and the steps taken. `sums`: logarithm of how many sums there are."""
    before, after = _by_sum(stopping, size), _by_sum(starting, size)
    work = sum(len(sets) for by_sum in (*before.values(), *after.values()) for sets in by_sum.values())
    found: list[Pair] = []
    classes = [(worth(sums, (k, len(stopping)), (l, len(starting))), k, l) for k in before for l in after]
    for value, k, l in sorted(classes, reverse=True):
        if value < LEAST or len(found) > PAIRS:
            break
        few, many = sorted((before[k], after[l]), key=len)
        for total in few:
            if total in many:
                found += [Pair(value, members, others) for members in before[k][total] for others in after[l][total]]
        work += len(few)
    return found[:PAIRS], work + len(found)


def _by_sum(buffers: Sequence[int], size: Sequence[int]) -> dict[int, dict[int, list[int]]]:
    """Sets of buffers by how many they are and by their sum of bytes."""
    found: dict[int, dict[int, list[int]]] = {}
    count, total = len(buffers), 0
    for few in range(1, count // 2 + 1):
        for number in dict.fromkeys((few, count - few)):
            total += comb(count, number)
            if total > SUBSETS:
                return found
            by_sum = found.setdefault(number, {})
            for some in combinations(buffers, number):
                by_sum.setdefault(sum([size[i] for i in some]), []).append(sum([1 << i for i in some]))
    return found


def worth(sums: int, stopping: tuple[int, int], starting: tuple[int, int]) -> int:
    """As in `Pair`, for (how many, of how many)."""
    return sums - choose(stopping[1], stopping[0]) - choose(starting[1], starting[0])


def distinct_sums(capacity: int, grain: int) -> int:
    return BIT * max(1, (capacity // grain).bit_length())
