"""The steady period: the maximum over all cycles of the act graph of seconds / steps (Reiter 1968).

Found by Dinkelbach's iteration: guess the period, look for a cycle that needs longer, take its ratio as the next guess. When no
cycle does, the longest-path potentials are a periodic schedule, which proves the period in one pass over the arcs. Seconds are
rounded to whole femtoseconds, so that all comparisons are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from oflow.check.acts import ActGraph, stream_acts

PER_SECOND = 10**15


@dataclass(frozen=True, slots=True)
class Steady:
    """`period` in femtoseconds; `cycle`: arcs of the critical cycle in order, () where `stream` alone bounds the period.

    `starts`: femtoseconds at which each node may start in every period.
    """

    period: Fraction
    cycle: tuple[int, ...]
    stream: str
    starts: tuple[Fraction, ...]


def steady(graph: ActGraph) -> Steady:
    weights = [round(s * PER_SECOND) for s in graph.seconds]
    period, stream = _busiest(graph, weights)
    cycle: tuple[int, ...] = ()
    potentials, unit = [0] * len(weights), period.denominator
    parents = [-1] * len(weights)
    while _relax(graph, weights, period, potentials, parents):
        worst = max(_cycles(graph, parents), key=lambda c: _ratio(graph, weights, c), default=())
        if worst and _ratio(graph, weights, worst) > period:
            period, cycle, stream = _ratio(graph, weights, worst), worst, ""
            scale = period.denominator
            potentials = [p * scale // unit for p in potentials]
            parents, unit = [-1] * len(weights), scale
    return Steady(period, cycle, stream, tuple(Fraction(p, unit) for p in potentials))


def certified(graph: ActGraph, found: Steady) -> bool:
    """Whether `starts` is a schedule of that period: every arc is kept. O(arcs)."""
    weights = [round(s * PER_SECOND) for s in graph.seconds]
    arcs = zip(graph.sources, graph.targets, graph.distances, strict=True)
    return all(found.starts[v] >= found.starts[u] + weights[u] - found.period * d for u, v, d in arcs)


def busy_seconds(graph: ActGraph) -> dict[str, float]:
    """Seconds a step in which each stream is at work."""
    actors = graph.plan.actors
    return {
        stream: sum(graph.seconds[graph.bases[row]] * actors[row].acts for row in rows)
        for stream, rows in graph.plan.streams.items()
    }


def _busiest(graph: ActGraph, weights: list[int]) -> tuple[Fraction, str]:
    busy = {
        stream: sum(weights[graph.bases[row]] * graph.plan.actors[row].acts for row in rows)
        for stream, rows in graph.plan.streams.items()
    }
    stream = max(busy, key=lambda s: busy[s], default="")
    return Fraction(busy.get(stream, 0)), stream


def _relax(graph: ActGraph, weights: list[int], period: Fraction, potentials: list[int], parents: list[int]) -> bool:
    """One round of longest paths, in units of 1 / denominator; True where a potential rose. `parents`: the arc that raised it."""
    sources, distances, into = graph.sources, graph.distances, graph.arcs_into
    unit, step, changed = period.denominator, period.numerator, False
    for node in graph.topological:
        best, via = potentials[node], -1
        for arc in into[node]:
            source = sources[arc]
            reached = potentials[source] + weights[source] * unit - step * distances[arc]
            if reached > best:
                best, via = reached, arc
        if via >= 0:
            potentials[node], parents[node], changed = best, via, True
    return changed


def _cycles(graph: ActGraph, parents: list[int]) -> list[tuple[int, ...]]:
    """The cycles of the parent arcs, each as arcs in forward order."""
    seen_by = [-1] * len(parents)
    found = []
    for root in range(len(parents)):
        node, path = root, list[int]()
        while seen_by[node] < 0 and parents[node] >= 0:
            seen_by[node] = root
            path.append(parents[node])
            node = graph.sources[parents[node]]
        if seen_by[node] == root and parents[node] >= 0:
            start = next(i for i, arc in enumerate(path) if graph.targets[arc] == node)
            found.append(tuple(reversed(path[start:])))
    return found


def _ratio(graph: ActGraph, weights: list[int], cycle: tuple[int, ...]) -> Fraction:
    return Fraction(sum(weights[graph.sources[a]] for a in cycle), sum(graph.distances[a] for a in cycle))


# ---------------------------------------------------------------- in words


def named_cycle(graph: ActGraph, found: Steady) -> tuple[str, ...]:
    """The critical cycle, one entry a hand-over; consecutive acts of one stream are one entry."""
    if not found.cycle:
        return (_whole_stream(graph, found.stream),) if found.stream else ()
    runs: list[list[int]] = []
    for arc in found.cycle:
        reason = graph.reasons[arc]
        if runs and reason.kind == "stream" and graph.reasons[runs[-1][0]] == reason:
            runs[-1].append(arc)
        else:
            runs.append([arc])
    return tuple(_run(graph, run) for run in runs)


def _whole_stream(graph: ActGraph, stream: str) -> str:
    order = graph.orders.get(stream, ())
    rows = graph.plan.streams[stream]
    nodes = stream_acts(graph.bases, order) if order else [graph.bases[row] for row in rows]
    count = sum(graph.plan.actors[row].acts for row in rows)
    return f"stream {stream}: {graph.label(nodes[0])} .. {graph.label(nodes[-1])} ({count} acts)"


def _run(graph: ActGraph, run: list[int]) -> str:
    first, last, reason = graph.sources[run[0]], graph.targets[run[-1]], graph.reasons[run[0]]
    start, stop = graph.label(first), graph.label(last)
    wrapped = " of the next step" if sum(graph.distances[a] for a in run) else ""
    if reason.kind == "stream":
        return f"stream {reason.name}: {start} .. {stop}{wrapped}"
    if reason.kind == "meet":
        return f"{stop} starts with its partners in {reason.name}"
    label = graph.plan.registers[reason.row].label
    verb = f"hands {label} to" if reason.kind == "data" else f"frees a slot of {label} for"
    return f"{start} {verb} {stop}{wrapped}"


def bound(graph: ActGraph, found: Steady) -> str:
    """What a shorter period would need more of: time on a stream, slots, or initial tokens."""
    if not found.cycle:
        return f"stream {found.stream}" if found.stream else "nothing"
    names: dict[str, None] = {}
    for arc in found.cycle:
        for tied in _alongside(graph, arc) if graph.distances[arc] else [arc]:
            reason = graph.reasons[tied]
            if reason.kind == "stream" and graph.distances[arc]:
                names[f"order of stream {reason.name}"] = None
            elif reason.kind == "slot" or (reason.kind == "data" and graph.distances[arc]):
                names[_register(graph, reason.row)] = None
    only = {(graph.reasons[arc].kind, graph.reasons[arc].name) for arc in found.cycle}
    return " + ".join(names) if len(only) > 1 or "stream" not in dict(only) else f"stream {dict(only)['stream']}"


def _alongside(graph: ActGraph, arc: int) -> list[int]:
    """The arcs that say the same as `arc` for another reason: to drop one of them would not help."""
    ends = graph.sources[arc], graph.distances[arc]
    return [a for a in graph.arcs_into[graph.targets[arc]] if (graph.sources[a], graph.distances[a]) == ends]


def _register(graph: ActGraph, row: int) -> str:
    register = graph.plan.registers[row]
    tokens = f", {_count(register.initial, 'initial token')}" if register.initial else ""
    return f"register {register.label}, {_count(register.slots, 'slot')}{tokens}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
