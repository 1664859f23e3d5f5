"""reuse: how far away the bytes that a call touches are, so that a machine can tell in which cache it finds them.

The distance of an operand is how many bytes its device touches between two uses of it (Mattson et al. 1970, counted without
taking repetitions out, and never more than there are). What is kept between steps waits a whole step. Costs are independent of
any machine: distances are powers of two, so that equal works stay equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from oflow.compiler.options import Options
from oflow.machine import Cost, Work
from oflow.plan import ActorTemplate, Plan


@dataclass(slots=True)
class _Use:
    """What a device has touched so far: bytes, and at which byte each register was touched last."""

    clock: float = 0.0
    last: dict[int, float] = field(default_factory=dict)


def reuse(plan: Plan, options: Options) -> Plan:
    """The plan with the distances of what each call touches; before chains are made, when each actor is one call."""
    room = _room(plan)
    uses: dict[str, _Use] = {}
    for _ in _walk(plan, uses):
        pass  # a step before, so that what it left behind is known
    actors = []
    for actor, reaches in _walk(plan, uses):
        most = room.get(plan.rank_table[actor.group][0], 0.0)
        actors.append(replace(actor, costs=_reached(actor.costs, reaches, most)))
    return replace(plan, actor_templates=tuple(actors))


def _walk(plan: Plan, uses: dict[str, _Use]) -> Iterator[tuple[ActorTemplate, list[tuple[float, float]]]]:
    """Each actor with the (reach, bytes) of its own ports, on the first device it runs on."""
    for actor in plan.actor_templates:
        use = uses.setdefault(plan.rank_table[actor.group][0], _Use())
        found = []
        for port in actor.ports:
            if port.peers:
                continue
            nbytes = float(plan.register_templates[port.register].types[0].nbytes)
            found.append((use.clock - use.last.get(port.register, 0.0) + nbytes, nbytes))
        for port in actor.ports:
            if not port.peers:
                use.clock += plan.register_templates[port.register].types[0].nbytes
                use.last[port.register] = use.clock
        yield actor, found


def _room(plan: Plan) -> dict[str, float]:
    """Bytes that each device has at most alive at a time, what is kept included: no distance is longer."""
    ends = {p.register: number for number, actor in enumerate(plan.actor_templates) for p in actor.ports}
    live: dict[str, float] = {}
    most: dict[str, float] = {}
    for template in plan.register_templates:
        if template.region == "state":
            device = plan.rank_table[template.group][0]
            live[device] = live.get(device, 0.0) + template.types[0].nbytes
    for number, actor in enumerate(plan.actor_templates):
        fresh = {p.register for p in actor.ports if p.direction == "out" and p.mode != "keep"}
        for register in fresh:
            device = plan.rank_table[plan.register_templates[register].group][0]
            live[device] = live.get(device, 0.0) + plan.register_templates[register].types[0].nbytes
            most[device] = max(most.get(device, 0.0), live[device])
        for register in {p.register for p in actor.ports if ends[p.register] == number}:
            template = plan.register_templates[register]
            if template.region != "state":
                device = plan.rank_table[template.group][0]
                live[device] = live.get(device, 0.0) - template.types[0].nbytes
    return {device: max(most.get(device, 0.0), nbytes) for device, nbytes in live.items()}


def _reached(costs: tuple[Cost, ...], reaches: list[tuple[float, float]], most: float) -> tuple[Cost, ...]:
    """The distances, in proportion to the bytes, on the works that touch anything; ranks that do the same are worked out once."""
    if not sum(nbytes for _, nbytes in reaches):
        return costs
    known: dict[tuple[tuple[Work, ...], bool], tuple[Work, ...]] = {}
    found = []
    for cost in costs:
        key = cost.works, bool(cost.received)
        if key not in known:
            known[key] = _works(cost.works, reaches, most, apart=bool(cost.received))
        found.append(Cost(cost.flops, cost.nbytes, cost.calls, cost.received, cost.seconds, known[key], cost.roofs))
    return tuple(found)


def _works(works: tuple[Work, ...], reaches: list[tuple[float, float]], most: float, *, apart: bool) -> tuple[Work, ...]:
    """apart: part of the bytes are received, which is not touched here."""
    ports = sum(nbytes for _, nbytes in reaches)
    if apart:
        works = tuple(_shrunk(work, min(1.0, ports / work.nbytes) if work.nbytes else 0.0) for work in works)
    parts: dict[float, float] = {}
    for reach, nbytes in reaches:
        size = _power(min(reach, most))
        parts[size] = parts.get(size, 0.0) + nbytes / ports
    return tuple(_spread(work, parts) for work in works)


def _shrunk(work: Work, share: float) -> Work:
    return replace(work, touched=tuple((reach, share * nbytes) for reach, nbytes in work.touched))


def _spread(work: Work, parts: dict[float, float]) -> Work:
    """Never nearer than all that the call itself touches."""
    total = work.nbytes
    if not total:
        return work
    found: dict[float, float] = {}
    for reach, share in sorted(parts.items()):
        size = max(reach, _power(total))
        found[size] = found.get(size, 0.0) + share * total
    return replace(work, touched=tuple(found.items()))


def _power(size: float) -> float:
    return float(1 << max(0, int(size) - 1).bit_length())
