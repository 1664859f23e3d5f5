"""The physical plan: actors that own slots and exchange them by message. Plain data, the same on every machine.

A `Plan` keeps one `ActorTemplate` for all ranks that run the same program and one `RegisterTemplate` for all its shards;
`rank_table` says on which devices they are stamped. What differs from rank to rank (uneven shards, the peer that is read)
is a column with one entry a rank. `plan.actors` and `plan.registers` are the stamped rows, made on demand.

A register has `slots` slots of one shard type. A port binds an actor to a register: `every` consecutive acts share one slot
(0: taken once per run and kept), `mode` says what those acts do with it:
    in   whole   the whole slot             slice   act mod every's part of axis 0
    out  whole   the whole slot             slice   act mod every's part of axis 0
         sum     act 0 of a window overwrites, later acts add
         keep    taking the free slot gives exclusive ownership with its previous content (state that is rewritten)
         control 0 bytes, order only (also as an in mode)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from oflow.errors import PlanError
from oflow.machine import Cost, Machine
from oflow.types import Attrs, TensorType, freeze

T = TypeVar("T")
FORMAT_VERSION = 2
IN_MODES = ("whole", "slice", "control")
OUT_MODES = ("whole", "slice", "sum", "keep", "control")


# ---------------------------------------------------------------- what a rank runs


@dataclass(frozen=True, slots=True)
class Arg:
    """An operand of a call: port `index` of the actor ("port") or scratch buffer `index` of its program ("scratch").

    `types`: what the bytes are read as, one entry or one a rank, where that is another shape than the register's or buffer's.
    """

    kind: str
    index: int
    types: tuple[TensorType, ...] = ()


def _is_frozen(columns: tuple[Attrs, ...]) -> bool:
    """Whether attributes are what `freeze` makes of them: tuples all through (so they can be hashed), in order of name."""
    try:
        hash(columns)
    except TypeError:
        return False
    return all(one[0] < other[0] for column in columns for one, other in pairwise(column))


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel call: results first, then operands. `attrs`: local attributes, one entry, or one for each rank."""

    op: str
    outs: tuple[Arg, ...]
    ins: tuple[Arg, ...]
    attrs: tuple[Attrs, ...] = ((),)
    workspace: int = -1
    """Index of the scratch buffer that the kernel may use freely (-1: none)."""
    line: str = ""

    def __post_init__(self) -> None:
        if not _is_frozen(self.attrs):
            object.__setattr__(self, "attrs", tuple(freeze(dict(column)) for column in self.attrs))

    def attrs_of(self, rank: int) -> dict[str, Any]:
        return dict(self.attrs[rank if len(self.attrs) > 1 else 0])


@dataclass(frozen=True, slots=True)
class Scratch:
    """A temporary inside one act: bytes at `offset` of the stream's scratch region. `types`: one entry, or one a rank."""

    types: tuple[TensorType, ...]
    offset: int = 0


@dataclass(frozen=True, slots=True)
class PortTemplate:
    """A port of every rank. `peers`: which shard of the register each rank binds (-1: none); empty: its own."""

    register: int
    direction: str
    every: int = 1
    mode: str = "whole"
    peers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ActorTemplate:
    """One actor on each device of ``rank_table[group]``. `acts`: acts per step. `costs`: one entry, or one a rank."""

    name: str
    group: int
    ports: tuple[PortTemplate, ...]
    calls: tuple[Call, ...] = ()
    scratch: tuple[Scratch, ...] = ()
    stream: str = "compute"
    stage: int = 0
    phase: str = "F"
    acts: int = 1
    priority: int = 0
    costs: tuple[Cost, ...] = (Cost(),)
    rendezvous: str = ""
    """Actors of one rendezvous fire as one transition (blocking collectives)."""
    nodes: tuple[int, ...] = ()
    line: str = ""


@dataclass(frozen=True, slots=True)
class RegisterTemplate:
    """One register on each device of ``rank_table[group]``. `region`: "arena", or "state" for kept parameters.

    `types` and `offsets`: one entry, or one a rank. `initial`: slots that start full. `state`: the parameter's name. `layout`: what
    the devices hold of a logical tensor of this `shape`, an Sbp for each axis of `mesh` (empty: not said).
    """

    name: str
    group: int
    types: tuple[TensorType, ...]
    slots: int = 1
    initial: int = 0
    offsets: tuple[int, ...] = (0,)
    region: str = "arena"
    state: str = ""
    value: int = -1
    layout: str = ""
    shape: tuple[int, ...] = ()
    mesh: tuple[int, ...] = ()
    ring: str = ""
    """Registers of one ring lie together, as their offsets said before the ring had a place; they share bytes in turn."""

    @property
    def slot_nbytes(self) -> int:
        """Bytes of one slot on the rank whose shard is largest (aligned)."""
        return max(aligned(t.nbytes) for t in self.types)


