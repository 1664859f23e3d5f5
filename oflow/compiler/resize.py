"""Other slots for a finished plan: the fewest bytes for a period. (The shortest period for a limit: `least_period`.)

The orders are kept, the memory is laid out again, and what comes out is proved.
"""

from __future__ import annotations

from dataclasses import replace

from oflow.check import check, fold
from oflow.compiler.memory import CONTROL, memory
from oflow.compiler.options import options
from oflow.compiler.unfold import unfolded
from oflow.errors import PlanError
from oflow.plan import ActorTemplate, Plan, RegisterTemplate
from oflow.sizing import TOTAL, Sizing, devices_of, size

TRIES = 3
"""How often slots are looked for again, for a shorter period, where the layout of the first ones takes time."""


def least_slots_of(plan: Plan, period: float | None = None, per: str = "step", of: str = TOTAL) -> Sizing:
    """The least bytes of slots with which a step (or micro-batch, see `Sizing`) takes at most `period` seconds; default: what it
    takes now (a micro-batch: the least there is). of: "total", bytes on all devices, or "fullest", those on the fullest device.

    The plan that comes out is laid out again and proved. Where the orderings that its layout needs take time, slots for a shorter
    period are looked for; where those help no more, `period` says what was proved. Raises PlanError where no slots allow the period.
    """
    bare, asked = without_controls(plan), check(plan).period if period is None and per == "step" else period
    first = made = laid_out(size(bare, asked, per, of))
    for _ in range(TRIES):
        if made.period <= first.asked:
            return replace(made, asked=first.asked, bound=first.bound)
        try:
            made = laid_out(size(bare, made.asked * first.asked / made.period, of=of))
        except PlanError:
            break
    return first


def device_nbytes(plan: Plan) -> int:
    """Bytes of arena and state on the fullest device."""
    return max((plan.arenas.get(d, 0) + plan.states.get(d, 0) for d in devices_of(plan)), default=0)


def laid_out(sizing: Sizing) -> Sizing:
    """A sizing whose plan has its memory laid out for the new slots, with the period that is proved of it."""
    if sizing.per != "step":
        return sizing
    plan = with_layout(sizing.plan)
    return replace(sizing, plan=plan, period=check(plan).period)


def with_layout(plan: Plan) -> Plan:
    """The plan with its memory laid out for the slots that it has."""
    roles = fold(plan)
    return unfolded(roles, memory(roles.plan, options(plan.machine))).whole


def without_controls(plan: Plan) -> Plan:
    """The plan as it was before its memory was laid out: without the orderings that the layout relied on, which are the last registers,
    and with rings that have no place yet."""
    registers, count = list(plan.register_templates), len(plan.register_templates)
    while count and _of_layout(registers[count - 1]):
        count -= 1

    def kept(actor: ActorTemplate) -> ActorTemplate:
        return replace(actor, ports=tuple(p for p in actor.ports if p.register < count))

    places: dict[str, int] = {}
    for register in registers:
        if register.ring:
            places[register.ring] = min(register.offsets[0], places.get(register.ring, register.offsets[0]))
    bare = [replace(r, offsets=(r.offsets[0] - places[r.ring],)) if r.ring else r for r in registers[:count]]
    return replace(plan, register_templates=tuple(bare), actor_templates=tuple(map(kept, plan.actor_templates)))


def _of_layout(register: RegisterTemplate) -> bool:
    """Whether this is one of the orderings that `memory` adds."""
    return register.types == (CONTROL,) and register.name.startswith("control.") and not register.ring
