"""The devices of each stage: those of the parameters whose home the stage is (first use) and of the layouts asked for there.

A schedule has a rank for every stage (`chunks`). Stages of one rank have the same placement, those of different ranks no device
in common: so annotated stages fix the ranks, others on a rank that is known go there, and where nothing is annotated the first
input's devices are dealt out to the ranks evenly, in order.
"""

from __future__ import annotations

from typing import NamedTuple

from oflow.compiler.chunks import Chosen, dealt_homes, named_for, numbered, wanted_homes
from oflow.errors import PlacementError, PlanError
from oflow.graph import Graph, Node
from oflow.ops import REGISTRY
from oflow.sbp import Layout, Placement
from oflow.schedule import Schedule


class _Home(NamedTuple):
    """A placement, and who asked for it where."""

    placement: Placement
    by: str
    line: str


def target_layout(node: Node) -> Layout | None:
    """The layout a boxing node asks for (None for every other operator)."""
    to = node.attributes.get("to")
    return Layout.parse(to) if REGISTRY[node.op].lowering == "pull" and to else None


def stage_placements(graph: Graph, chosen: Chosen) -> dict[int, Placement]:
    """The devices of each stage, as the schedule wants them.

    Raises PlanError where two things in a stage disagree, or stages with the schedule; PlacementError where nothing says.
    """
    used = sorted({n.stage for n in graph.nodes if n.stage is not None})
    if used and used != list(range(len(used))):
        missing = next(s for s in range(len(used)) if s not in used)
        raise PlanError(
            f"stages are numbered 0, 1, 2, ... without gaps; there is work in stages {used} and none in stage {missing}",
            line=_line_of(graph, used[-1]),
        )
    found = _annotated(graph)
    if used and not found:
        return _dealt(graph, chosen, len(used))
    if found:
        _apart(found)
        _filled(graph, chosen, found, len(used))
        _agreed(chosen, found)
    return {stage: home.placement for stage, home in sorted(found.items())}


def _annotated(graph: Graph) -> dict[int, _Home]:
    """The placement of each stage that has something annotated in it."""
    found: dict[int, _Home] = {}
    state = {p.value for p in graph.parameters}
    read: set[int] = set()
    for node in graph.nodes:
        asked = [
            _Home(layout.placement, graph.values[v].name, node.line)
            for v in node.ins
            if v in state and v not in read and (layout := graph.values[v].layout)
        ]
        read.update(state.intersection(node.ins))
        target = target_layout(node)
        asked += [_Home(target.placement, "to_global", node.line)] if target else []
        for home in asked if node.stage is not None else ():
            before = found.setdefault(node.stage or 0, home)
            if before.placement != home.placement:
                raise PlanError(
                    f"stage {node.stage} is on {before.placement} by {before.by}, but {home.by} is on {home.placement}; "
                    "a stage has one placement: annotate both alike",
                    line=node.line,
                )
    return found


def _line_of(graph: Graph, stage: int) -> str:
    return next((node.line for node in graph.nodes if node.stage == stage), "")


# ---------------------------------------------------------------- with annotations


def _apart(found: dict[int, _Home]) -> None:
    """Placements of two stages are the same devices or have none in common."""
    for stage, home in sorted(found.items()):
        for other, near in sorted(found.items()):
            shared = set(home.placement.devices) & set(near.placement.devices)
            if other < stage and shared and home.placement.devices != near.placement.devices:
                raise PlanError(
                    f"stage {stage} is on {home.placement} by {home.by} and shares {', '.join(sorted(shared))} with stage {other} on "
                    f"{near.placement}. Stages of one pipeline rank have the same placement, those of different ranks no device in common: "
                    f"annotate {home.by} with {near.placement.code}, or with devices of its own",
                    line=home.line,
                )


