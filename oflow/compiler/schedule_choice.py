"""schedule="auto": the schedule whose plan has the shortest proved period and fits in memory.

Every named schedule that has the program's stages where they are (or could be put) is a candidate, shaped for the plan's own times
like any named schedule. All of them are compiled and proved, so the one taken is no worse than any of them. Of a large program only
those are that the replay of their orders finds shortest; the others' figures are then the replay's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from oflow.check import Proof, check
from oflow.compiler.chunks import order_for
from oflow.compiler.options import Options
from oflow.compiler.schedule import plan_homes
from oflow.compiler.schedules import SCHEDULES
from oflow.compiler.stage_times import COMPUTE, stage_times
from oflow.compiler.stages import stage_placements
from oflow.errors import OflowError, OutOfMemory, PlacementError, PlanError
from oflow.graph import Graph
from oflow.plan import Plan
from oflow.schedule import Times, replay

LARGE, COMPILED = 100_000, 2
"""Acts of a step from which on only so many candidates, the shortest by their replays, are compiled besides the first."""
Passes = dict[str, Graph | Plan]
Run = Callable[[Graph, Options], Passes]


@dataclass(frozen=True, slots=True)
class ScheduleChoice:
    """A schedule that was looked at. period: seconds a step, of its proved plan (of the replay of one step, where `proved` is False).
    bubble: idle share of the compute streams in it. nbytes: of arena and state on the fullest device. refused: why it cannot be
    taken ("": it can).
    """

    name: str
    period: float = math.inf
    bubble: float = 0.0
    nbytes: int = 0
    proved: bool = False
    refused: str = ""
    chosen: bool = False

    def __str__(self) -> str:
        mark = "*" if self.chosen else " "
        if self.refused:
            return f"{mark} {self.name}: {self.refused}"
        held = f", {self.nbytes:,} bytes on the fullest device" if self.proved else " (replayed only)"
        return f"{mark} {self.name}: {self.period:.6g} s a step, bubble {self.bubble:.1%}{held}"


def candidates(graph: Graph) -> list[str]:
    """The names of the schedules that the program's stages have room for. Raises what the plainest one meets if there are none."""
    found = [name for name in SCHEDULES if _has_room(graph, name)]
    if not found:
        stage_placements(graph, None)
    return found


def _has_room(graph: Graph, name: str) -> bool:
    try:
        stage_placements(graph, name)
    except (PlanError, PlacementError):
        return False
    return True


def best_schedule(graph: Graph, given: Options, run: Run) -> Passes:
    """What the passes make with the best schedule. Raises what the first candidate meets if none can be taken."""
    best: tuple[ScheduleChoice, Passes] | None = None
    refused: OflowError | None = None
    for choice, made in _looked_at(graph, given, run):
        if isinstance(made, OflowError):
            refused = refused or made
        elif made is not None and (best is None or _better(choice, best[0])):
            best = choice, made
    if best is None:
        assert refused is not None
        raise refused
    return best[1]


def schedule_choices(graph: Graph, given: Options, run: Run) -> list[ScheduleChoice]:
    """All candidates, the best first; refused ones last."""
    looked_at = [choice for choice, _ in _looked_at(graph, given, run)]
    found = sorted(looked_at, key=lambda c: (bool(c.refused), not c.proved, c.period, c.nbytes))
    best = next((choice for choice in found if choice.proved and not choice.refused), None)
    return [replace(choice, chosen=choice is best) for choice in found]


def _better(one: ScheduleChoice, other: ScheduleChoice) -> bool:
    return (one.period, one.nbytes) < (other.period, other.nbytes)


def _looked_at(graph: Graph, given: Options, run: Run) -> Iterator[tuple[ScheduleChoice, Passes | OflowError | None]]:
    """Each candidate with what was made of it, the error that it met, or None where it was only replayed."""
    waiting = candidates(graph)
    first: Plan | None = None
    while waiting and first is None:
        choice, made = _compiled(graph, given, run, waiting.pop(0))
        yield choice, made
        found = made["memory"] if isinstance(made, dict) else None
        first = found if isinstance(found, Plan) else None
    if first is not None and sum(actor.acts * len(first.rank_table[actor.group]) for actor in first.actor_templates) > LARGE:
        homes = plan_homes(first)
        times = stage_times(first, given.machine, len(homes))
        replayed = sorted((_replayed(name, homes, given, times) for name in waiting), key=lambda c: c.period)
        waiting = [choice.name for choice in replayed[:COMPILED]]
        yield from ((choice, None) for choice in replayed[COMPILED:])
    for name in waiting:
        yield _compiled(graph, given, run, name)


def _compiled(graph: Graph, given: Options, run: Run, name: str) -> tuple[ScheduleChoice, Passes | OflowError]:
    try:
        made = run(graph, replace(given, schedule=name))
        plan = made["memory"]
        assert isinstance(plan, Plan)
        proof = check(plan)
    except OutOfMemory as error:
        return ScheduleChoice(name, refused="does not fit in memory"), error
    except OflowError as error:
        return ScheduleChoice(name, refused=str(error).partition("\n")[0]), error
    need = max(proof.arenas.get(device, 0) + proof.states.get(device, 0) for device in plan.devices if not device.startswith("host:"))
    return ScheduleChoice(name, proof.period, _idle(proof), need, proved=True), made


def _idle(proof: Proof) -> float:
    """The share of a period in which compute streams do nothing."""
    busy = [seconds for stream, seconds in proof.busy.items() if stream.endswith(f"/{COMPUTE}")]
    return 1 - sum(busy) / (len(busy) * proof.period) if busy and proof.period else 0.0


def _replayed(name: str, homes: tuple[int, ...], given: Options, times: Times) -> ScheduleChoice:
    try:
        run = replay(order_for(name, homes, given.micro_batches, times), times)
    except PlanError as error:  # it has its stages elsewhere
        return ScheduleChoice(name, refused=str(error).partition("\n")[0])
    return ScheduleChoice(name, run.seconds, run.bubble)
