"""The exact steady period of a flow with given slots: the largest seconds / distance of a cycle (Reiter 1968).

Dinkelbach's iteration as in `check.period`, which proves it of a whole plan. A known cycle is a first guess and known start times a
first schedule, so what changes little is found in a few rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from oflow.sizing.flow import Flow
from oflow.sizing.times import Times


@dataclass(frozen=True, slots=True)
class Ratio:
    """`period` in femtoseconds. cycle: its arcs in order, (source, target, distance, buffer or -1); () where nothing takes time.

    starts: of each node, in femtoseconds.
    """

    period: Fraction
    cycle: tuple[tuple[int, int, int, int], ...]
    starts: tuple[Fraction, ...]


@dataclass(frozen=True, slots=True)
class Stuck:
    """The buffers of a cycle of distance 0 or less: nobody on it could ever act."""

    buffers: tuple[int, ...]


class _Arcs:
    """The arcs of a flow with these slots; `order`: a schedule's, so that arcs of distance 0 go forward."""

    def __init__(self, flow: Flow, slots: Sequence[int], order: Sequence[int]) -> None:
        self.weights, self.order = flow.weights, order
        self.all = [(source, target, distance, -1) for source, target, distance in flow.arcs]
        for number, (buffer, count) in enumerate(zip(flow.buffers, slots, strict=True)):
            if count:
                self.all += [(source, target, distance, number) for source, target, distance in buffer.arcs(count)]
        self.out: list[list[int]] = [[] for _ in order]
        for arc, (source, *_) in enumerate(self.all):
            self.out[source].append(arc)

    def ratio(self, cycle: Sequence[int]) -> Fraction:
        return Fraction(sum(self.weights[self.all[a][0]] for a in cycle), sum(self.all[a][2] for a in cycle))

    def raise_all(self, period: Fraction, starts: list[int], parents: list[int]) -> bool:
        """One pass of longest paths, in units of 1 / denominator; True where a node moved."""
        unit, step, changed, every = period.denominator, period.numerator, False, self.all
        for node in self.order:
            end = starts[node] + self.weights[node] * unit
            for arc in self.out[node]:
                _, target, distance, _ = every[arc]
                reached = end - step * distance
                if reached > starts[target]:
                    starts[target], parents[target], changed = reached, arc, True
        return changed

    def cycles(self, parents: list[int]) -> list[list[int]]:
        """The cycles of the parent arcs, each in forward order."""
        seen, found = [-1] * len(parents), list[list[int]]()
        for root in range(len(parents)):
            node, path = root, list[int]()
            while seen[node] < 0 and parents[node] >= 0:
                seen[node] = root
                path.append(parents[node])
                node = self.all[parents[node]][0]
            if seen[node] == root and parents[node] >= 0:
                first = next(i for i, arc in enumerate(path) if self.all[arc][1] == node)
                found.append(path[first:][::-1])
        return found


def alive(flow: Flow, slots: Sequence[int]) -> Times | Stuck:
    """A schedule of some long period: with these slots (0: as many as one likes) nobody waits for ever."""
    times = Times(flow, long_period(flow))
    for buffer, count in enumerate(slots):
        if count and (cycle := times.hold(buffer, count)):
            return Stuck(cycle)
    return times


def long_period(flow: Flow) -> Fraction:
    """A period in which all acts run one after the other: every plan that lives keeps it."""
    return Fraction(sum(flow.weights) + 1)


def ratio(flow: Flow, slots: Sequence[int], guess: Fraction = Fraction(0), near: Sequence[Fraction] = ()) -> Ratio | Stuck:
    """The period with these slots (0: as many as one likes). guess: a lower bound; near: start times to begin with."""
    schedule = alive(flow, slots)
    if isinstance(schedule, Stuck):
        return schedule
    arcs = _Arcs(flow, slots, sorted(range(len(flow.weights)), key=schedule.starts.__getitem__))
    period, cycle = guess, list[int]()
    unit = period.denominator
    starts = [int(s * unit) for s in near] or [0] * len(flow.weights)
    parents = [-1] * len(starts)
    while arcs.raise_all(period, starts, parents):
        worst = max(arcs.cycles(parents), key=arcs.ratio, default=[])
        if worst and arcs.ratio(worst) > period:
            period, cycle = arcs.ratio(worst), worst
            starts = [s * period.denominator // unit for s in starts]
            parents, unit = [-1] * len(starts), period.denominator
    return Ratio(period, tuple(arcs.all[a] for a in cycle), tuple(Fraction(s, unit) for s in starts))
