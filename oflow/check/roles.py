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
memory are proved from the arcs that stay on a device in the whole plan too (`Roles.at_home`), and only where no other device reads what
shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from oflow.check.acts import DATA, SLOT, ActGraph
from oflow.check.colours import colours
from oflow.check.cycle import HandOver
from oflow.check.quotient import Ranks, first_of, kept_ranks, places_of, quotient
from oflow.live import phase
from oflow.machine import Machine
from oflow.plan import Plan

T = TypeVar("T")


@dataclass(frozen=True)
class Roles:
    """`whole`, the plan that was folded; `role`: of each of its devices, by number; `plan`: one device a role, the first that has it."""

    whole: Plan
    role: tuple[int, ...]
    plan: Plan

    def at_home(self, graph: ActGraph) -> ActGraph:
        """The folded plan's act graph with the arcs that stay on one device in the whole plan: all but of ports to another's shard."""
        t, registers = graph.tables, len(graph.tables.initial)
        ports = t.port_actor * registers + t.port_register
        away = ports[~np.isin(ports, self._own_ports)]
        of_register = (graph.kinds == DATA) | (graph.kinds == SLOT)
        touched = np.zeros(registers, bool)
        touched[away % registers] = True
        asked = np.flatnonzero(of_register)
        asked = asked[touched[graph.refs[asked]]]
        kept = np.ones(len(graph.sources), bool)
        for end in (graph.sources, graph.waiters):
            kept[asked] &= ~np.isin(graph.owners[end[asked]] * registers + graph.refs[asked], away)
        return graph.only(np.flatnonzero(kept))

    @cached_property
    def _own_ports(self) -> np.ndarray:
        """Of the ports by which a device has its own shard in the whole plan: folded actor row x registers + folded register row."""
        table, plan, found = self.whole.rank_table, self.plan, list[int]()
        registers = plan.register_bases[-1]
        for actor, first_row in zip(self.whole.actor_templates, plan.actor_bases, strict=False):
            devices = table[actor.group]
            for port in actor.ports:
                group = self.whole.register_templates[port.register].group
                for at, rank in enumerate(self._kept[actor.group]):
                    shard = port.peers[rank] if port.peers else rank
                    if shard >= 0 and table[group][shard] == devices[rank]:
                        row = plan.register_bases[port.register] + int(self.places[group][shard])
                        found.append((first_row + at) * registers + row)
        return np.array(found, np.int64)

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
        number, first = dict(zip(self.whole.devices, self.role, strict=True)), first_of(self.whole.devices, self.role)
        return [places_of(group, number, first) for group in self.whole.rank_table]

    @cached_property
    def rows(self) -> np.ndarray:
        """(A) the folded actor row of each actor row."""
        parts = [base + self.places[t.group] for base, t in zip(self.plan.actor_bases, self.whole.actor_templates, strict=False)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    @cached_property
    def _kept(self) -> list[Ranks]:
        first = first_of(self.whole.devices, self.role)
        return [kept_ranks(group, first) for group in self.whole.rank_table]

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
        acts = np.array([t.acts for t in self.plan.actor_templates], np.int64)
        folded, whole = (np.repeat(acts, np.diff(plan.actor_bases)) for plan in (self.plan, self.whole))
        first = (np.cumsum(folded) - folded)[self.rows] - (np.cumsum(whole) - whole)
        place = np.repeat(first, whole)
        place += np.arange(len(place))
        return np.asarray(starts[place])


@phase("find roles")
def fold(plan: Plan, machine: Machine | None = None) -> Roles:
    """The roles of a plan on a machine (default: its own). Where no two devices are alike the folded plan is the plan itself."""
    if len(plan.devices) < 2:
        return Roles(plan, tuple(range(len(plan.devices))), plan)
    role = colours(plan, plan.machine if machine is None else machine)
    if len(set(role)) < len(role) and (made := quotient(plan, role)) is not None:
        return Roles(plan, role, made)
    return Roles(plan, tuple(range(len(plan.devices))), plan)
