"""Roles: devices that behave alike, and the plan folded to one device a role.

The 64 devices of a stage that is 8-way data and 8-way tensor parallel run the same actors, for as long, and wait for the same kinds
of neighbours. `fold` finds such classes by colour refinement (Weisfeiler & Leman 1968): devices start alike where their actors,
seconds, registers, bytes and stream orders are, and stay alike while the roles that each of their actors takes tokens from are.
The folded plan is a plan: it is played, timed and laid out like any other.

Why that says everything about the whole plan. Map each actor to that of its device's representative. Every arc of the whole token
game (data, credit, order, rendezvous) goes to an arc of the folded one with the same tokens and rates; and for each arc that enters
a folded actor, one of its kind enters every actor of the class: a fibration (Boldi & Vigna 2002). Hence, by induction over acts,
* an actor can make its act k exactly when its image can, so one game runs through where the other does (firing is persistent);
* acts start at the same times: each starts at the maximum, over the arcs that enter, of the end of an act + no more, and both
  maxima run over the same numbers;
* the periods are equal: a cycle projects to a closed walk of the same seconds and tokens, and a folded cycle, followed backwards
  from any actor above it, lifts to a walk that must close in a finite plan.
What does not carry over are paths between two acts of one device: a folded path may lift to one that comes from its twin. So turns in
memory are proved from `local`, whose arcs stay on a device in the whole plan too, and only where no other device reads what shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from oflow.arrays import Tables, durations, tables
from oflow.check.cycle import HandOver
from oflow.machine import Machine
from oflow.plan import ActorTemplate, Arg, Call, Plan, PortTemplate, RegisterTemplate, Scratch

T = TypeVar("T")
LARGEST = 1 << 62
Ranks = tuple[int, ...]
"""The ranks of a group that are kept."""


@dataclass(frozen=True)
class Roles:
    """`whole`, the plan that was folded; `role`: of each of its devices, by number; `plan`: one device a role, the first that has it."""

    whole: Plan
    role: tuple[int, ...]
    plan: Plan

    @cached_property
    def local(self) -> Plan:
        """The folded plan without the ports that reach another device in the whole plan. (Not balanced: only its arcs mean anything.)"""
        made = _folded(self.whole, self.role, local=True)
        assert made is not None  # it has no port that the folded plan has not
        return made

    @cached_property
    def reached(self) -> frozenset[int]:
        """Register templates of which some device touches another one's shard."""
        table, registers = self.whole.rank_table, self.whole.register_templates
        found = set()
        for actor in self.whole.actor_templates:
            for port in actor.ports:
                home = table[registers[port.register].group]
                if port.peers and any(home[s] != d for s, d in zip(port.peers, table[actor.group], strict=True) if s >= 0):
                    found.add(port.register)
        return frozenset(found)

    @cached_property
    def representatives(self) -> dict[str, str]:
        """For each device the one that stands for it."""
        devices = self.whole.devices
        first: dict[int, str] = {}
        return {device: first.setdefault(role, device) for device, role in zip(devices, self.role, strict=True)}

    @cached_property
    def places(self) -> list[np.ndarray]:
        """For each rank of each group its rank in the folded plan."""
        number, first = dict(zip(self.whole.devices, self.role, strict=True)), _first(self.whole.devices, self.role)
        return [_places(group, number, first) for group in self.whole.rank_table]

    @cached_property
    def rows(self) -> np.ndarray:
        """(A) the folded actor row of each actor row."""
        parts = [base + self.places[t.group] for base, t in zip(self.plan.actor_bases, self.whole.actor_templates, strict=False)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    @cached_property
    def _kept(self) -> list[Ranks]:
        first = _first(self.whole.devices, self.role)
        return [_kept(group, first) for group in self.whole.rank_table]

    def unfolded_hand_over(self, found: HandOver) -> HandOver:
        """An entry of the folded critical cycle, between the representatives in the whole plan."""
        if self.plan is self.whole:
            return found

        def actor(row: int) -> int:
            number = self.plan.template_of(row)
            rank = self._kept[self.plan.actor_templates[number].group][row - self.plan.actor_bases[number]]
            return self.whole.actor_bases[number] + rank

        def register(row: int) -> int:
            number = self.plan.register_template_of(row)
            rank = self._kept[self.plan.register_templates[number].group][row - self.plan.register_bases[number]]
            return self.whole.register_bases[number] + rank

        source, target = (actor(row) if row >= 0 else -1 for row in (found.source, found.target))
        stream = list(self.whole.streams).index(list(self.plan.streams)[found.stream]) if found.stream >= 0 else -1
        return found._replace(source=source, target=target, register=register(found.register) if found.register >= 0 else -1, stream=stream)

    def of_devices(self, found: dict[str, T]) -> dict[str, T]:
        """What was found of the representatives, for every device."""
        return {device: found[first] for device, first in self.representatives.items() if first in found}

    def of_streams(self, found: dict[str, T]) -> dict[str, T]:
        """What was found of the representatives' streams, for the streams of every device, in the plan's order."""
        names = ((stream, *stream.rpartition("/")[::2]) for stream in self.whole.streams)
        streams = {stream: f"{self.representatives[device]}/{kind}" for stream, device, kind in names}
        return {stream: found[first] for stream, first in streams.items() if first in found}

    def unfolded_order(self, order: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """The orders of the folded streams, given to the streams of every device that they stand for."""
        plan = self.whole
        if self.plan is plan:
            return order
        rank = [{device: i for i, device in enumerate(group)} for group in plan.rank_table]
        bases, groups = np.array(plan.actor_bases), [t.group for t in plan.actor_templates]
        folded = {stream: np.searchsorted(self.plan.actor_bases, rows, "right") - 1 for stream, rows in order.items()}
        found = {}
        for device, first in self.representatives.items():
            at = np.array([rank[group].get(device, -1) for group in groups])
            for stream, templates in folded.items():
                name, _, kind = stream.rpartition("/")
                if name == first:
                    found[f"{device}/{kind}"] = tuple((bases[templates] + at[templates]).tolist())
        return found

    def unfolded_starts(self, starts: np.ndarray) -> np.ndarray:
        """A number for each act of the folded step, given to each act of the whole one (in the order of actor rows)."""
        if self.plan is self.whole:
            return starts
        acts = np.array([t.acts for t in self.plan.actor_templates])
        sizes = np.diff(self.plan.actor_bases)
        first = np.concatenate([[0], np.cumsum(np.repeat(acts, sizes))])
        whole_acts = np.repeat(acts, np.diff(self.whole.actor_bases))
        ends = np.cumsum(whole_acts)
        act = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - whole_acts, whole_acts)
        return np.asarray(starts[np.repeat(first[self.rows], whole_acts) + act])


def fold(plan: Plan, machine: Machine | None = None) -> Roles:
    """The roles of a plan on a machine (default: its own). Where no two devices are alike the folded plan is the plan itself."""
    if len(plan.devices) < 2:
        return Roles(plan, tuple(range(len(plan.devices))), plan)
    t = tables(plan)
    role = _refined(plan, t, _first_colours(plan, t, plan.machine if machine is None else machine))
    if len(set(role)) < len(role) and (made := _folded(plan, role)) is not None:
        return Roles(plan, role, made)
    return Roles(plan, tuple(range(len(plan.devices))), plan)


# ---------------------------------------------------------------- colours


def _first_colours(plan: Plan, t: Tables, machine: Machine) -> list[int]:
    """Devices are alike so far where they hold the same, for as long, in the same order. One number a device."""
    device = t.stream_device[t.stream]
    actors = np.stack([t.template, _numbered(durations(plan, machine))])
    sizes = np.diff(plan.register_bases)
    registers = np.stack([np.repeat(np.arange(len(sizes)), sizes), _numbered(t.offset), _numbered(t.nbytes)])
    scratch = _scratch_columns(plan, t)
    held = [_by_device(where, columns, len(t.devices)) for where, columns in ((device, actors), (t.device, registers), (device, scratch))]
    orders = _orders(plan, t)
    facts = [
        (plan.arenas.get(d), plan.states.get(d), machine.device(d).memory_nbytes, d.partition(":")[0], *orders[i], *(h[i] for h in held))
        for i, d in enumerate(t.devices)
    ]
    return _classes(facts)


def _scratch_columns(plan: Plan, t: Tables) -> np.ndarray:
    """(2, A) the template and the most scratch bytes of each actor: one number where all ranks agree."""
    needs = []
    for template in plan.actor_templates:
        size = len(plan.rank_table[template.group])
        most = np.zeros(size, np.int64)
        for scratch in template.scratch:
            most = np.maximum(most, [scratch.offset + kind.nbytes for kind in scratch.types])
        needs.append(most)
    return np.stack([t.template, np.concatenate(needs) if needs else np.zeros(0, np.int64)])


def _orders(plan: Plan, t: Tables) -> list[list[tuple[str, object, bytes]]]:
    """By device: name, scratch region and order (as bytes of template numbers) of its streams."""
    found: list[list[tuple[str, object, bytes]]] = [[] for _ in t.devices]
    templates, where = t.template[t.order], t.stream_device.tolist()
    for stream, name in enumerate(t.streams):
        number, kind = where[stream], name.rpartition("/")[2]
        order = templates[t.order_start[stream] : t.order_start[stream + 1]]
        found[number].append((kind, plan.scratches.get(name), order.tobytes()))
    return [sorted(one, key=lambda fact: fact[0]) for one in found]


def _refined(plan: Plan, t: Tables, colours: list[int]) -> tuple[int, ...]:
    """Colours split until the actors of a colour take tokens from the same (template, colour) by the same kinds of port."""
    device = t.stream_device[t.stream]
    ins = np.flatnonzero(t.producer >= 0)
    outs = t.producer[ins]
    reader, writer = t.port_actor[ins], t.port_actor[outs]
    register = np.searchsorted(plan.register_bases, t.port_register[ins], "right") - 1
    kinds = _numbered_rows(t.template[reader], register, t.template[writer], 2 * t.every[ins] + t.sliced[ins], t.every[outs])
    here, there = device[reader], device[writer]
    # an orphan: a port on a register that nobody writes, or that nobody reads
    lone = np.flatnonzero((t.port_out == 0) & (t.producer < 0))
    unwritten = _by_device(device[t.port_actor[lone]], np.stack([t.template[t.port_actor[lone]], t.every[lone]]), len(t.devices))
    colours = _classes(list(zip(colours, unwritten, strict=True)))
    # registers that lie beside their actors' device, as in the host's memory: one home must not stand for homes of different users
    user, home = device[t.port_actor], t.device[t.port_register]
    apart = np.flatnonzero(user != home)
    users, homes = user[apart], home[apart]
    held = np.searchsorted(plan.register_bases, t.port_register[apart], "right") - 1
    uses = _numbered_rows(t.template[t.port_actor[apart]], held, t.port_out[apart])
    while True:
        role = np.array(colours)
        data = _by_device(here, (kinds * len(role) + role[there])[None], len(role))
        credit = _by_device(there, (kinds * len(role) + role[here])[None], len(role))
        used = _by_device(homes, (uses * len(role) + role[users])[None], len(role))
        uses_of = _by_device(users, (uses * len(role) + role[homes])[None], len(role))
        found = _classes(list(zip(colours, data, credit, used, uses_of, strict=True)))
        if len(set(found)) == len(set(colours)):
            return tuple(found)
        colours = found


def _numbered(column: np.ndarray) -> np.ndarray:
    return np.asarray(np.unique(column, return_inverse=True)[1]).reshape(-1)


def _numbered_rows(*columns: np.ndarray) -> np.ndarray:
    """Equal rows get equal numbers. Columns of numbers >= 0, whose ranges are multiplied, so few of them are large."""
    found = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        width = int(column.max(initial=0)) + 1
        if int(found.max(initial=0)) >= LARGEST // width:
            found = _numbered(found)
        found = found * width + column
    return _numbered(found)


def _by_device(device: np.ndarray, columns: np.ndarray, count: int) -> list[bytes]:
    """For each device the set of its rows of columns, as bytes."""
    rows = _numbered_rows(*columns) if len(columns) > 1 else columns[0]
    most = int(rows.max(initial=0)) + 1
    keys = np.sort(device * most + rows)  # np.unique hashes, which takes several times as long here
    keys = keys[np.diff(keys, prepend=-1) != 0]
    cuts = np.searchsorted(keys, np.arange(1, count) * most)
    return [(part % most).tobytes() for part in np.split(keys, cuts)]


def _classes(facts: Sequence[object]) -> list[int]:
    known: dict[object, int] = {}
    return [known.setdefault(fact, len(known)) for fact in facts]


# ---------------------------------------------------------------- the folded plan


def _kept(group: tuple[str, ...], first: set[str]) -> Ranks:
    """The ranks of a group whose devices represent their roles."""
    return tuple([rank for rank, device in enumerate(group) if device in first])


def _places(group: tuple[str, ...], role: dict[str, int], first: set[str]) -> np.ndarray:
    """For each rank of a group the place of its role in the folded group."""
    place = {role[group[rank]]: at for at, rank in enumerate(_kept(group, first))}
    return np.array([place.get(role[device], -1) for device in group], np.int64)


def _picked(column: tuple[T, ...], kept: Ranks) -> tuple[T, ...]:
    return tuple([column[rank] for rank in kept]) if len(column) > 1 else column


def _folded(plan: Plan, role: tuple[int, ...], *, local: bool = False) -> Plan | None:
    """The plan on the first device of each role; None where ports that would fall together are of different kinds.

    Devices of one role stand in the same groups, because they run the same templates.
    """
    of = dict(zip(plan.devices, role, strict=True))
    chosen = _first(plan.devices, role)
    kept = [_kept(group, chosen) for group in plan.rank_table]
    table = tuple(tuple([group[rank] for rank in ranks]) for group, ranks in zip(plan.rank_table, kept, strict=True))
    places = [_places(group, of, chosen) for group in plan.rank_table]
    actors = []
    for actor in plan.actor_templates:
        ports = _folded_ports(plan, actor, kept, places, local)
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


def _first(devices: Sequence[str], role: Sequence[int]) -> set[str]:
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


def _folded_ports(
    plan: Plan, actor: ActorTemplate, kept: list[Ranks], places: list[np.ndarray], local: bool
) -> tuple[PortTemplate, ...] | None:
    """Peers as places of roles; of ports that fall together on one register the first stands for all. None: they differ."""
    mine, seen = kept[actor.group], dict[tuple[int, int, int], tuple[str, int, str]]()
    found = []
    devices = plan.rank_table[actor.group]
    for port in actor.ports:
        home = plan.register_templates[port.register].group
        peers = []
        for at, rank in enumerate(mine):
            shard = port.peers[rank] if port.peers else rank
            place = int(places[home][shard]) if shard >= 0 else -1
            if local and shard >= 0 and plan.rank_table[home][shard] != devices[rank]:
                place = -1
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
