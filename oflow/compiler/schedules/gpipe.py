"""GPipe (Huang et al. 2019): all forwards, then all backwards. Stash: M micro-batches. Bubble (P-1)/(M+P-1)."""

from __future__ import annotations

from oflow.compiler.schedules.named import NamedSchedule, in_line
from oflow.schedule import Action, Schedule, Times


def gpipe(ranks: int, micro_batches: int, times: Times | None = None) -> Schedule:
    """`times` change nothing: every rank has one order to choose from."""
    rows = tuple(
        tuple(Action(stage, phase, m) for phase in ("F", "B") for m in range(micro_batches)) for stage in range(ranks)
    )
    return Schedule("gpipe", rows)


GPIPE = NamedSchedule("gpipe", 1, in_line, False, gpipe)
