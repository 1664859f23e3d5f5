"""recompute: forward values of marked regions are made again in the backward pass, from the region's inputs, instead of being kept.

    forward   with region 0: h = gelu(x @ up)      h was kept from here ...
    backward  d = g @ h                            ... to here
    backward  h' = gelu(x @ up); d = g @ h'        now only x is

Chen et al. 2016; nested regions are their recursion. A copy is the forward's node once more, boxings included, with the same
attributes in the same layout: the same bits come out. It stands right before its first reader, so that no more of the backward
pass is in memory at a time than one region. Random operators draw by name and element, so their copies draw alike; buffers are written by
nodes of phase update, which have no copies.

What a reader takes is decided by the regions that it shares with the value's maker: none, and it takes what was kept; the first k of
the maker's regions, and it takes the copy of level k. So a region's outputs are kept for readers behind it, and an inner region's
values are made for the outer region's copy and once more for the inner one's backward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

from oflow.compiler.options import Options
from oflow.compiler.recompute_elementwise import needed
from oflow.graph import Graph, Node, common_region, rate_of
from oflow.ops import REGISTRY
from oflow.sbp import HOST

Level = Callable[[tuple[int, ...], Node], int]
"""(regions of a reader, maker of a value it reads) -> the level of the copy it reads, 0 for what is kept."""


def recompute(graph: Graph, options: Options) -> Graph:
    return compute_again(graph, _shared) if any(node.region for node in graph.nodes) else graph


def _shared(region: tuple[int, ...], maker: Node) -> int:
    return len(common_region(region, maker.region))


def compute_again(graph: Graph, level: Level) -> Graph:
    """The graph with copies in the backward pass of those nodes that `level` says, as far as they can be computed again."""
    copies = _Copies(graph, level)
    for node in graph.nodes:
        copies.nodes.append(replace(node, ins=copies.read(node, node.region)) if backward(node) else node)
    nodes = needed(graph, copies.nodes)
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
        level = self._level(region, maker)
        if level and (v, level) not in self._made:
            self._again(maker, level)
        return self._made[v, level] if level else v

    def _again(self, node: Node, level: int) -> None:
        ins = self.read(node, node.region[:level])
        outs = tuple(next(self._value_ids) for _ in node.outs)
        for v, made in zip(node.outs, outs, strict=True):
            self.values[made] = replace(self.values[v], id=made)
            self._made[v, level] = made
        self.nodes.append(replace(node, id=next(self._node_ids), ins=ins, outs=outs, phase="B"))


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
