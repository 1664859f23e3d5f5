"""infer SBP: a layout for every value, the user's annotations fixed, the least transfer cost elsewhere.

Each node picks one signature a mesh axis. The cost of a choice is the seconds of the boxings between its operands' layouts and
those it wants, times its acts per step, plus a small share of its own compute time, so that of equal transfers the more
parallel choice wins. A forward sweep picks greedily, then sweeps in both directions improve one node at a time (iterated
conditional modes, Besag 1986) until nothing changes. A kept parameter is read where it was put: a boxing of one on its own
devices is charged many times over, so an annotation of the weights decides where the work happens.
"""

from __future__ import annotations

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
MOVED_PARAMETER = 1000.0
COMPUTE_SHARE = 1e-3
SWEEPS = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to run a node: the layouts it wants its operands in, those of its results, its compute seconds per step."""

    ins: tuple[Layout, ...]
    outs: tuple[Layout, ...]
    seconds: float


def infer_sbp(graph: Graph, options: Options) -> Graph:
    search = _Search(graph, options.machine)
    search.sweep(graph.nodes)
    for _ in range(SWEEPS):
        if not (search.sweep(reversed(graph.nodes)) + search.sweep(graph.nodes)):
            break
    values = {v: replace(value, layout=search.layouts.get(v, value.layout)) for v, value in graph.values.items()}
    nodes = tuple(replace(node, wants=search.wants[node.id].ins) for node in graph.nodes)
    return replace(graph, nodes=nodes, values=values)


class _Search:
    """The state of the sweeps: the layout of every value so far and the layouts each node wants."""

    def __init__(self, graph: Graph, machine: Machine) -> None:
        self.graph = graph
        self.machine = machine
        self.state = {p.value for p in graph.parameters}
        self.homes = {p.update: p.value for p in graph.parameters if p.update is not None}
        inputs = set(graph.inputs) | self.state
        self.layouts = {v: found for v in inputs if (found := graph.values[v].layout)}
        self.wants: dict[int, Choice] = {}
        self.consumers = graph.consumers()
        self._routes: dict[tuple[int, Layout, Layout], float] = {}
        self._choices: dict[int, list[Choice]] = {}

    def sweep(self, nodes) -> int:  # type: ignore[no-untyped-def]
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
        total = choice.seconds * COMPUTE_SHARE
        for v, want in dict(zip(node.ins, choice.ins, strict=True)).items():
            shared = any(self._wants(other, v) == want for other in self.consumers[v] if other.id != node.id)
            total += 0.0 if shared else self.boxing_seconds(v, self.layouts[v], want)
        for v, made in zip(node.outs, choice.outs, strict=True):
            needs = {need for other in self.consumers.get(v, ()) if (need := self._wants(other, v))}
            total += sum(self.boxing_seconds(v, made, need) for need in sorted(needs, key=str))
        return total

    def _wants(self, node: Node, value: int) -> Layout | None:
        choice = self.wants.get(node.id)
        return choice.ins[node.ins.index(value)] if choice else None

    def boxing_seconds(self, value: int, have: Layout, want: Layout) -> float:
        """Seconds per step to bring `value` from one layout to another."""
        key = (value, have, want)
        if key not in self._routes:
            self._routes[key] = self._boxing_seconds(value, have, want)
        return self._routes[key]

    def _boxing_seconds(self, value: int, have: Layout, want: Layout) -> float:
        kind = time_type(self.graph, value)
        link = self.machine.link
        seconds = 0.0
        for step in route(have, want).steps:
            nbytes = step.nbytes(kind.shape, kind.itemsize)
            seconds += link.seconds(nbytes)
        if value in self.state and have.placement == want.placement:
            seconds *= MOVED_PARAMETER
        return seconds * rate_of(self.graph, value)

    def choices(self, node: Node) -> list[Choice]:
        if node.id not in self._choices:
            self._choices[node.id] = self._find_choices(node)
        return self._choices[node.id]

    def _find_choices(self, node: Node) -> list[Choice]:
        assert node.placement is not None
        op = REGISTRY[node.op]
        target = target_layout(node)
        if op.lowering == "pull":
            return self._boxing_choices(node, target)
        ins = tuple(time_type(self.graph, v) for v in node.ins)
        made = tuple(time_type(self.graph, v) for v in node.outs)
        found = []
        for ways in mesh_signatures(op, ins, made, time_attrs(self.graph, node), node.placement.mesh):
            wants = tuple(Layout(node.placement, tuple(w.ins[i] for w in ways)) for i in range(len(ins)))
            outs = tuple(Layout(node.placement, tuple(w.outs[i] for w in ways)) for i in range(len(made)))
            if self._allowed(node, wants, outs) and not self._torn_batch(node, wants):
                found.append(Choice(wants, outs, self._compute_seconds(node, ins, made, wants, outs)))
        if not found:
            raise SbpError(self._no_choice(node, ins, made), line=node.line)
        return found

    def _boxing_choices(self, node: Node, target: Layout | None) -> list[Choice]:
        have = self.layouts[node.ins[0]]
        if target is None:  # a slice in time of a whole value: along the batch it must not be split over devices yet
            have = Layout(have.placement, tuple(B if s == S(0) else s for s in have.sbp))
        return [Choice((have,), (target or have,), 0.0)]

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