def _filled(graph: Graph, chosen: Chosen, found: dict[int, _Home], stages: int) -> None:
    """Stages without annotation go where the schedule has them, if another stage of their rank is annotated."""
    if len(found) == stages:
        return
    missing = next(s for s in range(stages) if s not in found)
    ranks = len({home.placement.devices for home in found.values()})
    wanted = dealt_homes(chosen, stages, ranks) if chosen is not None else None
    for stage in range(stages):
        if stage not in found and wanted is not None:
            beside = next((home for other, home in sorted(found.items()) if wanted[other] == wanted[stage]), None)
            if beside:
                by = f"the schedule, which runs it beside a stage with {beside.by}"
                found[stage] = _Home(beside.placement, by, _line_of(graph, stage))
    if len(found) < stages:
        others = ", ".join(f"stage {s} is on {home.placement} by {home.by}" for s, home in sorted(found.items()))
        raise PlacementError(
            f"stage {missing} has no placement ({others}); annotate a parameter in it or use t.to_global in it",
            line=_line_of(graph, missing),
        )


def _agreed(chosen: Chosen, found: dict[int, _Home]) -> None:
    """Raises PlanError, naming the first stage that stands elsewhere than the schedule wants."""
    stages = len(found)
    homes = numbered(found[stage].placement.devices for stage in range(stages))
    ranks = len(set(homes))
    first = next((s for s in range(1, stages) if homes[s] != s), stages - 1)
    there = f"{stages} stages are placed on {ranks} pipeline rank{'s' * (ranks > 1)} (stage {first} is on {found[first].placement})"
    try:
        named = named_for(chosen, homes)
        wanted = wanted_homes(named, stages, ranks)
    except PlanError as refused:
        raise PlanError(f"{there}: {refused}", line=found[first].line) from None
    wrong = next((s for s in range(stages) if homes[s] != wanted[s]), None)
    if wrong is None:
        return
    name = named.name if isinstance(named, Schedule) else named
    home = found[wrong]
    beside = wanted.index(wanted[wrong])
    if beside < wrong:
        want = f"runs it on the rank of stage {beside}, on {found[beside].placement}"
        remedy = f"annotate {home.by} with {found[beside].placement.code}"
    else:
        want = f"runs it on a rank of its own, and stage {homes.index(homes[wrong])} is there"
        remedy = f"give {home.by} devices that no earlier stage has"
    raise PlanError(
        f"stage {wrong} is on {home.placement} by {home.by}, and schedule {name!r} {want}. It has the stages on ranks "
        f"{list(wanted)}, the program has them on {list(homes)}: {remedy}, or choose another schedule",
        line=home.line,
    )


# ---------------------------------------------------------------- without


def _dealt(graph: Graph, chosen: Chosen, stages: int) -> dict[int, Placement]:
    """Nothing is annotated: the first input's devices are dealt out to the schedule's ranks evenly, in order."""
    whole = graph.values[graph.inputs[0]].layout if graph.inputs else None
    size = whole.placement.size if whole else 0
    homes = dealt_homes(chosen, stages, size) if size else None
    if whole is None or homes is None:
        raise PlacementError(_not_dealt(chosen, stages, size), line=_line_of(graph, 0))
    ranks = whole.placement.ranks
    each = size // len(set(homes))
    placements = [Placement(whole.placement.kind, ranks[i * each : (i + 1) * each], (each,)) for i in range(len(set(homes)))]
    return {stage: placements[home] for stage, home in enumerate(homes)}


def _not_dealt(chosen: Chosen, stages: int, size: int) -> str:
    schedule = "1f1b" if chosen is None else chosen
    name = schedule.name if isinstance(schedule, Schedule) else schedule
    found = f"the first input's {size} devices cannot be dealt out evenly to {stages} stages under schedule {name!r}"
    try:
        wanted_homes(schedule, stages, stages)
    except PlanError:
        try:
            wanted_homes(schedule, stages, size)
        except PlanError as e:
            found += f": {e}"
        return f"{found}. Annotate the parameters of each stage, or give the input another placement"
    return f"{found}; annotate the parameters of each stage, or give the input a placement of {stages}, {2 * stages}, ... devices"
