"""A schedule alone as a plan, so that it can be proved, simulated and drawn like any plan."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

from oflow.check.references import check_references
from oflow.machine import Cost
from oflow.plan import ALIGNMENT, ActorTemplate, Plan, PortTemplate, RegisterTemplate
from oflow.presets import preset
from oflow.schedule import PHASES, Schedule, Times, verify_schedule
from oflow.types import TensorType

Unit = tuple[int, str, int]
"""What one actor runs: a stage's phase for the micro-batches of one group (its number)."""


def schedule_plan(schedule: Schedule, times: Times | None = None) -> Plan:
    """The plan of `schedule`: rank i is ``cpu:i``, its order is row i; a message between ranks is an act of the receiver's.

    One actor runs a stage's phase for all micro-batches. Each action has its own where micro-batches do not come in order, where
    only some have their backward split, and where messages take so long that several are under way at once. A stage's stash has
    the slots the schedule implies. What moves between stages has one slot a micro-batch, so a plan that is refused has an order
    that no number of buffers could help. Slots hold one float: bytes mean nothing here. Raises PlanError for a schedule that is
    at fault.
    """
    verify_schedule(schedule)
    made = _Pipeline(schedule, times or Times()).plan()
    check_references(made)
    return made


def _is_regular(schedule: Schedule, times: Times) -> bool:
    """Whether each stage and phase runs all micro-batches in order, and no message is overtaken by the next one's start."""
    seen: dict[tuple[int, str], int] = defaultdict(int)
    for row in schedule.rows:
        for action in row:
            if action.micro_batch != seen[action.stage, action.phase]:
                return False
            seen[action.stage, action.phase] += 1
    lags = {"F": times.forward, "B": times.backward, "I": times.backward, "W": 0.0}
    fast = all(lags[phase] <= times.of(phase, stage) for stage, phase in seen)
    return fast and set(seen.values()) <= {schedule.micro_batches}


class _Pipeline:
    """The templates of a pipeline, one group of one device a rank."""

    def __init__(self, schedule: Schedule, times: Times) -> None:
        self.schedule, self.times = schedule, times
        many = schedule.micro_batches
        self.size = many if _is_regular(schedule, times) else 1
        """Micro-batches of one actor."""
        self.registers: list[RegisterTemplate] = []
        self.actors: dict[Unit, ActorTemplate] = {}
        self.ports: dict[Unit, list[PortTemplate]] = {}
        self.used: dict[int, int] = defaultdict(int)
        units = {(a.stage, a.phase, a.micro_batch // self.size) for row in schedule.rows for a in row}
        for stage, phase, group in sorted(units, key=lambda u: (u[2], u[0], PHASES.index(u[1]))):
            self._actor((stage, phase, group), f"{stage}{phase}", self.schedule.home(stage), "compute", times.of(phase, stage))
        for group in range(many // self.size):
            self._connect(group, units)

    def _named(self, name: str, group: int) -> str:
        return name if self.size > 1 else f"{name}.{group}"

    def _actor(self, unit: Unit, name: str, rank: int, stream: str, seconds: float) -> None:
        stage, phase, group = unit
        self.ports[unit] = []
        self.actors[unit] = ActorTemplate(
            self._named(name, group), rank, (), stream=stream, stage=stage, phase=phase[0], acts=self.size, costs=(Cost(seconds=seconds),)
        )

    def _connect(self, group: int, units: set[Unit]) -> None:
        backward = {s: [p for p in "BIW" if (s, p, group) in units] for s in self.schedule.stages}
        for stage, after in pairwise(self.schedule.stages):
            self._message(f"x{after}", (stage, "F", group), [(after, "F", group)], self.times.forward)
        for stage in self.schedule.stages:
            if backward[stage]:
                slots = self.schedule.stash(stage) if self.size > 1 else 1
                self._register(f"stash{stage}", (stage, "F", group), [(stage, p, group) for p in backward[stage]], slots)
        for stage, after in pairwise(self.schedule.stages):
            if backward[stage]:
                readers = [(stage, p, group) for p in backward[stage]]
                self._message(f"g{stage}", (after, backward[after][0], group), readers, self.times.backward)

    def _message(self, name: str, source: Unit, targets: list[Unit], seconds: float) -> None:
        """From one stage to another; between ranks it is an act on the receiver's side, where it takes time."""
        home, other = self.schedule.home(source[0]), self.schedule.home(targets[0][0])
        if home == other or not seconds:
            self._register(name, source, targets, self.size)
            return
        carrier = (targets[0][0], f"{source[1]} received", source[2])
        self._actor(carrier, f"receive {name}", other, self._named(f"comm_{name}", source[2]), seconds)
        self._register(f"{name}_sent", source, [carrier], self.size)
        self._register(name, carrier, targets, self.size)

    def _register(self, name: str, producer: Unit, consumers: list[Unit], slots: int) -> None:
        rank, row = self.actors[producer].group, len(self.registers)
        named = self._named(name, producer[2])
        self.registers.append(RegisterTemplate(named, rank, (TensorType((1,)),), slots, offsets=(self.used[rank],)))
        self.used[rank] += slots * ALIGNMENT
        self.ports[producer].append(PortTemplate(row, "out", peers=(0,)))
        for consumer in consumers:
            self.ports[consumer].append(PortTemplate(row, "in", peers=(0,)))

    def plan(self) -> Plan:
        rows = {unit: row for row, unit in enumerate(self.actors)}
        actors = tuple(replace(made, ports=tuple(self.ports[unit])) for unit, made in self.actors.items())
        devices = [f"cpu:{rank}" for rank in range(self.schedule.ranks)]
        order = {
            f"{device}/compute": tuple(rows[a.stage, a.phase, a.micro_batch // self.size] for a in row)
            for device, row in zip(devices, self.schedule.rows, strict=True)
            if row
        }
        for unit, made in self.actors.items():
            if made.stream != "compute":
                order[f"{devices[made.group]}/{made.stream}"] = (rows[unit],) * self.size
        arenas = {devices[rank]: nbytes for rank, nbytes in sorted(self.used.items())}
        return Plan(
            actors, tuple(self.registers), tuple((device,) for device in devices), preset(), order, arenas,
            micro_batches=self.schedule.micro_batches, schedule=self.schedule.name,
        )  # fmt: skip
