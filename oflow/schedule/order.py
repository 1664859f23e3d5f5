"""A pipeline schedule: the order of actions on each rank, as plain data, in PyTorch's notation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from oflow.errors import PlanError

PHASES = ("F", "B", "I", "W")
"""Forward; full backward, or its halves: input gradient (the zero-bubble papers' B) and weight gradient."""


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


@dataclass(frozen=True)
class Schedule:
    """The order of actions on each pipeline rank: ``rows[rank]``. Stages are global chunks 0..S-1; each has one home rank."""

    name: str
    rows: tuple[tuple[Action, ...], ...]

    @cached_property
    def stages(self) -> tuple[int, ...]:
        return tuple(sorted({a.stage for row in self.rows for a in row}))

    @cached_property
    def micro_batches(self) -> int:
        return 1 + max((a.micro_batch for row in self.rows for a in row), default=0)

    @property
    def ranks(self) -> int:
        return len(self.rows)

    @cached_property
    def homes(self) -> dict[int, int]:
        """The rank of each stage, by stage (the last one named, where a schedule that is at fault names several)."""
        found = {action.stage: rank for rank, row in enumerate(self.rows) for action in row}
        return dict(sorted(found.items()))

    def home(self, stage: int) -> int:
        """The rank that runs `stage`."""
        return self.homes[stage]

    @cached_property
    def splits_backward(self) -> bool:
        """Whether some backward stands as its two halves, I and W."""
        return any(action.phase in ("I", "W") for row in self.rows for action in row)

    def stash(self, stage: int) -> int:
        """Most micro-batches of `stage` whose forward is done and whose backward is not: the slots its stash needs."""
        live = most = 0
        for row in self.rows:
            for action in row:
                if action.stage == stage:
                    live += (action.phase == "F") - (action.phase in ("B", "W"))
                    most = max(most, live)
        return max(most, 1)


def verify_schedule(schedule: Schedule) -> None:
    """Raises PlanError unless every stage has one rank and there runs every micro-batch once in each phase, forward first.

    A backward is B, or I and then W; micro-batches of one schedule may differ in that. Whether ranks wait for each other in a
    circle is the business of `replay`.
    """
    seen: dict[Action, int] = {}
    homes: dict[int, int] = {}
    for rank, row in enumerate(schedule.rows):
        for action in row:
            _verify_action(schedule, action, rank, seen, homes)
            seen[action] = rank
    wanted = ("F", "B") if any(action.phase != "F" for action in seen) else ("F",)
    for stage in schedule.stages:
        for micro_batch in range(schedule.micro_batches):
            found = {phase for phase in PHASES if Action(stage, phase, micro_batch) in seen}
            halves = found & {"I", "W"}
            missing = [p for p in (("F", "I", "W") if halves and "B" not in found else wanted) if p not in found]
            if missing:
                raise PlanError(f"schedule {schedule.name}: {Action(stage, missing[0], micro_batch)} is missing")


def _verify_action(schedule: Schedule, action: Action, rank: int, seen: dict[Action, int], homes: dict[int, int]) -> None:
    stage, m = action.stage, action.micro_batch
    if action in seen:
        raise PlanError(f"schedule {schedule.name}: {action} stands twice (ranks {seen[action]} and {rank})")
    if homes.setdefault(stage, rank) != rank:
        raise PlanError(f"schedule {schedule.name}: stage {stage} is on ranks {homes[stage]} and {rank}")
    if action.phase != "F" and Action(stage, "F", m) not in seen:
        raise PlanError(f"schedule {schedule.name}: {action} stands before its forward on rank {rank}")
    if action.phase == "W" and Action(stage, "I", m) not in seen:
        raise PlanError(f"schedule {schedule.name}: {action} stands before {Action(stage, 'I', m)} on rank {rank}")
    if (action.phase in ("I", "W") and Action(stage, "B", m) in seen) or (action.phase == "B" and Action(stage, "I", m) in seen):
        raise PlanError(f"schedule {schedule.name}: {action} stands beside {'I' if action.phase == 'B' else 'B'} of the same micro-batch")
