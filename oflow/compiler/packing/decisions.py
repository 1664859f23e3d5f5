"""What the valley search does and undoes: a buffer is laid in the chosen valley, or cells of it are left empty."""

from __future__ import annotations

from oflow.compiler.packing.board import CAPACITY, DECISIONS, DEPTH, EMPTY, NOTHING, SECTIONS, TOP, UNPLACED, WORK, Board, fits, wall
from oflow.compiler.packing.levels import levelled


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
