"""simplify: common subexpressions once, and only what an output or kept state needs."""

from __future__ import annotations

from dataclasses import replace

from oflow.compiler.options import Options
from oflow.graph import Graph, Node, Value
from oflow.ops import REGISTRY


def simplify(graph: Graph, options: Options) -> Graph:
    return _drop_unused(_share(graph))


def _share(graph: Graph) -> Graph:
    """Equal operators on equal operands become one node (random and state-writing operators are never equal)."""
    same: dict[int, int] = {}
    seen: dict[tuple[object, ...], Node] = {}
    nodes = []
    for node in graph.nodes:
        node = replace(node, ins=tuple(same.get(v, v) for v in node.ins))
        key = (node.op, node.ins, node.attrs, node.placement, node.stage, node.phase == "update")
        twin = seen.get(key)
        if twin is not None and not REGISTRY[node.op].inplace:
            same.update(zip(node.outs, twin.outs, strict=True))
            continue
        seen[key] = node
        nodes.append(node)
    outputs = tuple((name, same.get(v, v)) for name, v in graph.outputs)
    parameters = tuple(replace(p, update=_same(p.update, same), gradient=_same(p.gradient, same)) for p in graph.parameters)
    values = {v: _renamed(value, same) for v, value in graph.values.items()}
    return replace(graph, nodes=tuple(nodes), values=values, outputs=outputs, parameters=parameters)


def _same(value: int | None, same: dict[int, int]) -> int | None:
    return None if value is None else same.get(value, value)


def _renamed(value: Value, same: dict[int, int]) -> Value:
    of = value.gradient_of
    return value if of is None or of not in same else replace(value, gradient_of=same[of])


def _drop_unused(graph: Graph) -> Graph:
    needed = graph.sinks()
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outs):
            needed.update(node.ins)
            kept.append(node)
    nodes = tuple(reversed(kept))
    alive = needed | set(graph.inputs) | {p.value for p in graph.parameters} | {v for n in nodes for v in n.outs}
    parameters = tuple(p if p.gradient in alive else replace(p, gradient=None) for p in graph.parameters)
    values = {v: value for v, value in graph.values.items() if v in alive}
    return replace(graph, nodes=nodes, values=values, parameters=parameters)
