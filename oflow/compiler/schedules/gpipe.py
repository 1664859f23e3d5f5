"""GPipe (Huang et al. 2019): all forwards, then all backwards. Stash: M micro-batches. Bubble (S-1)/(M+S-1)."""

from __future__ import annotations

from oflow.schedule import Action, Schedule


def gpipe(stages: int, micro_batches: int) -> Schedule:
    rows = tuple(
        tuple(Action(stage, phase, m) for phase in ("F", "B") for m in range(micro_batches)) for stage in range(stages)
    )
    return Schedule("gpipe", rows)