# ---------------------------------------------------------------- stamped rows: made by the hundred thousand, so structs and not
# dataclasses; they hold no cycles, so the collector need not look at them


class Port(Struct, frozen=True, gc=False):
    """A port of one actor: `register` is a row of ``plan.registers``."""

    register: int
    direction: str
    every: int
    mode: str


class ActorSpec(Struct, frozen=True, gc=False):
    """One actor: `template` and `rank` say which row of the plan it is stamped from; `stream` is ``device/stream``."""

    id: int
    name: str
    device: str
    stream: str
    stage: int
    phase: str
    acts: int
    priority: int
    ports: tuple[Port, ...]
    cost: Cost
    rendezvous: str
    template: int
    rank: int

    @property
    def ins(self) -> tuple[Port, ...]:
        return tuple(p for p in self.ports if p.direction == "in")

    @property
    def outs(self) -> tuple[Port, ...]:
        return tuple(p for p in self.ports if p.direction == "out")

    @property
    def label(self) -> str:
        return f"{self.name}@{self.device}"


class Register(Struct, frozen=True, gc=False):
    """One register: producer and consumers are actor ids (producer -1: nobody; its tokens are there from the start)."""

    id: int
    name: str
    device: str
    type: TensorType
    slots: int
    initial: int
    offset: int
    region: str
    state: str
    producer: int
    consumers: tuple[int, ...]
    template: int
    rank: int
    layout: str

    @property
    def slot_nbytes(self) -> int:
        """Bytes from one slot to the next (aligned)."""
        return aligned(self.type.nbytes)

    @property
    def nbytes(self) -> int:
        return self.slots * self.slot_nbytes

    @property
    def label(self) -> str:
        return f"{self.name}@{self.device}"

    def __str__(self) -> str:
        return f"%{self.id}: {self.type} x{self.slots} @{self.device}+{self.offset}"


ALIGNMENT = 64


def aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


# ---------------------------------------------------------------- the plan


@dataclass(frozen=True)
class Plan:
    """Templates, rank table, order per stream, arenas. Equal plans are equal data; ``Plan.from_json(plan.to_json()) == plan``.

    order: for each ``device/stream`` its actor rows, one entry an act, for one step. Empty: any ready actor may go.
    arenas, states: bytes of each device's arena and of its kept state.
    scratches: (offset in the device's arena, bytes) of each ``device/stream``'s scratch region; its actors share it, since a
    stream runs one act at a time.
    model_flops: of the products of one step on logical shapes: those of the forward pass and those of the gradients that they need, which
    are twice as many where both operands depend on weights; what devices repeat or compute again does not count. 0: not known.
    inputs, outputs: host register rows that feed and fetch the program's arguments and results.
    """

    actor_templates: tuple[ActorTemplate, ...]
    register_templates: tuple[RegisterTemplate, ...]
    rank_table: tuple[tuple[str, ...], ...]
    machine: Machine
    order: dict[str, tuple[int, ...]] = field(default_factory=dict)
    arenas: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    scratches: dict[str, tuple[int, int]] = field(default_factory=dict)
    inputs: tuple[int, ...] = ()
    outputs: tuple[tuple[str, int], ...] = ()
    micro_batches: int = 1
    schedule: str = ""
    model_flops: float = 0.0
    version: int = FORMAT_VERSION

    @cached_property
    def actor_bases(self) -> tuple[int, ...]:
        """The first row of each actor template."""
        return _bases(len(self.rank_table[t.group]) for t in self.actor_templates)

    @cached_property
    def register_bases(self) -> tuple[int, ...]:
        return _bases(len(self.rank_table[t.group]) for t in self.register_templates)

    @cached_property
    def writers(self) -> dict[int, tuple[int, PortTemplate]]:
        """Which actor template writes each register template (the last, where several do), and by which port."""
        ports = ((number, port) for number, actor in enumerate(self.actor_templates) for port in actor.ports)
        return {port.register: (number, port) for number, port in ports if port.direction == "out"}

    @cached_property
    def actors(self) -> tuple[ActorSpec, ...]:
        return tuple(_stamp_actors(self))

    @cached_property
    def registers(self) -> tuple[Register, ...]:
        return tuple(_stamp_registers(self))

    def with_order(self, order: dict[str, tuple[int, ...]]) -> Plan:
        """The plan with another order. Its rows are the same and are not stamped again."""
        made = replace(self, order=order)
        made.__dict__.update({name: rows for name, rows in self.__dict__.items() if name in ("actors", "registers", "streams")})
        return made

    @cached_property
    def streams(self) -> dict[str, tuple[int, ...]]:
        """Actor rows by ``device/stream``."""
        found: dict[str, list[int]] = {}
        for base, template in zip(self.actor_bases, self.actor_templates, strict=False):
            for row, device in enumerate(self.rank_table[template.group], base):
                found.setdefault(f"{device}/{template.stream}", []).append(row)
        return {name: tuple(rows) for name, rows in found.items()}

    def template_of(self, row: int) -> int:
        """The actor template that actor `row` is stamped from."""
        return bisect_right(self.actor_bases, row) - 1

    def register_template_of(self, row: int) -> int:
        """The register template that register `row` is stamped from."""
        return bisect_right(self.register_bases, row) - 1

    def actor_label(self, row: int) -> str:
        """The label of an actor row, without stamping it; likewise `register_label`."""
        number = self.template_of(row)
        template = self.actor_templates[number]
        return f"{template.name}@{self.rank_table[template.group][row - self.actor_bases[number]]}"

    def register_label(self, row: int) -> str:
        number = self.register_template_of(row)
        template = self.register_templates[number]
        return f"{template.name}@{self.rank_table[template.group][row - self.register_bases[number]]}"

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(device for ranks in self.rank_table for device in ranks))


