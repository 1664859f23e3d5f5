"""split backward: where the schedule parts the backward of a stage, each of its nodes is I (input gradient) or W (weight gradient).

I is what another stage waits for: every node that a gradient which leaves the stage depends on. W is the rest, which leads to
gradients of the stage's own weights only, and may wait; what it reads is kept until then (Qi et al. 2024, arXiv 2401.10241: B and W
there). A stage that hands no gradient on, the first one, is parted alike: there the gradients of what is no parameter are I.

An operator that makes both gradients in one kernel is I as a whole, and its weight gradient with it.
"""

from __future__ import annotations

from dataclasses import replace

from oflow.compiler.chunks import graph_homes, splits_backward
from oflow.compiler.options import Options
from oflow.graph import Graph, Node, weights_alone


def split_backward(graph: Graph, options: Options) -> Graph:
    backward = [node for node in graph.nodes if node.phase == "B"]
    if not backward or not splits_backward(options.schedule, graph_homes(graph)):
        return graph
    waited_for = _input_gradients(graph, backward)
    phases = {node.id: "I" if node.id in waited_for else "W" for node in backward}
    return replace(graph, nodes=tuple(replace(node, phase=phases.get(node.id, node.phase)) for node in graph.nodes))


def _input_gradients(graph: Graph, backward: list[Node]) -> set[int]:
    """The nodes of I, by their ids."""
    weights = weights_alone(graph)
    readers: dict[int, set[int]] = {}
    for node in backward:
        for v in node.ins:
            readers.setdefault(v, set()).add(_stage(node))

    def of_weights(v: int) -> bool:
        return graph.values[v].gradient_of in weights

    leaving = {v for node in backward for v in node.outs if readers.get(v, set()) - {_stage(node)} and not of_weights(v)}
    handing = {_stage(node) for node in backward if leaving.intersection(node.outs)}
    for node in backward:
        if _stage(node) not in handing:
            leaving.update(v for v in node.outs if graph.values[v].gradient_of is not None and not of_weights(v))
    found: set[int] = set()
    for node in reversed(backward):
        if leaving.intersection(node.outs):
            found.add(node.id)
            leaving.update(node.ins)
    return found


def halves(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Nodes of a parted backward, to which some of phase B were added later: those are of I where I needs them, else of W."""
    if not any(node.phase == "W" for node in nodes):
        return nodes
    phases: dict[int, str] = {}
    early: set[int] = set()
    for node in reversed(nodes):
        phases[node.id] = node.phase if node.phase != "B" else "I" if early.intersection(node.outs) else "W"
        if phases[node.id] == "I":
            early.update(node.ins)
    return tuple(replace(node, phase=phases[node.id]) for node in nodes)


def _stage(node: Node) -> int:
    return node.stage or 0
