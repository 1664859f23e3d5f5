"""A sizing problem: what waits for what whatever the slots, and the buffers whose slots are to be chosen.

Nodes are acts, arcs say that the target starts no earlier than the source ends, `distance` periods before. Ranks that are alike
(`classes`) are one set of nodes. Numbers are whole femtoseconds and bytes, so every answer about them is exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from oflow.check.acts import ActGraph
from oflow.check.period import PER_SECOND
from oflow.plan import Plan, PortTemplate, RegisterTemplate, aligned
from oflow.sizing.classes import representatives

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
    """

    weights: tuple[int, ...]
    arcs: tuple[Arc, ...]
    buffers: tuple[Buffer, ...]
    owners: tuple[int, ...]
    fixed_nbytes: int = 0

    @property
    def slots(self) -> tuple[int, ...]:
        return tuple(buffer.slots for buffer in self.buffers)

    def nbytes(self, slots: Iterable[int]) -> int:
        """Bytes of all slots on all devices."""
        return self.fixed_nbytes + sum(b.nbytes * n for b, n in zip(self.buffers, slots, strict=True))

    def with_slots(self, slots: Iterable[int]) -> Flow:
        return replace(self, buffers=tuple(replace(b, slots=n) for b, n in zip(self.buffers, slots, strict=True)))


def whole_step(graph: ActGraph) -> Flow:
    """The sizing problem of a plan's step, with its ramps and orders, from its act graph."""
    plan, chosen = graph.plan, chosen_registers(graph.plan)
    weights = [round(s * PER_SECOND) for s in graph.seconds]
    shown = representatives(graph, weights)
    number = {node: i for i, node in enumerate(n for n in graph.topological if shown[n] == n)}
    arcs = dict.fromkeys(
        (number[shown[source]], number[target], distance)
        for source, target, distance, reason in zip(graph.sources, graph.targets, graph.distances, graph.reasons, strict=True)
        if target in number and not (reason.kind == "slot" and plan.register_template_of(reason.row) in chosen)
    )
    rest = (t for row, t in enumerate(plan.register_templates) if row not in chosen)
    return Flow(
        tuple(weights[n] for n in number), tuple(arcs), _buffers(graph, chosen, shown, number),
        tuple(graph.owners[n] for n in number), sum(slot_nbytes(plan, t) * t.slots for t in rest),
    )  # fmt: skip


def chosen_registers(plan: Plan) -> set[int]:
    """The templates whose slots are a matter of speed and bytes alone: they carry bytes from act to act, and are no state."""
    ports: dict[int, list[PortTemplate]] = {}
    for actor in plan.actor_templates:
        for port in actor.ports:
            ports.setdefault(port.register, []).append(port)
    return {
        row
        for row, found in ports.items()
        if {p.direction for p in found} == {"in", "out"} and all(p.every and p.mode != "keep" for p in found)
        and plan.register_templates[row].region == "arena" and any(t.nbytes for t in plan.register_templates[row].types)
    }  # fmt: skip


def slot_nbytes(plan: Plan, template: RegisterTemplate) -> int:
    """Bytes of one slot on every rank."""
    ranks = len(plan.rank_table[template.group])
    return sum(aligned(t.nbytes) for t in template.types) * (ranks if len(template.types) == 1 else 1)


def _buffers(graph: ActGraph, chosen: set[int], shown: list[int], number: dict[int, int]) -> tuple[Buffer, ...]:
    plan, found = graph.plan, dict[int, dict[HandOver, None]]()
    meeting = {graph.targets[a]: graph.sources[a] for a, reason in enumerate(graph.reasons) if reason.kind == "meet"}
    for register in plan.registers:
        if register.template not in chosen or register.producer < 0:
            continue
        k = graph.everys[register.producer, register.id]
        starts = range(graph.bases[register.producer], graph.bases[register.producer + 1], k)
        waiting = [meeting.get(node, node) for node in starts]
        if waiting[0] not in number:  # another rank of its class stands for it
            continue
        for row in register.consumers:
            k = graph.everys[row, register.id]
            ends = range(graph.bases[row] + k - 1, graph.bases[row + 1], k)
            made = HandOver(tuple(number[node] for node in waiting), tuple(number[shown[node]] for node in ends))
            found.setdefault(register.template, {})[made] = None
    templates = plan.register_templates
    return tuple(
        Buffer(row, slot_nbytes(plan, templates[row]), templates[row].slots, max(1, templates[row].initial), templates[row].initial,
               tuple(hand_overs))
        for row, hand_overs in sorted(found.items())
    )  # fmt: skip
