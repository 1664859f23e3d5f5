"""The critical cycle in words: its hand-overs, and what a shorter period needs more of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oflow.check.acts import MEET, SLOT, STREAM, ActGraph, Reason, ordered_acts
from oflow.check.period import Steady
from oflow.check.rates import replayed


class HandOver(NamedTuple):
    """One entry of the critical cycle: why an act waits for another. kind: "data", "slot", "stream" or "meet".

    `target` starts no earlier than `source` ends (actor rows, with the acts of a step that they do; -1: a rendezvous), in the next step
    where `wraps`. Of "stream", consecutive acts are one entry. register: its row, or -1; stream: its number in ``tables.streams``, or -1.
    """

    kind: str
    text: str
    source: int
    source_act: int
    target: int
    target_act: int
    wraps: bool = False
    register: int = -1
    stream: int = -1


def hand_overs(graph: ActGraph, found: Steady) -> tuple[HandOver, ...]:
    """The critical cycle, one entry a hand-over; consecutive acts of one stream are one entry."""
    if not found.cycle:
        return (_whole_stream(graph, found.stream),) if found.stream else ()
    runs: list[list[int]] = []
    for arc in found.cycle:
        if runs and graph.kinds[arc] == STREAM == graph.kinds[runs[-1][0]] and graph.refs[arc] == graph.refs[runs[-1][0]]:
            runs[-1].append(arc)
        else:
            runs.append([arc])
    return tuple(_run(graph, run) for run in runs)


def named_cycle(graph: ActGraph, found: Steady) -> tuple[str, ...]:
    """The critical cycle in words."""
    return tuple(entry.text for entry in hand_overs(graph, found))


def _whole_stream(graph: ActGraph, name: str) -> HandOver:
    t = graph.tables
    stream = t.streams.index(name)
    rows = np.flatnonzero(t.stream == stream)
    first, last = graph.bases[rows[0]], graph.bases[rows[-1]]
    if replayed(t)[stream]:
        nodes, _ = ordered_acts(t, graph.bases)
        first, last = nodes[t.stream[graph.owners[nodes]] == stream][[0, -1]]
    text = f"stream {name}: {graph.label(int(first))} .. {graph.label(int(last))} ({t.acts[rows].sum()} acts)"
    return HandOver("stream", text, *_place(graph, int(first)), *_place(graph, int(last)), stream=stream)


def _place(graph: ActGraph, node: int) -> tuple[int, int]:
    """Actor row and act of a node."""
    row = int(graph.owners[node])
    return (row, graph.act(node)) if row >= 0 else (-1, -1)


def _run(graph: ActGraph, run: list[int]) -> HandOver:
    reason, wraps = graph.reason(run[0]), bool(graph.distances[run].any())
    first, last = int(graph.sources[run[0]]), int(graph.targets[run[-1]])
    text = _words(graph, reason, graph.label(first), graph.label(last)) + (" of the next step" if wraps and reason.kind != "meet" else "")
    number = int(graph.refs[run[0]])
    return HandOver(
        reason.kind, text, *_place(graph, first), *_place(graph, last), wraps,
        number if reason.kind in ("data", "slot") else -1, number if reason.kind == "stream" else -1,
    )  # fmt: skip


def _words(graph: ActGraph, reason: Reason, start: str, stop: str) -> str:
    if reason.kind == "stream":
        return f"stream {reason.name}: {start} .. {stop}"
    if reason.kind == "meet":
        return f"{stop} starts with its partners in {reason.name}"
    label = graph.plan.register_label(reason.row)
    return f"{start} {f'hands {label} to' if reason.kind == 'data' else f'frees a slot of {label} for'} {stop}"


def bound(graph: ActGraph, found: Steady) -> str:
    """What a shorter period would need more of: time on a stream, slots, or initial tokens."""
    if not found.cycle:
        return f"stream {found.stream}" if found.stream else "nothing"
    cycle = np.array(found.cycle)
    streams = graph.refs[cycle[graph.kinds[cycle] == STREAM]]
    if (graph.kinds[cycle] == STREAM).all() and len(set(streams.tolist())) == 1:
        return f"stream {graph.tables.streams[streams[0]]}"
    names: dict[str, None] = {}
    for arc in found.cycle:
        for tied in _alongside(graph, arc) if graph.distances[arc] else [arc]:
            kind = graph.kinds[tied]
            if kind == STREAM and graph.distances[arc]:
                names[f"order of stream {graph.reason(tied).name}"] = None
            elif kind == SLOT or (kind not in (STREAM, MEET) and graph.distances[arc]):
                names[_register(graph, int(graph.refs[tied]))] = None
    return " + ".join(names)


def _alongside(graph: ActGraph, arc: int) -> list[int]:
    """The arcs that say the same as `arc` for another reason: to drop one of them would not help."""
    source = graph.sources[arc]
    mates = np.arange(graph.start_from[source], graph.start_from[source + 1])
    same = (graph.targets[mates] == graph.targets[arc]) & (graph.distances[mates] == graph.distances[arc])
    return [int(a) for a in mates[same]]


def _register(graph: ActGraph, row: int) -> str:
    template = graph.plan.register_templates[graph.plan.register_template_of(row)]
    tokens = f", {_count(template.initial, 'initial token')}" if template.initial else ""
    return f"register {graph.plan.register_label(row)}, {_count(template.slots, 'slot')}{tokens}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
