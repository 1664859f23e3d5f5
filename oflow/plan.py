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

import csv
import io
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
FORMAT_VERSION = 1
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

    `types` and `offsets`: one entry, or one a rank. `initial`: slots that start full. `state`: the parameter's name.
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


# ---------------------------------------------------------------- schedules


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


# ---------------------------------------------------------------- the plan


@dataclass(frozen=True)
class Plan:
    """Templates, rank table, order per stream, arenas. Equal plans are equal data; ``Plan.from_json(plan.to_json()) == plan``.

    order: for each ``device/stream`` its actor rows, one entry an act, for one step. Empty: any ready actor may go.
    arenas, states: bytes of each device's arena and of its kept state.
    scratches: (offset in the device's arena, bytes) of each ``device/stream``'s scratch region; its actors share it, since a
    stream runs one act at a time.
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

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(device for ranks in self.rank_table for device in ranks))

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()




def read_plan(text: str | bytes) -> Plan:
    """Read a plan and verify its references; `oflow.check.load` also proves it. Raises PlanError for text that is no plan."""
    try:
        made = msgspec.json.decode(text, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise PlanError(f"this is not a plan file: {e}") from e
    if made.version != FORMAT_VERSION:
        raise PlanError(f"the plan has format version {made.version}, this oflow reads {FORMAT_VERSION}; compile it again")
    verify(made)
    return made


def _bases(sizes: Iterable[int]) -> tuple[int, ...]:
    bases = [0]
    for size in sizes:
        bases.append(bases[-1] + size)
    return tuple(bases)


def _at(column: tuple[T, ...], rank: int) -> T:
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
                template.phase, template.acts, template.priority, ports, _at(template.costs, rank), template.rendezvous,
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
                row, template.name, device, _at(template.types, rank), template.slots, template.initial,
                _at(template.offsets, rank), template.region, template.state, producers.get(row, -1),
                tuple(consumers.get(row, ())), number, rank, template.layout,
            )  # fmt: skip


def verify(plan: Plan) -> None:
    """Raises PlanError unless every reference exists and every column has one entry or one a rank.

    Liveness, rates and memory are the business of `oflow.check`. No row is stamped: the time is that of the templates.
    """
    for template in plan.register_templates:
        _verify_columns(plan, template.group, template.name, template.types, template.offsets)
        if template.slots < 1 or not 0 <= template.initial <= template.slots:
            raise PlanError(f"register {template.name}: {template.slots} slots with {template.initial} initial tokens")
    for actor in plan.actor_templates:
        _verify_actor(plan, actor)
    for actor in plan.actor_templates:
        _verify_one_port(plan, actor)
    for stream, rows in plan.order.items():
        if not set(plan.streams.get(stream, ())).issuperset(rows):
            raise PlanError(f"the order of {stream} names an actor that does not run there")
    _verify_one_producer(plan)


def _shards(port: PortTemplate, ranks: int) -> Sequence[int]:
    """Which shard of its register each rank binds (-1: none)."""
    return port.peers or range(ranks)


def _verify_one_port(plan: Plan, actor: ActorTemplate) -> None:
    ports: dict[int, list[PortTemplate]] = {}
    for port in actor.ports:
        ports.setdefault(port.register, []).append(port)
    several = [found for found in ports.values() if len(found) > 1]
    devices = plan.rank_table[actor.group] if several else ()
    for rank, device in enumerate(devices):
        for found in several:
            shards = [shard for port in found if (shard := _shards(port, len(devices))[rank]) >= 0]
            if len(set(shards)) != len(shards):
                raise PlanError(f"actor {actor.name}@{device} has two ports on one register")


def _verify_one_producer(plan: Plan) -> None:
    outs = [(actor, port) for actor in plan.actor_templates for port in actor.ports if port.direction == "out"]
    writers = Counter(port.register for _, port in outs)
    seen: set[int] = set()
    for actor, port in outs:
        if writers[port.register] == 1 and not port.peers:
            continue
        devices, base = plan.rank_table[actor.group], plan.register_bases[port.register]
        for device, shard in zip(devices, _shards(port, len(devices)), strict=True):
            if shard >= 0 and base + shard in seen:
                raise PlanError(f"register row {base + shard} has two producers: {actor.name}@{device} is the second")
            seen.add(base + shard if shard >= 0 else -1)


def _verify_actor(plan: Plan, actor: ActorTemplate) -> None:
    _verify_columns(plan, actor.group, actor.name, actor.costs)
    if actor.acts < 1:
        raise PlanError(f"actor {actor.name} acts {actor.acts} times a step")
    for port in actor.ports:
        _verify_port(plan, actor, port)
    for call in actor.calls:
        for arg in (*call.ins, *call.outs):
            if not 0 <= arg.index < len(actor.ports if arg.kind == "port" else actor.scratch):
                raise PlanError(f"actor {actor.name}: {call.op} names {arg.kind} {arg.index}, which does not exist")
            _verify_view(plan, actor, arg)


def _verify_view(plan: Plan, actor: ActorTemplate, arg: Arg) -> None:
    """Another shape of an operand must have its bytes, on every rank; parts and other ranks' shards are read as they are."""
    if not arg.types:
        return
    _verify_columns(plan, actor.group, actor.name, arg.types)
    port = actor.ports[arg.index] if arg.kind == "port" else None
    types = plan.register_templates[port.register].types if port else actor.scratch[arg.index].types
    sizes = [(_at(arg.types, rank).nbytes, _at(types, rank).nbytes) for rank in range(max(len(arg.types), len(types)))]
    if any(view != whole for view, whole in sizes) or (port and (port.peers or port.mode == "slice")):
        raise PlanError(f"actor {actor.name} reads {arg.kind} {arg.index} as {arg.types[0]}, which is not what it has")


