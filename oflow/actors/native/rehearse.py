"""Play one step of a plan of any size in the compiled loop, with no kernels: whether it runs through and comes back to its start."""

from __future__ import annotations

import numpy as np

from oflow.actors.native.compiled import routines
from oflow.actors.native.fields import TICK
from oflow.actors.native.world import World, common, words
from oflow.arrays import Tables, no_programs, tables
from oflow.errors import DeadlockError, PlanError
from oflow.plan import Plan

SHOWN = 10


def rehearse(plan: Plan, t: Tables | None = None) -> Tables:
    """Every actor makes its acts of one step; returns the plan's tables.

    One play stands for all interleavings and any number of steps, because each edge has one producer and one consumer
    (firing is persistent). Raises DeadlockError where somebody is left waiting, PlanError where the marking does not return.
    """
    t = tables(plan) if t is None else t
    count = len(t.acts)
    nobody = np.zeros(count, np.int64)
    everyone = common(t, no_programs(count), nobody, nobody, 0, np.ones(count), words)
    world = World(everyone, 0, alone=True, recording=False, zeros=words)
    before = _marking(t, world)
    loop = routines()
    world["STATUS"] = 1
    loop["admit_steps"](world.address)
    while loop["worker"](world.address) == TICK:
        pass
    late = np.flatnonzero(world.arrays["act"][:count] < t.acts)
    if len(late):
        names = ", ".join(plan.actor_label(int(row)) for row in late[:SHOWN])
        raise DeadlockError(f"{len(late)} of {count} actors cannot finish a step: {names}{', ...' if len(late) > SHOWN else ''}")
    if any(not np.array_equal(old, new) for old, new in zip(before, _marking(t, world), strict=True)):
        raise PlanError("after a step the plan is not where it began: slots, windows or the places in orders differ")
    return t


def _marking(t: Tables, world: World) -> tuple[np.ndarray, ...]:
    """What the next step depends on: full slots and places in windows of each port (what is taken once a run stays taken), acks
    owed to each, places in orders, who has come to a rendezvous. Which slot of a ring is next does not matter."""
    ports, state = len(t.every), world.arrays
    again = t.every > 0
    slot_port = np.repeat(np.arange(ports), t.slots * t.port_out)
    owed = np.bincount(slot_port, weights=state["owed"][: len(slot_port)], minlength=ports)
    full, phase = (np.where(again, state[name][:ports], 0) for name in ("full", "phase"))
    return full, phase, owed, state["pointer"].copy(), state["met"].copy()

