"""Why streams stand still: of every gap between two acts of a stream, what the next act waited for.

The act graph says for each act what it starts after: who fills the slots it reads, who empties those it writes, its place in the
stream's order, its partners. Of these the one that ended last in the trace is what it waited for; what remains of a gap after that,
the act could have run, and its worker or its caller was late.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from oflow.arrays import starts
from oflow.check import ActGraph
from oflow.check.acts import DATA, MEET, SLOT
from oflow.trace import Spans

REASONS = ("input", "free slot", "stream", "partner", "core", "caller", "end of step")
INPUT, FREE_SLOT, STREAM, PARTNER, CORE, CALLER, END = range(len(REASONS))
"""core: all was there, but the worker was busy or late; caller: the same of an act on the host; end: no act follows."""


@dataclass(frozen=True, eq=False, slots=True)
class Gaps:
    """In order of stream and time. stream: its number in ``tables.streams``; start, stop: seconds; why: a number in REASONS.

    actor: the row that acts next (-1: none); register: the row that it, or its partner, waited for, or -1; other: the row of whoever
    filled or emptied a slot of it, or of the partner that came last, or -1.
    """

    stream: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    why: np.ndarray
    actor: np.ndarray
    register: np.ndarray
    other: np.ndarray


@dataclass(frozen=True, eq=False, slots=True)
class _Waits:
    """For each span: the time until which it waited for others, why, the register, the other."""

    until: np.ndarray
    why: np.ndarray
    register: np.ndarray
    other: np.ndarray


def gaps(spans: Spans, graph: ActGraph, seconds: float) -> Gaps:
    """All idle time of all streams of a plan, from 0 to `seconds`: with the spans it tiles each stream, without overlap.

    Linear in spans and arcs but for sorting. `spans` are those of whole steps.
    """
    t = graph.tables
    waits = _waits(spans, graph)
    stream = t.stream[spans.actor]
    order = np.lexsort((spans.stop, spans.start, stream))
    first = starts(np.bincount(stream, minlength=len(t.streams)))
    begin, end, nexts = _idle(spans, order, first, seconds)
    there = begin < end
    on = np.repeat(np.arange(len(t.streams)), np.diff(first) + 1)[there]
    begin, end, nexts = begin[there], end[there], nexts[there]
    known = nexts >= 0
    span = np.where(known, nexts, 0)
    until = np.clip(np.where(known, waits.until[span] if len(spans) else begin, end), begin, end)
    host = np.array([name.startswith("host:") for name in t.streams], bool)[on]
    waited = Gaps(
        on, begin, until, np.where(known, _at(waits.why, span), END), np.where(known, _at(spans.actor, span), -1),
        np.where(known, _at(waits.register, span), -1), np.where(known, _at(waits.other, span), -1),
    )  # fmt: skip
    none = np.full(len(on), -1)
    late = Gaps(on, until, end, np.where(host, CALLER, CORE), waited.actor, none, none)
    return _joined(waited, late)


def _at(column: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return column[rows] if len(column) else np.full(len(rows), -1)


def _joined(one: Gaps, other: Gaps) -> Gaps:
    columns = [np.concatenate([getattr(one, name), getattr(other, name)]) for name in Gaps.__slots__]
    made = Gaps(*columns)
    there = np.flatnonzero(made.start < made.stop)
    order = there[np.lexsort((made.start[there], made.stream[there]))]
    return Gaps(*(column[order] for column in columns))


def _idle(spans: Spans, order: np.ndarray, first: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(start, stop, the span that follows or -1) before each span of each stream and after its last."""
    begin, end = np.zeros(len(order) + len(first) - 1), np.full(len(order) + len(first) - 1, seconds)
    nexts = np.full(len(begin), -1)
    for number, (low, high) in enumerate(pairwise(first.tolist())):
        at = slice(low + number, high + number)
        begin[low + number + 1 : high + number + 1] = np.maximum.accumulate(spans.stop[order[low:high]])
        end[at], nexts[at] = spans.start[order[low:high]], order[low:high]
    return begin, end, nexts


