"""place: every node gets a placement, every parameter a home layout.

Inside ``of.stage(i)`` all nodes run on the stage's devices (`stages`). Outside stages a node runs where its operands are, one
without operands where its first reader does.
A parameter without annotation is broadcast over the devices of its first reader; kept scalars (counters, seeds) go to any others
by a boxing.
"""

from __future__ import annotations

from dataclasses import replace

from oflow.compiler.options import Options
from oflow.compiler.reasons import named
from oflow.compiler.stages import stage_placements, target_layout
from oflow.errors import PlacementError
from oflow.graph import Graph, Node, Value
from oflow.sbp import B, Layout, Placement
from oflow.types import freeze


def place(graph: Graph, options: Options) -> Graph:
    graph = _named_alike(graph)
    values = dict(graph.values)
    state = {p.value for p in graph.parameters}
    stages = stage_placements(graph, options.schedule)
    default = next((found.placement for v in graph.inputs if (found := values[v].layout)), None)
    where: dict[int, Placement] = {v: found.placement for v in graph.inputs if (found := values[v].layout)}
    nodes: list[Node] = []
    constants: dict[int, frozenset[int]] = {}
    """Values made from nothing, outside stages, that nobody has read yet who has a place: the nodes that make each, by number."""
    made_in: dict[int, int] = {}
    for node in graph.nodes:
        placement = _placement(graph, node, values, where, state, stages) or default
        node = replace(node, stage=_stage(node, placement, stages, made_in))
        if placement is None:
            raise PlacementError(f"{node.op} has no operand with a placement; give one input a placement", line=node.line)
        for v in node.ins:
            if v in state and values[v].layout is None:
                values[v] = replace(values[v], layout=Layout(placement, (B,) * len(placement.mesh)))
        read = frozenset(i for v in node.ins for i in constants.get(v, ()))
        if node.stage is None and target_layout(node) is None and all(v in constants for v in node.ins):
            constants.update(dict.fromkeys(node.outs, read | {len(nodes)}))
        else:
            for i in read:
                made = {v for v in nodes[i].outs if constants.pop(v, None)}
                if made:
                    nodes[i] = replace(nodes[i], placement=placement)
                    where.update(dict.fromkeys(made, placement))
            where.update(dict.fromkeys(node.outs, placement))
        if node.stage is not None:
            made_in.update(dict.fromkeys(node.outs, node.stage))
        nodes.append(replace(node, placement=placement))
    rest = default or next(iter(where.values()), None)
    for v in state:  # what no node reads, but perhaps the caller
        if values[v].layout is None and rest is not None:
            values[v] = replace(values[v], layout=Layout(rest, (B,) * len(rest.mesh)))
    return replace(graph, nodes=tuple(nodes), values=values)


def _named_alike(graph: Graph) -> Graph:
    """Mesh axes are called alike wherever devices and mesh are the same: as they are called first, in inputs, parameters, to_global."""
    given = (*graph.inputs, *(p.value for p in graph.parameters))
    layouts = [*(graph.values[v].layout for v in given), *map(target_layout, graph.nodes)]
    known: dict[Placement, Placement] = {}
    for placement in (one.placement for one in layouts if one and one.placement.names):
        known.setdefault(placement, placement)
    if not known:
        return graph

    def named(found: Layout) -> Layout:
        return Layout(known.get(found.placement, found.placement), found.sbp)

    values = {v: replace(value, layout=named(value.layout)) if value.layout else value for v, value in graph.values.items()}
    nodes = [
        replace(node, attrs=freeze({**node.attributes, "to": str(named(target))})) if (target := target_layout(node)) else node
        for node in graph.nodes
    ]
    return replace(graph, nodes=tuple(nodes), values=values)


def _placement(
    graph: Graph, node: Node, values: dict[int, Value], where: dict[int, Placement], state: set[int], stages: dict[int, Placement]
) -> Placement | None:
    target = target_layout(node)
    if target:
        return target.placement
    if node.stage is not None:
        return stages[node.stage]
    annotated = {v: found.placement for v in node.ins if v in state and values[v].type.shape and (found := values[v].layout)}
    candidates = [where[v] for v in node.ins if v in where] or list(annotated.values())
    everything = [*candidates, *annotated.values()]
    different = next((p for p in everything if p != everything[0]), None)
    if different and node.phase != "update":
        raise _mixed(graph, node, {**{v: where[v] for v in node.ins if v in where}, **annotated})
    return everything[0] if everything else None


def _mixed(graph: Graph, node: Node, where: dict[int, Placement]) -> PlacementError:
    """Operands on several placements: each placement that the operator could run on, and what stands against it."""
    choices = []
    for one in dict.fromkeys(where.values()):
        away = [v for v, placement in where.items() if placement != one]
        moves = " and ".join(f"{named(graph, v)} is on {where[v]}" for v in away)
        sbp = "sbp" if len(one.mesh) == 1 else "(sbp, ...)"
        choices.append(f"\n  on {one}: {moves}; move it with t.to_global({one.code}, {sbp})")
    return PlacementError(
        f"{node.op} runs on one placement, and its operands are on {len(choices)}. It could run{''.join(choices)}\n"
        "  or in a pipeline stage: with of.stage(i), whose operands are moved to it",
        line=node.line,
    )


def _stage(node: Node, placement: Placement | None, stages: dict[int, Placement], made_in: dict[int, int]) -> int | None:
    """A node outside stages belongs to the last one that it reads from, where that is on the same devices."""
    last = max((made_in[v] for v in node.ins if v in made_in), default=None)
    return last if node.stage is None and last is not None and stages[last] == placement else node.stage
