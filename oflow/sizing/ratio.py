"""The exact steady period of a flow with given slots: the largest seconds / distance of a cycle (Reiter 1968).

Dinkelbach's iteration as in `check.period`, which proves it of a whole plan. A known cycle is a first guess and known start times a
first schedule, so what changes little is found in a few rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from oflow.sizing.flow import Flow


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
    """A cycle of distance 0: its buffers. Nobody on it could ever act."""

    buffers: tuple[int, ...]


class _Arcs:
    """The arcs of a flow with these slots, and an order in which those of distance 0 go forward."""

    def __init__(self, flow: Flow, slots: Sequence[int]) -> None:
        self.weights, nodes = flow.weights, len(flow.weights)
        self.all = [(source, target, distance, -1) for source, target, distance in flow.arcs]
        for number, (buffer, count) in enumerate(zip(flow.buffers, slots, strict=True)):
            if count:
                self.all += [(source, target, distance, number) for source, target, distance in buffer.arcs(count)]
        self.out: list[list[int]] = [[] for _ in range(nodes)]
        missing = [0] * nodes
        for arc, (source, target, distance, _) in enumerate(self.all):
            self.out[source].append(arc)
            missing[target] += distance <= 0
        self.order = [node for node in range(nodes) if not missing[node]]
        for node in self.order:
            for arc in self.out[node]:
                if self.all[arc][2] <= 0:
                    missing[self.all[arc][1]] -= 1
                    if not missing[self.all[arc][1]]:
                        self.order.append(self.all[arc][1])

    def ratio(self, cycle: Sequence[int]) -> Fraction:
        return Fraction(sum(self.weights[self.all[a][0]] for a in cycle), sum(self.all[a][2] for a in cycle))

    def stuck(self) -> Stuck:
        """A cycle among the nodes that have no place in the order."""
        left = set(range(len(self.weights))).difference(self.order)
        into = {target: (source, buffer) for source, target, distance, buffer in self.all if distance <= 0 and {source, target} <= left}
        node, seen = min(left), dict[int, int]()
        while node not in seen:
            seen[node] = len(seen)
            node = into[node][0]
        path = list(seen)[seen[node] :]
        return Stuck(tuple(dict.fromkeys(into[n][1] for n in path if into[n][1] >= 0)))

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


def ratio(flow: Flow, slots: Sequence[int], guess: Fraction = Fraction(0), near: Sequence[Fraction] = ()) -> Ratio | Stuck:
    """The period with these slots (0: as many as one likes). guess: a lower bound; near: start times to begin with."""
    arcs = _Arcs(flow, slots)
    if len(arcs.order) < len(flow.weights):
        return arcs.stuck()
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
