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

from typing import NamedTuple

from oflow.check.loops import Changing, Column

SECTIONS, DECISIONS, CAPACITY, LIMIT, WORK, DEPTH, TOP, UNPLACED, LEFT, RIGHT, SIDE = range(11)
"""Entries of the column `n`: sizes, limits, where the search stands, and the valley that was chosen."""
NUMBERS = 11
FOUND, IMPOSSIBLE, STOPPED = 0, 1, 2
EMPTY = -1
"""The decision to leave a cell empty."""
NOTHING = -2
BALANCE = 2000
"""Work after which two heights are taken to be levelled."""
SCALE = 1 << 20


class Board(NamedTuple):
    """Columns by buffer (start, stop, size, placed, offset), by section, by decision (low ... until) and scratch."""

    n: Changing
    start: Column
    stop: Column
    size: Column
    first_start: Column
    by_start: Column
    """Buffers by their first section, best first: those of section t are ``by_start[first_start[t]:first_start[t + 1]]``."""
    first_stop: Column
    by_stop: Column
    placed: Changing
    offset: Changing
    height: Changing
    rest: Changing
    """Bytes of each section that are still to be laid."""
    slack: Changing
    """Bytes of each section that may stay empty."""
    cross: Changing
    """Buffers to be laid that lie over the border before each section."""
    weight: Changing
    low: Changing
    trying: Changing
    high: Changing
    """Candidates of a decision: ``pool[low:high]``, tried before `trying`."""
    done: Changing
    lift: Changing
    """By how much a decision to leave cells empty raised sections [since, until); likewise the sections of a buffer."""
    since: Changing
    until: Changing
    left: Changing
    right: Changing
    side: Changing
    conflict_since: Changing
    conflict_until: Changing
    pool: Changing
    values: Changing
    least: Changing
    most: Changing
    tried: Changing


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


def wall(b: Board, border: int, section: int) -> int:
    """The height beyond a border; the capacity where nothing is left to be laid over it."""
    if border == 0 or border == b.n[SECTIONS] or b.cross[border] == 0 or b.rest[section] == 0:
        return b.n[CAPACITY]
    return b.height[section]


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


def fits(b: Board, buffer: int, left: int, right: int) -> bool:
    return b.placed[buffer] == 0 and b.start[buffer] >= left and b.stop[buffer] <= right


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
                known = known or (
                    b.start[other] == b.start[buffer] and b.stop[other] == b.stop[buffer] and b.size[other] == b.size[buffer]
                )
            if not known:
                b.pool[top] = buffer
                top += 1
    if b.slack[b.left[d] if side == 0 else b.right[d] - 1] > 0:
        b.pool[top] = EMPTY
        top += 1
    b.high[d] = b.n[TOP] = top


# ---------------------------------------------------------------- decisions


def place(b: Board, buffer: int) -> bool:
    """Lay the buffer in the chosen valley, unless the heights beside it could then never be level again."""
    d, first, last = b.n[DEPTH], b.start[buffer], b.stop[buffer]
    b.conflict_since[d] = min(b.conflict_since[d], first - 1)
    b.conflict_until[d] = max(b.conflict_until[d], last + 1)
    size = b.size[buffer]
    if first > 0 and b.cross[first] > 0 and not levelled(b, first, b.height[first - 1] - b.height[first] - size, buffer):
        return False
    if last < b.n[SECTIONS] and b.cross[last] > 0 and not levelled(b, last, b.height[last - 1] + size - b.height[last], buffer):
        return False
    b.offset[buffer] = b.height[first]
    b.done[d], b.since[d], b.until[d], b.lift[d] = buffer, first, last, size
    move(b, d, 1)
    return True


def move(b: Board, d: int, sign: int) -> None:
    """Do (1) or undo (-1) what decision d did."""
    buffer, lift = b.done[d], sign * b.lift[d]
    b.n[WORK] += b.until[d] - b.since[d]
    for t in range(b.since[d], b.until[d]):
        b.height[t] += lift
        if buffer == EMPTY:
            b.slack[t] -= lift
        else:
            b.rest[t] -= lift
            if t > b.since[d]:
                b.cross[t] -= sign
    if buffer != EMPTY:
        b.placed[buffer] = 1 if sign > 0 else 0
        b.n[UNPLACED] -= sign


