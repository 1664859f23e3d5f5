"""The ways to run a node: for each choice the layouts of its operands and results, and its compute seconds.

Nodes that are equal up to the values they touch (repeated layers) share one `Ways`, so signatures, shard shapes and compute
costs are worked out once. Layouts are numbers here, those of `Boxings.numbers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from oflow.compiler.boxing_costs import Boxings, extremes
from oflow.compiler.reasons import named, refusals
from oflow.compiler.stages import target_layout
from oflow.errors import SbpError
from oflow.graph import Graph, Node, time_type
from oflow.ops import REGISTRY
from oflow.ops.op import Shards
from oflow.sbp import B, Box, Layout, Placement, S, Sbp, Signature
from oflow.sbp.alike import renumbered
from oflow.types import TensorType

Types = tuple[TensorType, ...]
Layouts = tuple[Layout, ...]
NO_HOME = -1
NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Result:
    """A result: kind of value, the layout its home asks for (NO_HOME: it is no state), and by choice the layout it is made in."""

    kind: int
    home: int
    made: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways to run a node, one entry a choice: compute seconds per step, and the layout wanted of every operand.

    number: equal for nodes that have the same ways but for the devices, such as those of a pipeline's stages.
    """

    number: int
    seconds: tuple[float, ...]
    wants: tuple[tuple[int, ...], ...]
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    ins: Layouts
    outs: Layouts
    seconds: float


