"""The proofs: what a plan will do, shown from the plan alone. Shares no code with the compiler's passes or the drivers.

    check(plan) -> Proof      roles · rates · the token game · the act graph · memory · the steady period
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from oflow.arrays import tables
from oflow.check.acts import ActGraph, act_graph
from oflow.check.blocks import blocks
from oflow.check.certificate import Certificate, certify, load, to_json, verify
from oflow.check.cycle import HandOver, bound, hand_overs
from oflow.check.game import play
from oflow.check.layouts import check_layouts
from oflow.check.memory import check_memory
from oflow.check.period import PER_SECOND, Steady, busy_seconds, steady
from oflow.check.rates import check_rates
from oflow.check.references import check_references
from oflow.check.roles import Roles, fold
from oflow.check.uses import sharing
from oflow.errors import OutOfMemory, PlanError
from oflow.live import phase
from oflow.plan import Plan

__all__ = [
    "ActGraph", "Certificate", "HandOver", "Proof", "Roles", "Steady", "act_graph", "certify", "check", "check_layouts", "check_memory",
    "check_rates", "fold", "load", "play", "steady", "to_json", "verify",
]  # fmt: skip

T = TypeVar("T")
SHOWN = 12
"""Entries of the critical cycle that a printed proof shows."""
LISTED = 64
"""Devices or streams up to which each has a line of its own."""


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
        for device, (arena, state) in alike({d: (n, self.states.get(d, 0)) for d, n in self.arenas.items()}).items():
            lines.append(f"{device}: {arena:,} bytes of arena, {state:,} of state")
        lines.append(self.period_text())
        for stream, seconds in alike(self.busy).items():
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

def alike(found: dict[str, T]) -> dict[str, T]:
    """Many devices' or streams' numbers with equal ones in one entry, named after the first of them and how many more there are."""
    if len(found) <= LISTED:
        return found
    names: dict[tuple[str, T], list[str]] = {}
    for name, value in found.items():
        names.setdefault((name.partition("/")[2], value), []).append(name)
    return {f"{some[0]} and {len(some) - 1} more" if len(some) > 1 else some[0]: value for (_, value), some in names.items()}


@phase("check")
def check(plan: Plan) -> Proof:
    """Prove the plan safe, or raise PlanError, DeadlockError (with the cycle) or OutOfMemory.

    A stream without an order picks its acts at run time; for it the period is a lower bound.
    """
    check_references(plan)
    check_layouts(plan)
    roles = fold(plan)
    folded, t = roles.plan, tables(roles.plan)
    check_rates(folded, t)
    fired = play(folded, t)
    graph = act_graph(folded, fired, t)
    arenas, states = _memory(roles, graph)
    found = steady(graph)
    cycle = tuple(map(roles.unfolded_hand_over, hand_overs(graph, found)))
    acts = sum(template.acts * len(plan.rank_table[template.group]) for template in plan.actor_templates)
    return Proof(
        True, roles.of_devices(arenas), roles.of_devices(states), float(found.period / PER_SECOND), tuple(entry.text for entry in cycle),
        bound(graph, found), roles.of_streams(busy_seconds(graph)), acts, roles.unfolded_starts(found.starts[: len(fired)]), cycle,
    )  # fmt: skip


def _memory(roles: Roles, graph: ActGraph) -> tuple[dict[str, int], dict[str, int]]:
    """The memory proof on the folded plan, where its paths are the whole plan's; else on the whole plan."""
    plan = roles.whole
    if roles.plan is plan:
        return check_memory(plan, graph)
    arena = blocks(roles.plan, graph.tables, "arena")
    if not roles.reached.intersection(map(roles.plan.register_template_of, arena.register[sharing(arena)].tolist())):
        try:
            return check_memory(roles.plan, graph, roles.at_home(graph))
        except OutOfMemory:
            raise
        except PlanError:
            pass  # perhaps a path by way of another device makes them take turns
    t = tables(plan)
    return check_memory(plan, act_graph(plan, play(plan, t), t))
