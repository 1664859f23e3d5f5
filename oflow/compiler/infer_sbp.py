"""infer SBP: a layout for every value, the user's annotations fixed, the least cost elsewhere.

Each node picks one signature a mesh axis. The cost of a choice is the seconds of the boxings between its operands' layouts and
those it wants, plus its own compute seconds, both times its acts per step; so work is repeated on every rank only where that is
cheaper than moving its result.

Two first choices are tried. Dynamic programming, exact on trees: forward, the least cost of having each value in each layout (a
value's cost is shared evenly by its readers); backward, each node's best choice given its readers' (Viterbi 1967). And the nearest:
what is cheapest given how the operands are made, which keeps the layouts of the inputs flowing. From each, sweeps in both
directions improve one node at a time (iterated conditional modes, Besag 1986) until nothing changes; the cheaper result is taken.

What the user annotated decides where the work happens: moving bytes of an annotated parameter or input on its own devices is
charged many times over (a slice of what is there already moves none).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from oflow.compiler.options import Options
from oflow.compiler.place import target_layout
from oflow.errors import SbpError
from oflow.graph import Graph, Node
from oflow.machine import Cost, Machine
from oflow.ops import REGISTRY
from oflow.ops.op import Op, Shards
from oflow.sbp import B, Box, Layout, S, Sbp, Signature, route, split_range
from oflow.types import TensorType

Types = tuple[TensorType, ...]
Layouts = tuple[Layout, ...]
MOVED_ANNOTATION = 1000.0
"""Factor on the seconds of a boxing that moves bytes of an annotated value."""
SWEEPS = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to run a node: the layouts it wants its operands in, those of its results, its compute seconds per step."""

    ins: tuple[Layout, ...]
    outs: tuple[Layout, ...]
    seconds: float


def infer_sbp(graph: Graph, options: Options) -> Graph:
    search = _Search(graph, options.machine)
    starts = (search.plan_ahead, search.take_nearest)
    search.adopt(min((search.improved(start) for start in starts), key=lambda found: found[0])[1])
    values = {v: replace(value, layout=search.layouts.get(v, value.layout)) for v, value in graph.values.items()}
    nodes = tuple(replace(node, wants=search.wants[node.id].ins) for node in graph.nodes)
    return replace(graph, nodes=nodes, values=values)


