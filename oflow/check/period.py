"""The steady period: the maximum over all cycles of the act graph of seconds / steps (Reiter 1968).

Found by Dinkelbach's iteration: guess the period, look for a cycle that needs longer, take its ratio as the next guess. When no
cycle does, the longest-path potentials are a periodic schedule, which proves the period in one pass over the arcs. Seconds are
rounded to whole femtoseconds, so that all comparisons are exact; where the numbers of a step would not fit in 62 bits, to a
thousandfold of them and so on, and the period is exact for these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from oflow.check.acts import ActGraph
from oflow.check.loops import fixed, run
from oflow.check.loops.potentials import raised_cycles, rounds, sweep
from oflow.live import phase

PER_SECOND = 10**15
LARGEST = 1 << 62
COARSER = 1000
MANY = 200_000
"""Nodes from which on the first guess comes from steps that are played one after the other."""
ROUNDS = (3, 6)
"""How many: a pipeline's steps take the period from the second or third on; more where nothing repeats in so few."""


@dataclass(frozen=True, eq=False, slots=True)
class Steady:
    """`period` in femtoseconds; `cycle`: arcs of the critical cycle in order, () where `stream` alone bounds the period.

    weights (N): length of each node in `unit` femtoseconds. potentials (N): when each node may start in every period, in units of
    unit / `parts`, where `parts` makes the period a whole number of them.
    """

    period: Fraction
    cycle: tuple[int, ...]
    stream: str
    weights: np.ndarray
    unit: int
    parts: int
    potentials: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """(N) seconds at which each node may start in every period."""
        return self.potentials * (self.unit / self.parts / PER_SECOND)


@phase("find the period")
def steady(graph: ActGraph, *, near: Steady | None = None, compiled: bool | None = None) -> Steady:
    """The steady period of a graph, its critical cycle and the potentials that certify it.

    near: that of a graph with the same nodes and other seconds or slots, to begin with: its cycle (arcs of this graph, or none) is a
    first guess, its starts first potentials.
    """
    unit, weights = _whole(graph)
    while True:
        found = _steady(graph, weights, unit, near, compiled)
        if found is not None:
            return found
        unit *= COARSER
        weights = whole_lengths(graph, unit)


def certified(graph: ActGraph, found: Steady) -> bool:
    """Whether `potentials` are a schedule of that period: every arc is kept. One pass over the arcs."""
    span = found.period / found.unit * found.parts
    within = _fits(found.weights, found.parts, int(span), graph) and np.abs(found.potentials).max(initial=0) <= LARGEST // 2
    if span.denominator != 1 or not within:
        return False
    ends = found.potentials + found.weights * found.parts
    return bool((found.potentials[graph.targets] >= ends[graph.sources] - int(span) * graph.distances).all())


def attained(graph: ActGraph, found: Steady) -> bool:
    """Whether the cycle, or where there is none the stream, needs the whole period."""
    if found.cycle:
        cycle = np.array(found.cycle)
        joined = np.array_equal(graph.targets[cycle], np.roll(graph.sources[cycle], -1))
        seconds, steps = sum(found.weights[graph.sources[cycle]].tolist()), int(graph.distances[cycle].sum())
        return joined and steps > 0 and found.stream == "" and found.period == Fraction(seconds, steps) * found.unit
    busiest, stream = _busiest(graph, found.weights)
    return found.stream == stream and found.period == busiest * found.unit


def fine_enough(graph: ActGraph, unit: int, period: Fraction) -> bool:
    """Whether lengths in this unit are exact to a femtosecond, or their roundings together less than a millionth of the period."""
    exact = all(round(s * PER_SECOND) % unit == 0 for s in _distinct(graph)[0])
    return exact or unit * len(graph) * 10**6 < period


def busy_seconds(graph: ActGraph) -> dict[str, float]:
    """Seconds a step in which each stream is at work."""
    t = graph.tables
    seconds = graph.seconds[graph.bases[:-1]] * t.acts
    return dict(zip(t.streams, np.bincount(t.stream, seconds, len(t.streams)).tolist(), strict=True))


# ---------------------------------------------------------------- whole numbers


def _distinct(graph: ActGraph) -> tuple[list[float], np.ndarray]:
    values, places = np.unique(graph.seconds, return_inverse=True)
    return values.tolist(), places.reshape(-1)


