"""Start times of a period, kept while slots are taken away one buffer at a time.

`Times` holds potentials that keep every arc: a periodic schedule. Fewer slots of one buffer are a few tighter arcs; what they push
later is found by Dijkstra's rule on the slacks, and a push that comes back to the arc's own source is a cycle that needs a longer
period (Ramalingam, Song, Joskowicz, Miller 1999: solving difference constraints incrementally). All in whole numbers: a cycle of
distance 0 is too long even where its acts take no time, since it is a deadlock.
"""

from __future__ import annotations

from fractions import Fraction
from heapq import heappop, heappush

from oflow.sizing.flow import Arc, Flow

FINE = 1 << 40
"""Parts of a time unit: an act takes one more part than its seconds, a period one more for each node. So cycles of distance 0 rise,
and of all others exactly those that are longer than their distance x period (FINE is above nodes x distance of any cycle)."""


class Times:
    """A schedule of `period` (femtoseconds). `slots`: of each buffer, 0 where they are not limited yet.

    Raises ValueError where no slots at all would allow the period.
    """

    def __init__(self, flow: Flow, period: Fraction) -> None:
        self.flow, self.period = flow, period
        self.slots = [0] * len(flow.buffers)
        nodes = len(flow.weights)
        self._lengths = [w * period.denominator * FINE + 1 for w in flow.weights]
        self._step = period.numerator * FINE + nodes
        self._after: list[list[tuple[int, int]]] = [[] for _ in range(nodes)]
        for source, target, distance in flow.arcs:
            self._after[source].append((target, distance))
        self._frees: list[list[tuple[int, tuple[int, ...], int]]] = [[] for _ in range(nodes)]
        for number, buffer in enumerate(flow.buffers):
            for starts, ends in buffer.hand_overs:
                for turn, end in enumerate(ends):
                    self._frees[end].append((number, starts, turn))
        self._free = self._earliest()
        self.starts = list(self._free)
        self._held: set[Arc] = set()
        self._busy = -1

    def _earliest(self) -> list[int]:
        """Longest paths over the arcs that hold for any slots."""
        starts = [0] * len(self._lengths)
        for _ in range(len(starts) + 1):
            changed = False
            for source, out in enumerate(self._after):
                end = starts[source] + self._lengths[source]
                for target, distance in out:
                    reached = end - distance * self._step
                    if reached > starts[target]:
                        starts[target] = reached
                        changed = True
            if not changed:
                return starts
        raise ValueError(f"no slots allow a period of {float(self.period)} femtoseconds")

    def reset(self) -> None:
        """No buffer is limited any more."""
        self.slots = [0] * len(self.slots)
        self.starts = list(self._free)

    def relax(self, buffer: int, slots: int) -> None:
        """Give a buffer more slots than it has: the schedule stays one."""
        self.slots[buffer] = slots

    def hold(self, buffer: int, slots: int) -> tuple[int, ...]:
        """Give a buffer so many slots. () where the schedule could be kept; else the buffers on a cycle that is too long, and
        nothing has changed."""
        before, moved = self.slots[buffer], dict[int, int]()
        self.slots[buffer], self._busy = slots, buffer
        self._held.clear()
        for arc in self.flow.buffers[buffer].arcs(slots):
            cycle = self._insert(arc, moved)
            if cycle:
                for node, start in moved.items():
                    self.starts[node] = start
                self.slots[buffer], self._busy = before, -1
                return cycle
            self._held.add(arc)
        self._busy = -1
        return ()

    def _insert(self, arc: Arc, moved: dict[int, int]) -> tuple[int, ...]:
        """Push later what the new arc pushes. `moved`: where nodes stood before, added to."""
        source, target, distance = arc
        starts = self.starts
        first = starts[source] + self._lengths[source] - distance * self._step - starts[target]
        if first <= 0:
            return ()
        pushed = {target: first}
        via: dict[int, tuple[int, int]] = {target: (source, self._busy)}
        heap, done = [(-first, target)], set[int]()
        while heap:
            push, node = -heap[0][0], heap[0][1]
            heappop(heap)
            if node in done:
                continue
            done.add(node)
            if node == source:
                return _buffers_on(via, source, self._busy)
            moved.setdefault(node, starts[node])
            end = starts[node] + push + self._lengths[node]
            starts[node] += push
            for after, away, buffer in self._out(node):
                late = end - away * self._step - starts[after]
                if late > 0 and after not in done and late > pushed.get(after, 0):
                    pushed[after], via[after] = late, (node, buffer)
                    heappush(heap, (-late, after))
        return ()

    def _out(self, node: int) -> list[tuple[int, int, int]]:
        """(target, distance, buffer or -1) of the arcs that leave a node now."""
        found = [(target, distance, -1) for target, distance in self._after[node]]
        for number, starts, turn in self._frees[node]:
            slots = self.slots[number]
            if slots:
                buffer = self.flow.buffers[number]
                away, index = divmod(turn + slots - buffer.initial, len(starts))
                if number != self._busy or (node, starts[index], away) in self._held:
                    found.append((starts[index], away, number))
        return found


def _buffers_on(via: dict[int, tuple[int, int]], source: int, busy: int) -> tuple[int, ...]:
    """The buffers whose slots lie on the cycle that was closed at `source`."""
    found = {busy: None}
    node, buffer = via[source]
    if buffer >= 0:
        found[buffer] = None
    while node != source:
        node, buffer = via[node]
        if buffer >= 0:
            found[buffer] = None
    return tuple(found)
