"""The proofs: what a plan will do, shown from the plan alone. Shares no code with the compiler's passes or the drivers.

    check(plan) -> Proof      rates · the token game · the act graph · memory · the steady period
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from oflow.arrays import tables
from oflow.check.acts import ActGraph, act_graph
from oflow.check.certificate import Certificate, certify, load, to_json, verify
from oflow.check.cycle import HandOver, bound, hand_overs
from oflow.check.game import play
from oflow.check.layouts import check_layouts
from oflow.check.memory import check_memory
from oflow.check.period import PER_SECOND, Steady, busy_seconds, steady
from oflow.check.rates import check_rates
from oflow.check.references import check_references
from oflow.plan import Plan

__all__ = [
    "ActGraph", "Certificate", "HandOver", "Proof", "Steady", "act_graph", "certify", "check", "check_layouts", "check_memory",
    "check_rates", "load", "play", "steady", "to_json", "verify",
]  # fmt: skip

SHOWN = 12
"""Entries of the critical cycle that a printed proof shows."""


@dataclass(frozen=True)
class Proof:
    """What `check` found. A plan that fails raises instead, so a Proof always says deadlock-free.

    arenas, states: bytes used of each device's arena and kept state. period: seconds a step once the pipeline is full.
    critical_cycle: the hand-overs that take that long; bound: what a shorter period needs more of. busy: seconds a step in
    which each stream works. acts: acts of one step. starts: for each act, in actor order, a start time in seconds within a
    schedule of that period; it certifies the period. cycle: the critical cycle as data.
    """

    deadlock_free: bool
    arenas: dict[str, int]
    states: dict[str, int]
    period: float
    critical_cycle: tuple[str, ...]
    bound: str
    busy: dict[str, float]
    acts: int
    starts: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    cycle: tuple[HandOver, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        lines = [f"deadlock-free: one step of {self.acts} acts returns every slot and token to where it was"]
        for device, nbytes in self.arenas.items():
            lines.append(f"{device}: {nbytes:,} bytes of arena, {self.states.get(device, 0):,} of state")
        lines.append(self.period_text())
        for stream, seconds in self.busy.items():
            share = f" ({seconds / self.period:.1%})" if self.period else ""
            lines.append(f"stream {stream}: busy {seconds:.6g} s a step{share}")
        return "\n".join(lines)

    def period_text(self) -> str:
        """The period, what bounds it, and the critical cycle."""
        lines = [f"period: {self.period:.6g} s a step, bound by {self.bound}"]
        lines += [f"  {entry}" for entry in self.critical_cycle[:SHOWN]]
        if len(self.critical_cycle) > SHOWN:
            lines.append(f"  ... and {len(self.critical_cycle) - SHOWN} more hand-overs")
        return "\n".join(lines)


def check(plan: Plan) -> Proof:
    """Prove the plan safe, or raise PlanError, DeadlockError (with the cycle) or OutOfMemory.

    A stream without an order picks its acts at run time; for it the period is a lower bound.
    """
    check_references(plan)
    check_layouts(plan)
    t = tables(plan)
    check_rates(plan, t)
    fired = play(plan, t)
    graph = act_graph(plan, fired, t)
    arenas, states = check_memory(plan, graph)
    found = steady(graph)
    cycle = hand_overs(graph, found)
    return Proof(
        True, arenas, states, float(found.period / PER_SECOND), tuple(entry.text for entry in cycle), bound(graph, found),
        busy_seconds(graph), len(fired), found.starts[: len(fired)], cycle,
    )  # fmt: skip
