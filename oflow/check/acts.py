"""The act graph: one node for every act of a step, one arc for everything an act must wait for, as columns.

An arc (u, v, d) says: act v of step t + d starts no earlier than act u of step t ends. Arcs come from data, credits (free
slots), stream order and rendezvous. A rendezvous has one node of no length that all its partners start after.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from oflow.arrays import Tables, durations, starts, tables
from oflow.check.rates import replayed, windows
from oflow.errors import ProtocolError
from oflow.live import phase
from oflow.plan import Plan

DATA, SLOT, STREAM, MEET = range(4)
KINDS = ("data", "slot", "stream", "meet")
FEW = 100_000
"""Entries up to which a column is sorted by comparing."""


class Reason(NamedTuple):
    """Why an arc is there: kind "data" or "slot" (`row`: the register), "stream" (`name`), "meet" (`name`: the rendezvous)."""

    kind: str
    row: int = -1
    name: str = ""


@dataclass(frozen=True, eq=False)
class ActGraph:
    """Nodes ``bases[row] + act`` in the order of actor rows, then one a rendezvous and act; arcs in the order of their sources.

    nodes (N): owners: actor row, -1 for a rendezvous; seconds; topological: all of them, in an order that the arcs of distance 0 keep.
    arcs (E): sources, targets, distances; waiters: the act that waits, which is the target but for those of a rendezvous; kinds:
    DATA, SLOT, STREAM, MEET; refs: the register row, the stream's number, the first partner's row.
    """

    plan: Plan
    tables: Tables
    bases: np.ndarray
    owners: np.ndarray
    seconds: np.ndarray
    topological: np.ndarray
    sources: np.ndarray
    targets: np.ndarray
    waiters: np.ndarray
    distances: np.ndarray
    kinds: np.ndarray
    refs: np.ndarray

    def __len__(self) -> int:
        return len(self.owners)

    @cached_property
    def start_from(self) -> np.ndarray:
        """(N + 1) where the run of arcs from each node begins."""
        return starts(np.bincount(self.sources, minlength=len(self)))

    @cached_property
    def arcs_into(self) -> tuple[np.ndarray, np.ndarray]:
        """(N + 1) where the run of each node begins in (E) the arcs in the order of their targets."""
        return starts(np.bincount(self.targets, minlength=len(self))), by_number(self.targets, len(self))

    @cached_property
    def positions(self) -> np.ndarray:
        """(N) place of each node in the topological order."""
        return inverse(self.topological)

    def only(self, arcs: np.ndarray) -> ActGraph:
        """The same nodes with these arcs."""
        names = ("sources", "targets", "waiters", "distances", "kinds", "refs")
        return replace(self, **{name: getattr(self, name)[arcs] for name in names})

    def act(self, node: int) -> int:
        return int(node - self.bases[self.owners[node]])

    def label(self, node: int) -> str:
        row = int(self.owners[node])
        if row < 0:
            return "rendezvous"
        label = self.plan.actor_label(row)
        return label if self.tables.acts[row] == 1 else f"{label} act {self.act(node)}"

    def reason(self, arc: int) -> Reason:
        kind, ref = int(self.kinds[arc]), int(self.refs[arc])
        if kind == STREAM:
            return Reason(KINDS[kind], name=self.tables.streams[ref])
        if kind == MEET:
            return Reason(KINDS[kind], name=self.plan.actor_templates[self.plan.template_of(ref)].rendezvous)
        return Reason(KINDS[kind], ref)


class _Arcs(NamedTuple):
    """Columns of some arcs."""

    sources: np.ndarray
    targets: np.ndarray
    distances: np.ndarray
    kinds: np.ndarray
    refs: np.ndarray


@phase("arrange its acts")
def act_graph(plan: Plan, fired: np.ndarray, t: Tables | None = None) -> ActGraph:
    """The act graph of a plan whose step was played; `fired` (see `play`) gives its topological order."""
    t = tables(plan) if t is None else t
    bases = starts(t.acts)
    owners = np.repeat(np.arange(len(t.acts)), t.acts)
    meetings, leaders = _meetings(t, bases, owners)
    extra = len(leaders)
    seconds = np.concatenate([together(t, durations(plan, plan.machine))[owners], np.zeros(extra)])
    # streams first: of two arcs that tie, the stream is named
    parts = [_stream_arcs(t, bases), *_register_arcs(t, bases)]
    arcs = _Arcs(*map(np.concatenate, zip(*parts, strict=True)))
    waiters = arcs.targets
    if extra:
        partners = np.flatnonzero(meetings >= 0)
        met = _arcs(meetings[partners], partners, 0, MEET, leaders[meetings[partners] - len(owners)])
        waits = meetings[waiters]
        waiters = np.concatenate([waiters, partners])
        arcs = _Arcs(*map(np.concatenate, zip(arcs._replace(targets=np.where(waits >= 0, waits, arcs.targets)), met, strict=True)))
    by_source = by_number(arcs.sources, len(seconds))
    sorted_arcs = _Arcs(*(column[by_source] for column in arcs))
    made = ActGraph(
        plan, t, bases, np.concatenate([owners, np.full(extra, -1)]), seconds, _topological(fired, meetings),
        sorted_arcs.sources, sorted_arcs.targets, waiters[by_source] if extra else sorted_arcs.targets,
        sorted_arcs.distances, sorted_arcs.kinds, sorted_arcs.refs,
    )  # fmt: skip
    _verify_order(made)
    return made


def inverse(order: np.ndarray) -> np.ndarray:
    """The place of each number in a permutation."""
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places


def by_number(column: np.ndarray, count: int) -> np.ndarray:
    """The places of a column of numbers below `count` in the order of these, equal ones as they come. In linear time."""
    if len(column) < FEW:
        return np.argsort(column, kind="stable")
    from scipy.sparse import csr_array  # takes 0.1 s to import

    # transposing a matrix of one row sorts by counting
    row = csr_array((np.arange(len(column)), column, np.array([0, len(column)])), shape=(1, count))
    return np.asarray(row.tocsc().data)


def _verify_order(graph: ActGraph) -> None:
    """The play and the act graph are made apart; each checks the other."""
    places, distances = graph.positions, graph.distances
    wrong = distances < 0
    wrong |= (distances == 0) & (places[graph.sources] >= places[graph.targets])
    if wrong.any():
        arc = int(np.argmax(wrong))
        source, target = graph.label(int(graph.sources[arc])), graph.label(int(graph.targets[arc]))
        raise ProtocolError(f"the play fired {target} before {source}, which it waits for")


def together(t: Tables, seconds: np.ndarray) -> np.ndarray:
    """(A) seconds of an act of each actor, where partners leave together, when the slowest is done."""
    found = seconds.copy()
    partners = np.flatnonzero(t.meeting >= 0)
    if len(partners):
        lengths = np.zeros(int(t.meeting.max()) + 1)
        np.maximum.at(lengths, t.meeting[partners], found[partners])
        found[partners] = lengths[t.meeting[partners]]
    return found


def _arcs(sources: np.ndarray, targets: np.ndarray, distances: np.ndarray | int, kind: int, refs: np.ndarray) -> _Arcs:
    count = len(sources)
    return _Arcs(sources, targets, np.broadcast_to(distances, count), np.full(count, kind, np.int8), refs)


def _register_arcs(t: Tables, bases: np.ndarray) -> tuple[_Arcs, _Arcs]:
    """Turn j of a reader needs turn j - initial of the producer; turn j of the producer needs the slot that was read
    slots - initial turns before."""
    edges = np.flatnonzero((t.producer >= 0) & (t.every > 0))
    turns = windows(t)[edges]
    edge, turn = np.repeat(edges, turns), run_numbers(turns)
    turns, made, register = np.repeat(turns, turns), t.producer[edge], t.port_register[edge]
    reader, producer = bases[t.port_actor[edge]], bases[t.port_actor[made]]
    k_in, k_out, initial = t.every[edge], t.every[made], t.initial[register]
    back, needed = np.divmod(turn - initial, turns)
    data = _arcs(producer + needed * k_out + k_out - 1, reader + turn * k_in, -back, DATA, register)
    back, needed = np.divmod(turn + initial - t.slots[edge], turns)
    slot = _arcs(reader + needed * k_in + k_in - 1, producer + turn * k_out, -back, SLOT, register)
    return data, slot


def run_numbers(counts: np.ndarray) -> np.ndarray:
    """0, 1, ... in each of consecutive runs of these lengths."""
    ends = np.cumsum(counts)
    return np.asarray(np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts))


def _stream_arcs(t: Tables, bases: np.ndarray) -> _Arcs:
    """A stream with an order is one cycle; on a free stream each actor's own acts are."""
    ordered = replayed(t)
    nodes, lengths = ordered_acts(t, bases)
    free = np.flatnonzero(~ordered[t.stream])
    free_nodes = np.repeat(bases[free], t.acts[free]) + run_numbers(t.acts[free])
    acts = np.concatenate([nodes, free_nodes])
    lengths, refs = np.concatenate([lengths, t.acts[free]]), np.concatenate([np.flatnonzero(ordered), t.stream[free]])
    place, length = run_numbers(lengths), np.repeat(lengths, lengths)
    last = place == length - 1
    following = np.arange(len(acts)) + 1 - np.where(last, length, 0)
    return _arcs(acts, acts[following], last.astype(np.int64), STREAM, np.repeat(refs, lengths))


