"""The curve of period against bytes of slots: from the full rate, which more slots would not make faster, to the fewest that live.

A point is a period and the least bytes for it. Between two points whose bytes differ lies another or none: the period in the middle
tells, until two periods are closer than `resolution`. Where every point is proved (`bound == nbytes`) the curve is the Pareto
front to that resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from oflow.live import phase
from oflow.sizing.flow import Flow
from oflow.sizing.least import least
from oflow.sizing.ratio import Stuck, ratio

RESOLUTION = 1e-4
"""Share of a period below which two are one."""


@dataclass(frozen=True, slots=True)
class Point:
    """`period` in femtoseconds: what `slots` reach exactly. bound: bytes that any slots of this period take at least."""

    period: Fraction
    slots: tuple[int, ...]
    nbytes: int
    bound: int


def point(flow: Flow, period: Fraction, reached: Callable[[tuple[int, ...]], Fraction] | None = None) -> Point:
    """The least bytes for `period`, and the period that those slots really reach. Raises ValueError where no slots allow it.

    reached: a quicker way to that period than the flow's own.
    """
    found = least(flow, period)
    return Point((reached or _reached(flow))(found.slots), found.slots, found.nbytes, found.bound)


def _reached(flow: Flow) -> Callable[[tuple[int, ...]], Fraction]:
    def period(slots: tuple[int, ...]) -> Fraction:
        found = ratio(flow, slots)
        assert not isinstance(found, Stuck), "slots that keep a schedule live"
        return found.period

    return period


def curve(at: Callable[[Fraction], Point], fastest: Fraction, slowest: Fraction, resolution: float = RESOLUTION) -> tuple[Point, ...]:
    """All points from the period `fastest` to the least bytes of any period up to `slowest`, by period; bytes fall strictly.

    at: the least bytes for a period.
    """
    last = at(slowest)
    found = [*_between(at, at(fastest), last, Fraction(resolution)), last]
    falling: list[Point] = []
    for one in sorted(found, key=lambda p: (p.period, p.nbytes)):
        if not falling or one.nbytes < falling[-1].nbytes:
            falling.append(one)
    return tuple(falling)


def _between(at: Callable[[Fraction], Point], low: Point, high: Point, resolution: Fraction) -> list[Point]:
    """`low` and points up to, not including, `high`."""
    found, work = [low], [(low, high)]

    def share() -> float:
        """Of the periods between the two: those that are not waiting."""
        return 1.0 - float(sum(other.period - one.period for one, other in work) / (high.period - low.period))

    with phase(lambda: f"curve of slots, {len(found)} points", share):
        while work:
            one, other = work[-1]
            if one.nbytes <= other.nbytes or other.period - one.period <= one.period * resolution:
                work.pop()
                continue
            middle = (one.period + other.period) / 2
            made = at(Fraction(middle.numerator // middle.denominator))
            found.append(made)
            work[-1:] = [(one, made), (replace(made, period=middle), other)]
    return found
