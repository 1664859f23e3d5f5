"""schedule="auto": the schedule whose plan has the shortest proved period and fits in memory.

Every named schedule that has the program's stages where they are (or could be put) is a candidate, shaped for the plan's own times
like any named schedule; so are orders shaped for exactly the memory that is left for stashes. All of them are compiled and proved, so
the one taken is no worse than any of them. Of a large program only those are that the replay of their orders finds shortest; the
others' figures are then the replay's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from oflow.check import Proof, check
from oflow.compiler.chunks import order_for
from oflow.compiler.options import Options
from oflow.compiler.schedule import plan_homes
from oflow.compiler.schedules import SCHEDULES, choose_schedule
from oflow.compiler.stage_times import COMPUTE, stage_times
from oflow.compiler.stages import stage_placements
from oflow.errors import OflowError, OutOfMemory, PlacementError, PlanError
from oflow.graph import Graph
from oflow.live import phase
from oflow.machine import Machine
from oflow.plan import Plan, aligned
from oflow.schedule import Schedule, Times, replay

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


def _has_room(graph: Graph, one: str | Schedule) -> bool:
    try:
        stage_placements(graph, one)
    except (PlanError, PlacementError):
        return False
    return True


def best_schedule(graph: Graph, given: Options, run: Run) -> Passes:
    """What the passes make with the best schedule. If none can be taken: raises what the one meets that lacks least memory."""
    best: tuple[ScheduleChoice, Passes] | None = None
    refused: OflowError | None = None
    for choice, made in _looked_at(graph, given, run):
        if isinstance(made, OflowError):
            refused = made if refused is None or _lacking(made) < _lacking(refused) else refused
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


def _lacking(error: OflowError) -> float:
    """Bytes that were missing; infinite where memory was not what was wrong."""
    found = error.facts.get("lacking")
    return found if isinstance(found, int) else math.inf


def _better(one: ScheduleChoice, other: ScheduleChoice) -> bool:
    return (one.period, one.nbytes) < (other.period, other.nbytes)


def _looked_at(graph: Graph, given: Options, run: Run) -> Iterator[tuple[ScheduleChoice, Passes | OflowError | None]]:
    """Each candidate with what was made of it, the error that it met, or None where it was only replayed."""
    waiting: list[str | Schedule] = [*candidates(graph)]
    first: Plan | None = None
    while waiting and first is None:
        choice, made = _compiled(graph, given, run, waiting[0])
        yield choice, made
        if isinstance(made, OutOfMemory):  # its times are those of the others
            made = _compiled(graph, replace(given, machine=_roomy(given.machine)), run, waiting[0])[1]
        del waiting[0]
        first = _plan(made) if isinstance(made, dict) else None
    if first is None:
        return
    homes = plan_homes(first)
    times = stage_times(first, given.machine, len(homes))
    waiting += [one for one in _between(first, given.machine, homes, times) if _has_room(graph, one)]
    if sum(actor.acts * len(first.rank_table[actor.group]) for actor in first.actor_templates) > LARGE:
        replayed = sorted(((_replayed(one, homes, given, times), n) for n, one in enumerate(waiting)), key=lambda pair: pair[0].period)
        yield from ((choice, None) for choice, _ in replayed[COMPILED:])
        waiting = [waiting[n] for _, n in replayed[:COMPILED]]
    for one in waiting:
        yield _compiled(graph, given, run, one)


def _roomy(machine: Machine) -> Machine:
    return replace(machine, devices={name: replace(device, memory_nbytes=1 << 60) for name, device in machine.devices.items()})


def _between(plan: Plan, machine: Machine, homes: tuple[int, ...], times: Times) -> list[Schedule]:
    """Schedules shaped for exactly the memory that is left for stashes, beside the published points."""
    stages, ranks = len(homes), len(set(homes))
    stash, room = _stashes(plan, machine, homes)
    try:
        found = choose_schedule(stages, ranks, plan.micro_batches, times, stash_nbytes=stash, limit_nbytes=room)
    except (OutOfMemory, PlanError):
        return []
    return [one.schedule for one in found.candidates if one.fits and one.schedule.name not in SCHEDULES]


def _stashes(plan: Plan, machine: Machine, homes: tuple[int, ...]) -> tuple[list[int], int]:
    """Bytes of one micro-batch's stash of each stage, and what the fullest device has for them."""
    late = {p.register for a in plan.actor_templates if a.phase in ("B", "I", "W") for p in a.ports if p.direction == "in"}
    stash = [0] * len(homes)
    held: dict[str, int] = {}
    for row in late & plan.writers.keys():
        maker, register = plan.actor_templates[plan.writers[row][0]], plan.register_templates[row]
        if maker.phase == "F" and maker.acts >= plan.micro_batches and register.region == "arena":
            nbytes = max(aligned(kind.nbytes) for kind in register.types)
            stash[maker.stage] += nbytes
            for device in plan.rank_table[register.group]:
                held[device] = held.get(device, 0) + nbytes * register.slots
    used = {device: plan.arenas.get(device, 0) + plan.states.get(device, 0) - nbytes for device, nbytes in held.items()}
    return stash, min((machine.device(device).memory_nbytes - max(0, nbytes) for device, nbytes in used.items()), default=0)


def _compiled(graph: Graph, given: Options, run: Run, one: str | Schedule) -> tuple[ScheduleChoice, Passes | OflowError]:
    name = _name(one)
    try:
        with phase(f"schedule {name}"):
            made = run(graph, replace(given, schedule=one))
            plan = _plan(made)
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


def _plan(made: Passes) -> Plan:
    found = made["memory"]
    assert isinstance(found, Plan)
    return found


def _name(one: str | Schedule) -> str:
    return one.name if isinstance(one, Schedule) else one


def _replayed(one: str | Schedule, homes: tuple[int, ...], given: Options, times: Times) -> ScheduleChoice:
    name = _name(one)
    try:
        run = replay(order_for(one, homes, given.micro_batches, times), times)
    except PlanError as error:  # it has its stages elsewhere
        return ScheduleChoice(name, refused=str(error).partition("\n")[0])
    return ScheduleChoice(name, run.seconds, run.bubble)
