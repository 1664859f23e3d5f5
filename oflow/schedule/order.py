"""A pipeline schedule: the order of actions on each rank, as plain data, in PyTorch's notation."""

from __future__ import annotations

import re
from collections.abc import Callable
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
    def places(self) -> dict[int, int]:
        """The place of each stage in the line: its index in `stages`."""
        return {stage: place for place, stage in enumerate(self.stages)}

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

    @property
    def chunks(self) -> tuple[int, ...]:
        """Stages of each rank."""
        return tuple(max(1, len({a.stage for a in row})) for row in self.rows)

    def home(self, stage: int) -> int:
        """The rank that runs `stage`."""
        return self.homes[stage]

    @cached_property
    def splits_backward(self) -> bool:
        """Whether some backward stands as its two halves, I and W."""
        return any(action.phase in ("I", "W") for row in self.rows for action in row)

    def needs(self, action: Action) -> tuple[Action, ...]:
        """What must be done before, apart from the rank's order; where two are named, B and I of the next stage, one exists."""
        place, m = self.places[action.stage], action.micro_batch
        if action.phase == "F":
            return (Action(self.stages[place - 1], "F", m),) if place else ()
        if action.phase == "W":
            return (Action(action.stage, "I", m),)
        if place + 1 < len(self.stages):
            return Action(self.stages[place + 1], "B", m), Action(self.stages[place + 1], "I", m)
        return (Action(action.stage, "F", m),)

    def stash(self, stage: int) -> int:
        """Most micro-batches of `stage` whose forward is done and whose backward is not: the slots its stash needs."""
        live = most = 0
        for row in self.rows:
            for action in row:
                if action.stage == stage:
                    live += (action.phase == "F") - (action.phase in ("B", "W"))
                    most = max(most, live)
        return max(most, 1)


Where = Callable[[int, int], str]
"""(rank, index in its row) -> how a message names that action."""


def verify_schedule(schedule: Schedule, where: Where | None = None) -> None:
    """Raises PlanError unless every stage has one rank and there runs every micro-batch once in each phase, forward first.

    A backward is B, or I and then W; micro-batches of one schedule may differ in that. Whether ranks wait for each other in a
    circle is the business of `replay`. where: names an action by its place in a file; None: by its name and rank.
    """
    seen: dict[Action, str] = {}
    homes: dict[int, int] = {}
    for rank, row in enumerate(schedule.rows):
        for index, action in enumerate(row):
            named = where(rank, index) if where else f"{action} on rank {rank}"
            fault = _fault(action, rank, seen, homes)
            if fault:
                raise PlanError(f"schedule {schedule.name}: {named} {fault}")
            seen[action] = named
    wanted = ("F", "B") if any(action.phase != "F" for action in seen) else ("F",)
    for stage in schedule.stages:
        for micro_batch in range(schedule.micro_batches):
            found = {phase: seen[a] for phase in PHASES if (a := Action(stage, phase, micro_batch)) in seen}
            halves = ("I" in found or "W" in found) and "B" not in found
            missing = [p for p in (("F", "I", "W") if halves else wanted) if p not in found]
            if missing:
                beside = f"; {', '.join(found.values())} stand{'s' * (len(found) == 1)} there" if found else ""
                raise PlanError(f"schedule {schedule.name}: {Action(stage, missing[0], micro_batch)} is missing{beside}")
    _verify_inside(schedule, seen)


def _verify_inside(schedule: Schedule, named: dict[Action, str]) -> None:
    """Raises PlanError for an action that stands before what it needs of another stage of its own rank."""
    for row in schedule.rows:
        done = set[Action]()
        for action in row:
            late = [n for n in schedule.needs(action) if n in named and schedule.homes[n.stage] == schedule.homes[action.stage]]
            if late and late[0] not in done:
                raise PlanError(
                    f"schedule {schedule.name}: {named[action]} stands before {late[0]} ({named[late[0]]}), which it needs"
                )
            done.add(action)


def _fault(action: Action, rank: int, seen: dict[Action, str], homes: dict[int, int]) -> str:
    """What is wrong with `action` after those `seen`, in words that follow its name."""
    stage, phase, m = action.stage, action.phase, action.micro_batch
    other = Action(stage, "I" if phase == "B" else "B", m)
    if homes.setdefault(stage, rank) != rank:
        return f"stands on rank {rank}, but stage {stage} is on rank {homes[stage]}; a stage has one rank"
    if action in seen:
        return f"stands twice; the first is {seen[action]}"
    if phase != "F" and Action(stage, "F", m) not in seen:
        return f"stands before its forward {stage}F{m}"
    if phase == "W" and other not in seen and Action(stage, "I", m) not in seen:
        return f"stands before {stage}I{m}, its input gradient"
    if phase != "F" and other in seen:
        return f"stands beside {seen[other]}: a micro-batch has B, or I and W"
    return ""
