"""place: every node gets a placement, every parameter a home layout.

Inside ``of.stage(i)`` all nodes run on the stage's devices: those of the parameters whose home the stage is (first use) and of
the layouts asked for there. Outside stages a node runs where its operands are. A parameter without annotation is broadcast
over the devices of its first reader.
"""

from __future__ import annotations

from dataclasses import replace

from oflow.compiler.options import Options
from oflow.errors import PlacementError, PlanError
from oflow.graph import Graph, Node, Value
from oflow.ops import REGISTRY
from oflow.sbp import B, Layout, Placement


def place(graph: Graph, options: Options) -> Graph:
    values = dict(graph.values)
    state = {p.value for p in graph.parameters}
    stages = _stage_placements(graph, values, state)
    default = next((found.placement for v in graph.inputs if (found := values[v].layout)), None)
    where: dict[int, Placement] = {v: found.placement for v in graph.inputs if (found := values[v].layout)}
    nodes = []
    for node in graph.nodes:
        placement = _placement(node, values, where, state, stages) or default
        if placement is None:
            raise PlacementError(f"{node.op} has no operand with a placement; give one input a placement", line=node.line)
        for v in node.ins:
            if v in state and values[v].layout is None:
                values[v] = replace(values[v], layout=Layout(placement, (B,) * len(placement.mesh)))
        where.update(dict.fromkeys(node.outs, placement))
        nodes.append(replace(node, placement=placement))
    return replace(graph, nodes=tuple(nodes), values=values)


def target_layout(node: Node) -> Layout | None:
    """The layout a boxing node asks for (None for every other operator)."""
    to = node.attributes.get("to")
    return Layout.parse(to) if REGISTRY[node.op].lowering == "pull" and to else None


def _placement(
    node: Node, values: dict[int, Value], where: dict[int, Placement], state: set[int], stages: dict[int, Placement]
) -> Placement | None:
    target = target_layout(node)
    if target:
        return target.placement
    if node.stage is not None:
        return stages[node.stage]
    annotated = {v: found.placement for v in node.ins if v in state and (found := values[v].layout)}
    candidates = [where[v] for v in node.ins if v in where] or list(annotated.values())
    everything = [*candidates, *annotated.values()]
    different = next((p for p in everything if p != everything[0]), None)
    if different and node.phase != "update":
        raise PlacementError(
            f"{node.op} has operands on {everything[0]} and on {different}; move one with t.to_global(placement, sbp), "
            "or mark the pipeline stage with of.stage(i)",
            line=node.line,
        )
    return everything[0] if everything else None


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
        raise PlacementError(f"stage {missing} has no placement; annotate a parameter in it or use t.to_global in it")
    if used and not found:
        return _even_stages(graph, values, used)
    return {s: p for s, (p, _) in found.items()}


def _even_stages(graph: Graph, values: dict[int, Value], used: list[int]) -> dict[int, Placement]:
    """Nothing is annotated: the first input's devices are dealt out evenly, in order."""
    whole = values[graph.inputs[0]].layout
    if whole is None or whole.placement.size % len(used):
        size = whole.placement.size if whole else 0
        raise PlacementError(f"{size} devices cannot be dealt out evenly to {len(used)} stages; annotate the parameters")
    each = whole.placement.size // len(used)
    ranks = whole.placement.ranks
    return {s: Placement(whole.placement.kind, ranks[i * each : (i + 1) * each], (each,)) for i, s in enumerate(used)}
