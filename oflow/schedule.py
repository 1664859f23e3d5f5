"""A pipeline schedule: the order of actions on each rank, as plain data, in PyTorch's notation."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

from oflow.errors import PlanError


@dataclass(frozen=True, slots=True, order=True)
class Action:
    """One cell of a schedule in PyTorch's notation: ``2F0`` is stage 2, forward, micro-batch 0."""

    stage: int
    phase: str
    micro_batch: int

    def __str__(self) -> str:
        return f"{self.stage}{self.phase}{self.micro_batch}"

    @staticmethod
    def parse(text: str) -> Action:
        match = re.fullmatch(r"\s*(\d+)(F|B|I|W)(\d+)\s*", text)
        if not match:
            raise PlanError(f"{text!r} is not a schedule action; write 2F0 for stage 2, forward, micro-batch 0")
        return Action(int(match[1]), match[2], int(match[3]))


@dataclass(frozen=True, slots=True)
class Schedule:
    """The order of actions on each pipeline rank, and (derived) the slots a stage's stash needs."""

    name: str
    rows: tuple[tuple[Action, ...], ...]

    @property
    def stages(self) -> tuple[int, ...]:
        return tuple(sorted({a.stage for row in self.rows for a in row}))

    @property
    def micro_batches(self) -> int:
        return 1 + max((a.micro_batch for row in self.rows for a in row), default=0)

    def stash(self, stage: int) -> int:
        """Most micro-batches of `stage` whose forward is done and whose backward is not: the slots its stash needs."""
        live = most = 0
        for row in self.rows:
            for action in row:
                if action.stage == stage:
                    live += (action.phase == "F") - (action.phase in ("B", "W"))
                    most = max(most, live)
        return max(most, 1)

    def to_csv(self) -> str:
        """One line a rank, one cell an action (PyTorch's pipeline schedule files)."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([[str(a) for a in row] for row in self.rows])
        return out.getvalue()

    @staticmethod
    def from_csv(text: str, name: str = "csv") -> Schedule:
        rows = []
        for cells in csv.reader(io.StringIO(text)):
            if cells:
                rows.append(tuple(Action.parse(cell) for cell in cells if cell.strip()))
        made = Schedule(name, tuple(rows))
        verify_schedule(made)
        return made


def verify_schedule(schedule: Schedule) -> None:
    """Raises PlanError unless every stage runs every micro-batch once in each phase, forward before backward, on one rank."""
    seen: dict[Action, int] = {}
    for rank, row in enumerate(schedule.rows):
        for action in row:
            if action in seen:
                raise PlanError(f"schedule {schedule.name}: {action} stands twice (ranks {seen[action]} and {rank})")
            if action.phase != "F" and Action(action.stage, "F", action.micro_batch) not in seen:
                raise PlanError(f"schedule {schedule.name}: {action} stands before its forward on rank {rank}")
            seen[action] = rank
    phases = {a.phase for a in seen}
    for stage in schedule.stages:
        for micro_batch in range(schedule.micro_batches):
            missing = [p for p in sorted(phases) if Action(stage, p, micro_batch) not in seen]
            if missing:
                raise PlanError(f"schedule {schedule.name}: {Action(stage, missing[0], micro_batch)} is missing")
