"""recompute elementwise: a cheap forward value that only elementwise nodes of the backward read is computed there again, not kept.

    forward   u = x + b; y = gelu(u)          u was written and kept for gelu's gradient
    backward  u = x + b; dx = gelu_grad(g, u) now x, which is there anyway, is kept in its place

The copy stands next to its reader, and the groups of `fuse` make one pass of both. It is made where the bytes that are no longer
written, read and kept outweigh the arithmetic, and what is kept does not grow. Last first: so a chain of cheap values is computed
again from where it starts.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from oflow.compiler.group import MAP, Surroundings
from oflow.graph import Graph, Node, rate_of
from oflow.machine import Machine

SLACK = 16
"""One part in so many of a value's bytes may be kept more: a bias beside the activation."""


def recompute_elementwise(graph: Graph, machine: Machine) -> Graph:
    found = _Copies(Surroundings(graph, machine))
    for place in reversed(range(len(graph.nodes))):
        found.visit(place)
    return found.graph()


class _Copies:
    """Which readers get a copy of which nodes: `before` lists, for each reader's place, the places of the nodes to copy."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.before: dict[int, list[int]] = {}
        self.late: dict[int, list[int]] = {}
        """For each value the places (of nodes, or of readers that got a copy) of a later phase that read it."""
        for v, readers in around.readers.items():
            self.late[v] = [r for r in readers if v in around.makers and around.nodes[r].phase != around.nodes[around.makers[v]].phase]

    def visit(self, place: int) -> None:
        around, node = self.around, self.around.nodes[place]
        if around.roles[place] != MAP or node.outs[0] in around.sinks:
            return
        (v,) = node.outs
        late = self.late[v]
        if not late or not all(around.roles[r] == MAP and _beside(node, around.nodes[r]) for r in late):
            return
        if not self._pays(place):
            return
        for reader in late:
            self.before.setdefault(reader, []).append(place)
            for operand in dict.fromkeys(node.ins):
                if reader not in self.late.setdefault(operand, []):
                    self.late[operand].append(reader)
        self.late[v] = []

    def _pays(self, place: int) -> bool:
        around, node = self.around, self.around.nodes[place]
        (v,) = node.outs
        size, operands = around.nbytes((v,)), tuple(dict.fromkeys(node.ins))
        kept = around.nbytes([o for o in operands if not self._kept(o, node)]) - size
        if kept > size // SLACK:
            return False
        readers = [r for r in around.readers[v] if around.nodes[r].phase == node.phase]
        stays_inside = all(around.roles[r] and around.together(r, place) for r in readers)
        read = sum(around.nbytes([o for o in operands if o not in around.nodes[r].ins]) - size for r in self.late[v])
        moved = read + kept - (size if stays_inside else 0)
        device, flops = around.device(place), around.flops(place) * around.shard(v).size * len(self.late[v])
        return flops / device.flops + moved / device.memory_bandwidth < 0

    def _kept(self, v: int, node: Node) -> bool:
        """Whether a value is there in the backward anyway: kept state, read there, or made once a step."""
        if v not in self.around.makers:
            return v in self.around.state
        return bool(self.late.get(v)) or rate_of(self.around.graph, v) < node.rate

    def graph(self) -> Graph:
        graph = self.around.graph
        values = dict(graph.values)
        nodes: list[Node] = []
        node_ids, value_ids = count(max((n.id for n in graph.nodes), default=-1) + 1), count(max(values, default=-1) + 1)
        for place, node in enumerate(graph.nodes):
            again: dict[int, int] = {}
            for copied in sorted(self.before.get(place, [])):
                original = graph.nodes[copied]
                made = replace(values[original.outs[0]], id=next(value_ids))
                values[made.id] = made
                ins = tuple(again.get(v, v) for v in original.ins)
                nodes.append(replace(original, id=next(node_ids), ins=ins, outs=(made.id,), phase=node.phase))
                again[original.outs[0]] = made.id
            nodes.append(replace(node, ins=tuple(again.get(v, v) for v in node.ins)))
        return replace(graph, nodes=needed(graph, nodes), values=values)


def _beside(node: Node, reader: Node) -> bool:
    """Whether a copy of the node can run where and as often as the reader does, before anything it reads is rewritten."""
    facts = [(n.placement, n.stage, n.rate, n.stream) for n in (node, reader)]
    return reader.phase != "update" and facts[0] == facts[1]


def needed(graph: Graph, nodes: list[Node]) -> tuple[Node, ...]:
    """The nodes that a sink depends on."""
    needed = graph.sinks()
    kept = []
    for node in reversed(nodes):
        if needed.intersection(node.outs):
            needed.update(node.ins)
            kept.append(node)
    return tuple(reversed(kept))
