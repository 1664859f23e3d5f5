"""The least bytes of slots for a period (of the largest load, see `loads`): relax, round, repair, decrease, and say how far from the
optimum that may be.

The integer optimum is NP-complete even with one turn a period (Moreira, Basten, Geilen, Stuijk 2010). Slots come from the linear
relaxation (`relaxed`) and from the cheapest cover of the cycles met so far (`cover`); where they make no schedule, the cheapest
buffer of the cycle that is too long gets one more; then every buffer gives back what it can, of the largest load first. Each schedule is
kept in whole numbers (`Times`), so what comes out is proved to run at the period without a deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from oflow.sizing.cover import Clause, cover
from oflow.sizing.flow import Flow
from oflow.sizing.objective import TOLERANCE
from oflow.sizing.relaxed import relaxed
from oflow.sizing.sums import Sums
from oflow.sizing.times import Times

ROUNDS = 40
"""How often the cheapest cover is looked for again, unless the optimum is proved before."""


@dataclass(frozen=True, slots=True)
class Least:
    """`slots` of each buffer; bytes of the flow's largest load, and a lower bound of them: `nbytes == bound` is the optimum."""

    slots: tuple[int, ...]
    nbytes: int
    bound: int


class _Search:
    """What is known of one period: the cycles met, as clauses, and the cheapest slots."""

    def __init__(self, flow: Flow, period: Fraction) -> None:
        self.flow, self.times = flow, Times(flow, period)
        self.clauses: dict[Clause, None] = {}
        self.least = [b.least for b in flow.buffers]
        self.best: tuple[int, ...] = ()
        self.bound = 0
        self.by_bytes = sorted(range(len(flow.buffers)), key=lambda b: (-flow.buffers[b].nbytes, b))
        self.sums = Sums(flow)

    def cost(self, slots: Sequence[int]) -> tuple[int, int]:
        """Bytes of the largest load, then of all slots."""
        return self.flow.nbytes(slots), sum(b.nbytes * n for b, n in zip(self.flow.buffers, slots, strict=True))

    def bounded(self, nbytes: int) -> None:
        """A lower bound that was found, beside what the least slots of each buffer take."""
        self.bound = max(self.bound, nbytes, self.flow.nbytes(self.least))

    @property
    def proved(self) -> bool:
        return self.flow.nbytes(self.best) <= self.bound

    def try_slots(self, wanted: list[int]) -> None:
        """Repair and decrease these slots; keep them where they are the cheapest so far."""
        self.times.reset()
        self.sums.set(wanted)
        for b in self.by_bytes:
            slots = wanted[b]
            while cycle := self.times.hold(b, slots):
                needed = {c: (slots if c == b else self.times.slots[c]) + 1 for c in cycle}
                self.clauses[tuple(sorted(needed.items()))] = None
                cheapest = min(cycle, key=lambda c: (*self._rise(c, needed[c]), c))
                self.sums.add(cheapest, 1)
                if cheapest == b:
                    slots += 1
                else:
                    self.times.relax(cheapest, needed[cheapest])
        self._decrease()
        if not self.best or self.cost(self.times.slots) < self.cost(self.best):
            self.best = tuple(self.times.slots)

    def _rise(self, buffer: int, slots: int) -> tuple[int, int]:
        """What one more slot costs: bytes of the largest load, and of all; nothing up to those that the buffer needs in any case."""
        if slots <= self.least[buffer]:
            return 0, 0
        return self.sums.rise(buffer), self.flow.buffers[buffer].nbytes

    def _decrease(self) -> None:
        """Take slots away while that makes no cycle too long: from the largest load, of its buffers the one with the largest slots."""
        for b in self.sums.in_turn():
            fewer = self.times.slots[b] - 1
            if fewer < self.least[b]:
                self.sums.settle(b)
            elif cycle := self.times.hold(b, fewer):
                self.clauses[tuple(sorted((c, (fewer if c == b else self.times.slots[c]) + 1) for c in cycle))] = None
                self.sums.settle(b)
            else:
                self.sums.add(b, -1)

    def alone(self) -> None:
        """What each buffer needs even where all others have as many as they like."""
        for b, slots in enumerate(self.best):
            while slots > self.least[b]:
                self.times.reset()
                low = self.least[b]
                if not self.times.hold(b, low):
                    break
                self.least[b] = low + 1

    def widen(self, clause: Clause) -> None:
        """A stronger clause: more slots of one buffer, or any number of them, where the others alone still forbid the schedule."""
        kept = dict(clause)
        for b, _ in clause:
            if len(kept) > 1 and self._forbidden({c: n for c, n in kept.items() if c != b}):
                del kept[b]
        self.clauses[tuple(sorted(kept.items()))] = None

    def _forbidden(self, needed: dict[int, int]) -> bool:
        """Whether one slot less than needed, of these buffers alone, makes no schedule."""
        self.times.reset()
        return any(self.times.hold(b, n - 1) for b, n in needed.items())


def least(flow: Flow, period: Fraction, rounds: int = ROUNDS) -> Least:
    """The least bytes of slots with which `flow` runs at `period` (femtoseconds). Raises ValueError where no slots allow it."""
    search = _Search(flow, period)
    search.try_slots([b.slots for b in flow.buffers])
    search.alone()
    search.bounded(0)
    if not search.proved:
        fractional, nbytes = relaxed(flow, period, search.least)
        search.bounded(nbytes)
        search.try_slots([ceil(n - TOLERANCE) for n in fractional])
    for _ in range(rounds):
        if search.proved:
            break
        known = len(search.clauses)
        slots, nbytes = cover(flow, list(search.clauses), search.least)
        search.bounded(nbytes)
        if not search.proved:
            search.try_slots(slots or list(search.best))
            for clause in list(search.clauses)[known:]:
                search.widen(clause)
    return Least(search.best, flow.nbytes(search.best), search.bound)
