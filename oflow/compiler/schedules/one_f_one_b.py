"""1F1B (PipeDream-Flush, Narayanan et al. 2021): after S-i-1 forwards stage i alternates one forward with one backward.

Stash: min(M, S - i) micro-batches on stage i. Bubble as GPipe's.
"""

from __future__ import annotations

from oflow.schedule import Action, Schedule


def one_f_one_b(stages: int, micro_batches: int) -> Schedule:
    return Schedule("1f1b", tuple(tuple(_row(stage, stages, micro_batches)) for stage in range(stages)))


def _row(stage: int, stages: int, micro_batches: int) -> list[Action]:
    warm_up = min(micro_batches, stages - stage - 1)
    row = [Action(stage, "F", m) for m in range(warm_up)]
    for m in range(micro_batches - warm_up):
        row += [Action(stage, "F", warm_up + m), Action(stage, "B", m)]
    return row + [Action(stage, "B", m) for m in range(micro_batches - warm_up, micro_batches)]