class _Search:
    """The state of the sweeps: the layout of every value so far and the layouts each node wants."""

    def __init__(self, graph: Graph, machine: Machine) -> None:
        self.graph = graph
        self.machine = machine
        self.homes = {p.update: p.value for p in graph.parameters if p.update is not None}
        self.layouts = {v: found for v in (*graph.inputs, *(p.value for p in graph.parameters)) if (found := graph.values[v].layout)}
        self.wants: dict[int, Choice] = {}
        self.consumers = graph.consumers()
        self._routes: dict[tuple[TensorType, Layout, Layout], float] = {}
        self._choices: dict[int, list[Choice]] = {}

    def improved(self, start: Callable[[], None]) -> tuple[float, dict[int, Choice]]:
        """Total seconds and choices after sweeps from a first choice have settled."""
        self.wants = {}
        start()
        for _ in range(SWEEPS):
            if not (self.sweep(reversed(self.graph.nodes)) + self.sweep(self.graph.nodes)):
                break
        return self.total(), dict(self.wants)

    def adopt(self, wants: dict[int, Choice]) -> None:
        self.wants = wants
        for node in self.graph.nodes:
            self.layouts.update(zip(node.outs, wants[node.id].outs, strict=True))

    def total(self) -> float:
        """Seconds per step of all work and all boxings; a boxing that several readers want is made once."""
        made = {(v, want) for node in self.graph.nodes for v, want in zip(node.ins, self.wants[node.id].ins, strict=True)}
        made |= {(v, home) for v, p in self.homes.items() if (home := self.graph.values[p].layout)}
        moved = sum(self.boxing_seconds(v, self.layouts[v], want) for v, want in sorted(made, key=str))
        return moved + sum(choice.seconds for choice in self.wants.values())

    def take_nearest(self) -> None:
        """A first choice for every node: what is cheapest given how its operands are made, looking no further."""
        for node in self.graph.nodes:
            if REGISTRY[node.op].lowering == "pull":
                self._choices.pop(node.id, None)
            best = min(self.choices(node), key=lambda c: self.cost(node, c))
            self.wants[node.id] = best
            self.layouts.update(zip(node.outs, best.outs, strict=True))

    def plan_ahead(self) -> None:
        """A first choice for every node, by dynamic programming over the graph as if it were a tree."""
        least: dict[int, dict[Layout, float]] = {v: {found: 0.0} for v, found in self.layouts.items()}
        totals: dict[int, list[float]] = {}
        for node in self.graph.nodes:
            if REGISTRY[node.op].lowering == "pull":
                self._choices[node.id] = self._boxing_choices(node, list(least[node.ins[0]]))
            totals[node.id] = [self._cost_so_far(node, choice, least) for choice in self.choices(node)]
            for position, v in enumerate(node.outs):
                table = least.setdefault(v, {})
                for choice, total in zip(self.choices(node), totals[node.id], strict=True):
                    made = choice.outs[position]
                    table[made] = min(total, table.get(made, total))
        for node in reversed(self.graph.nodes):
            options = zip(self.choices(node), totals[node.id], strict=True)
            best = min(options, key=lambda option: option[1] + self._cost_ahead(node, option[0]))[0]
            self.wants[node.id] = best
            self.layouts.update(zip(node.outs, best.outs, strict=True))

    def _cost_so_far(self, node: Node, choice: Choice, least: dict[int, dict[Layout, float]]) -> float:
        total = choice.seconds
        for v, want in dict(zip(node.ins, choice.ins, strict=True)).items():
            readers = len(self.consumers[v])
            total += min(before / readers + self.boxing_seconds(v, have, want) for have, before in least[v].items())
        return total

    def _cost_ahead(self, node: Node, choice: Choice) -> float:
        """Seconds of the boxings to what the readers, which have chosen already, want."""
        total = 0.0
        for v, made in zip(node.outs, choice.outs, strict=True):
            needs = {need for other in self.consumers.get(v, ()) if (need := self._wants(other, v))}
            home = self.graph.values[self.homes[v]].layout if v in self.homes else None
            total += sum(self.boxing_seconds(v, made, need) for need in sorted({*needs, *([home] if home else [])}, key=str))
        return total

    def sweep(self, nodes: Iterable[Node]) -> int:
        """Give each node its best choice, all others as they are; returns how many changed."""
        changed = 0
        for node in nodes:
            best = min(self.choices(node), key=lambda c: self.cost(node, c))
            old = self.wants.get(node.id)
            if old is not None and self.cost(node, best) >= self.cost(node, old) * (1 - 1e-9):
                continue
            changed += 1
            self.wants[node.id] = best
            self.layouts.update(zip(node.outs, best.outs, strict=True))
        return changed

    def cost(self, node: Node, choice: Choice) -> float:
        total = choice.seconds
        for v, want in dict(zip(node.ins, choice.ins, strict=True)).items():
            shared = any(self._wants(other, v) == want for other in self.consumers[v] if other.id != node.id)
            total += 0.0 if shared else self.boxing_seconds(v, self.layouts[v], want)
        return total + self._cost_ahead(node, choice)

    def _wants(self, node: Node, value: int) -> Layout | None:
        choice = self.wants.get(node.id)
        return choice.ins[node.ins.index(value)] if choice else None

    def boxing_seconds(self, value: int, have: Layout, want: Layout) -> float:
        """Seconds per step to bring `value` from one layout to another."""
        if have == want:
            return 0.0
        if _extremes(want) - _extremes(have):
            return math.inf  # ranks without a share would hold infinity, outside the domain of many monotone operators
        key = (time_type(self.graph, value), have, want)
        if key not in self._routes:
            kind, link = key[0], self.machine.link
            steps = route(have, want).steps
            self._routes[key] = sum(link.seconds(step.busiest_nbytes(kind.shape, kind.itemsize)) for step in steps)
        annotated = self.graph.values[value].fixed and have.placement == want.placement
        return self._routes[key] * (MOVED_ANNOTATION if annotated else 1.0) * rate_of(self.graph, value)

    def choices(self, node: Node) -> list[Choice]:
        if node.id not in self._choices:
            self._choices[node.id] = self._find_choices(node)
        return self._choices[node.id]

    def _find_choices(self, node: Node) -> list[Choice]:
        assert node.placement is not None
        op = REGISTRY[node.op]
        if op.lowering == "pull":
            return self._boxing_choices(node, [self.layouts[node.ins[0]]])
        ins = tuple(time_type(self.graph, v) for v in node.ins)
        made = tuple(time_type(self.graph, v) for v in node.outs)
        found = []
        for ways in mesh_signatures(op, ins, made, time_attrs(self.graph, node), node.placement.mesh):
            wants = tuple(Layout(node.placement, tuple(w.ins[i] for w in ways)) for i in range(len(ins)))
            outs = tuple(Layout(node.placement, tuple(w.outs[i] for w in ways)) for i in range(len(made)))
            mixed = any(len({s.op for s in one.sbp if s.is_partial}) > 1 for one in (*wants, *outs))
            if not mixed and self._allowed(node, wants, outs) and not self._torn_batch(node, wants):
                found.append(Choice(wants, outs, self._compute_seconds(node, ins, made, wants, outs)))
        if not found:
            raise SbpError(self._no_choice(node, ins, made), line=node.line)
        return found

    def _boxing_choices(self, node: Node, have: list[Layout]) -> list[Choice]:
        """A boxing takes its operand as it is. A slice in time of a whole value: not split over devices along the batch yet."""
        target = target_layout(node)
        if target is None:
            have = [Layout(h.placement, tuple(B if s == S(0) else s for s in h.sbp)) for h in have]
        return [Choice((h,), (target or h,), 0.0) for h in dict.fromkeys(have)]

    def _allowed(self, node: Node, wants: Layouts, outs: Layouts) -> bool:
        """State is rewritten where it lives: in the layout of its home."""
        for result, operand in REGISTRY[node.op].inplace.items():
            home = self.graph.values[self.homes.get(node.outs[result], node.ins[operand])].layout
            if outs[result] != home or wants[operand] != home:
                return False
        return True

    def _no_choice(self, node: Node, ins: Types, made: Types) -> str:
        mesh = node.placement.mesh if node.placement else (1,)
        ways = mesh_signatures(REGISTRY[node.op], ins, made, time_attrs(self.graph, node), mesh)
        return (
            f"{node.op} of {', '.join(map(str, ins))} on {node.placement} rewrites state in place, and no signature keeps it in "
            f"its home layout. It accepts {' · '.join(dict.fromkeys(str(w) for way in ways for w in way))}. "
            "Annotate the state with one of these layouts"
        )

    def _torn_batch(self, node: Node, wants: Layouts) -> bool:
        """Micro-batches that are split over devices along the batch cannot be joined in time device by device."""
        time = self.graph.values[node.ins[0]].time if node.ins else None
        joins = REGISTRY[node.op].lowering == "accumulate" and time is not None and time.is_split
        return joins and any(s == time for s in wants[0].sbp)

    def _compute_seconds(
        self, node: Node, ins: Types, made: Types,
        wants: Layouts, outs: Layouts,
    ) -> float:  # fmt: skip
        assert node.placement is not None
        local = tuple(TensorType(w.shard_shape(t.shape, 0), t.dtype) for t, w in zip(ins, wants, strict=True))
        results = tuple(TensorType(w.shard_shape(t.shape, 0), t.dtype) for t, w in zip(made, outs, strict=True))
        cost = REGISTRY[node.op].estimate(local, results, time_attrs(self.graph, node))
        return node.rate * self.machine.seconds(Cost(cost.flops, cost.nbytes), node.placement.devices[0])


