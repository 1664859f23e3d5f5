"""The plan on one device a role: ranks left out, peers as places of roles, ports that fall together taken once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from oflow.plan import ActorTemplate, Arg, Call, Plan, PortTemplate, RegisterTemplate, Scratch

T = TypeVar("T")
Ranks = tuple[int, ...]
"""The ranks of a group that are kept."""


def kept_ranks(group: tuple[str, ...], first: set[str]) -> Ranks:
    """The ranks of a group whose devices represent their roles."""
    return tuple([rank for rank, device in enumerate(group) if device in first])


def places_of(group: tuple[str, ...], role: dict[str, int], first: set[str]) -> np.ndarray:
    """For each rank of a group the place of its role in the folded group."""
    place = {role[group[rank]]: at for at, rank in enumerate(kept_ranks(group, first))}
    return np.array([place.get(role[device], -1) for device in group], np.int64)


def _picked(column: tuple[T, ...], kept: Ranks) -> tuple[T, ...]:
    return tuple([column[rank] for rank in kept]) if len(column) > 1 else column


def quotient(plan: Plan, role: tuple[int, ...]) -> Plan | None:
    """The plan on the first device of each role; None where ports that would fall together are of different kinds.

    Devices of one role stand in the same groups, because they run the same templates.
    """
    of = dict(zip(plan.devices, role, strict=True))
    chosen = first_of(plan.devices, role)
    kept = [kept_ranks(group, chosen) for group in plan.rank_table]
    table = tuple(tuple([group[rank] for rank in ranks]) for group, ranks in zip(plan.rank_table, kept, strict=True))
    places = [places_of(group, of, chosen) for group in plan.rank_table]
    actors = []
    for actor in plan.actor_templates:
        ports = _folded_ports(plan, actor, kept, places)
        if ports is None:
            return None
        actors.append(_folded_actor(actor, ports, kept[actor.group]))
    registers = tuple(_folded_register(register, kept[register.group]) for register in plan.register_templates)
    made = replace(plan, actor_templates=tuple(actors), register_templates=registers, rank_table=table, order={})

    def row(old: int) -> int:
        number = plan.register_template_of(old)
        place = places[plan.register_templates[number].group][old - plan.register_bases[number]]
        return made.register_bases[number] + int(place)

    return replace(
        made, order=_folded_order(plan, made, places, chosen), inputs=tuple(map(row, plan.inputs)),
        outputs=tuple((name, row(old)) for name, old in plan.outputs),
        arenas={d: n for d, n in plan.arenas.items() if d in chosen}, states={d: n for d, n in plan.states.items() if d in chosen},
        scratches={s: at for s, at in plan.scratches.items() if s.rpartition("/")[0] in chosen},
    )  # fmt: skip


def first_of(devices: Sequence[str], role: Sequence[int]) -> set[str]:
    """The first device of each role."""
    found: dict[int, str] = {}
    for device, number in zip(devices, role, strict=True):
        found.setdefault(number, device)
    return set(found.values())


def _folded_order(plan: Plan, made: Plan, places: list[np.ndarray], chosen: set[str]) -> dict[str, tuple[int, ...]]:
    old, new = np.array(plan.actor_bases), np.array(made.actor_bases)
    table = np.concatenate([new[n] + places[t.group] for n, t in enumerate(plan.actor_templates)]) if len(old) > 1 else new
    return {s: tuple(table[list(rows)].tolist()) if rows else () for s, rows in plan.order.items() if s.rpartition("/")[0] in chosen}


def _folded_actor(actor: ActorTemplate, ports: tuple[PortTemplate, ...], kept: Ranks) -> ActorTemplate:
    def arg(one: Arg) -> Arg:
        return replace(one, types=_picked(one.types, kept)) if len(one.types) > 1 else one

    def call(one: Call) -> Call:
        wide = len(one.attrs) > 1 or any(len(a.types) > 1 for a in (*one.outs, *one.ins))
        return replace(one, outs=tuple(map(arg, one.outs)), ins=tuple(map(arg, one.ins)), attrs=_picked(one.attrs, kept)) if wide else one

    scratch = tuple([Scratch(_picked(s.types, kept), s.offset) for s in actor.scratch])
    return replace(actor, ports=ports, costs=_picked(actor.costs, kept), calls=tuple(map(call, actor.calls)), scratch=scratch)


def _folded_register(register: RegisterTemplate, kept: Ranks) -> RegisterTemplate:
    return replace(register, types=_picked(register.types, kept), offsets=_picked(register.offsets, kept))


def _folded_ports(plan: Plan, actor: ActorTemplate, kept: list[Ranks], places: list[np.ndarray]) -> tuple[PortTemplate, ...] | None:
    """Peers as places of roles; of ports that fall together on one register the first stands for all. None: they differ."""
    mine, seen = kept[actor.group], dict[tuple[int, int, int], tuple[str, int, str]]()
    found = []
    for port in actor.ports:
        home = plan.register_templates[port.register].group
        peers = []
        for at, rank in enumerate(mine):
            shard = port.peers[rank] if port.peers else rank
            place = int(places[home][shard]) if shard >= 0 else -1
            kind = (port.direction, port.every, port.mode)
            if place >= 0 and seen.setdefault((port.register, at, place), kind) != kind:
                return None
            peers.append(place)
        found.append((port, peers))
    return tuple(_without_repeats(found))


def _without_repeats(found: list[tuple[PortTemplate, list[int]]]) -> list[PortTemplate]:
    taken: set[tuple[int, int, int]] = set()
    ports = []
    for port, peers in found:
        own: list[int] = []
        for at, place in enumerate(peers):
            key = (port.register, at, place)
            own.append(-1 if key in taken else place)
            taken.add(key)
        ports.append(replace(port, peers=tuple(own)) if port.peers or own != peers else port)
    return ports
