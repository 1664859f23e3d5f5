"""A sizing problem: what waits for what whatever the slots, and the buffers whose slots are to be chosen.

Nodes are acts, arcs say that the target starts no earlier than the source ends, `distance` periods before. Ranks that are alike
(`classes`) are one set of nodes. Numbers are whole femtoseconds and bytes, so every answer about them is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from oflow.check.acts import MEET, SLOT, ActGraph
from oflow.check.period import PER_SECOND
from oflow.plan import Plan, PortTemplate, RegisterTemplate, aligned
from oflow.sizing.classes import representatives
from oflow.sizing.loads import Load

Arc = tuple[int, int, int]
"""(source, target, distance)"""


class HandOver(NamedTuple):
    """One reader of a buffer: turn j is written from node ``starts[j]`` on and read until node ``ends[j]`` has ended."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Buffer:
    """The slots of one register template, on all its ranks together. `nbytes`: of one slot on each rank, in total.

    least: the fewest slots it may have. initial: how many start full.
    """

    register: int
    nbytes: int
    slots: int
    least: int
    initial: int
    hand_overs: tuple[HandOver, ...]

    def arcs(self, slots: int) -> Iterable[Arc]:
        """Turn j of the writer needs the slot that was read ``slots - initial`` turns before."""
        for starts, ends in self.hand_overs:
            turns = len(starts)
            for j, start in enumerate(starts):
                back, turn = divmod(j + self.initial - slots, turns)
                yield ends[turn], start, -back


@dataclass(frozen=True)
class Flow:
    """`weights`: femtoseconds of each node. `arcs`: what holds for any slots; those of distance 0 go to a larger number.

    owners: actor row that stands for each node's class (-1: a meeting). fixed_nbytes: slots that nobody chooses (state, constants).
    loads: whose largest is made small (`loads`); none: the bytes on all devices.
    """

    weights: tuple[int, ...]
    arcs: tuple[Arc, ...]
    buffers: tuple[Buffer, ...]
    owners: tuple[int, ...]
    fixed_nbytes: int = 0
    loads: tuple[Load, ...] = ()

    @property
    def slots(self) -> tuple[int, ...]:
        return tuple(buffer.slots for buffer in self.buffers)

    @cached_property
    def sums(self) -> tuple[Load, ...]:
        """The loads whose largest is made small."""
        return self.loads or (Load(self.fixed_nbytes, tuple((number, b.nbytes) for number, b in enumerate(self.buffers))),)

    def nbytes(self, slots: Sequence[int]) -> int:
        """Bytes of the largest load with these slots."""
        return max(load.fixed + sum(nbytes * slots[b] for b, nbytes in load.buffers) for load in self.sums)

    def with_slots(self, slots: Iterable[int]) -> Flow:
        return replace(self, buffers=tuple(replace(b, slots=n) for b, n in zip(self.buffers, slots, strict=True)))


def whole_step(graph: ActGraph) -> Flow:
    """The sizing problem of a plan's step, with its ramps and orders, from its act graph."""
    plan, chosen = graph.plan, chosen_registers(graph.plan)
    weights = femtoseconds(graph)
    shown = representatives(graph, weights)
    kept = graph.topological[shown[graph.topological] == graph.topological]
    number = np.full(len(graph), -1)
    number[kept] = np.arange(len(kept))
    arcs = np.flatnonzero((number[graph.targets] >= 0) & ~_chosen_arcs(graph, chosen))
    columns = number[shown[graph.sources[arcs]]], number[graph.targets[arcs]], graph.distances[arcs]
    rest = (t for row, t in enumerate(plan.register_templates) if row not in chosen)
    return Flow(
        tuple(weights[n] for n in kept), tuple(dict.fromkeys(zip(*(c.tolist() for c in columns), strict=True))),
        _buffers(graph, chosen, number, shown), tuple(graph.owners[kept].tolist()), sum(slot_nbytes(plan, t) * t.slots for t in rest),
    )  # fmt: skip


def unlimited(graph: ActGraph) -> ActGraph:
    """The act graph with as many slots as one likes, where slots are chosen at all."""
    kept = ~_chosen_arcs(graph, chosen_registers(graph.plan))
    columns = ("sources", "targets", "waiters", "distances", "kinds", "refs")
    return replace(graph, **{name: getattr(graph, name)[kept] for name in columns})


def _chosen_arcs(graph: ActGraph, chosen: set[int]) -> np.ndarray:
    """(E) the arcs that wait for a slot of a register whose slots are chosen."""
    templates = np.searchsorted(graph.plan.register_bases, graph.refs, "right") - 1
    return np.asarray((graph.kinds == SLOT) & np.isin(templates, sorted(chosen)))


def femtoseconds(graph: ActGraph) -> list[int]:
    """The whole femtoseconds of each node."""
    seconds = graph.seconds.tolist()
    known = {s: round(s * PER_SECOND) for s in set(seconds)}
    return [known[s] for s in seconds]


def chosen_registers(plan: Plan) -> set[int]:
    """The templates whose slots are a matter of speed and bytes alone: they carry bytes from act to act, and are no state.

    Those of the host keep their slots: they let the caller work ahead, whose time is in no plan. So do those in rings, which are laid
    out already.
    """
    ports: dict[int, list[PortTemplate]] = {}
    for actor in plan.actor_templates:
        for port in actor.ports:
            ports.setdefault(port.register, []).append(port)
    return {
        row
        for row, found in ports.items()
        if {p.direction for p in found} == {"in", "out"} and all(p.every and p.mode != "keep" for p in found)
        and not plan.rank_table[plan.register_templates[row].group][0].startswith("host:")
        and plan.register_templates[row].region == "arena" and not plan.register_templates[row].ring
        and any(t.nbytes for t in plan.register_templates[row].types)
    }  # fmt: skip


def slot_nbytes(plan: Plan, template: RegisterTemplate) -> int:
    """Bytes of one slot on every rank."""
    ranks = len(plan.rank_table[template.group])
    return sum(aligned(t.nbytes) for t in template.types) * (ranks if len(template.types) == 1 else 1)


def _buffers(graph: ActGraph, chosen: set[int], number: np.ndarray, shown: np.ndarray) -> tuple[Buffer, ...]:
    t, found = graph.tables, dict[int, dict[HandOver, None]]()
    waiting = np.arange(len(graph))
    meet = graph.kinds == MEET
    waiting[graph.targets[meet]] = graph.sources[meet]
    read = np.flatnonzero((t.producer >= 0) & (t.every > 0))
    templates = np.searchsorted(graph.plan.register_bases, t.port_register[read], "right") - 1
    for port, template in zip(read.tolist(), templates.tolist(), strict=True):
        reader, writer = t.port_actor[port], t.port_actor[t.producer[port]]
        starts = number[waiting[np.arange(graph.bases[writer], graph.bases[writer + 1], t.every[t.producer[port]])]]
        if template in chosen and starts[0] >= 0:  # else another rank of its class stands for it
            ends = number[shown[np.arange(graph.bases[reader] + t.every[port] - 1, graph.bases[reader + 1], t.every[port])]]
            found.setdefault(template, {})[HandOver(tuple(starts.tolist()), tuple(ends.tolist()))] = None
    return tuple(buffer(graph.plan, row, tuple(hand_overs)) for row, hand_overs in sorted(found.items()))


def buffer(plan: Plan, row: int, hand_overs: tuple[HandOver, ...]) -> Buffer:
    """The buffer of a register template."""
    template = plan.register_templates[row]
    return Buffer(row, slot_nbytes(plan, template), template.slots, max(1, template.initial), template.initial, hand_overs)
