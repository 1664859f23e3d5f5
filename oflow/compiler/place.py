"""place: every node gets a placement, every parameter a home layout.

Inside ``of.stage(i)`` all nodes run on the stage's devices: those of the parameters whose home the stage is (first use) and of
the layouts asked for there. Outside stages a node runs where its operands are, one without operands where its first reader does.
A parameter without annotation is broadcast over the devices of its first reader; kept scalars (counters, seeds) go to any others
by a boxing.
"""

from __future__ import annotations

from dataclasses import replace

from oflow.compiler.options import Options
from oflow.compiler.reasons import named
from oflow.errors import PlacementError, PlanError
from oflow.graph import Graph, Node, Value
from oflow.ops import REGISTRY
from oflow.sbp import B, Layout, Placement
from oflow.types import freeze


def place(graph: Graph, options: Options) -> Graph:
    graph = _named_alike(graph)
    values = dict(graph.values)
    state = {p.value for p in graph.parameters}
    stages = _stage_placements(graph, values, state)
    default = next((found.placement for v in graph.inputs if (found := values[v].layout)), None)
    where: dict[int, Placement] = {v: found.placement for v in graph.inputs if (found := values[v].layout)}
    nodes: list[Node] = []
    constants: dict[int, frozenset[int]] = {}
    """Values made from nothing, outside stages, that nobody has read yet who has a place: the nodes that make each, by number."""
    for node in graph.nodes:
        placement = _placement(graph, node, values, where, state, stages) or default
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


def target_layout(node: Node) -> Layout | None:
    """The layout a boxing node asks for (None for every other operator)."""
    to = node.attributes.get("to")
    return Layout.parse(to) if REGISTRY[node.op].lowering == "pull" and to else None


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


def _stage_placements(graph: Graph, values: dict[int, Value], state: set[int]) -> dict[int, Placement]:
    """The devices of each stage. Raises PlanError where two things in a stage disagree, PlacementError where nothing says."""
    found: dict[int, tuple[Placement, str]] = {}
    homes: set[int] = set()
    for node in graph.nodes:
        asked = [(found_layout.placement, values[v].name) for v in node.ins
                 if v in state and v not in homes and (found_layout := values[v].layout)]  # fmt: skip
        homes.update(v for v in node.ins if v in state)
        target = target_layout(node)
        asked += [(target.placement, "to_global")] if target else []
        for placement, who in asked if node.stage is not None else ():
            before = found.setdefault(node.stage or 0, (placement, who))
            if before[0] != placement:
                raise PlanError(
                    f"stage {node.stage} is on {before[0]} by {before[1]}, but {who} is on {placement}; "
                    "a stage has one placement: annotate both alike",
                    line=node.line,
                )
    used = sorted({n.stage for n in graph.nodes if n.stage is not None})
    if found and len(found) < len(used):
        missing = next(s for s in used if s not in found)
        others = ", ".join(f"stage {s} is on {p} by {who}" for s, (p, who) in sorted(found.items()))
        raise PlacementError(
            f"stage {missing} has no placement ({others}); annotate a parameter in it or use t.to_global in it",
            line=_line_of(graph, missing),
        )
    if used and not found:
        return _even_stages(graph, values, used)
    return {s: p for s, (p, _) in found.items()}


def _line_of(graph: Graph, stage: int) -> str:
    return next((node.line for node in graph.nodes if node.stage == stage), "")


def _even_stages(graph: Graph, values: dict[int, Value], used: list[int]) -> dict[int, Placement]:
    """Nothing is annotated: the first input's devices are dealt out evenly, in order."""
    whole = values[graph.inputs[0]].layout
    if whole is None or whole.placement.size % len(used):
        size = whole.placement.size if whole else 0
        raise PlacementError(
            f"the first input's {size} devices cannot be dealt out evenly to {len(used)} stages; annotate the parameters of each stage, "
            f"or give the input a placement of {len(used)}, {2 * len(used)}, ... devices",
            line=_line_of(graph, used[0]),
        )
    each = whole.placement.size // len(used)
    ranks = whole.placement.ranks
    return {s: Placement(whole.placement.kind, ranks[i * each : (i + 1) * each], (each,)) for i, s in enumerate(used)}
