"""What answers about many rows of one plan look up: who uses each register, what lies where, the steady state."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from oflow.plan import Plan, PortTemplate, aligned, at_rank
from oflow.view.questions.steady import Steady, steady_state


class Lookup:
    """Indices of a plan, made when first asked for."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._lie: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    @cached_property
    def state(self) -> Steady | None:
        return steady_state(self.plan)

    @cached_property
    def users(self) -> dict[int, list[tuple[int, PortTemplate]]]:
        """By register template: the actor templates that use it, with the port."""
        found: dict[int, list[tuple[int, PortTemplate]]] = {}
        for number, actor in enumerate(self.plan.actor_templates):
            for port in actor.ports:
                found.setdefault(port.register, []).append((number, port))
        return found

    def sharing(self, row: int) -> tuple[str, ...]:
        """The arena registers whose bytes on the first device of this one overlap it."""
        plan = self.plan
        register = plan.register_templates[row]
        device = plan.rank_table[register.group][0]
        if register.region != "arena" or not plan.arenas:
            return ()
        low, high = self._lying(device)
        found = np.flatnonzero((low < high[row]) & (low[row] < high))
        return tuple(plan.register_templates[other].name for other in found.tolist() if other != row and low[other] < high[other])

    def _lying(self, device: str) -> tuple[np.ndarray, np.ndarray]:
        """(R) where each register template's bytes begin and end in the arena of a device; equal where it has none there."""
        if device not in self._lie:
            low = np.zeros(len(self.plan.register_templates), np.int64)
            high = low.copy()
            ranks = [{name: rank for rank, name in enumerate(group)}.get(device) for group in self.plan.rank_table]
            for row, register in enumerate(self.plan.register_templates):
                rank = ranks[register.group]
                if rank is not None and register.region == "arena":
                    low[row] = at_rank(register.offsets, rank)
                    high[row] = low[row] + register.slots * aligned(at_rank(register.types, rank).nbytes)
            self._lie[device] = low, high
        return self._lie[device]
