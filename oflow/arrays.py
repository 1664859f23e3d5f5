"""A plan as arrays: what the compiled runtime and the checks at scale read. Equal plans give equal arrays.

`tables` stamps a plan's templates on their ranks with NumPy, a template at a time: no object per actor is made. Rows are those
of ``plan.actors`` and ``plan.registers``; ports are numbered through, actor by actor. An edge is named by its in port.
`Programs` is what the actors run, with offsets in place of addresses. Both are written to one file without pickle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from oflow.errors import PlanError
from oflow.machine import Cost, Link, Machine
from oflow.plan import ActorTemplate, Plan, PortTemplate, RegisterTemplate, aligned, at_rank

T = TypeVar("T", bound="Columns")
REGIONS = ("arena", "state")
ALWAYS, FIRST, LATER = 0, 1, 2
"""When a call runs: in every act, in the first of its window's acts, in the others."""


@dataclass(frozen=True, eq=False, slots=True)
class Columns:
    """Arrays of int64 and tuples of names."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False, slots=True)
class Tables(Columns):
    """Actors, ports, registers and streams of a plan.

    actors (A):     template, stream, acts (a step), priority, meeting (rendezvous number or -1), port_start (A + 1)
    ports (P):      port_actor, port_register, port_out (0, 1), every, slots (of the register), sliced (mode "slice": 0, 1),
                    summed (mode "sum"), producer (in ports: the out port of the register, -1 if nobody)
    edges:          reader_start (P + 1), readers: the in ports that read what an out port writes, in order of their actors
    registers (R):  initial, offset, slot_nbytes, nbytes, device, region (number in REGIONS)
    streams (S):    order_start (S + 1), order: actor rows of one step
    """

    devices: tuple[str, ...]
    streams: tuple[str, ...]
    template: np.ndarray
    stream: np.ndarray
    acts: np.ndarray
    priority: np.ndarray
    meeting: np.ndarray
    port_start: np.ndarray
    port_actor: np.ndarray
    port_register: np.ndarray
    port_out: np.ndarray
    every: np.ndarray
    slots: np.ndarray
    sliced: np.ndarray
    summed: np.ndarray
    producer: np.ndarray
    reader_start: np.ndarray
    readers: np.ndarray
    initial: np.ndarray
    offset: np.ndarray
    slot_nbytes: np.ndarray
    nbytes: np.ndarray
    device: np.ndarray
    region: np.ndarray
    order_start: np.ndarray
    order: np.ndarray

    @property
    def stream_device(self) -> np.ndarray:
        """The device number of each stream."""
        number = {name: i for i, name in enumerate(self.devices)}
        return _array([number[s.partition("/")[0]] for s in self.streams])


@dataclass(frozen=True, eq=False, slots=True)
class Programs(Columns):
    """What each actor row runs: calls of routines over argument blocks that hold offsets, not addresses.

    routines, symbols: names; a call of routine -1 is left to NumPy. calls (C): call_start (A + 1), routine, when, window (the out
    port whose acts `when` counts, -1), block (first word), number (of ``template.calls``).
    words (W): the argument blocks. References say which words become addresses: ref_word, ref_port (-1: `ref_offset` counts
    from the start of the arena of `ref_device`), ref_offset; symbol_word, symbol likewise for functions of other libraries.
    """

    routines: tuple[str, ...]
    symbols: tuple[str, ...]
    call_start: np.ndarray
    routine: np.ndarray
    when: np.ndarray
    window: np.ndarray
    block: np.ndarray
    number: np.ndarray
    words: np.ndarray
    ref_word: np.ndarray
    ref_port: np.ndarray
    ref_offset: np.ndarray
    ref_device: np.ndarray
    symbol_word: np.ndarray
    symbol: np.ndarray


@dataclass(frozen=True, eq=False, slots=True)
class Linked(Columns):
    """Programs at their addresses in this process: what the compiled loop calls.

    calls (C): call_start (A + 1), routine (address, 0: NumPy's), when, window, block (address), skip (the first call after a run of
    NumPy's), number (of ``template.calls``). patches: patch_start (A + 1), and for each word that depends on a slot its address,
    port, the address for slot 0, bytes from slot to slot, and bytes from part to part where acts take parts of a slot.
    """

    call_start: np.ndarray
    routine: np.ndarray
    when: np.ndarray
    window: np.ndarray
    block: np.ndarray
    skip: np.ndarray
    number: np.ndarray
    patch_start: np.ndarray
    patch_word: np.ndarray
    patch_port: np.ndarray
    patch_base: np.ndarray
    patch_stride: np.ndarray
    patch_part: np.ndarray
    words: np.ndarray


def no_programs(actors: int) -> Linked:
    """The programs of actors that run nothing."""
    nothing, none = starts(np.zeros(actors, np.int64)), np.zeros(0, np.int64)
    return Linked(nothing, none, none, none, none, none, none, nothing, none, none, none, none, none, none)


def link(
    programs: Programs, tables: Tables, registers: np.ndarray, arenas: np.ndarray, routines: np.ndarray, symbols: np.ndarray,
    words: np.ndarray,
) -> Linked:  # fmt: skip
    """Put addresses for names and offsets.

    registers (R): address of slot 0 of each register; arenas (D): of each device's arena; routines, symbols: of each name;
    words: the memory that takes the argument blocks, as many words as ``programs.words``.
    """
    words[:] = programs.words
    ports = np.maximum(programs.ref_port, 0)
    owner = tables.port_register[ports] if len(tables.port_register) else ports
    of_port = programs.ref_port >= 0
    base = np.where(of_port, registers[owner] if len(registers) else 0, arenas[programs.ref_device]) + programs.ref_offset
    words[programs.ref_word] = base
    words[programs.symbol_word] = symbols[programs.symbol]
    base_address = words.ctypes.data
    moving = of_port & ((tables.slots[ports] > 1) | (tables.sliced[ports] == 1)) if len(tables.slots) else of_port
    call_of_word = np.searchsorted(programs.block, programs.ref_word[moving], "right") - 1
    actor = np.searchsorted(programs.call_start, call_of_word, "right") - 1
    ports, owner = ports[moving], owner[moving]
    part = np.where(tables.sliced[ports] == 1, tables.nbytes[owner] // np.maximum(tables.every[ports], 1), 0)
    routine = np.append(routines, 0)[programs.routine]
    return Linked(
        programs.call_start, routine, programs.when, programs.window, base_address + 8 * programs.block, _skips(programs),
        programs.number, starts(np.bincount(actor, minlength=len(programs.call_start) - 1)),
        base_address + 8 * programs.ref_word[moving], ports, base[moving], tables.slot_nbytes[owner], part, words,
    )  # fmt: skip


def _skips(programs: Programs) -> np.ndarray:
    """For each call of NumPy's the end of the run of such calls in its actor; calls under a condition stand alone."""
    skip = np.arange(1, len(programs.routine) + 1)
    ends = set(programs.call_start.tolist())
    plain = (programs.routine < 0) & (programs.when == ALWAYS)
    for c in range(len(skip) - 2, -1, -1):
        if plain[c] and plain[c + 1] and c + 1 not in ends:
            skip[c] = skip[c + 1]
    return skip


def _array(values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def starts(counts: np.ndarray) -> np.ndarray:
    """Where each run begins, and the end of the last: (n + 1)."""
    return np.concatenate([_array([0]), np.cumsum(counts, dtype=np.int64)])


# ---------------------------------------------------------------- stamping


def tables(plan: Plan) -> Tables:
    """Stamp all templates. Raises PlanError where a register has two producers."""
    devices = plan.devices
    number = {name: i for i, name in enumerate(devices)}
    ranks = [_array([number[d] for d in group]) for group in plan.rank_table]
    sizes = _array([len(plan.rank_table[t.group]) for t in plan.actor_templates])
    streams, stream = _streams(plan, ranks, sizes)
    port_counts, made = _ports(plan)
    register_sizes = _array([len(plan.rank_table[r.group]) for r in plan.register_templates])
    slots = np.repeat(_array([r.slots for r in plan.register_templates]), register_sizes)
    port_start = starts(port_counts)
    producer, reader_start, readers = _edges(plan, made["port_register"], made["port_out"] == 1, int(register_sizes.sum()))
    order_start, order = _orders(plan, streams)
    groups = {name: i for i, name in enumerate(dict.fromkeys(t.rendezvous for t in plan.actor_templates if t.rendezvous))}
    return Tables(
        devices=devices, streams=streams, stream=stream,
        template=np.repeat(np.arange(len(sizes)), sizes),
        acts=np.repeat(_array([t.acts for t in plan.actor_templates]), sizes),
        priority=np.repeat(_array([t.priority for t in plan.actor_templates]), sizes),
        meeting=np.repeat(_array([groups.get(t.rendezvous, -1) for t in plan.actor_templates]), sizes),
        port_start=port_start, port_actor=np.repeat(np.arange(len(port_counts)), port_counts), **made,
        slots=slots[made["port_register"]], producer=producer, reader_start=reader_start, readers=readers,
        initial=np.repeat(_array([r.initial for r in plan.register_templates]), register_sizes),
        device=_joined([ranks[r.group] for r in plan.register_templates]),
        region=np.repeat(_array([REGIONS.index(r.region) for r in plan.register_templates]), register_sizes),
        **_shard_columns(plan, register_sizes), order_start=order_start, order=order,
    )  # fmt: skip


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else _array([])


def _shard_columns(plan: Plan, sizes: np.ndarray) -> dict[str, np.ndarray]:
    def stamp(column: Sequence[int], size: int) -> np.ndarray:
        return np.full(size, column[0]) if len(column) == 1 else _array(column)

    def of(measure: Any) -> np.ndarray:
        pairs = zip(plan.register_templates, sizes, strict=True)
        return _joined([stamp(measure(r), int(size)) for r, size in pairs])

    def nbytes(r: RegisterTemplate) -> list[int]:
        return [t.nbytes for t in r.types]

    return {
        "offset": of(lambda r: r.offsets), "nbytes": of(nbytes), "slot_nbytes": of(lambda r: [aligned(n) for n in nbytes(r)]),
    }  # fmt: skip


def _streams(plan: Plan, ranks: Sequence[np.ndarray], sizes: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of all streams in order of first appearance, and the stream of each actor."""
    kinds = {name: i for i, name in enumerate(dict.fromkeys(t.stream for t in plan.actor_templates))}
    names = list(kinds)
    keys = _joined([ranks[t.group] * len(kinds) + kinds[t.stream] for t in plan.actor_templates])
    found, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))
    devices = plan.devices
    ordered = found[np.argsort(first)]
    return tuple(f"{devices[k // len(kinds)]}/{names[k % len(kinds)]}" for k in ordered), place[inverse.reshape(-1)]


def _ports(plan: Plan) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Ports of each actor; register, direction, every, sliced and summed of each port."""
    sizes = [len(plan.rank_table[t.group]) for t in plan.actor_templates]
    most = sum(size * len(t.ports) for size, t in zip(sizes, plan.actor_templates, strict=True))
    register, kind = np.empty(most, np.int64), np.empty(most, np.int64)
    counts = np.empty(sum(sizes), np.int64)
    row = port = first_kind = 0
    for size, template in zip(sizes, plan.actor_templates, strict=True):
        width = len(template.ports)
        block = register[port : port + size * width].reshape(size, width)
        for j, p in enumerate(template.ports):
            block[:, j] = p.peers or np.arange(size)
        there = block >= 0 if any(p.peers for p in template.ports) else None
        block += np.array([plan.register_bases[p.register] for p in template.ports], np.int64)
        kind[port : port + size * width].reshape(size, width)[:] = np.arange(first_kind, first_kind + width)
        counts[row : row + size] = width
        stop = port + size * width
        if there is not None and not there.all():
            counts[row : row + size] = there.sum(axis=1)
            stop = port + int(there.sum())
            register[port:stop] = block[there]
            kind[port:stop] = np.broadcast_to(np.arange(first_kind, first_kind + width), there.shape)[there]
        row, port, first_kind = row + size, stop, first_kind + width
    kinds = [p for t in plan.actor_templates for p in t.ports]
    facts = {name: _array([fact(p) for p in kinds])[kind[:port]] for name, fact in _PORT_FACTS.items()}
    return counts, {"port_register": register[:port], **facts}


_PORT_FACTS: dict[str, Callable[[PortTemplate], int]] = {
    "port_out": lambda p: int(p.direction == "out"), "every": lambda p: p.every, "sliced": lambda p: int(p.mode == "slice"),
    "summed": lambda p: int(p.mode == "sum"),
}  # fmt: skip


def _edges(plan: Plan, register: np.ndarray, out: np.ndarray, registers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The producing port of each in port; the reading ports of each out port."""
    outs = np.flatnonzero(out)
    made_by = np.full(registers, -1)
    made_by[register[outs]] = outs
    if np.count_nonzero(made_by >= 0) != len(outs):
        twice = register[outs][made_by[register[outs]] != outs][0]
        raise PlanError(f"register row {twice} ({plan.register_label(int(twice))}) has two producers")
    producer = np.where(out, -1, made_by[register])
    ins = np.flatnonzero(producer >= 0)
    readers = ins[np.argsort(producer[ins], kind="stable")]
    return producer, starts(np.bincount(producer[ins], minlength=len(register))), readers


def _orders(plan: Plan, streams: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    rows = [_array(plan.order.get(name, ())) for name in streams]
    return starts(_array([len(r) for r in rows])), _joined(rows)


# ---------------------------------------------------------------- seconds


def durations(plan: Plan, machine: Machine) -> np.ndarray:
    """Seconds that `machine` predicts for one act of each actor row, (A) float64. No row is stamped: ranks that do the same on alike
    devices are asked about once, and each pair of devices once about its link."""
    made = _Durations(machine)
    return np.concatenate([made.of(t, plan.rank_table[t.group]) for t in plan.actor_templates]) if plan.actor_templates else np.empty(0)


class _Durations:
    """What was asked already: seconds of costs on device models (what is received left out), and the links between devices."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._models: dict[str, tuple[str, bool]] = {}
        self._local: dict[tuple[object, ...], float] = {}
        self._links: dict[tuple[str, str], Link] = {}

    def of(self, template: ActorTemplate, devices: Sequence[str]) -> np.ndarray:
        return np.array([self._seconds(at_rank(template.costs, rank), device) for rank, device in enumerate(devices)])

    def _seconds(self, cost: Cost, device: str) -> float:
        if cost.seconds is not None:
            return cost.seconds
        model, measured = self._models.get(device) or self._model(device)
        key = model, cost.flops, cost.nbytes, cost.calls, cost.roofs, cost.works if measured else ()  # constants look at totals only
        if key not in self._local:
            self._local[key] = self._machine.seconds(replace(cost, received=()), device)
        receiving, known = 0.0, self._links
        for source, nbytes in cost.received:
            link = known.get((source, device)) or self._link(source, device)
            receiving += link.latency + nbytes / link.bandwidth if nbytes else 0.0
        return self._local[key] + receiving

    def _model(self, device: str) -> tuple[str, bool]:
        """Its name, and whether it has measured rates."""
        name = device if device in self._machine.devices else device.partition(":")[0]
        found = self._models[device] = name, self._machine.device(device).rates is not None
        return found

    def _link(self, source: str, device: str) -> Link:
        found = self._links[source, device] = self._machine.link_between(source, device)
        return found


# ---------------------------------------------------------------- files


def save(path: str | Path, text: str, plan: Plan, programs: Programs) -> None:
    """Write a plan (as `text`), its tables and its programs as one safetensors file: named arrays, and texts as metadata. No pickle."""
    arrays: dict[str, np.ndarray] = {}
    texts = {"plan": text}
    for part, columns in (("tables", tables(plan)), ("programs", programs)):
        for f in fields(columns):
            value = getattr(columns, f.name)
            if isinstance(value, np.ndarray):
                arrays[f"{part}.{f.name}"] = np.ascontiguousarray(value)
            else:
                texts[f"{part}.{f.name}"] = json.dumps(value)
    save_file(arrays, str(path), texts)


def read(path: str | Path) -> tuple[str, Tables, Programs]:
    """The plan's text, tables and programs of a file that `save` wrote; nothing is checked but that all parts are there.

    Raises PlanError for a file that is none. `oflow.backends.compiled.files.load` also proves the plan and compares the rest.
    """
    try:
        with safe_open(str(path), "numpy") as file:
            texts = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return texts["plan"], _columns(Tables, "tables", texts, arrays), _columns(Programs, "programs", texts, arrays)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as e:
        raise PlanError(f"{path} is not a plan as arrays: {e}") from e


def _columns(kind: type[T], part: str, texts: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> T:
    named = {f.name: f"{part}.{f.name}" for f in fields(kind)}
    return kind(**{
        name: arrays[key] if key in arrays else tuple(json.loads(texts[key])) for name, key in named.items()
    })  # fmt: skip
