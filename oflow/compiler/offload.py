"""offload: what the forward pass keeps for the backward waits in the host's memory.

    register h: F -> B, in the schedule's slots     becomes     h: F -> offload, in one slot or two
                                                                h.host: offload -> prefetch, in the schedule's slots, on the host
                                                                h.back: prefetch -> B, in one slot or two

The copies are actors on two streams of their own on the device, so they run beside its work. The host's memory is that of the devices
host:i, one beside each device i. With one micro-batch nothing but time bounds how early a value comes back, and it would lie on the
device from then on: so a prefetch waits until the backward pass has used the value before the one before it (double buffering), and
the first two are not offloaded at all. Rhu et al. 2016 (vDNN) for layers, here for any register of any schedule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from oflow.compiler.expand import column, pull_columns
from oflow.compiler.memory import CONTROL
from oflow.compiler.options import Options
from oflow.compiler.schedule import schedule
from oflow.compiler.stage_times import OFFLOAD, PREFETCH
from oflow.machine import Cost, pull_cost
from oflow.plan import ActorTemplate, Arg, Call, Plan, PortTemplate, RegisterTemplate
from oflow.sbp import B, Layout, Placement, Step
from oflow.types import Attrs, TensorType

AHEAD = 2
"""Values that are on the device, or on their way to it, for the backward pass where it is one act for each of its nodes."""


SHALLOW = 4
"""Micro-batches in flight up to which one slot on either side of the host is enough: forward and backward alternate."""


@dataclass(frozen=True, slots=True)
class Stay:
    """A register that could wait on the host: its row, who makes it, who reads it in the backward pass, slots if it stays."""

    row: int
    maker: int
    late: tuple[int, ...]
    slots: int


def offload(plan: Plan, options: Options) -> Plan:
    if options.offload is None:
        return plan
    found = stays(plan, options)
    wanted = found if options.offload == "all" else [one for one in found if plan.register_templates[one.row].value in options.offloaded]
    return _Copies(plan, wanted).plan() if wanted else plan


def stays(plan: Plan, options: Options) -> list[Stay]:
    """Registers that a stage's forward makes each micro-batch and only its backward reads late, in the order in which it does;
    those that gain nothing are left out: few slots in a pipeline, or what the backward pass reads first."""
    slots = [t.slots for t in schedule(plan, options).register_templates]
    readers: dict[int, list[tuple[int, PortTemplate]]] = {}
    for number, actor in enumerate(plan.actor_templates):
        for port in actor.ports:
            if port.direction == "in":
                readers.setdefault(port.register, []).append((number, port))
    found = []
    for row, template in enumerate(plan.register_templates):
        late = tuple(number for number, _ in readers.get(row, ()) if plan.actor_templates[number].phase not in ("F", "update"))
        if template.region == "arena" and not template.initial and late and row in plan.writers and _moves(plan, row, readers[row]):
            found.append(Stay(row, plan.writers[row][0], late, slots[row]))
    found.sort(key=lambda one: (one.late[0], one.row))
    if plan.micro_batches > 1:
        return [one for one in found if one.slots > AHEAD]
    first = {stage: _firsts([o for o in found if plan.actor_templates[o.maker].stage == stage]) for stage in _stages(plan, found)}
    return [one for one in found if one.late[0] not in first[plan.actor_templates[one.maker].stage]]


def _stages(plan: Plan, found: Iterable[Stay]) -> set[int]:
    return {plan.actor_templates[one.maker].stage for one in found}


def _firsts(found: Iterable[Stay]) -> set[int]:
    """The first readers of the backward pass."""
    return set(list(dict.fromkeys(one.late[0] for one in found))[:AHEAD])


def _moves(plan: Plan, row: int, readers: list[tuple[int, PortTemplate]]) -> bool:
    """Whether the register is one slot an act for maker and readers, made on the device, and read late in its own stage only."""
    number, out = plan.writers[row]
    maker = plan.actor_templates[number]
    users = [plan.actor_templates[n] for n, _ in readers]
    whole = all(p.every == 1 and p.mode == "whole" for p in (out, *(p for _, p in readers)))
    same = all(user.acts == maker.acts for user in users) and maker.acts == plan.micro_batches
    near = all(user.stage == maker.stage and user.phase != "update" for user in users if user.phase != "F")
    sources = {plan.register_templates[p.register].group for p in maker.ports if p.direction == "in"}
    from_host = any(plan.rank_table[group][0].startswith("host:") for group in sources)
    here = maker.group == plan.register_templates[row].group and not plan.rank_table[maker.group][0].startswith("host:")
    return maker.phase == "F" and whole and same and near and here and not from_host


class _Copies:
    """The plan's tables while registers leave for the host."""

    def __init__(self, old: Plan, stays: list[Stay]) -> None:
        self.old = old
        self.registers = list(old.register_templates)
        self.ranks = list(old.rank_table)
        self.actors = list(old.actor_templates)
        self.after: dict[int, list[ActorTemplate]] = {}
        self.before: dict[int, list[ActorTemplate]] = {}
        gates = _gates(old, stays) if old.micro_batches == 1 else {}
        for stay in stays:
            self._leave(stay, gates.get(stay.row))

    def plan(self) -> Plan:
        actors: list[ActorTemplate] = []
        for number, actor in enumerate(self.actors):
            actors += [*self.before.get(number, ()), actor, *self.after.get(number, ())]
        return replace(
            self.old, actor_templates=tuple(actors), register_templates=tuple(self.registers), rank_table=tuple(self.ranks)
        )

    def _leave(self, stay: Stay, gate: int | None) -> None:
        register, maker = self.old.register_templates[stay.row], self.old.actor_templates[stay.maker]
        devices = self.old.rank_table[register.group]
        few = 1 if stay.slots <= SHALLOW else 2
        self.registers[stay.row] = replace(register, slots=few)
        host = self._register(replace(register, name=f"{register.name}.host", group=self._host(devices), slots=stay.slots, value=-1))
        back = self._register(replace(register, name=f"{register.name}.back", slots=few, value=-1))
        copies = [_copy(t, f"host:{d.partition(':')[2]}") for t, d in zip(_spread(register.types, len(devices)), devices, strict=True)]
        attrs, costs = column([a for a, _ in copies]), column([c for _, c in copies])

        def beside(row: int) -> tuple[int, ...]:
            """The host's shard that belongs to each rank."""
            return tuple(range(len(devices))) if row == host else ()

        def copy(stream: str, phase: str, source: int, target: int, line: str) -> ActorTemplate:
            call = Call("boxing", (Arg("port", 0),), (Arg("port", 1),), attrs, line=line)
            ports = PortTemplate(target, "out", peers=beside(target)), PortTemplate(source, "in", peers=beside(source))
            return ActorTemplate(
                f"{stream}.{register.name}", register.group, ports, (call,), (), stream, maker.stage, phase, maker.acts, costs=costs,
                line=line,
            )  # fmt: skip

        self.after.setdefault(stay.maker, []).append(copy(OFFLOAD, "F", stay.row, host, maker.line))
        first = self.actors[stay.late[0]]
        comes = copy(PREFETCH, first.phase, host, back, maker.line)
        if gate is not None and self.actors[gate].group == register.group:
            comes = self._gated(comes, gate)
        self.before.setdefault(stay.late[0], []).append(comes)
        for number in stay.late:
            actor = self.actors[number]
            ports = tuple(replace(p, register=back) if p.register == stay.row else p for p in actor.ports)
            self.actors[number] = replace(actor, ports=ports)

    def _gated(self, comes: ActorTemplate, gate: int) -> ActorTemplate:
        """The prefetch, after this reader's act."""
        actor = self.actors[gate]
        row = self._register(RegisterTemplate(f"control.{actor.name}>{comes.name}", actor.group, (CONTROL,)))
        self.actors[gate] = replace(actor, ports=(*actor.ports, PortTemplate(row, "out", mode="control")))
        return replace(comes, ports=(*comes.ports, PortTemplate(row, "in", mode="control")))

    def _register(self, template: RegisterTemplate) -> int:
        self.registers.append(template)
        return len(self.registers) - 1

    def _host(self, devices: tuple[str, ...]) -> int:
        """The rank group of the host memory beside these devices."""
        beside = tuple(f"host:{device.partition(':')[2]}" for device in devices)
        if beside not in self.ranks:
            self.ranks.append(beside)
        return self.ranks.index(beside)


def _gates(plan: Plan, stays: list[Stay]) -> dict[int, int]:
    """The reader whose act lets each register come back: the first of the value that is used two before it in its stage."""
    found: dict[int, int] = {}
    for stage in _stages(plan, stays):
        mine = [one for one in stays if plan.actor_templates[one.maker].stage == stage]
        firsts = list(dict.fromkeys(one.late[0] for one in mine))
        before = dict(zip(firsts[AHEAD:], firsts, strict=False))
        found.update((one.row, before[one.late[0]]) for one in mine if one.late[0] in before)
    return found


def _spread(types: tuple[TensorType, ...], ranks: int) -> Iterator[TensorType]:
    return (types[rank if len(types) > 1 else 0] for rank in range(ranks))


@lru_cache(maxsize=4096)
def _copy(kind: TensorType, host: str) -> tuple[Attrs, Cost]:
    """What one copy of a shard does, and its cost over the link between the device and the host's memory."""
    alone = Layout(Placement("cpu", (0,), (1,)), (B,))
    moved = pull_columns(Step(alone, alone, False), kind)
    return moved.attrs[0], pull_cost([(host, kind.nbytes)], 0, 1, kind.itemsize)
