"""rings: copies of split parameters, and gradients on their way to shards, take turns in rings of bytes.

With `zero=3` a stage gathers each parameter before its forward and before its backward uses it. The communication stream would gather
all of them at once, and each would have its own bytes. Here they lie in a ring, in the order in which they are used; the ring is as
large as the two largest, so that the next is on its way while one is used. From `zero=2` on the backward pass puts each gradient into
a ring too, from which every device pulls its shard. Who fills a place waits, by control registers, for the last use of what had its
bytes before, in the micro-batch before as well:

    use(1, m) > gather(3, m)        use(3, m) > gather(1, m + 1), with a token to begin with
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from oflow.compiler.memory import CONTROL
from oflow.compiler.options import Options
from oflow.compiler.stage_times import COMPUTE
from oflow.plan import ActorTemplate, Plan, PortTemplate, RegisterTemplate

AHEAD = 2
"""How many of the largest a ring holds."""


@dataclass(frozen=True, slots=True)
class Passing:
    """A register that is filled and read in every act of its writer; `first` to `last`: the templates between which it is needed."""

    register: int
    writer: int
    readers: tuple[int, ...]
    first: int
    last: int
    nbytes: int


def rings(plan: Plan, options: Options) -> Plan:
    """The plan with its rings: registers have one slot and offsets in their ring; `memory` gives the ring a place."""
    stage = options.zero.stage
    found = [*(gathered(plan) if stage >= 3 else ()), *(_gradients(plan) if stage >= 2 else ())]
    together: dict[tuple[object, ...], list[Passing]] = {}
    for one in found:
        user = plan.actor_templates[one.first]
        together.setdefault((user.group, user.stage, user.phase, user.acts, one.first == one.writer), []).append(one)
    for number, members in enumerate(together.values()):
        units = _units(members)
        if len(units) > AHEAD:
            plan = _in_a_ring(plan, f"ring {number}", units)
    return plan


# ---------------------------------------------------------------- what takes turns


def gathered(plan: Plan) -> list[Passing]:
    """Copies of kept state, each for one phase of the compute stream of the device."""
    readers, kept = _readers(plan), {r for r, template in enumerate(plan.register_templates) if template.region == "state"}
    copies: set[int] = set()
    found = []
    for number, actor in enumerate(plan.actor_templates):
        sources = {port.register for port in actor.ports if port.direction == "in"}
        if actor.stream == COMPUTE or not sources or not sources <= kept | copies:
            continue
        for port in _filled(actor):
            copies.add(port.register)
            uses = readers.get(port.register, [])
            phases = {plan.actor_templates[n].phase for n, _ in uses}
            if len(phases) == 1 and all(_beside(plan, number, n, p) and plan.actor_templates[n].stream == COMPUTE for n, p in uses):
                places = tuple(n for n, _ in uses)
                found.append(Passing(port.register, number, places, min(places), max(places), _nbytes(plan, port.register)))
    # what one act brings is there together, from the first use of any of it
    last: dict[int, int] = {}
    for one in found:
        last[one.writer] = max(one.last, last.get(one.writer, -1))
    first = {number: min(n for p in _filled(plan.actor_templates[number]) for n, _ in readers.get(p.register, [])) for number in last}
    return [replace(one, first=first[one.writer], last=last[one.writer]) for one in found]


def _gradients(plan: Plan) -> list[Passing]:
    """What the backward makes on a compute stream and others only pull, for an update; needed until all is there that is pulled with it."""
    readers = _readers(plan)
    found = []
    for number, actor in enumerate(plan.actor_templates):
        if actor.stream != COMPUTE or actor.phase in ("F", "update"):
            continue
        for port in _filled(actor):
            pullers = tuple(n for n, _ in readers.get(port.register, []))
            if pullers and all(_pulls_for_updates(plan, readers, number, n) for n in pullers):
                found.append(Passing(port.register, number, pullers, number, number, _nbytes(plan, port.register)))
    complete: dict[int, int] = {}
    for one in found:
        complete |= {puller: max(one.writer, complete.get(puller, -1)) for puller in one.readers}
    return [replace(one, last=max(complete[puller] for puller in one.readers)) for one in found]


def _readers(plan: Plan) -> dict[int, list[tuple[int, PortTemplate]]]:
    found: dict[int, list[tuple[int, PortTemplate]]] = {}
    for number, actor in enumerate(plan.actor_templates):
        for port in actor.ports:
            if port.direction == "in":
                found.setdefault(port.register, []).append((number, port))
    return found


def _filled(actor: ActorTemplate) -> Iterator[PortTemplate]:
    return (port for port in actor.ports if port.direction == "out" and port.mode == "whole" and port.every == 1)


def _beside(plan: Plan, writer: int, reader: int, port: PortTemplate) -> bool:
    """Whether both act on the same device for the same micro-batches."""
    one, other = plan.actor_templates[writer], plan.actor_templates[reader]
    return one.group == other.group and one.acts == other.acts and not port.peers and port.every == 1


def _pulls_for_updates(plan: Plan, readers: dict[int, list[tuple[int, PortTemplate]]], writer: int, reader: int) -> bool:
    one, other = plan.actor_templates[writer], plan.actor_templates[reader]
    after = [plan.actor_templates[n] for p in other.ports if p.direction == "out" for n, _ in readers.get(p.register, [])]
    fits = other.stream != COMPUTE and one.group == other.group and one.acts == other.acts
    return fits and bool(after) and all(actor.phase == "update" for actor in after)


def _nbytes(plan: Plan, register: int) -> int:
    return plan.register_templates[register].slot_nbytes


# ---------------------------------------------------------------- in what order, and where


def _units(found: Sequence[Passing]) -> list[list[Passing]]:
    """In the order in which they are needed; those that are needed at the same time together."""
    units: list[list[Passing]] = []
    until = -1
    for one in sorted(found, key=lambda one: one.first):
        if one.first > until:
            units.append([])
        units[-1].append(one)
        until = max(until, one.last)
    return units


def _in_a_ring(plan: Plan, name: str, units: Sequence[Sequence[Passing]]) -> Plan:
    registers, actors = list(plan.register_templates), list(plan.actor_templates)
    sizes = [sum(one.nbytes for one in unit) for unit in units]
    offsets = _places(sizes)
    for unit, at in zip(units, offsets, strict=True):
        for one in unit:
            registers[one.register] = replace(registers[one.register], slots=1, offsets=(at,), ring=name)
            at += one.nbytes
    for i, j, wraps in _turns(offsets, sizes):
        for before in dict.fromkeys(n for one in units[j] for n in one.readers):
            for after in dict.fromkeys(one.writer for one in units[i]):
                registers.append(replace(_control(actors, before, after, wraps), ring=name))
                pulled = {one.register for one in units[j]}
                actors[before] = _with_ports(actors[before], [PortTemplate(len(registers) - 1, "out", mode="control")])
                actors[after] = _with_ports(actors[after], _waiting(actors[before], pulled, len(registers) - 1))
    return replace(plan, actor_templates=tuple(actors), register_templates=tuple(registers))


def _places(sizes: Sequence[int]) -> list[int]:
    """Where each lies, one behind the other, from the start again where the end is too near."""
    size, at, offsets = sum(sorted(sizes)[-AHEAD:]), 0, list[int]()
    for nbytes in sizes:
        at = at if at + nbytes <= size else 0
        offsets.append(at)
        at += nbytes
    return offsets


def _turns(offsets: Sequence[int], sizes: Sequence[int]) -> Iterator[tuple[int, int, bool]]:
    """(unit, one that had some of its bytes last, whether in the micro-batch before)."""
    count = len(sizes)
    for i in range(count):
        left = [(offsets[i], offsets[i] + sizes[i])]
        for back in range(1, count):
            j = (i - back) % count
            taken = (offsets[j], offsets[j] + sizes[j])
            after = list(_without(left, taken))
            if after != left:
                yield i, j, i < back
            left = after


def _without(spans: Iterable[tuple[int, int]], taken: tuple[int, int]) -> Iterator[tuple[int, int]]:
    for start, stop in spans:
        if taken[1] <= start or stop <= taken[0]:
            yield start, stop
            continue
        if start < taken[0]:
            yield start, taken[0]
        if taken[1] < stop:
            yield taken[1], stop


# ---------------------------------------------------------------- who waits for whom


def _control(actors: Sequence[ActorTemplate], before: int, after: int, wraps: bool) -> RegisterTemplate:
    name = f"control.{actors[before].name}>{actors[after].name}"
    return RegisterTemplate(name, actors[before].group, (CONTROL,), initial=int(wraps))


def _waiting(reader: ActorTemplate, registers: set[int], control: int) -> list[PortTemplate]:
    """The ports by which a rank waits for every rank that reads its registers."""
    columns = [port.peers for port in reader.ports if port.register in registers and port.direction == "in"]
    if not any(columns):
        return [PortTemplate(control, "in", mode="control")]
    ranks = len(next(column for column in columns if column))
    waits: list[list[int]] = [[] for _ in range(ranks)]
    for rank in range(ranks):
        for read in {column[rank] if column else rank for column in columns} - {-1}:
            waits[read].append(rank)
    most = max(map(len, waits))
    return [
        PortTemplate(control, "in", mode="control", peers=tuple(found[k] if k < len(found) else -1 for found in waits))
        for k in range(most)
    ]


def _with_ports(actor: ActorTemplate, ports: Sequence[PortTemplate]) -> ActorTemplate:
    return replace(actor, ports=(*actor.ports, *ports))
