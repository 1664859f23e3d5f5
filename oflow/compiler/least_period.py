"""The shortest period within a limit of memory, with a proved lower bound, by bisection on the period.

Bytes that live at once on a device are what any layout of the plan takes at least (`sizing.loads`), and a shorter period never needs
fewer. So a period for which even their lower bound is too much is a lower bound of all that fit.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from oflow.compiler.options import whole_nbytes
from oflow.compiler.resize import device_nbytes, laid_out, without_controls
from oflow.errors import OutOfMemory
from oflow.plan import Plan
from oflow.sizing import FULLEST, RESOLUTION, Point, Problem, Sizing, in_seconds, problem_of


def least_period_of(plan: Plan, memory: int) -> Sizing:
    """The shortest step whose plan needs at most `memory` bytes of arena and state on every device, and its slots.

    `fastest` is a lower bound: for a shorter period the bytes that live at once on some device are proved to be more than `memory`,
    whatever its slots. Raises OutOfMemory, with the bytes that the fewest slots take, where no slots are few enough;
    PlanError for what is no number of bytes.
    """
    memory = whole_nbytes(memory)
    search = _Search(problem_of(without_controls(plan), of=FULLEST), memory)
    slowest = search.problem.slowest
    if search.tried(search.problem.fastest) is None and search.tried(slowest) is None:
        need, least = search.fewest, search.problem.at(slowest).bound
        raise OutOfMemory(
            f"the fewest slots of these orders need {need:,} bytes on the fullest device, {need - memory:,} more than the {memory:,} "
            f"that are given; whatever the slots, {least:,} bytes live there at once. Use smaller micro-batches, a schedule with fewer "
            "of them in flight, recomputation, or more devices."
        )
    return search.found()


class _Search:
    """impossible: the longest period that is proved to need too much (or the full rate); possible: the shortest of which that is not
    known. best: the fastest plan that fits. fewest: the least bytes that the fullest device was found to need."""

    def __init__(self, problem: Problem, memory: int) -> None:
        self.problem, self.memory = problem, memory
        self.impossible, self.possible = problem.fastest, problem.slowest
        self.best: Sizing | None = None
        self.fewest = 1 << 62
        self.reached = problem.slowest

    def tried(self, period: Fraction) -> Sizing | None:
        """The plan with the least slots for a period, laid out, if it fits."""
        point = self.asked(period)
        if point.bound > self.memory and period < self.problem.slowest:
            return None
        made = laid_out(self.problem.sizing(point, period))
        need = device_nbytes(made.plan)
        self.fewest = min(self.fewest, need)
        if need > self.memory:
            return None
        self.reached = min(self.reached, period, max(point.period, self.problem.fastest))
        self.best = min(self.best or made, made, key=lambda one: one.period)
        return made

    def asked(self, period: Fraction) -> Point:
        """The least slots for a period, and whether even less could be too much."""
        point = self.problem.at(period)
        if point.bound > self.memory:
            self.impossible = max(self.impossible, period)
        else:
            fits = point.nbytes <= self.memory
            self.possible = min(self.possible, period, max(point.period, self.problem.fastest) if fits else period)
        return point

    def found(self) -> Sizing:
        """The fastest plan that fits, and how much faster another could be."""
        low = self.problem.fastest
        while (middle := _between(low, self.reached)) is not None:
            if self.tried(middle) is None:
                low = middle
        while (middle := _between(self.impossible, self.possible)) is not None:
            self.asked(middle)
        below = _whole(self.possible - 1)  # periods are those of cycles: often there is none between the two
        if below > self.impossible:
            self.asked(below)
        assert self.best is not None
        return replace(self.best, fastest=min(self.best.period, in_seconds(self.impossible)), memory=self.memory)


def _between(low: Fraction, high: Fraction) -> Fraction | None:
    """The period in the middle, until the two are one to the resolution."""
    middle = _whole((low + high) / 2)
    return middle if high - low > low * Fraction(RESOLUTION) and low < middle < high else None


def _whole(period: Fraction) -> Fraction:
    return Fraction(period.numerator // period.denominator)
