"""Reading what a running session has done, from another thread and while it moves: monotone counts and the state of slots.

A reading takes no lock, so it may mix moments that lie some acts apart; it is for people who watch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from oflow.actors.actor import Actor
from oflow.arrays import REGIONS, Tables
from oflow.plan import Plan

ARENA = REGIONS.index("arena")


class SlotCount:
    """Slots in use in the worlds of a compiled loop: full ones, and those whose window has begun. State is left out.

    worker (A): which world holds each actor.
    """

    def __init__(self, t: Tables, worker: np.ndarray) -> None:
        slots = t.slots * t.port_out
        port = np.repeat(np.arange(len(slots)), slots)
        counted = (t.region[t.port_register] == ARENA) & (t.port_out == 1)
        home = worker[t.port_actor]
        worlds = range(int(worker.max(initial=0)) + 1)
        self._slots = [np.flatnonzero(counted[port] & (home[port] == n)) for n in worlds]
        self._ports = [np.flatnonzero(counted & (home == n) & (t.every > 1)) for n in worlds]
        self.total = int(slots[counted].sum())

    def __call__(self, states: Iterable[Mapping[str, np.ndarray]]) -> int:
        parts = zip(self._slots, self._ports, states, strict=False)
        return sum(int((s["owed"][slots] > 0).sum()) + int((s["phase"][ports] > 0).sum()) for slots, ports, s in parts)


class ActorSlots:
    """The same for actors in Python."""

    def __init__(self, plan: Plan, actors: Mapping[int, Actor]) -> None:
        regions = [r.region for r in plan.registers]
        specs = [(actor, plan.actors[row]) for row, actor in actors.items()]
        self._ports = [
            (actor, number, port.every)
            for actor, spec in specs
            for number, port in enumerate(spec.ports)
            if port.direction == "out" and regions[port.register] == REGIONS[ARENA]
        ]
        self.total = sum(len(actor.owed[number]) for actor, number, _ in self._ports)

    def __call__(self) -> int:
        full = sum(bool(owed) for actor, number, _ in self._ports for owed in actor.owed[number])
        return full + sum(every > 1 and actor.act % every > 0 for actor, _, every in self._ports)
