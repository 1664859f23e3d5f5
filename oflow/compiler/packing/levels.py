"""Whether the heights on the two sides of a border can still be made level: a sum of subsets of what starts and stops there."""

from __future__ import annotations

from oflow.compiler.packing.board import WORK, Board

BALANCE = 2000
"""Work after which two heights are taken to be levelled."""


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
