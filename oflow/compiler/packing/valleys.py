"""Valley search: offsets for buffers in an arena that hardly exceeds its bound, one buffer laid on the others at a time.

The tops of what is laid are a skyline over time. In a valley of it (sections of one height between two higher ones) the left cell
must be covered by a buffer that starts there, or stay empty; likewise the right one. So a valley side has few candidates, none
is a dead end, and the valley with the fewest is tried first. With it go, each in its own function:
- how much a section may waste is counted down (the section lower bound of MiniMalloc, Moffitt, ASPLOS 2023); equal buffers are tried once;
- where a buffer still has to lie over a border between two sections, those that start and those that stop there must be able to
  level the two heights (a sum of subsets);
- a border that no buffer is left to cross parts the sections for good (MiniMalloc's partitions), and a failure returns to the last
  decision that touched the sections it came from (conflict-directed backjumping, Prosser 1993);
- borders where the search failed are tried earlier (weights, Boussemart et al. 2004).

Plain functions over columns of whole numbers, which run as they stand or compiled (`oflow.check.loops`). Work is counted, never timed.
"""

from __future__ import annotations

from oflow.check.loops import Changing, Column
from oflow.compiler.packing.board import (
    CAPACITY,
    DEPTH,
    EMPTY,
    FOUND,
    IMPOSSIBLE,
    LEFT,
    LIMIT,
    NOTHING,
    RIGHT,
    SECTIONS,
    SIDE,
    STOPPED,
    TOP,
    UNPLACED,
    WORK,
    Board,
    fits,
    wall,
)  # fmt: skip
from oflow.compiler.packing.decisions import jump_back, leave_empty, place

SCALE = 1 << 20


def search(
    n: Changing, start: Column, stop: Column, size: Column, first_start: Column, by_start: Column, first_stop: Column,
    by_stop: Column, placed: Changing, offset: Changing, height: Changing, rest: Changing, slack: Changing, cross: Changing,
    weight: Changing, low: Changing, trying: Changing, high: Changing, done: Changing, lift: Changing, since: Changing,
    until: Changing, left: Changing, right: Changing, side: Changing, conflict_since: Changing, conflict_until: Changing,
    pool: Changing, values: Changing, least: Changing, most: Changing, tried: Changing,
) -> int:  # fmt: skip
    """FOUND (offsets in `offset`), IMPOSSIBLE with what may be tried here, or STOPPED when the work is spent."""
    b = Board(
        n, start, stop, size, first_start, by_start, first_stop, by_stop, placed, offset, height, rest, slack, cross, weight, low,
        trying, high, done, lift, since, until, left, right, side, conflict_since, conflict_until, pool, values, least, most, tried,
    )  # fmt: skip
    open_decision(b)
    while b.n[UNPLACED] > 0:
        if b.n[WORK] > b.n[LIMIT]:
            return STOPPED
        d = b.n[DEPTH]
        if b.trying[d] == b.high[d]:
            if not jump_back(b):
                return IMPOSSIBLE
            continue
        chosen = b.pool[b.trying[d]]
        b.trying[d] += 1
        if place(b, chosen) if chosen != EMPTY else leave_empty(b):
            b.n[DEPTH] += 1
            open_decision(b)
    return FOUND


def open_decision(b: Board) -> None:
    """Choose the valley side with the fewest candidates for its weight, the lowest of equals, and list them."""
    best, t = -1, 0
    while t < b.n[SECTIONS]:
        r = t + 1
        if b.rest[t] > 0:
            while r < b.n[SECTIONS] and b.rest[r] > 0 and b.height[r] == b.height[t] and b.cross[r] > 0:
                r += 1
            if wall(b, t, t - 1) > b.height[t] and wall(b, r, r) > b.height[t]:
                best = better_side(b, t, r, best)
                if best == 0:
                    break
        b.n[WORK] += r - t
        t = r
    d = b.n[DEPTH]
    b.low[d] = b.trying[d] = b.high[d] = b.n[TOP]
    b.done[d] = NOTHING
    b.left[d], b.right[d], b.side[d] = b.n[LEFT], b.n[RIGHT], b.n[SIDE]
    b.conflict_since[d], b.conflict_until[d] = b.n[LEFT] - 1, b.n[RIGHT] + 1
    if best == 0:
        b.weight[b.n[LEFT] if b.n[SIDE] == 0 else b.n[RIGHT]] += 10
    elif best > 0:
        list_candidates(b)


def better_side(b: Board, left: int, right: int, best: int) -> int:
    """The least key so far, 0 for a side with no candidate; the valley of the least is kept in `n`."""
    for side in range(2):
        border = left if side == 0 else right
        cell = left if side == 0 else right - 1
        count = 1 if b.slack[cell] > 0 else 0
        first, buffers = (b.first_start, b.by_start) if side == 0 else (b.first_stop, b.by_stop)
        for q in range(first[border], first[border + 1]):
            if fits(b, buffers[q], left, right):
                count += 1
        b.n[WORK] += first[border + 1] - first[border]
        key = count * SCALE * 10 // b.weight[border]
        if count > 0:
            key += 1 + b.height[cell] * 1024 // b.n[CAPACITY] * 1024
        if best < 0 or key < best:
            best = key
            b.n[LEFT], b.n[RIGHT], b.n[SIDE] = left, right, side
            if best == 0:
                break
    return best


def list_candidates(b: Board) -> None:
    d, top = b.n[DEPTH], b.n[TOP]
    side, border = b.side[d], b.left[d] if b.side[d] == 0 else b.right[d]
    first, buffers = (b.first_start, b.by_start) if side == 0 else (b.first_stop, b.by_stop)
    for q in range(first[border], first[border + 1]):
        buffer = buffers[q]
        if fits(b, buffer, b.left[d], b.right[d]):
            known = False
            for k in range(b.low[d], top):
                other = b.pool[k]
                known = known or (b.start[other] == b.start[buffer] and b.stop[other] == b.stop[buffer] and b.size[other] == b.size[buffer])
            if not known:
                b.pool[top] = buffer
                top += 1
    if b.slack[b.left[d] if side == 0 else b.right[d] - 1] > 0:
        b.pool[top] = EMPTY
        top += 1
    b.high[d] = b.n[TOP] = top