def leave_empty(b: Board) -> bool:
    """Raise the cell beside the valley's wall, and those where nothing starts (stops), to the next height for a buffer."""
    d = b.n[DEPTH]
    left, right, side = b.left[d], b.right[d], b.side[d]
    since, until = left, right
    lift = b.n[CAPACITY]
    first, buffers = (b.first_start, b.by_start) if side == 0 else (b.first_stop, b.by_stop)
    for border in range(left + 1, right):
        for q in range(first[border], first[border + 1]):
            if fits(b, buffers[q], left, right):
                lift = min(lift, b.size[buffers[q]])
                if side == 0:
                    until = min(until, border)
                else:
                    since = border
    b.n[WORK] += right - left
    if since == left:
        lift = min(lift, wall(b, left, left - 1) - b.height[left])
    if until == right:
        lift = min(lift, wall(b, right, right) - b.height[left])
    if d + 2 + b.n[UNPLACED] >= b.n[DECISIONS]:
        return False
    for t in range(since, until):
        if b.slack[t] < lift:
            return False
    b.done[d], b.since[d], b.until[d], b.lift[d] = EMPTY, since, until, lift
    move(b, d, 1)
    return True


def jump_back(b: Board) -> bool:
    """Undo decisions up to the last that touched the sections of the failure; False where there is none."""
    d = b.n[DEPTH]
    since, until = b.conflict_since[d], b.conflict_until[d]
    while True:
        b.n[TOP] = b.low[d]
        d -= 1
        if d < 0:
            return False
        touched = b.since[d] < until and since < b.until[d]
        move(b, d, -1)
        b.done[d] = NOTHING
        if touched:
            break
    b.n[DEPTH] = d
    b.conflict_since[d] = min(since, b.conflict_since[d])
    b.conflict_until[d] = max(until, b.conflict_until[d])
    return True


# ---------------------------------------------------------------- can two heights be levelled


def levelled(b: Board, border: int, higher: int, buffer: int) -> bool:
    """Whether buffers that start at the border, less others that stop there, can make up for how much higher its left side is."""
    lowest, highest = higher - b.slack[border], higher + b.slack[border - 1]
    if lowest <= 0 <= highest:
        return True
    count = sizes_at(b, border, buffer)
    i, total, work = 0, 0, count
    b.tried[0] = 0
    while i >= 0 and work < BALANCE:
        work += 1
        if b.tried[i] == 0:
            if lowest <= total <= highest:
                break
            if i == count or total + b.least[i] > highest or total + b.most[i] < lowest:
                i -= 1
                continue
            total += b.values[i]
        elif b.tried[i] == 1:
            total -= b.values[i]
        else:
            i -= 1
            continue
        b.tried[i] += 1
        i += 1
        b.tried[i] = 0
    b.n[WORK] += work
    if i < 0:
        b.weight[border] += 1
    return i >= 0


def sizes_at(b: Board, border: int, buffer: int) -> int:
    """Sizes of what starts at the border and, negative, of what stops there, largest first; and the sums of those behind each."""
    count = 0
    for side in range(2):
        first, buffers = (b.first_start, b.by_start) if side == 0 else (b.first_stop, b.by_stop)
        for q in range(first[border], first[border + 1]):
            if b.placed[buffers[q]] == 0 and buffers[q] != buffer:
                value = b.size[buffers[q]] if side == 0 else -b.size[buffers[q]]
                at = count
                while at > 0 and abs(b.values[at - 1]) < abs(value):
                    b.values[at] = b.values[at - 1]
                    at -= 1
                b.values[at] = value
                count += 1
    b.least[count] = b.most[count] = 0
    for i in range(count - 1, -1, -1):
        b.least[i] = b.least[i + 1] + min(b.values[i], 0)
        b.most[i] = b.most[i + 1] + max(b.values[i], 0)
    return count
