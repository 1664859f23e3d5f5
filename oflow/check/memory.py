"""The memory proof: every register and scratch region lies in its arena, fits the device, and shares bytes only in turn."""

from __future__ import annotations

from collections.abc import Mapping

from oflow.check.acts import ActGraph
from oflow.check.blocks import blocks, extents, nobody_owns, scratch_fits
from oflow.check.room import NOTHING, room_text
from oflow.check.turns import prove_turns
from oflow.errors import OutOfMemory
from oflow.live import phase
from oflow.plan import Plan


@phase("prove memory")
def check_memory(
    plan: Plan, graph: ActGraph, paths: ActGraph | None = None, *, compiled: bool | None = None
) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes used of each device's arena and state. Raises PlanError or OutOfMemory with the registers and bytes concerned.

    paths: the arcs that may prove turns (default: all).
    """
    t = graph.tables
    arena, state = blocks(plan, t, "arena"), blocks(plan, t, "state")
    scratch_fits(plan, t)
    used = extents(plan.arenas, arena, "arena"), extents(plan.states, state, "state")
    devices_hold(plan)
    nobody_owns(arena, "arena")
    nobody_owns(state, "state")
    prove_turns(paths or graph, arena, compiled=compiled)
    return used


def devices_hold(plan: Plan, taken: Mapping[str, object] = NOTHING) -> None:
    """Raises OutOfMemory where a device has less memory than its arena and state take.

    taken: what was done already so that it fits, for the message (`room_text`).
    """
    for device in plan.devices:
        need = plan.arenas.get(device, 0) + plan.states.get(device, 0)
        have = plan.machine.device(device).memory_nbytes if need else 0
        if need > have:
            raise OutOfMemory(room_text(plan, device, have, taken), device=device, lacking=need - have)
