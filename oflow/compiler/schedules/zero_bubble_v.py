"""Zero-bubble V (Qi et al. 2024, arXiv 2401.10241, section 6): two chunks a rank, down and back up, so that the rank that starts a
micro-batch also ends it. Stash: P whole stages on every rank, as 1F1B's first; no bubble in the steady state at equal times.
"""

from __future__ import annotations

from oflow.compiler.schedules.named import NamedSchedule, v_shape
from oflow.compiler.schedules.shape import for_times
from oflow.schedule import Action, Schedule, Times


def order_v(ranks: int, micro_batches: int) -> Schedule:
    """The published order, which needs 2P-1 micro-batches: with fewer, those that are too many are left out."""
    whole = max(micro_batches, 2 * ranks - 1)
    rows = (tuple(a for a in _row(rank, ranks, whole) if a.micro_batch < micro_batches) for rank in range(ranks))
    return Schedule("zero-bubble-v", tuple(rows))


def _row(rank: int, ranks: int, micro_batches: int) -> list[Action]:
    first, last = rank, 2 * ranks - 1 - rank
    row: list[Action] = []
    count: dict[tuple[int, str], int] = {}

    def add(stage: int, phases: str) -> None:
        for phase in phases:
            m = count.get((stage, phase), 0)
            if m < micro_batches:
                row.append(Action(stage, phase, m))
                count[stage, phase] = m + 1

    for _ in range(2 * (ranks - rank) - 1):
        add(first, "F")
    for _ in range(rank):
        add(last, "F")
        add(first, "F")
    for _ in range(ranks - rank):
        add(last, "FIW")
    while count.get((last, "F"), 0) < micro_batches:
        add(first, "F")
        add(first, "IW")
        add(last, "FIW")
    for _ in range(rank):
        add(first, "I")
        add(last, "I")
    for _ in range(ranks - rank):
        add(first, "IW")
    for stage in (last, first):
        while count.get((stage, "W"), 0) < micro_batches:
            add(stage, "W")
    return row


def zero_bubble_v(ranks: int, micro_batches: int, times: Times | None = None) -> Schedule:
    return for_times(order_v(ranks, micro_batches), times)


ZERO_BUBBLE_V = NamedSchedule("zero-bubble-v", 2, v_shape, True, zero_bubble_v)
