"""Slots of a plan: how few bytes they can take for a period, and the curve of period against bytes.

Two views. ``per="step"``: the whole step with its ramps and the plan's orders, exact. ``per="micro-batch"``: the steady state of its
micro-batches, where a stream's order may be open. Two measures (`loads`). ``of="total"``: bytes of slots on all devices.
``of="fullest"``: the most bytes that live at once on one device, its state included (a micro-batch: bytes of its slots).
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
from oflow.sizing.loads import MEASURES, TOTAL, loads_of_devices, slots_of_devices
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
    asked: the most they may be. nbytes: by the measure `of`, before: of the plan as it was. bound: bytes below which no slots keep
    that period. fastest: seconds below which no slots bring it (and no order, where that is open), within `memory` bytes a device
    where these were given.
    """

    plan: Plan = field(repr=False)
    per: str
    rows: tuple[SlotRow, ...]
    period: float
    asked: float
    nbytes: int
    before: int
    bound: int
    of: str = TOTAL
    fastest: float = 0.0
    memory: int | None = None

    @property
    def gap(self) -> float:
        """Share of the bytes that a better choice could save at most; 0.0: it is proved that none could."""
        return 1.0 - self.bound / self.nbytes if self.nbytes else 0.0

    @property
    def exact(self) -> bool:
        return self.nbytes == self.bound

    @property
    def period_gap(self) -> float:
        """Share of the period that other slots could save at most."""
        return max(0.0, 1.0 - self.fastest / self.period) if self.period else 0.0


@dataclass(frozen=True)
class TradeOff:
    """The curve of period against bytes, fastest first. `current`: (seconds, bytes) of the plan as it is."""

    per: str
    sizings: tuple[Sizing, ...]
    current: tuple[float, int]
    resolution: float = field(default=RESOLUTION)
    of: str = TOTAL


@dataclass(frozen=True)
class Problem:
    """A plan in one view and measure. fastest, slowest: periods between which slots matter, in femtoseconds; current: what slots are
    sized for by default; bound: below which there is no period.

    open: the steady state, where streams' orders are chosen anew for every period.
    """

    plan: Plan
    per: str
    of: str
    flow: Flow
    fastest: Fraction
    current: Fraction
    bound: Fraction
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
            plan, self.per, _rows(self.plan, slots), in_seconds(max(found.period, self.fastest)), in_seconds(asked),
            found.nbytes, self.flow.nbytes(self.flow.slots), found.bound, self.of, in_seconds(self.bound),
        )  # fmt: skip


def size(plan: Plan, period: float | None = None, per: str = "step", of: str = TOTAL) -> Sizing:
    """The least bytes of slots with which `plan` keeps `period`; default: its own (a micro-batch: the shortest there is).

    of: "total", bytes on all devices, or "fullest", those that live at once on the fullest device. The plan that comes out keeps its
    orders; its memory is not laid out again. Raises PlanError where no slots allow the period, with the shortest that some do.
    """
    if period is not None and (isinstance(period, bool) or not isinstance(period, int | float) or not 0 < period < math.inf):
        raise PlanError(f"period={period!r} is no number of seconds; write one, such as 0.5, or leave it out for the plan's own")
    problem = problem_of(plan, per, of)
    asked = problem.current if period is None else _femtoseconds(period)
    if period is not None and asked < problem.fastest:
        raise PlanError(
            f"no slots let a {per} take {period:.6g} s; with as many as one likes it takes {in_seconds(problem.fastest):.6g} s, and a "
            "shorter one needs faster operators or links, or another order (plan.what_would_help() ranks them)"
        )
    return problem.sizing(problem.at(asked), asked)


def trade_off(plan: Plan, per: str = "step", resolution: float | None = None, of: str = TOTAL) -> TradeOff:
    """All periods between the full rate and the least bytes that live, with the least bytes of each (`of`: see `size`).

    resolution: share of a period below which two are one; default 0.0001, and 0.01 where every period has its own order.
    """
    problem = problem_of(plan, per, of)
    resolution = resolution or (RESOLUTION if problem.open is None else COARSE)
    found = curve(problem.at, problem.fastest, problem.slowest, resolution)
    sizings = tuple(problem.sizing(one, one.period) for one in found)
    return TradeOff(per, sizings, (in_seconds(problem.current), problem.flow.nbytes(problem.flow.slots)), resolution, of)


def with_slots(plan: Plan, slots: Mapping[int, int]) -> Plan:
    """The plan with so many slots of these register templates; offsets are as they were."""
    templates = tuple(replace(t, slots=slots.get(row, t.slots)) for row, t in enumerate(plan.register_templates))
    return replace(plan, register_templates=templates)


def problem_of(plan: Plan, per: str = "step", of: str = TOTAL) -> Problem:
    """Raises PlanError for a view or measure that there is not."""
    if per not in VIEWS:
        raise PlanError(f"slots are sized per step or per micro-batch, not per {per!r}")
    if of not in MEASURES:
        raise PlanError(f"slots are sized by the bytes of all devices or of the fullest: of='total' or of='fullest', not of={of!r}")
    graph = act_graph(plan, play(plan))
    if per == "step":
        flow, fastest = _measured(plan, whole_step(graph), per, of), steady(unlimited(graph)).period
        return Problem(plan, per, of, flow, fastest, steady(graph).period, fastest)
    state = steady_state(graph)
    if too_many(state):
        state = steady_state(graph, keep=True)
    state = replace(state, flow=_measured(plan, state.flow, per, of))
    flow, period, bound = full_rate(state)
    return Problem(plan, per, of, flow, period, period, bound, state if state.free else None)


def _measured(plan: Plan, flow: Flow, per: str, of: str) -> Flow:
    """The flow with what is to be made small."""
    rows = [b.register for b in flow.buffers]
    if of == TOTAL:
        return flow
    return replace(flow, loads=loads_of_devices(plan, rows) if per == "step" else slots_of_devices(plan, rows))


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


def in_seconds(femtoseconds: Fraction) -> float:
    return float(femtoseconds / PER_SECOND)


