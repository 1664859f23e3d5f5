"""The act graph: one node for every act of a step, one arc for everything an act must wait for.

An arc (u, v, d) says: act v of step t + d starts no earlier than act u of step t ends. Arcs come from data, credits (free
slots), stream order and rendezvous. A rendezvous has one node of no length that all its partners start after.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from oflow.check.rates import replayed
from oflow.errors import ProtocolError
from oflow.plan import Plan, Port, Register


class Reason(NamedTuple):
    """Why an arc is there: kind "data" or "slot" (`row`: the register), "stream" (`name`), "meet" (`name`: the rendezvous)."""

    kind: str
    row: int = -1
    name: str = ""


@dataclass(frozen=True)
class ActGraph:
    """Nodes ``bases[row] + act`` in the order of actor rows, then one a rendezvous and act; arcs as parallel columns."""

    plan: Plan
    orders: dict[str, tuple[int, ...]]
    """Of the streams that replay one."""
    bases: tuple[int, ...]
    owners: tuple[int, ...]
    """Actor row of each node; -1 for the node of a rendezvous."""
    seconds: tuple[float, ...]
    sources: list[int]
    targets: list[int]
    distances: list[int]
    reasons: list[Reason]
    topological: tuple[int, ...]

    @cached_property
    def arcs_into(self) -> list[list[int]]:
        into: list[list[int]] = [[] for _ in self.owners]
        for arc, target in enumerate(self.targets):
            into[target].append(arc)
        return into

    @cached_property
    def everys(self) -> dict[tuple[int, int], int]:
        """`every` of the port that (actor row, register row) have together."""
        return {(actor.id, port.register): port.every for actor in self.plan.actors for port in actor.ports}

    @cached_property
    def positions(self) -> list[int]:
        """Place of each node in the topological order."""
        places = [0] * len(self.topological)
        for place, node in enumerate(self.topological):
            places[node] = place
        return places

    def label(self, node: int) -> str:
        row = self.owners[node]
        if row < 0:
            return "rendezvous"
        actor = self.plan.actors[row]
        return actor.label if actor.acts == 1 else f"{actor.label} act {node - self.bases[row]}"


Arcs = list[tuple[int, int, int, Reason]]


def act_graph(plan: Plan, fired: list[tuple[int, int]]) -> ActGraph:
    """The act graph of a plan whose step was played; `fired` gives its topological order."""
    bases, owners, seconds = [0], list[int](), list[float]()
    lengths: dict[str, float] = {}  # partners leave together, when the slowest is done
    alone = [plan.machine.seconds(actor.cost, actor.device) for actor in plan.actors]
    for actor, length in zip(plan.actors, alone, strict=True):
        lengths[actor.rendezvous] = max(lengths.get(actor.rendezvous, 0.0), length)
    for actor, length in zip(plan.actors, alone, strict=True):
        bases.append(bases[-1] + actor.acts)
        owners += [actor.id] * actor.acts
        seconds += [lengths[actor.rendezvous] if actor.rendezvous else length] * actor.acts
    arcs: Arcs = []
    orders = replayed(plan)
    _stream_arcs(plan, orders, bases, arcs)  # first: of two arcs that tie, the stream is named
    _register_arcs(plan, bases, arcs)
    meetings = _rendezvous_arcs(plan, bases, arcs)
    total = len(owners) + len(set(meetings.values()))
    order: dict[int, None] = {}
    for row, act in fired:
        node = bases[row] + act
        if node in meetings:
            order[meetings[node]] = None
        order[node] = None
    sources, targets, distances, reasons = (list(c) for c in zip(*arcs, strict=True)) if arcs else ([], [], [], [])
    extra = total - len(owners)
    made = ActGraph(
        plan, orders, tuple(bases), (*owners, *[-1] * extra), (*seconds, *[0.0] * extra),
        sources, targets, distances, reasons, tuple(order),
    )  # fmt: skip
    _verify_order(made)
    return made


def _verify_order(graph: ActGraph) -> None:
    """The play and the act graph are made apart; each checks the other."""
    places = graph.positions
    for source, target, distance in zip(graph.sources, graph.targets, graph.distances, strict=True):
        if distance < 0 or (distance == 0 and places[source] >= places[target]):
            raise ProtocolError(f"the play fired {graph.label(target)} before {graph.label(source)}, which it waits for")


def _register_arcs(plan: Plan, bases: list[int], arcs: Arcs) -> None:
    outs: dict[int, Port] = {p.register: p for actor in plan.actors for p in actor.outs}
    for actor in plan.actors:
        for port in actor.ins:
            register = plan.registers[port.register]
            if port.every and register.producer >= 0:
                _data_and_slots(register, actor.acts, bases[actor.id], port.every, bases, outs[port.register].every, arcs)


def _data_and_slots(
    register: Register, acts: int, reader: int, k_in: int, bases: list[int], k_out: int, arcs: Arcs
) -> None:
    """Turn j of the reader needs turn j - initial of the producer; turn j of the producer needs the slot that was read
    slots - initial turns before."""
    turns, producer = acts // k_in, bases[register.producer]
    data, slot = Reason("data", register.id), Reason("slot", register.id)
    for j in range(turns):
        back, needed = divmod(j - register.initial, turns)
        arcs.append((producer + needed * k_out + k_out - 1, reader + j * k_in, -back, data))
        back, needed = divmod(j + register.initial - register.slots, turns)
        arcs.append((reader + needed * k_in + k_in - 1, producer + j * k_out, -back, slot))


def _stream_arcs(plan: Plan, orders: dict[str, tuple[int, ...]], bases: list[int], arcs: Arcs) -> None:
    """A stream with an order is one cycle; on a free stream each actor's own acts are."""
    for stream, rows in plan.streams.items():
        order = orders.get(stream, ())
        sequences = [stream_acts(bases, order)] if order else [list(range(bases[r], bases[r + 1])) for r in rows]
        reason = Reason("stream", name=stream)
        for nodes in sequences:
            arcs += [(u, v, 0, reason) for u, v in pairwise(nodes)]
            arcs.append((nodes[-1], nodes[0], 1, reason))


def stream_acts(bases: list[int] | tuple[int, ...], order: tuple[int, ...]) -> list[int]:
    """The nodes of a stream in its order."""
    done: dict[int, int] = {}
    nodes = []
    for row in order:
        nodes.append(bases[row] + done.get(row, 0))
        done[row] = done.get(row, 0) + 1
    return nodes


def _rendezvous_arcs(plan: Plan, bases: list[int], arcs: Arcs) -> dict[int, int]:
    """Whatever a partner waits for, the meeting waits for; all partners start after it. Returns the meeting of each act."""
    meetings: dict[int, int] = {}
    known: dict[tuple[str, int], int] = {}
    for actor in plan.actors:
        for act in range(actor.acts if actor.rendezvous else 0):
            key = (actor.rendezvous, act)
            meetings[bases[actor.id] + act] = known.setdefault(key, bases[-1] + len(known))
    for arc, (source, target, distance, reason) in enumerate(arcs):
        if target in meetings:
            arcs[arc] = (source, meetings[target], distance, reason)
    names = {meeting: Reason("meet", name=name) for (name, _), meeting in known.items()}
    arcs += [(meeting, node, 0, names[meeting]) for node, meeting in meetings.items()]
    return meetings