def _waits(spans: Spans, graph: ActGraph) -> _Waits:
    """What each span waited for: of all arcs into its act, the one whose source ended last."""
    t = graph.tables
    step, act = np.divmod(spans.act, t.acts[spans.actor])
    node = graph.bases[spans.actor] + act
    shape = (int(step.max(initial=-1)) + 1, len(graph))
    stops = np.full(shape, -np.inf)
    stops[step, node] = spans.stop
    arc, until, last = np.full(shape, -1), np.full(shape, -np.inf), np.zeros(shape, np.int64)
    into, partners = _into(graph), _partners(graph)
    for number in range(len(stops)):
        arc[number], until[number] = _latest(graph, into, stops, number)
        last[number] = _last_partner(partners, until[number])
    latest = last[step, node]
    found, partner = arc[step, latest], latest != node
    there = found >= 0
    one = np.where(there, found, 0)
    kind = _at(graph.kinds, one)
    why = np.where(partner, PARTNER, np.where(kind == DATA, INPUT, np.where(kind == SLOT, FREE_SLOT, STREAM)))
    other = np.where(partner, latest, _at(graph.sources, one))
    return _Waits(
        np.where(there, until[step, latest], -np.inf), np.where(there, why, CORE),
        np.where(there & ((kind == DATA) | (kind == SLOT)), _at(graph.refs, one), -1),
        np.where(there, _at(graph.owners, np.maximum(other, 0)), -1),
    )  # fmt: skip


def _into(graph: ActGraph) -> tuple[np.ndarray, np.ndarray]:
    """(N + 1) where the run of each act begins in the arcs that it waits for itself; inputs first, then slots, then order: of two that
    end together the first is named."""
    arcs = np.flatnonzero(graph.kinds != MEET)
    ordered = arcs[np.lexsort((graph.kinds[arcs], graph.waiters[arcs]))]
    return starts(np.bincount(graph.waiters[ordered], minlength=len(graph))), ordered


def _latest(graph: ActGraph, into: tuple[np.ndarray, np.ndarray], stops: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """(N) of each act in one step the arc that ends last, -1 where there is none, and when it does."""
    first, ordered = into
    arc, until = np.full(len(graph), -1), np.full(len(graph), -np.inf)
    nodes = np.flatnonzero(np.diff(first))
    if not len(nodes):
        return arc, until
    before = step - graph.distances[ordered]
    ends = np.where(before >= 0, stops[np.maximum(before, 0), graph.sources[ordered]], -np.inf)
    until[nodes] = np.maximum.reduceat(ends, first[nodes])
    last = np.where((ends == until[graph.waiters[ordered]]) & (ends > -np.inf), np.arange(len(ordered)), len(ordered))
    place = np.minimum.reduceat(last, first[nodes])
    found = place < len(ordered)
    arc[nodes[found]] = ordered[place[found]]
    return arc, until


def _partners(graph: ActGraph) -> tuple[np.ndarray, np.ndarray]:
    """(N) the rendezvous of each act, or the act itself; and the acts that have one."""
    meets = graph.kinds == MEET
    gate = np.arange(len(graph))
    gate[graph.targets[meets]] = graph.sources[meets]
    return gate, graph.targets[meets]


def _last_partner(partners: tuple[np.ndarray, np.ndarray], until: np.ndarray) -> np.ndarray:
    """(N) of each act the one of its rendezvous that could start last: itself where none is later."""
    gate, acts = partners
    last = np.arange(len(gate))
    best = np.full(len(gate), -np.inf)
    np.maximum.at(best, gate[acts], until[acts])
    latest = acts[until[acts] == best[gate[acts]]]
    who = np.full(len(gate), len(gate))
    np.minimum.at(who, gate[latest], latest)
    late = acts[until[acts] < best[gate[acts]]]
    last[late] = who[gate[late]]
    return last