def _verify_columns(plan: Plan, group: int, name: str, *columns: tuple[Any, ...]) -> None:
    if not 0 <= group < len(plan.rank_table):
        raise PlanError(f"{name} names rank group {group}, which does not exist")
    ranks = len(plan.rank_table[group])
    if any(len(column) not in (1, ranks) for column in columns):
        raise PlanError(f"{name}: a column needs one entry or one for each of {ranks} ranks")


def _verify_port(plan: Plan, actor: ActorTemplate, port: PortTemplate) -> None:
    if not 0 <= port.register < len(plan.register_templates):
        raise PlanError(f"actor {actor.name} has a port on register {port.register}, which does not exist")
    register = plan.register_templates[port.register]
    modes = {"in": IN_MODES, "out": OUT_MODES}.get(port.direction, ())
    if port.mode not in modes or port.every < 0:
        raise PlanError(f"actor {actor.name}: an {port.direction} port cannot have mode {port.mode!r}, every={port.every}")
    shards = len(plan.rank_table[register.group])
    if not port.peers and plan.rank_table[actor.group] != plan.rank_table[register.group]:
        raise PlanError(f"actor {actor.name} binds its own shard of {register.name}, which lives on other devices")
    if port.peers and (len(port.peers) != len(plan.rank_table[actor.group]) or max(port.peers) >= shards):
        raise PlanError(f"actor {actor.name}: the peers of its port on {register.name} do not fit the rank table")


# ---------------------------------------------------------------- recordings


@dataclass(frozen=True, slots=True)
class Span:
    """One act on a stream: start and stop in seconds from the start of the run; `act` counts from 0 over the run."""

    actor: int
    act: int
    stream: str
    start: float
    stop: float


@dataclass(frozen=True, slots=True)
class SlotEvent:
    """A slot of a register changed hands: `event` is "write", "full", "free" (at `time` seconds)."""

    time: float
    register: int
    slot: int
    event: str


@dataclass(frozen=True, slots=True)
class Trace:
    """The recording of a run, simulated or measured; `source` says which. `seconds` is its length."""

    spans: tuple[Span, ...]
    events: tuple[SlotEvent, ...] = ()
    steps: int = 1
    source: str = "simulated"

    @property
    def seconds(self) -> float:
        return max((s.stop for s in self.spans), default=0.0)

    def busy(self) -> dict[str, float]:
        """Busy seconds of each stream."""
        found: dict[str, float] = {}
        for span in self.spans:
            found[span.stream] = found.get(span.stream, 0.0) + span.stop - span.start
        return found
