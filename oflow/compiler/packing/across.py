"""Packing across time, for arenas that are full: which buffers take whose place, decided border by border.

What a full arena frees at one time is taken at once, so the buffers that stop and those that start there fall into pairs of sets
of equal bytes, each pair in one piece of the arena. Where bytes are fine, few such pairs exist by chance. What is decided so far
is kept as the set of all orders that agree with it (`orders`), so nothing is decided before it matters. A beam keeps the decisions
that are the most likely and leave the most orders, forwards in time and backwards, and wider where that failed. Bytes that stay
empty are filled by buffers of nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import NamedTuple

from oflow.compiler.packing.borders import Pair, distinct_sums, pairs, worth
from oflow.compiler.packing.greedy import Buffer
from oflow.compiler.packing.orders import Node, Swap, bits, free, in_order, leaf, swap

WIDTHS = (4, 4, 16, 16, 64, 64, 256, 256, 1024, 1024)
"""States kept at each border, in turn forwards and backwards in time."""
LIVELY = 1, 4
"""How much a free order counts against what is likely."""
DEEPEST = 500
"""Most buffers that live at once: a tree is at most as deep, and functions over trees call themselves."""


class Taken(NamedTuple):
    """A decision: `starting` take the place of the run of a swap; `earlier`: the decision before it."""

    earlier: Taken | None
    starting: int
    swap: Swap


class State(NamedTuple):
    likely: int
    tree: Node
    taken: Taken | None


class Border(NamedTuple):
    stopping: tuple[int, ...]
    starting: tuple[int, ...]
    pairs: list[Pair]


@dataclass(frozen=True, slots=True)
class Full:
    """An arena that is full all the time: sizes, the buffers at its beginning and at its end, and what happens at each border."""

    size: tuple[int, ...]
    first: tuple[int, ...]
    last: tuple[int, ...]
    borders: tuple[Border, ...]
    sums: int


def pack_across(buffers: Sequence[Buffer], capacity: int, effort: int) -> tuple[list[int] | None, int]:
    """Offsets within the capacity, where some are found, and the steps taken; each is about half a microsecond of Python."""
    filled = [*buffers, *fillers(buffers, capacity)]
    full, spent = _full(filled, capacity, effort)
    if full is None:
        return None, spent
    ways = (full, _backwards(full))
    for turn, width in enumerate(WIDTHS):
        found, work = _beam(ways[turn % 2], width, effort - spent)
        spent += work
        if found is not None:
            return _offsets(ways[turn % 2], found)[: len(buffers)], spent
        if spent >= effort:
            break
    return None, spent


def fillers(buffers: Sequence[Buffer], capacity: int) -> Iterator[Buffer]:
    """Buffers for the bytes that stay empty."""
    change: dict[int, int] = {}
    for start, stop, nbytes in buffers:
        change[start] = change.get(start, 0) - nbytes
        change[stop] = change.get(stop, 0) + nbytes
    times = sorted(change)
    change[times[0]] += capacity
    change[times[-1]] -= capacity
    empty: list[tuple[int, int]] = []
    for time in times:
        more = change[time]
        if more > 0:
            empty.append((time, more))
        while more < 0:
            at = max((i for i, (_, nbytes) in enumerate(empty) if nbytes == -more), default=-1)  # one of these bytes, else the last
            since, nbytes = empty.pop(at)
            taken = min(nbytes, -more)
            yield since, time, taken
            more += taken
            if nbytes > taken:
                empty.append((since, nbytes - taken))


def _full(buffers: Sequence[Buffer], capacity: int, effort: int) -> tuple[Full | None, int]:
    size = tuple(nbytes for _, _, nbytes in buffers)
    sums = distinct_sums(capacity, gcd(*size))
    stopping: dict[int, list[int]] = {}
    starting: dict[int, list[int]] = {}
    for i, (start, stop, _) in enumerate(buffers):
        starting.setdefault(start, []).append(i)
        stopping.setdefault(stop, []).append(i)
    times = sorted(starting)
    borders, spent, alive = [], 0, len(starting[times[0]])
    for time in times[1:]:
        alive += len(starting[time]) - len(stopping[time])
        found, work = pairs(stopping[time], starting[time], size, sums)
        spent += work
        if spent > effort or alive > DEEPEST:
            return None, spent
        borders.append(Border(tuple(stopping[time]), tuple(starting[time]), found))
    return Full(size, tuple(starting[times[0]]), tuple(stopping[max(stopping)]), tuple(borders), sums), spent


def _backwards(full: Full) -> Full:
    borders = [Border(b.starting, b.stopping, [Pair(p.worth, p.starting, p.stopping) for p in b.pairs]) for b in full.borders[::-1]]
    return Full(full.size, full.last, full.first, tuple(borders), full.sums)


def _beam(full: Full, width: int, effort: int) -> tuple[State | None, int]:
    """A state after the last border, and the steps taken."""
    states = [State(0, free([leaf(i) for i in full.first]), None)]
    spent = 0
    for border in full.borders:
        found: dict[Node, State] = {}
        for state in states:
            if spent > effort:
                return None, spent
            following, work = _decisions(state, border, full.sums, width)
            spent += work
            for one in following:
                if one.tree not in found or found[one.tree].likely < one.likely:
                    found[one.tree] = one
        states = sorted(found.values(), key=lambda s: -(LIVELY[1] * s.likely + LIVELY[0] * s.tree.orders))[:width]
        if not states:
            return None, spent
    return states[0], spent


def _decisions(state: State, border: Border, sums: int, width: int) -> tuple[list[State], int]:
    """States behind a border, at most `width` and the likely ones first: covers of what stops and what starts there by pairs."""
    possible, work = _possible(state.tree, border, 50 * width)
    stops, starts = len(border.stopping), len(border.starting)
    found: list[State] = []
    open_ = [(state, sum(1 << i for i in border.stopping), sum(1 << i for i in border.starting), possible)]
    swaps = 0
    while open_ and len(found) < width and swaps < 20 * width:
        at, stopping, starting, left = open_.pop()
        if not stopping:
            found.append(at)
            continue
        chosen = _rarest(left, stopping, starting)
        if not any(p.stopping == stopping and p.starting == starting for p in chosen):
            counts = (stopping.bit_count(), stops), (starting.bit_count(), starts)
            chosen.append(Pair(worth(sums, *counts), stopping, starting))
        for pair in sorted(chosen):
            done = swap(at.tree, pair.stopping, free([leaf(i) for i in bits(pair.starting)]))
            if done is not None:
                after = State(at.likely + pair.worth, done.tree, Taken(at.taken, pair.starting, done))
                rest = [p for p in left if not p.stopping & pair.stopping and not p.starting & pair.starting]
                open_.append((after, stopping & ~pair.stopping, starting & ~pair.starting, rest))
                work += len(left) // 4
        swaps += len(chosen)
        work += len(left) * (stops + starts) // 4
    return found, work + 20 * swaps


def _rarest(left: Sequence[Pair], stopping: int, starting: int) -> list[Pair]:
    """The pairs that hold one buffer, which the fewest hold."""
    options = [[p for p in left if p.stopping >> i & 1] for i in bits(stopping)]
    options += [[p for p in left if p.starting >> i & 1] for i in bits(starting)]
    return min(options, key=len)


def _possible(tree: Node, border: Border, most: int) -> tuple[list[Pair], int]:
    """The pairs whose stopping buffers can be neighbours, those of most worth, and the steps taken."""
    known: dict[int, bool] = {}
    found: list[Pair] = []
    seen = 0
    for pair in border.pairs:
        seen += 1
        if pair.stopping not in known:
            known[pair.stopping] = swap(tree, pair.stopping, leaf(0)) is not None
        if known[pair.stopping]:
            found.append(pair)
            if len(found) == most:
                break
    return found, seen + 10 * len(known)


def _offsets(full: Full, last: State) -> list[int]:
    """Backwards from the last border: who took a place says where it is, and what stayed beside it which way round it lay."""
    offsets = [0] * len(full.size)

    def lay(run: Sequence[Node], at: int) -> None:
        for node in run:
            for buffer in in_order(node):
                offsets[buffer] = at
                at += full.size[buffer]

    lay([last.tree], 0)
    taken = last.taken
    while taken is not None:
        at = min(offsets[buffer] for buffer in bits(taken.starting))
        run = taken.swap.run
        if taken.swap.witness >= 0 and (offsets[taken.swap.witness] < at) != taken.swap.leads:
            run = run[::-1]
        lay(run, at)
        taken = taken.earlier
    return offsets
