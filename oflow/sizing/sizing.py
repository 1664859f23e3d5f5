"""Slots of a plan: how few bytes they can take for a period, and the curve of period against bytes.

Two views. ``per="step"``: the whole step with its ramps and the plan's orders, exact. ``per="micro-batch"``: the steady state of its
micro-batches, where a stream's order may be open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from oflow.check import act_graph, play, steady
from oflow.check.period import PER_SECOND
from oflow.errors import PlanError
from oflow.plan import Plan
from oflow.sizing.curve import RESOLUTION, Point, curve, point
from oflow.sizing.flow import Flow, chosen_registers, slot_nbytes, unlimited, whole_step
from oflow.sizing.micro_batch import SteadyState, steady_state
from oflow.sizing.modulo import full_rate, ordered, too_many
from oflow.sizing.ratio import long_period

COARSE = 1e-2
"""Resolution of a curve whose points are integer programs."""
VIEWS = ("step", "micro-batch")


@dataclass(frozen=True, slots=True)
class SlotRow:
    """A register template: its line of the user's program, devices that have it, bytes of one slot on all of them, and slots."""

    register: str
    line: str
    devices: int
    nbytes: int
    before: int
    after: int


@dataclass(frozen=True)
class Sizing:
    """Slots for a period.

    plan: with these slots (in the view of a micro-batch: as it was). period: seconds that are proved, of a step or micro-batch;
    asked: the most they may be. nbytes: of all slots on all devices, before: of the plan as it was. bound: bytes below which no
    slots keep that period.
    """

    plan: Plan = field(repr=False)
    per: str
    rows: tuple[SlotRow, ...]
    period: float
    asked: float
    nbytes: int
    before: int
    bound: int

    @property
    def gap(self) -> float:
        """Share of the bytes that a better choice could save at most; 0.0: it is proved that none could."""
        return 1.0 - self.bound / self.nbytes if self.nbytes else 0.0

    @property
    def exact(self) -> bool:
        return self.nbytes == self.bound


@dataclass(frozen=True)
class TradeOff:
    """The curve of period against bytes, fastest first. `current`: (seconds, bytes) of the plan as it is."""

    per: str
    sizings: tuple[Sizing, ...]
    current: tuple[float, int]
    resolution: float = field(default=RESOLUTION)


@dataclass(frozen=True)
class _Problem:
    """A plan in one view. fastest, slowest: periods between which slots matter; current: what slots are sized for by default.

    open: the steady state, where streams' orders are chosen anew for every period.
    """

    plan: Plan
    per: str
    flow: Flow
    fastest: Fraction
    current: Fraction
    open: SteadyState | None = None

    @property
    def slowest(self) -> Fraction:
        return max(self.fastest, long_period(self.flow))

    def at(self, period: Fraction) -> Point:
        """The least bytes for a period from `fastest` on: in the order of the fastest, or in one of its own where that takes less."""
        if self.per == "step":
            return point(self.flow, period, self._proved)
        made = point(self.flow, period)
        if self.open is None:
            return made
        flow, bound = ordered(self.open, period)
        if flow is not None:
            made = min(made, point(flow, period), key=lambda one: (one.nbytes, one.period))
        return replace(made, bound=min(made.nbytes, bound))

    def _proved(self, slots: tuple[int, ...]) -> Fraction:
        """The period of the plan with these slots."""
        plan = with_slots(self.plan, {b.register: n for b, n in zip(self.flow.buffers, slots, strict=True)})
        return steady(act_graph(plan, play(plan))).period

    def sizing(self, found: Point, asked: Fraction) -> Sizing:
        slots = {b.register: n for b, n in zip(self.flow.buffers, found.slots, strict=True)}
        plan = with_slots(self.plan, slots) if self.per == "step" else self.plan
        return Sizing(
            plan, self.per, _rows(self.plan, slots), _seconds(max(found.period, self.fastest)), _seconds(asked),
            found.nbytes, self.flow.nbytes(self.flow.slots), found.bound,
        )  # fmt: skip


def size(plan: Plan, period: float | None = None, per: str = "step") -> Sizing:
    """The least bytes of slots with which `plan` keeps `period`; default: its own (a micro-batch: the shortest there is).

    The plan that comes out keeps its orders; its memory is not laid out again. Raises PlanError where no slots allow the period,
    with the shortest that some do.
    """
    problem = _problem(plan, per)
    asked = problem.current if period is None else _femtoseconds(period)
    if period is not None and asked < problem.fastest:
        raise PlanError(
            f"no slots let a {per} take {period:.6g} s; with as many as one likes it takes {_seconds(problem.fastest):.6g} s, and a "
            "shorter one needs faster operators or links, or another order (plan.what_would_help() ranks them)"
        )
    return problem.sizing(problem.at(asked), asked)


def trade_off(plan: Plan, per: str = "step", resolution: float | None = None) -> TradeOff:
    """All periods between the full rate and the least bytes that live, with the least bytes of each.

    resolution: share of a period below which two are one; default 0.0001, and 0.01 where every period has its own order.
    """
    problem = _problem(plan, per)
    resolution = resolution or (RESOLUTION if problem.open is None else COARSE)
    found = curve(problem.at, problem.fastest, problem.slowest, resolution)
    sizings = tuple(problem.sizing(one, one.period) for one in found)
    return TradeOff(per, sizings, (_seconds(problem.current), problem.flow.nbytes(problem.flow.slots)), resolution)


def with_slots(plan: Plan, slots: Mapping[int, int]) -> Plan:
    """The plan with so many slots of these register templates; offsets are as they were."""
    templates = tuple(replace(t, slots=slots.get(row, t.slots)) for row, t in enumerate(plan.register_templates))
    return replace(plan, register_templates=templates)


def _problem(plan: Plan, per: str) -> _Problem:
    if per not in VIEWS:
        raise PlanError(f"slots are sized per step or per micro-batch, not per {per!r}")
    graph = act_graph(plan, play(plan))
    if per == "step":
        return _Problem(plan, per, whole_step(graph), steady(unlimited(graph)).period, steady(graph).period)
    state = steady_state(graph)
    if too_many(state):
        state = steady_state(graph, keep=True)
    flow, period = full_rate(state)
    return _Problem(plan, per, flow, period, period, state if state.free else None)


def _rows(plan: Plan, slots: dict[int, int]) -> tuple[SlotRow, ...]:
    """One row a register whose slots are chosen, those with most bytes before first."""
    made = []
    for row in sorted(chosen_registers(plan) & slots.keys()):
        template, writer = plan.register_templates[row], plan.actor_templates[plan.writers[row][0]]
        ranks = len(plan.rank_table[template.group])
        made.append(SlotRow(template.name, writer.line, ranks, slot_nbytes(plan, template), template.slots, slots[row]))
    return tuple(sorted(made, key=lambda r: (-r.nbytes * max(r.before, r.after), r.register)))


def _femtoseconds(seconds: float) -> Fraction:
    """A float is the nearest to what it stands for, so the next one is meant too: a proved period asked for again is kept."""
    return Fraction(math.nextafter(seconds, math.inf)) * PER_SECOND


def _seconds(femtoseconds: Fraction) -> float:
    return float(femtoseconds / PER_SECOND)