def scratch_nbytes(plan: Plan) -> dict[str, int]:
    """Bytes of scratch that each ``device/stream`` needs: those of its hungriest actor, since it runs one act at a time."""
    sizes: dict[str, int] = {}
    for actor in plan.actor_templates:
        need = max((s.offset + max(aligned(t.nbytes) for t in s.types) for s in actor.scratch), default=0)
        for device in plan.rank_table[actor.group]:
            stream = f"{device}/{actor.stream}"
            sizes[stream] = max(sizes.get(stream, 0), need)
    return sizes


def encoded(plan: Plan) -> bytes:
    """The plan as JSON; equal plans give equal text."""
    return msgspec.json.encode(plan, order="deterministic")


def _bases(sizes: Iterable[int]) -> tuple[int, ...]:
    bases = [0]
    for size in sizes:
        bases.append(bases[-1] + size)
    return tuple(bases)


def at_rank(column: tuple[T, ...], rank: int) -> T:
    return column[rank if len(column) > 1 else 0]


def _stamp_actors(plan: Plan) -> Iterator[ActorSpec]:
    bases = plan.register_bases
    for number, template in enumerate(plan.actor_templates):
        for rank, device in enumerate(plan.rank_table[template.group]):
            ports = tuple([
                Port(bases[p.register] + (p.peers[rank] if p.peers else rank), p.direction, p.every, p.mode)
                for p in template.ports
                if not p.peers or p.peers[rank] >= 0
            ])
            yield ActorSpec(
                plan.actor_bases[number] + rank, template.name, device, f"{device}/{template.stream}", template.stage,
                template.phase, template.acts, template.priority, ports, at_rank(template.costs, rank), template.rendezvous,
                number, rank,
            )  # fmt: skip


def _stamp_registers(plan: Plan) -> Iterator[Register]:
    producers: dict[int, int] = {}
    consumers: dict[int, list[int]] = {}
    for actor in plan.actors:
        for port in actor.ports:
            if port.direction == "out":
                if port.register in producers:
                    raise PlanError(f"register row {port.register} has two producers: {actor.label} is the second")
                producers[port.register] = actor.id
            else:
                consumers.setdefault(port.register, []).append(actor.id)
    for number, template in enumerate(plan.register_templates):
        for rank, device in enumerate(plan.rank_table[template.group]):
            row = plan.register_bases[number] + rank
            yield Register(
                row, template.name, device, at_rank(template.types, rank), template.slots, template.initial,
                at_rank(template.offsets, rank), template.region, template.state, producers.get(row, -1),
                tuple(consumers.get(row, ())), number, rank, template.layout,
            )  # fmt: skip
