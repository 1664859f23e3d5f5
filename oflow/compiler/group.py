"""What a group of elementwise nodes is as ONE node: its operands, its results, its cost, its text.

A member maps elements (an `Elementwise` operator), repeats its operand by broadcasting, or sums leading axes of a member's value
away. Members run on the same devices at the same time, so each rank's composition of their kernels is the kernel of the group,
whatever the layouts are; and they are of the same of.recompute regions, so that all of a group is computed again or none of it. The
iteration space is what the operands broadcast to: a result is a value of that shape, or its sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from oflow.graph import Graph, Node, time_type
from oflow.machine import Cost, Device, Machine
from oflow.ops import REGISTRY
from oflow.ops.blocks import loop_work
from oflow.ops.elementwise import Elementwise
from oflow.ops.expression import parse_expression, rename
from oflow.ops.fused import fused, fused_attrs
from oflow.types import TensorType

MOST_TENSORS = 16
"""Operands and results of one group: each is a stream of addresses in the inner loop."""
MAP, REPEAT, SUM = "map", "repeat", "sum"


def role(node: Node) -> str:
    """What the node can be in a group; empty where it can be in none."""
    op = REGISTRY[node.op]
    if isinstance(op, Elementwise):
        return MAP
    if op.repeats:
        return REPEAT
    return SUM if op.leading_sum(node.attributes) else ""


@dataclass(frozen=True, slots=True)
class Group:
    """Members by place in the graph, operands and results by value; `sums`: leading axes summed away of each result."""

    members: tuple[int, ...]
    operands: tuple[int, ...]
    results: tuple[int, ...]
    sums: tuple[int, ...]
    seconds: float


class Surroundings:
    """The graph around the groups: who makes and who reads each value, and how large it is on a device."""

    def __init__(self, graph: Graph, machine: Machine) -> None:
        self.graph, self.machine = graph, machine
        self.nodes = graph.nodes
        self.roles = [role(node) for node in graph.nodes]
        self.makers = {v: place for place, node in enumerate(graph.nodes) for v in node.outs}
        self.readers: dict[int, list[int]] = {v: [] for v in graph.values}
        for place, node in enumerate(graph.nodes):
            for v in dict.fromkeys(node.ins):
                self.readers[v].append(place)
        self.sinks = graph.sinks()
        self.state = {p.value for p in graph.parameters}
        self._shards: dict[int, TensorType] = {}

    def shard(self, v: int) -> TensorType:
        """What the first rank holds of a value during one act."""
        if v not in self._shards:
            kind, layout = time_type(self.graph, v), self.graph.values[v].layout
            assert layout is not None
            self._shards[v] = TensorType(layout.shard_shape(kind.shape, 0), kind.dtype)
        return self._shards[v]

    def nbytes(self, values: Sequence[int]) -> int:
        return sum(self.shard(v).nbytes for v in values)

    @cached_property
    def keys(self) -> list[tuple[object, ...]]:
        """Where and when each node runs."""
        return [(n.placement, n.stage, n.phase, n.rate, n.stream) for n in self.nodes]

    def together(self, one: int, other: int) -> bool:
        """Whether two nodes may be in one group: they run where and when the other does, and are computed again where it is."""
        return self.keys[one] == self.keys[other] and self.nodes[one].region == self.nodes[other].region

    def splits(self, v: int) -> tuple[object, ...]:
        """Which part of a value a rank has in one act; equal parts iterate together. Partial and repeated are both whole."""
        value = self.graph.values[v]
        assert value.layout is not None
        time = value.time.axis if value.time is not None and value.time.is_split else -1
        return (value.type.shape, time, *(s.axis if s.is_split else -1 for s in value.layout.sbp))

    def seconds(self, place: int, cost: Cost) -> float:
        placement = self.nodes[place].placement
        assert placement is not None
        return self.machine.seconds(cost, placement.devices[0])

    def device(self, place: int) -> Device:
        placement = self.nodes[place].placement
        assert placement is not None
        return self.machine.device(placement.devices[0])

    # ------------------------------------------------------------ groups

    def single(self, place: int) -> Group:
        """A node alone: what it costs as it is."""
        node = self.nodes[place]
        ins, outs = (tuple(self.shard(v) for v in vs) for vs in (node.ins, node.outs))
        seconds = self.seconds(place, REGISTRY[node.op].estimate(ins, outs, node.attributes))
        return Group((place,), tuple(dict.fromkeys(node.ins)), node.outs, (0,) * len(node.outs), seconds)

    def functions(self, place: int) -> list[str]:
        """The scalar operations of a member at each point."""
        op = REGISTRY[self.nodes[place].op]
        if isinstance(op, Elementwise):
            return [step.function for step in parse_expression(op.expr).steps]
        return ["add"] if self.roles[place] == SUM else []

    def flops(self, place: int) -> int:
        """Arithmetic of a member at each point; functions count by what they cost."""
        op = REGISTRY[self.nodes[place].op]
        return parse_expression(op.expr).flops if isinstance(op, Elementwise) else 1

    def _cost(self, members: tuple[int, ...], values: tuple[int, ...], space: TensorType) -> float:
        """Seconds of one pass over the space; what is computed at every point of it and was not before is not hidden behind it."""
        functions = [name for place in members for name in self.functions(place)]
        types = [self.shard(v) for v in values]
        work = loop_work(fused.name, space.shape, types, functions)
        cost = Cost(float(space.size * len(functions)), float(sum(t.nbytes for t in types)), 1, works=(work,))
        again = [(place, self.shard(v).size) for place in members for v in self.nodes[place].outs if self.roles[place] == MAP]
        flops = sum((space.size - size) * self.flops(place) for place, size in again)
        return self.seconds(members[0], cost) + flops / self.device(members[0]).flops

    def group(self, members: tuple[int, ...]) -> Group | None:
        """These nodes (in the graph's order) as one, or None where they cannot be."""
        inside = {v: place for place in members for v in self.nodes[place].outs}
        operands = tuple(dict.fromkeys(v for place in members for v in self.nodes[place].ins if v not in inside))
        sums = {v: self._leading(place) for v, place in inside.items() if self.roles[place] == SUM}
        if any(v in sums for place in members for v in self.nodes[place].ins):
            return None  # a sum is whole only when the last element has been added
        chosen = set(members)
        results = tuple(v for v in inside if v in self.sinks or any(r not in chosen for r in self.readers[v]))
        if not results or len(operands) + len(results) > MOST_TENSORS or not self._one_dtype(members, operands):
            return None
        whole = [self.nodes[inside[v]].ins[0] if v in sums else v for v in results]
        space = self.splits(whole[0])
        shape = np.broadcast_shapes(*(self.graph.values[v].type.shape for v in operands))
        if space[0] != shape or any(self.splits(v) != space for v in whole[1:]):
            return None
        seconds = self._cost(members, (*results, *operands), self.shard(whole[0]))
        return Group(members, operands, results, tuple(sums.get(v, 0) for v in results), seconds)

    def _leading(self, place: int) -> int:
        return REGISTRY[self.nodes[place].op].leading_sum(self.nodes[place].attributes)

    def _one_dtype(self, members: tuple[int, ...], operands: tuple[int, ...]) -> bool:
        """Whether numbers bind in the group to the dtype they bind to in each member: there is one dtype beside bool, and none
        of the members combines numbers with nothing but bool."""
        values = self.graph.values
        if len({values[v].type.dtype for v in (*operands, *(v for m in members for v in self.nodes[m].outs))} - {"bool"}) > 1:
            return False
        for place in members:
            node = self.nodes[place]
            if all(values[v].type.dtype == "bool" for v in node.ins) and (self.roles[place] == SUM or _numbers(node)):
                return False
        return True

    # ------------------------------------------------------------ the node

    def node(self, group: Group, like: Node) -> Node:
        """The group as a node that stands where `like` does. Equal groups have equal texts, whatever their values are called."""
        names = {v: f"a{i}" for i, v in enumerate(group.operands)}
        numbers: dict[tuple[str, object], str] = {}
        lines: list[str] = []
        for place in group.members:
            node = self.nodes[place]
            name = names[node.outs[0]] = f"t{len(lines)}"
            lines.append(f"{name} = {_statement(node, [names[v] for v in node.ins], numbers)}")
        attrs = fused_attrs(
            "; ".join(lines), [names[v] for v in group.operands], [names[v] for v in group.results], group.sums,
            {name: number for (_, number), name in numbers.items()},  # type: ignore[misc]
        )  # fmt: skip
        return replace(like, op=fused.name, ins=group.operands, outs=group.results, attrs=tuple(sorted(attrs.items())))


def _numbers(node: Node) -> bool:
    """Whether numbers stand in the node's expression, as text or as attributes."""
    op = REGISTRY[node.op]
    if not isinstance(op, Elementwise):
        return False
    literal = any(not isinstance(arg, str) for step in parse_expression(op.expr).steps for arg in step.args)
    return literal or any(name in node.attributes for name in op.operands)


def _statement(node: Node, ins: Sequence[str], numbers: dict[tuple[str, object], str]) -> str:
    op = REGISTRY[node.op]
    if not isinstance(op, Elementwise):
        return ins[0]
    attrs = node.attributes
    names = dict(zip(op.present(attrs), ins, strict=True))
    for operand in op.operands:
        if operand in attrs:
            key = (type(attrs[operand]).__name__, attrs[operand])
            names[operand] = numbers.setdefault(key, f"n{len(numbers)}")
    return _renamed(op.expr, tuple(names.items()))


@lru_cache(maxsize=4096)
def _renamed(expr: str, names: tuple[tuple[str, str], ...]) -> str:
    return rename(expr, dict(names))
