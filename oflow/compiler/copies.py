"""Copies in the backward pass: nodes of the forward pass that run again there, for whoever reads their values late.

A copy is the forward's node once more, boxings included, with the same attributes in the same layout: the same bits come out. It stands
right before its first reader, so that as little as possible of what was computed again is in memory at a time. Random operators draw
by name and element, so their copies draw alike; buffers are written by nodes of phase update, which have no copies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

from oflow.compiler.recompute_elementwise import needed
from oflow.compiler.split_backward import halves
from oflow.graph import Graph, Node, rate_of
from oflow.ops import REGISTRY
from oflow.sbp import HOST

Level = Callable[[int, Node, tuple[int, ...]], int]
"""(value, its maker, regions of its reader) -> the level of the copy that is read, 0 for what is kept."""


def compute_again(graph: Graph, level: Level) -> Graph:
    """The graph with copies in the backward pass of the values that `level` says, as far as they can be computed again."""
    copies = _Copies(graph, level)
    for node in graph.nodes:
        copies.nodes.append(replace(node, ins=copies.read(node, node.region)) if backward(node) else node)
    nodes = halves(needed(graph, copies.nodes))
    alive = {v for n in nodes for v in n.outs} | set(graph.inputs) | {p.value for p in graph.parameters}
    return replace(graph, nodes=nodes, values={v: value for v, value in copies.values.items() if v in alive})


def backward(node: Node) -> bool:
    return node.phase not in ("F", "update")


class _Copies:
    """The nodes so far; the values of the copies by what they copy and by level."""

    def __init__(self, graph: Graph, level: Level) -> None:
        self.nodes: list[Node] = []
        self.values = dict(graph.values)
        self._level = level
        self._makers = {v: node for node in graph.nodes if can_be_copied(graph, node) for v in node.outs}
        self._made: dict[tuple[int, int], int] = {}
        self._node_ids = count(max((n.id for n in graph.nodes), default=-1) + 1)
        self._value_ids = count(max(graph.values, default=-1) + 1)

    def read(self, reader: Node, region: tuple[int, ...]) -> tuple[int, ...]:
        """What the reader reads in the place of its operands; copies that are not there yet are appended."""
        return tuple(self._copy(v, reader.stage, region) for v in reader.ins)

    def _copy(self, v: int, stage: int | None, region: tuple[int, ...]) -> int:
        maker = self._makers.get(v)
        if maker is None or maker.stage != stage:
            return v
        level = self._level(v, maker, region)
        if level and (v, level) not in self._made:
            self._again(maker, level)
        return self._made[v, level] if level else v

    def _again(self, node: Node, level: int) -> None:
        ins = self.read(node, node.region[:level])
        outs = tuple(next(self._value_ids) for _ in node.outs)
        for v, made in zip(node.outs, outs, strict=True):
            self.values[made] = replace(self.values[v], id=made)
            self._made[v, level] = made
        self.nodes.append(replace(node, id=next(self._node_ids), ins=ins, outs=outs, phase="B", again=node.id))


def can_be_copied(graph: Graph, node: Node) -> bool:
    """Whether the node is work of each micro-batch on values of its own stage and devices, and writes nothing but its results."""
    op = REGISTRY[node.op]
    once = graph.micro_batches > 1 and (node.rate == 1 or any(rate_of(graph, v) == 1 for v in node.outs))
    if node.phase != "F" or once or op.inplace or op.lowering == "accumulate" or node.placement == HOST:
        return False
    return op.lowering != "pull" or _stays(graph, node)


def _stays(graph: Graph, node: Node) -> bool:
    """Whether a boxing reads the devices it writes: not from the host, nor from the stage before."""
    source = graph.values[node.ins[0]].layout
    return source is not None and node.placement is not None and set(source.placement.devices) == set(node.placement.devices)