class Choices:
    """Finds the `Ways` of nodes; those of equal nodes once. unit: see `oflow.sbp.alike`; 0: no two devices are alike."""

    def __init__(self, boxings: Boxings, free: frozenset[int] = frozenset(), unit: int = 0) -> None:
        self.graph, self.boxings, self.unit = boxings.graph, boxings, unit
        self.free = free
        """Kept values whose home is open."""
        self.homes = {p.update: p.value for p in self.graph.parameters if p.update is not None}
        self.extremes: dict[int, frozenset[str]] = {}
        """Values that some way to run the graph makes P(max) or P(min): no boxing does, see `Boxings.seconds`."""
        self._open = bool(free) or not _whole_everywhere(self.graph)
        """Whether there is something to decide."""
        self._known: dict[tuple[object, ...], Ways] = {}
        self._numbers: dict[tuple[object, ...], int] = {}

    def of(self, node: Node) -> Ways:
        """The ways of a node that computes. Raises SbpError where it rewrites state that no signature keeps at home."""
        values, kind_of = self.graph.values, self.boxings.kind_of
        batch = values[node.ins[0]].time if node.ins else None
        rewritten = tuple(self._home_of_state(node, result, operand) for result, operand in REGISTRY[node.op].inplace.items())
        key = (
            node.op, node.attrs, node.rate, tuple(node.ins.index(v) for v in node.ins),
            tuple(kind_of[v] for v in node.ins), tuple(kind_of[v] for v in node.outs),
            batch, tuple(self.extremes.get(v, NONE) for v in node.ins),
        )  # fmt: skip
        where = (node.placement, *(self.home(v) for v in node.outs), *rewritten)
        found = self._known.get((key, where))
        layouts = self.boxings.numbers.layouts
        if found is None:
            assert node.placement is not None
            like = self._like(node.placement, [*self._homes(node), *rewritten])
            found = self._known[key, where] = self._ways(node, self._find(node), (key, like))
        for v, result in zip(node.outs, found.results, strict=True):
            if made := NONE.union(*(extremes(layouts[one]) for one in result.made)):
                self.extremes[v] = made
        return found

    def of_boxing(self, node: Node, have: list[Layout]) -> Ways:
        """A boxing takes its operand as it is. A slice in time of a whole value: not split over devices along the batch yet."""
        target = target_layout(node)
        if target is None:
            have = [Layout(h.placement, tuple(B if s == S(0) else s for s in h.sbp)) for h in have]
        have = list(dict.fromkeys(have))
        (v,), (out,) = node.ins, node.outs
        key = (target, tuple(have), self.boxings.kind_of[v], self.boxings.kind_of[out], self.home(out))
        found = self._known.get(key)
        if found is None:
            choices = [_Choice((h,), (target or h,), self._asked_seconds(v, h, target)) for h in have]
            like = self._like(have[0].placement, [target, *have, *self._homes(node)])
            found = self._known[key] = self._ways(node, choices, ("boxing", like, *key[2:4]))
        return found

    def _homes(self, node: Node) -> list[Layout | None]:
        """The layouts that the homes of the results ask for."""
        return [None if home == NO_HOME else self.boxings.numbers.layouts[home] for home in map(self.home, node.outs)]

    def _like(self, where: Placement, found: Sequence[Layout | None]) -> tuple[object, ...]:
        """A placement and layouts but for the numbers of their devices."""
        if not self.unit:
            return (where, *found)
        names = renumbered((where, *(one.placement for one in found if one)), self.unit)
        return (*names, *(one.sbp if one else None for one in found))

    def _asked_seconds(self, value: int, have: Layout, target: Layout | None) -> float:
        """Seconds per step of a boxing that was asked for."""
        if target is None or have == target:
            return 0.0
        kind = self.boxings.kinds[self.boxings.kind_of[value]]
        return kind.rate * self.boxings.planner.like(have, target, kind.type.shape, kind.type.itemsize).cost

    def home(self, value: int) -> int:
        """The layout that the new value of a state has to be in."""
        state = self.homes.get(value)
        layout = None if state is None or state in self.free else self.graph.values[state].layout
        return NO_HOME if layout is None else self.boxings.numbers.of(layout)

    def _ways(self, node: Node, choices: list[_Choice], like: tuple[object, ...]) -> Ways:
        number, kind_of = self.boxings.numbers.of, self.boxings.kind_of
        wants = [tuple(number(c.ins[i]) for c in choices) for i in range(len(node.ins))]
        results = tuple(
            Result(kind_of[v], self.home(v), tuple(number(c.outs[i]) for c in choices)) for i, v in enumerate(node.outs)
        )
        alike = self._numbers.setdefault(like, len(self._numbers))
        return Ways(alike, tuple(c.seconds for c in choices), tuple(wants), results)

    def _find(self, node: Node) -> list[_Choice]:
        assert node.placement is not None
        op = REGISTRY[node.op]
        ins = tuple(time_type(self.graph, v) for v in node.ins)
        made = tuple(time_type(self.graph, v) for v in node.outs)
        found = []
        for ways in op.mesh_signatures(ins, time_attrs(self.graph, node), node.placement.mesh):
            wants = tuple(Layout(node.placement, tuple(w.ins[i] for w in ways)) for i in range(len(ins)))
            outs = tuple(Layout(node.placement, tuple(w.outs[i] for w in ways)) for i in range(len(made)))
            if any(extremes(want) - self.extremes.get(v, NONE) for v, want in zip(node.ins, wants, strict=True)):
                continue
            mixed = any(len({s.op for s in one.sbp if s.is_partial}) > 1 for one in (*wants, *outs))
            if not mixed and self._allowed(node, wants, outs) and not self._torn_batch(node, wants):
                found.append(_Choice(wants, outs, self._compute_seconds(node, ins, made, wants, outs)))
                if not self._open:
                    break  # all-B comes first
        if not found:
            raise SbpError(self._no_choice(node, ins), line=self._blamed(node))
        return found

    def _home_of_state(self, node: Node, result: int, operand: int) -> Layout | None:
        """Where rewritten state lives (None: inference says)."""
        state = self.homes.get(node.outs[result], node.ins[operand])
        return None if state in self.free else self.graph.values[state].layout

    def _allowed(self, node: Node, wants: Layouts, outs: Layouts) -> bool:
        """State is rewritten where it lives: in the layout of its home."""
        for result, operand in REGISTRY[node.op].inplace.items():
            home = self._home_of_state(node, result, operand)
            if outs[result] != wants[operand] or home not in (outs[result], None):
                return False
        return True

    def _no_choice(self, node: Node, ins: Types) -> str:
        """Each signature, and why it cannot be taken."""
        assert node.placement is not None
        ways = REGISTRY[node.op].mesh_signatures(ins, time_attrs(self.graph, node), node.placement.mesh)
        states = [(k, i, self._home_of_state(node, k, i)) for k, i in REGISTRY[node.op].inplace.items()]
        names = {k: self.graph.values[self.homes.get(node.outs[k], node.ins[i])].name for k, i, _ in states}
        wanted = ", ".join(f"{names[k]} in its home {home.sbp_text}" for k, _, home in states if home)
        remedies = []
        for k, i, _ in states:
            kept = [Layout(node.placement, _along(way, "outs", k)) for way in ways if _along(way, "outs", k) == _along(way, "ins", i)]
            remedies.append(f"Annotate {names[k]} with {' or '.join(dict.fromkeys(one.sbp_text for one in kept))}")
        return (
            f"{node.op} of {', '.join(map(str, ins))} on {node.placement}: no signature rewrites {wanted or 'its state in place'}. "
            f"It has{refusals(ways, lambda way: self._why_not(node, way))}\n  {'. '.join(remedies)}"
        )

    def _blamed(self, node: Node) -> str:
        """The user's line: where the node has none, that of the first reader of what it reads."""
        readers = (other for v in node.ins for other in self.graph.consumers().get(v, ()))
        return next((one.line for one in (node, *readers) if ":" in one.line), node.line)

    def _why_not(self, node: Node, way: tuple[Signature, ...]) -> str:
        """The first reason against a way to run a node ("" where there is none)."""
        for i, v in enumerate(node.ins):
            lacking = {s.op for s in _along(way, "ins", i) if s.is_partial and s.op != "sum"} - self.extremes.get(v, NONE)
            if lacking:
                return f"nothing makes {named(self.graph, v)} P({lacking.pop()}), and no boxing does"
        for k, i in REGISTRY[node.op].inplace.items():
            have, made, home = _along(way, "ins", i), _along(way, "outs", k), self._home_of_state(node, k, i)
            name = self.graph.values[self.homes.get(node.outs[k], node.ins[i])].name
            if have != made:
                return f"it reads {name} and writes it in another layout, so not in place"
            if home is not None and home.sbp != made:
                return f"{name} would have to live there, its home is {home.sbp_text}"
        return "devices would hold parts of micro-batches that cannot be joined in time, or candidates of a maximum and of a minimum"

    def _torn_batch(self, node: Node, wants: Layouts) -> bool:
        """Micro-batches that are split over devices along the batch cannot be joined in time device by device."""
        time = self.graph.values[node.ins[0]].time if node.ins else None
        joins = REGISTRY[node.op].lowering == "accumulate" and time is not None and time.is_split
        return joins and any(s == time for s in wants[0].sbp)

    def _compute_seconds(self, node: Node, ins: Types, made: Types, wants: Layouts, outs: Layouts) -> float:
        assert node.placement is not None
        local = tuple(TensorType(w.shard_shape(t.shape, 0), t.dtype) for t, w in zip(ins, wants, strict=True))
        results = tuple(TensorType(w.shard_shape(t.shape, 0), t.dtype) for t, w in zip(made, outs, strict=True))
        cost = REGISTRY[node.op].estimate(local, results, time_attrs(self.graph, node))
        return node.rate * self.boxings.machine.seconds(replace(cost, calls=0), node.placement.devices[0])


def _whole_everywhere(graph: Graph) -> bool:
    """Whether every node runs on one device and every layout that was asked for is B: then no other layout can be cheaper."""
    alone = all(node.placement is not None and node.placement.size == 1 for node in graph.nodes)
    given = (graph.values[v].layout for v in (*graph.inputs, *(p.value for p in graph.parameters)))
    asked = (*given, *(target_layout(node) for node in graph.nodes))
    return alone and all(s == B for layout in asked if layout is not None for s in layout.sbp)


def _along(way: tuple[Signature, ...], side: str, index: int) -> tuple[Sbp, ...]:
    """The Sbp of one operand ("ins") or result ("outs") on every mesh axis."""
    return tuple(getattr(signature, side)[index] for signature in way)


def time_attrs(graph: Graph, node: Node) -> dict[str, Any]:
    """The attributes of `node` for one micro-batch's part of its operands and results."""

    def whole(values: tuple[int, ...]) -> tuple[Box, ...]:
        return tuple(tuple((0, n) for n in time_type(graph, v).shape) for v in values)

    return REGISTRY[node.op].local_attrs(node.attributes, Shards(whole(node.ins), whole(node.outs)))