def ordered_acts(t: Tables, bases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nodes of all streams that replay an order, one stream after the other, and how many each has."""
    lengths = np.diff(t.order_start)
    kept = replayed(t)
    rows = t.order[np.repeat(kept, lengths)]
    by_row = np.argsort(rows, kind="stable")
    act = np.empty_like(rows)
    act[by_row] = run_numbers(np.unique(rows, return_counts=True)[1])
    return bases[rows] + act, lengths[kept]


def _meetings(t: Tables, bases: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The node at which each act meets its partners (-1: none), and of each such node the first partner's row.

    Whatever a partner waits for, the meeting waits for; all partners start after it.
    """
    meetings = np.full(len(owners), -1)
    partners = np.flatnonzero(t.meeting[owners] >= 0)
    rows = owners[partners]
    keys = t.meeting[rows] * (int(t.acts.max(initial=0)) + 1) + partners - bases[rows]
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)
    meetings[partners] = len(owners) + number.reshape(-1)
    return meetings, rows[first]


def _topological(fired: np.ndarray, meetings: np.ndarray) -> np.ndarray:
    """A meeting stands before the first of its partners."""
    met = meetings[fired]
    places = np.flatnonzero(met >= 0)
    found, first = np.unique(met[places], return_index=True)
    return np.insert(fired, places[first], found)
