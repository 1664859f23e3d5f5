"""Zero-bubble schedules with one chunk a rank (Qi et al. 2024, arXiv 2401.10241): the backward stands as I and W, and W waits.

H1: rank i delays W by i micro-batches, so that every rank holds at most P stashes (forward start to the end of W), as 1F1B's
first rank does; bubble (P-1)(F+I-W). H2: 2(P-i)-1 forwards ahead and W 2i behind: 2P-1 stashes, bubble (P-1)(F+I-2W).
"""

from __future__ import annotations

from oflow.compiler.schedules.named import NamedSchedule, in_line
from oflow.compiler.schedules.shape import for_times
from oflow.schedule import Action, Schedule, Times


def order_h(ranks: int, micro_batches: int, *, double: bool, most: int | None = None) -> Schedule:
    """The published H2 (`double`) or H1 order; with at most `most` stashes on any rank, where that is given."""
    rows = []
    for rank in range(ranks):
        ahead, behind = (2 * (ranks - rank) - 1, 2 * rank) if double else (ranks - rank, rank)
        if most is not None:
            ahead, behind = min(ahead, most), min(behind, most - min(ahead, most))
        rows.append(tuple(_row(rank, micro_batches, min(ahead, micro_batches), behind)))
    return Schedule("zero-bubble-h2" if double else "zero-bubble-h1", tuple(rows))


def _row(stage: int, micro_batches: int, ahead: int, behind: int) -> list[Action]:
    """`ahead` forwards before the first I; W of a micro-batch `behind` I's after its own I, but before what they make room for."""
    row = [Action(stage, "F", m) for m in range(ahead)]
    for m in range(micro_batches):
        row.append(Action(stage, "I", m))
        if m >= behind:
            row.append(Action(stage, "W", m - behind))
        if ahead + m < micro_batches:
            row.append(Action(stage, "F", ahead + m))
    return row + [Action(stage, "W", m) for m in range(max(0, micro_batches - behind), micro_batches)]


def zero_bubble_h1(ranks: int, micro_batches: int, times: Times | None = None) -> Schedule:
    return for_times(order_h(ranks, micro_batches, double=False), times)


def zero_bubble_h2(ranks: int, micro_batches: int, times: Times | None = None) -> Schedule:
    return for_times(order_h(ranks, micro_batches, double=True), times)


ZERO_BUBBLE_H1 = NamedSchedule("zero-bubble-h1", 1, in_line, True, zero_bubble_h1)
ZERO_BUBBLE_H2 = NamedSchedule("zero-bubble-h2", 1, in_line, True, zero_bubble_h2)
