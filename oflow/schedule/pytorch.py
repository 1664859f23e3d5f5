"""PyTorch's pipeline schedule files: one line a rank, one cell an action (torch.distributed.pipelining)."""

from __future__ import annotations

import csv
import io

from oflow.schedule.order import Action, Schedule, verify_schedule


def to_csv(schedule: Schedule) -> str:
    """One line a rank, one cell an action."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[str(a) for a in row] for row in schedule.rows])
    return out.getvalue()


def from_csv(text: str, name: str = "csv") -> Schedule:
    """The schedule in `text`. Raises PlanError for a cell that is no action and for what `verify_schedule` finds."""
    rows = []
    for cells in csv.reader(io.StringIO(text)):
        if cells:
            rows.append(tuple(Action.parse(cell) for cell in cells if cell.strip()))
    made = Schedule(name, tuple(rows))
    verify_schedule(made)
    return made
