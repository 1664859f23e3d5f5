"""1F1B (PipeDream-Flush, Narayanan et al. 2021): after P-i-1 forwards rank i alternates one forward with one backward.

Stash: min(M, P - i) micro-batches on rank i. Bubble as GPipe's.
"""

from __future__ import annotations

from oflow.compiler.schedules.named import NamedSchedule, in_line
from oflow.compiler.schedules.shape import shaped
from oflow.schedule import Action, Schedule, Times


def one_f_one_b_order(ranks: int, micro_batches: int, most: int | None = None) -> Schedule:
    """The published order; with at most `most` stashes on any rank, where that is given."""
    most = ranks if most is None else most
    return Schedule("1f1b", tuple(tuple(_row(stage, min(ranks - stage, most), micro_batches)) for stage in range(ranks)))


def one_f_one_b(ranks: int, micro_batches: int, times: Times | None = None) -> Schedule:
    """The published order, or one that is no longer with `times` and holds no more on any rank."""
    order = one_f_one_b_order(ranks, micro_batches)
    return order if times is None else shaped(order, times)


def _row(stage: int, stashes: int, micro_batches: int) -> list[Action]:
    warm_up = min(micro_batches, stashes - 1)
    row = [Action(stage, "F", m) for m in range(warm_up)]
    for m in range(micro_batches - warm_up):
        row += [Action(stage, "F", warm_up + m), Action(stage, "B", m)]
    return row + [Action(stage, "B", m) for m in range(micro_batches - warm_up, micro_batches)]


ONE_F_ONE_B = NamedSchedule("1f1b", 1, in_line, False, one_f_one_b)
