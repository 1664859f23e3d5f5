"""A schedule alone as a plan: one actor a stage and phase, so that it can be proved, simulated and drawn like any plan."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from oflow.check.references import check_references
from oflow.errors import PlanError
from oflow.machine import Cost, preset
from oflow.plan import ALIGNMENT, ActorTemplate, Plan, PortTemplate, RegisterTemplate
from oflow.schedule import Schedule
from oflow.types import TensorType

SECONDS: Mapping[str, float] = {"F": 1.0, "B": 2.0, "I": 1.0, "W": 1.0}
"""A unit for a forward and for each half of a backward, where no times are given."""


def schedule_plan(schedule: Schedule, seconds: Mapping[str, float] | None = None) -> Plan:
    """The plan of `schedule`: rank i is ``cpu:i``, its order is row i; `seconds` of an action by phase.

    A stage's stash has the slots the schedule implies. What moves between stages has one slot a micro-batch, so a plan that
    is refused has an order that no number of buffers could help. Slots hold one float: bytes mean nothing here.
    """
    made = _Pipeline(schedule, {**SECONDS, **(seconds or {})})
    plan = made.plan()
    check_references(plan)
    return plan


class _Pipeline:
    """The templates of a pipeline, one group of one device a rank."""

    def __init__(self, schedule: Schedule, seconds: Mapping[str, float]) -> None:
        self.schedule, self.seconds = schedule, seconds
        self.home = _homes(schedule)
        self.registers: list[RegisterTemplate] = []
        self.used: dict[int, int] = {}
        self.ports: dict[tuple[int, str], list[PortTemplate]] = {}
        phases = {a.phase for row in schedule.rows for a in row}
        if phases not in ({"F"}, {"F", "B"}, {"F", "I", "W"}):
            mix = ", ".join(sorted(phases))
            raise PlanError(f"schedule {schedule.name} has actions of {mix}; it may have F alone, F and B, or F, I and W")
        self.ports = {(stage, phase): [] for stage in schedule.stages for phase in "FBIW" if phase in phases}
        self._connect(phases)

    def _connect(self, phases: set[str]) -> None:
        many, stages = self.schedule.micro_batches, self.schedule.stages
        backwards = [phase for phase in "BIW" if phase in phases]
        for stage, after in pairwise(stages):
            self._register(f"x{after}", stage, many, (stage, "F"), [(after, "F")])
        for stage in stages if backwards else ():
            self._register(f"stash{stage}", stage, self.schedule.stash(stage), (stage, "F"), [(stage, p) for p in backwards])
        for stage, after in pairwise(stages) if backwards else ():
            self._register(f"g{stage}", after, many, (after, backwards[0]), [(stage, p) for p in backwards])

    def _register(self, name: str, stage: int, slots: int, producer: tuple[int, str], consumers: list[tuple[int, str]]) -> None:
        rank, row = self.home[stage], len(self.registers)
        offset = self.used.get(rank, 0)
        self.used[rank] = offset + slots * ALIGNMENT
        self.registers.append(RegisterTemplate(name, rank, (TensorType((1,)),), slots, offsets=(offset,)))
        self.ports[producer].append(PortTemplate(row, "out", peers=(0,)))
        for consumer in consumers:
            self.ports[consumer].append(PortTemplate(row, "in", peers=(0,)))

    def plan(self) -> Plan:
        rows = {key: row for row, key in enumerate(self.ports)}
        actors = tuple(
            ActorTemplate(
                f"{stage}{phase}", self.home[stage], tuple(ports), stage=stage, phase=phase, acts=self.schedule.micro_batches,
                costs=(Cost(seconds=self.seconds[phase]),),
            )
            for (stage, phase), ports in self.ports.items()
        )  # fmt: skip
        devices = [f"cpu:{rank}" for rank in range(len(self.schedule.rows))]
        order = {
            f"{device}/compute": tuple(rows[a.stage, a.phase] for a in row)
            for device, row in zip(devices, self.schedule.rows, strict=True)
            if row
        }
        arenas = {devices[rank]: nbytes for rank, nbytes in sorted(self.used.items())}
        return Plan(
            actors, tuple(self.registers), tuple((device,) for device in devices), preset(), order, arenas,
            micro_batches=self.schedule.micro_batches, schedule=self.schedule.name,
        )  # fmt: skip


def _homes(schedule: Schedule) -> dict[int, int]:
    """The rank of each stage. Raises PlanError where a stage stands on two, or its micro-batches are out of order."""
    homes: dict[int, int] = {}
    for rank, row in enumerate(schedule.rows):
        latest: dict[tuple[int, str], int] = {}
        for action in row:
            if homes.setdefault(action.stage, rank) != rank:
                raise PlanError(f"schedule {schedule.name}: stage {action.stage} is on ranks {homes[action.stage]} and {rank}")
            if action.micro_batch < latest.get((action.stage, action.phase), 0):
                raise PlanError(f"schedule {schedule.name}: {action} stands after a later micro-batch of its stage and phase")
            latest[action.stage, action.phase] = action.micro_batch
    return homes
