"""Lower a plan's calls to programs: routines over argument blocks with references in place of addresses.

Equal calls, of other ranks or of repeated layers, ask their form once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from oflow.arrays import ALWAYS, FIRST, LATER, Programs, Tables, starts
from oflow.backends.compiled.form import WORKSPACE, Address, OpCall, Step, Steps, Symbol, kernel, steps_of
from oflow.plan import ActorTemplate, Arg, Call, Plan
from oflow.types import HALF, TensorType


def lower(plan: Plan, tables: Tables, *, refuse_nan: bool = False, forms: bool = True) -> Programs:
    """Programs of all actor rows. refuse_nan: float results are tested after each call. forms=False: NumPy runs every call."""
    made = _Lowering(plan, tables, refuse_nan, forms)
    for number, template in enumerate(plan.actor_templates):
        for rank in range(len(plan.rank_table[template.group])):
            made.actor(template, plan.actor_bases[number] + rank, rank)
    return made.programs()


@dataclass(slots=True)
class _Rows:
    """Columns that grow: see `Programs`."""

    call_counts: list[int] = field(default_factory=list)
    calls: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    refs: list[tuple[int, int, int, int]] = field(default_factory=list)
    symbols: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an operand lies: a port of the actor, or an offset in the arena of its device."""

    port: int
    offset: int
    type: TensorType


class _Lowering:
    """The tables that grow while actors are lowered, and the forms of the calls seen so far."""

    def __init__(self, plan: Plan, tables: Tables, refuse_nan: bool, forms: bool) -> None:
        self.plan, self.tables, self.refuse_nan, self.forms = plan, tables, refuse_nan, forms
        self.rows = _Rows()
        self.routines: dict[str, int] = {}
        self.symbols: dict[str, int] = {}
        self.seen: dict[Any, Steps | None] = {}

    def programs(self) -> Programs:
        rows = self.rows
        routine, when, window, block, number = np.array(rows.calls, np.int64).reshape(-1, 5).T
        ref_word, ref_port, ref_offset, ref_device = np.array(rows.refs, np.int64).reshape(-1, 4).T
        symbol_word, symbol = np.array(rows.symbols, np.int64).reshape(-1, 2).T
        return Programs(
            tuple(self.routines), tuple(self.symbols), starts(np.array(rows.call_counts, np.int64)), routine, when, window, block,
            number, np.array(rows.words, np.int64), ref_word, ref_port, ref_offset, ref_device, symbol_word, symbol,
        )  # fmt: skip

    # ------------------------------------------------------------ one actor

    def actor(self, template: ActorTemplate, row: int, rank: int) -> None:
        before = len(self.rows.calls)
        view = _RankView(self.plan, self.tables, template, row, rank)
        for number, call in enumerate(template.calls):
            self._call(view, call, number)
        self.rows.call_counts.append(len(self.rows.calls) - before)

    def _call(self, view: _RankView, call: Call, number: int) -> None:
        places = [view.place(arg) for arg in call.outs] + [view.place(arg) for arg in call.ins if view.present(arg)]
        op_call = view.op_call(call, [p.type for p in places])
        window = next((p.port for p in places[: len(call.outs)] if p.port >= 0 and self.tables.summed[p.port]), -1)
        workspace = view.scratch_offset(call.workspace) if call.workspace >= 0 else 0
        if window < 0 or self.tables.every[window] == 1:
            self._emit(view, self._steps(op_call), places, workspace, (ALWAYS, -1), number)
        else:
            adding = self._steps(_accumulating(op_call))
            self._emit(view, self._steps(op_call), places, workspace, (FIRST, window), number)
            self._emit(view, adding, places, workspace, (LATER, window), number)
        if self.refuse_nan:
            for place in places[: len(call.outs)]:
                if place.type.is_float and place.type.dtype not in HALF and place.type.size:
                    test = Step(kernel("finite", "finite", place.type.dtype), (Address(0), place.type.size))
                    self._emit(view, (test,), [place], 0, (ALWAYS, -1), number)

    def _steps(self, call: OpCall) -> Steps | None:
        if not self.forms:
            return None
        key = (call.op, call.outs, call.ins, tuple(sorted(call.attrs.items())), call.workspace_nbytes, call.accumulate)
        if key not in self.seen:
            self.seen[key] = steps_of(call)
        return self.seen[key]

    def _emit(
        self, view: _RankView, steps: Steps | None, places: list[_Place], workspace: int, when: tuple[int, int], number: int
    ) -> None:  # fmt: skip
        rows = self.rows
        if steps is None:
            rows.calls.append((-1, *when, len(rows.words), number))
            return
        for step in steps:
            routine = self.routines.setdefault(step.routine, len(self.routines))
            rows.calls.append((routine, *when, len(rows.words), number))
            for word in step.words:
                at = len(rows.words)
                rows.words.append(word if isinstance(word, int) else 0)
                if isinstance(word, Symbol):
                    rows.symbols.append((at, self.symbols.setdefault(word.name, len(self.symbols))))
                elif isinstance(word, Address):
                    place = _Place(-1, workspace, TensorType(())) if word.index == WORKSPACE else places[word.index]
                    rows.refs.append((at, place.port, place.offset + word.offset, view.device))


def _accumulating(call: OpCall) -> OpCall:
    return replace(call, accumulate=True)


@dataclass(slots=True)
class _RankView:
    """One actor row of a template: its ports and scratch buffers as places."""

    plan: Plan
    tables: Tables
    template: ActorTemplate
    row: int
    rank: int
    device: int = 0
    base: int = 0
    ports: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        start = int(self.tables.port_start[self.row])
        present = [i for i, p in enumerate(self.template.ports) if not p.peers or p.peers[self.rank] >= 0]
        self.ports = {index: start + at for at, index in enumerate(present)}
        stream = int(self.tables.stream[self.row])
        self.device = int(self.tables.stream_device[stream])
        self.base = self.plan.scratches.get(self.tables.streams[stream], (0, 0))[0]

    def present(self, arg: Arg) -> bool:
        return arg.kind != "port" or arg.index in self.ports

    def place(self, arg: Arg) -> _Place:
        found = self._bytes(arg)
        return replace(found, type=arg.types[self.rank if len(arg.types) > 1 else 0]) if arg.types else found

    def _bytes(self, arg: Arg) -> _Place:
        if arg.kind == "scratch":
            types = self.template.scratch[arg.index].types
            return _Place(-1, self.scratch_offset(arg.index), types[self.rank if len(types) > 1 else 0])
        port = self.ports[arg.index]
        found = self._register_type(int(self.tables.port_register[port]))
        if self.tables.sliced[port]:
            found = TensorType((found.shape[0] // int(self.tables.every[port]), *found.shape[1:]), found.dtype)
        return _Place(port, 0, found)

    def _register_type(self, register: int) -> TensorType:
        number = self.plan.register_template_of(register)
        types = self.plan.register_templates[number].types
        return types[register - self.plan.register_bases[number] if len(types) > 1 else 0]

    def scratch_offset(self, index: int) -> int:
        return self.base + self.template.scratch[index].offset

    def op_call(self, call: Call, types: list[TensorType]) -> OpCall:
        count = len(call.outs)
        nbytes = 0
        if call.workspace >= 0:
            scratch = self.template.scratch[call.workspace].types
            nbytes = scratch[self.rank if len(scratch) > 1 else 0].nbytes
        attrs: Mapping[str, Any] = call.attrs_of(self.rank)
        return OpCall(call.op, tuple(types[:count]), tuple(types[count:]), attrs, nbytes)