def _whole(graph: ActGraph) -> tuple[int, np.ndarray]:
    """The largest unit in which all lengths are whole, to a femtosecond, and the lengths."""
    values, places = _distinct(graph)
    lengths = [round(s * PER_SECOND) for s in values]
    unit = math.gcd(*lengths) or 1
    if max(lengths, default=0) // unit > LARGEST:
        unit *= COARSER ** math.ceil(math.log(max(lengths) / LARGEST / unit, COARSER))
        return unit, whole_lengths(graph, unit)
    return unit, np.array([n // unit for n in lengths], np.int64)[places]


def whole_lengths(graph: ActGraph, unit: int) -> np.ndarray:
    """(N) the length of each node in whole units of so many femtoseconds."""
    values, places = _distinct(graph)
    return np.asarray(np.array([round(Fraction(round(s * PER_SECOND), unit)) for s in values], np.int64)[places])


def _fits(weights: np.ndarray, parts: int, span: int, graph: ActGraph) -> bool:
    """Whether one arc's numbers, and their sum, fit in a word."""
    return int(weights.max(initial=0)) * parts < LARGEST // 2 and span * int(graph.distances.max(initial=0)) < LARGEST


# ---------------------------------------------------------------- the search


def _steady(graph: ActGraph, weights: np.ndarray, unit: int, near: Steady | None, compiled: bool | None) -> Steady | None:
    """The steady period for these weights; None where numbers grow too large."""
    nodes = len(weights)
    busiest, stream = _busiest(graph, weights)
    guess, cycle = Fraction(busiest), np.zeros(0, np.int64)
    if near is not None and near.cycle:
        cycle = np.array(near.cycle)
        known = Fraction(int(weights[graph.sources[cycle]].sum()), int(graph.distances[cycle].sum()))
        guess, cycle, stream = (known, cycle, "") if known > guess else (guess, cycle[:0], stream)
    potential, parent, rising = np.zeros(nodes, np.int64), np.full(nodes, -1), np.ones(nodes, np.int64)
    if near is not None:
        starts = np.floor(near.starts * (PER_SECOND / unit))
        if starts.max(initial=0.0) * guess.denominator < LARGEST // 2:
            potential = starts.astype(np.int64) * guess.denominator
    elif nodes >= MANY and (played := next(filter(None, (_played_cycle(graph, weights, n, compiled) for n in ROUNDS)), None)):
        known, walked, potential = played
        potential *= known.denominator if known > guess else 1
        guess, cycle, stream = (known, walked, "") if known > guess else (guess, cycle, stream)
    order, start, targets, distances, sources, lengths = map(
        fixed, (graph.topological, graph.start_from, graph.targets, graph.distances, graph.sources, weights)
    )
    while True:
        if not _fits(weights, guess.denominator, guess.numerator, graph):
            return None
        sizes = np.array([nodes, guess.denominator, guess.numerator, LARGEST])
        status = run(sweep, fixed(sizes), order, start, targets, distances, lengths, potential, parent, rising, compiled=compiled)
        if status == 0:
            return Steady(guess * unit, tuple(cycle.tolist()), stream, weights, unit, guess.denominator, potential)
        if status > 1:
            return None
        worst, node = _worst(graph, sources, lengths, distances, parent, compiled)
        if worst is not None and worst > guess:
            cycle, stream = _cycle_through(graph, parent, node), ""
            highest = int(potential.max()) // guess.denominator + 1
            if highest * worst.denominator > LARGEST:
                return None
            # multiples of the new part, never lower than they were: any start will do
            potential = potential // guess.denominator * worst.denominator if worst.denominator != guess.denominator else potential
            guess, parent, rising = worst, np.full(nodes, -1), np.ones(nodes, np.int64)


def _played_cycle(
    graph: ActGraph, weights: np.ndarray, steps: int, compiled: bool | None
) -> tuple[Fraction, np.ndarray, np.ndarray] | None:
    """What the last of so many steps waits for, followed back until it repeats: a cycle, its ratio, and when the last step's acts start.

    None where nothing repeats (no cycle bounds these steps) or numbers grow too large.
    """
    nodes = len(weights)
    begun, parent = np.zeros(steps * nodes, np.int64), np.full(steps * nodes, -1)
    columns = map(fixed, (graph.topological, *graph.arcs_into, graph.sources, graph.distances, weights))
    if run(rounds, fixed(np.array([nodes, steps, LARGEST // 2])), *columns, begun, parent, compiled=compiled):
        return None
    last = begun[-nodes:]
    at, step = int(np.argmax(last)), steps - 1
    seen, arcs = {at: 0}, list[int]()
    while (arc := int(parent[step * nodes + at])) >= 0:
        arcs.append(arc)
        at, step = int(graph.sources[arc]), step - int(graph.distances[arc])
        if at in seen:
            walked = np.array(arcs[seen[at] :][::-1])
            known = Fraction(int(weights[graph.sources[walked]].sum()), int(graph.distances[walked].sum()))
            return None if int(last.max()) > LARGEST // 2 // known.denominator else (known, walked, last - last.min())
        seen[at] = len(arcs)
    return None


def _busiest(graph: ActGraph, weights: np.ndarray) -> tuple[int, str]:
    """Of all streams the longest sum of their acts."""
    t = graph.tables
    busy = [0] * len(t.streams)
    lengths = weights[graph.bases[:-1]]
    if len(lengths) and int(lengths.max()) * int(graph.bases[-1]) < LARGEST:
        sums = np.zeros(len(t.streams), np.int64)
        np.add.at(sums, t.stream, lengths * t.acts)
        busy = sums.tolist()
    else:
        for stream, length, acts in zip(t.stream.tolist(), lengths.tolist(), t.acts.tolist(), strict=True):
            busy[stream] += length * acts
    stream = max(range(len(busy)), key=busy.__getitem__, default=-1)
    return (busy[stream], t.streams[stream]) if busy else (0, "")


def _worst(
    graph: ActGraph, sources: np.ndarray, weights: np.ndarray, distances: np.ndarray, parent: np.ndarray, compiled: bool | None
) -> tuple[Fraction | None, int]:
    """The largest ratio of a cycle of parent arcs, and a node on it."""
    nodes = len(parent)
    node, weight, distance = (np.zeros(nodes, np.int64) for _ in range(3))
    count = run(
        raised_cycles, fixed(np.array([nodes])), sources, weights, distances, fixed(parent), np.zeros(nodes, np.int64), node, weight,
        distance, compiled=compiled,
    )  # fmt: skip
    if not count:
        return None, -1
    ratios = weight[:count] / distance[:count]
    near = np.flatnonzero(ratios >= ratios.max() * (1 - 1e-12))
    best = max(near.tolist(), key=lambda i: Fraction(int(weight[i]), int(distance[i])))
    return Fraction(int(weight[best]), int(distance[best])), int(node[best])


def _cycle_through(graph: ActGraph, parent: np.ndarray, node: int) -> np.ndarray:
    """The cycle of parent arcs through a node, in forward order."""
    arcs = [int(parent[node])]
    while (at := int(graph.sources[arcs[-1]])) != node:
        arcs.append(int(parent[at]))
    return np.array(arcs[::-1])
