"""Which pipeline rank runs which stage (chunk): what the schedule wants, and where the program has put things.

Homes are given as one rank for each stage, numbered in the order in which stages first need them: (0, 1, 0, 1) are two ranks with
two chunks each. A schedule that is not named is the plainest that runs the homes there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from oflow.compiler.options import AUTO
from oflow.compiler.schedules import find_schedule, named_schedule
from oflow.errors import PlanError, user_line
from oflow.graph import Graph
from oflow.sbp import Placement
from oflow.schedule import Schedule, Times, verify_schedule

Chosen = str | Schedule | None
"""A schedule's name, a schedule, or None: the plainest one."""
PLAIN = ("1f1b", "interleaved", "zero-bubble-v")
"""What None stands for: the first that has the homes."""


def numbered(homes: Iterable[object]) -> tuple[int, ...]:
    """Whatever stands for a rank, numbered in order of first appearance."""
    found: dict[object, int] = {}
    return tuple(found.setdefault(home, len(found)) for home in homes)


def wanted_homes(chosen: str | Schedule, stages: int, ranks: int) -> tuple[int, ...]:
    """Where the schedule has each stage. Raises PlanError where it does not place so many stages on so many ranks."""
    if not isinstance(chosen, Schedule):
        return numbered(find_schedule(chosen, stages, ranks).chunk_ranks(ranks))
    verify_schedule(chosen)
    if chosen.stages != tuple(range(stages)) or len(set(chosen.homes.values())) != ranks:
        raise PlanError(
            f"schedule {chosen.name} is for stages {list(chosen.stages)} on {chosen.ranks} ranks, "
            f"the program has {stages} stages on {ranks} ranks",
            line=user_line(),
        )
    return numbered(chosen.home(stage) for stage in range(stages))


def chunk_placements(schedule: Chosen, stages: int, placements: Sequence[Placement]) -> list[Placement]:
    """The placement of each stage where the schedule runs `stages` of them on these pipeline ranks: what their parameters are
    annotated with. "auto" and None: once around the ranks, and again. Raises PlanError where the schedule cannot have them so.
    """
    if schedule is None or schedule == AUTO:
        return [placements[stage % len(placements)] for stage in range(stages)]
    return [placements[home] for home in wanted_homes(schedule, stages, len(placements))]


def fits(chosen: str | Schedule, homes: tuple[int, ...]) -> bool:
    """Whether the schedule has these homes."""
    try:
        return wanted_homes(chosen, len(homes), len(set(homes))) == homes
    except PlanError:
        return False


def named_for(chosen: Chosen, homes: tuple[int, ...]) -> str | Schedule:
    """The schedule meant for stages with these homes."""
    if chosen is not None:
        return chosen
    found = next((name for name in PLAIN if fits(name, homes)), None)
    if found is None:
        raise PlanError(
            f"the stages stand on pipeline ranks {list(homes)}, and no schedule of ours has them so ({', '.join(PLAIN)}); "
            "give an of.Schedule for them"
        )
    return found


def dealt_homes(chosen: Chosen, stages: int, devices: int) -> tuple[int, ...] | None:
    """Homes on as many ranks as the schedule can use of so many devices; None where they cannot be dealt out evenly."""
    choices = PLAIN[:2] if chosen is None else (chosen,)
    least = 2 if devices > 1 and stages > 1 else 1  # several devices are meant to be a pipeline
    counts = [ranks for ranks in range(stages, least - 1, -1) if devices % ranks == 0]
    for one in choices:
        for ranks in counts:
            try:
                return wanted_homes(one, stages, ranks)
            except PlanError:
                continue
    return None


def stage_homes(places: Mapping[int, object]) -> tuple[int, ...]:
    """The homes of stages by what each runs on; one stage where there are none. Raises PlanError where a number is left out."""
    if set(places) != set(range(len(places))):
        raise PlanError(f"stages are numbered 0, 1, 2, ... without gaps; there is work in stages {sorted(places)}")
    return numbered(places[stage] for stage in range(len(places))) or (0,)


def graph_homes(graph: Graph) -> tuple[int, ...]:
    """The homes of the stages of a graph whose nodes are placed."""
    placed = [node for node in graph.nodes if node.stage is not None and node.stream == "compute"]  # copies to the host are not
    return stage_homes({node.stage or 0: node.placement.devices for node in placed if node.placement})


def order_for(chosen: Chosen, homes: Sequence[int], micro_batches: int, times: Times | None = None) -> Schedule:
    """The schedule of stages with these homes, shaped for `times`."""
    return named_schedule(named_for(chosen, tuple(homes)), len(homes), len(set(homes)), micro_batches, times)


def splits_backward(chosen: Chosen, homes: tuple[int, ...]) -> bool:
    """Whether the schedule parts the backward of a stage in I and W."""
    found = named_for(chosen, homes)
    return found.splits_backward if isinstance(found, Schedule) else find_schedule(found, len(homes), len(set(homes))).splits_backward


def forwards_first(chosen: Chosen) -> bool:
    """Whether every rank runs all its forwards before any backward, so that work on all micro-batches can stand between."""
    if not isinstance(chosen, Schedule):
        return chosen == "gpipe"
    turns = [[action.phase == "F" for action in row] for row in chosen.rows]
    return all(turn == sorted(turn, reverse=True) for turn in turns)