def _extremes(found: Layout) -> set[str]:
    return {s.op for s in found.sbp if s.is_partial and s.op != "sum"}


def time_type(graph: Graph, value: int) -> TensorType:
    """The type of one micro-batch's part of `value` (all of it where it is whole or partial in time)."""
    found = graph.values[value]
    if found.time is None or not found.time.is_split:
        return found.type
    shape = list(found.type.shape)
    shape[found.time.axis] //= graph.micro_batches
    return TensorType(tuple(shape), found.type.dtype)


def rate_of(graph: Graph, value: int) -> int:
    """How many times a step `value` is made: once, or once a micro-batch."""
    found = graph.values[value]
    return graph.micro_batches if found.time is not None and found.time != B else 1


def time_attrs(graph: Graph, node: Node) -> dict[str, Any]:
    """The attributes of `node` for one micro-batch's part of its operands and results."""

    def whole(values: tuple[int, ...]) -> tuple[Box, ...]:
        return tuple(tuple((0, n) for n in time_type(graph, v).shape) for v in values)

    return REGISTRY[node.op].local_attrs(node.attributes, Shards(whole(node.ins), whole(node.outs)))


def mesh_signatures(
    op: Op, ins: Types, outs: Types, attrs: dict[str, Any], mesh: tuple[int, ...]
) -> list[tuple[Signature, ...]]:
    """One signature for each mesh axis: the product, each inner axis on the shards that the outer ones leave."""
    found: list[tuple[Signature, ...]] = []
    for outer in op.signatures(ins, attrs, mesh[0]):
        if len(mesh) == 1:
            found.append((outer,))
            continue
        rest = []
        for index in (0, mesh[0] - 1):
            parts = [tuple(_part(t, s, mesh[0], index) for t, s in zip(*side, strict=True))
                     for side in ((ins, outer.ins), (outs, outer.outs))]  # fmt: skip
            boxes = [tuple(tuple((0, n) for n in t.shape) for t in side) for side in parts]
            inner = mesh_signatures(op, parts[0], parts[1], op.local_attrs(attrs, Shards(boxes[0], boxes[1])), mesh[1:])
            rest.append(dict.fromkeys(inner))
        found += [(outer, *ways) for ways in rest[0] if ways in rest[1]]
    return found


def _part(t: TensorType, sbp: Sbp, parts: int, index: int) -> TensorType:
    if not sbp.is_split:
        return t
    start, stop = split_range(t.shape[sbp.axis], parts, index)
    return TensorType((*t.shape[: sbp.axis], stop - start, *t.shape[sbp.axis + 1 :]), t.dtype)
