"""Other slots for a finished plan: the fewest for a period, or the shortest period within a limit of memory.

Both keep the orders, lay out the memory again and prove what comes out.
"""

from __future__ import annotations

from dataclasses import replace

from oflow.check import check, fold
from oflow.compiler.memory import CONTROL, memory
from oflow.compiler.options import options
from oflow.compiler.unfold import unfolded
from oflow.errors import OutOfMemory, PlanError
from oflow.plan import ActorTemplate, Plan
from oflow.sizing import Sizing, size, trade_off

TRIES = 3
"""How often slots are looked for again, for a shorter period, where the layout of the first ones takes time."""


def least_slots_of(plan: Plan, period: float | None = None, per: str = "step") -> Sizing:
    """The least bytes of slots with which a step (or micro-batch, see `Sizing`) takes at most `period` seconds; default: what it
    takes now (a micro-batch: the least there is).

    The plan that comes out is laid out again and proved. Where the orderings that its layout needs take time, slots for a shorter
    period are looked for; where those help no more, `period` says what was proved. Raises PlanError where no slots allow the period.
    """
    bare, asked = without_controls(plan), check(plan).period if period is None and per == "step" else period
    first = made = laid_out(size(bare, asked, per))
    for _ in range(TRIES):
        if made.period <= first.asked:
            return replace(made, asked=first.asked, bound=first.bound)
        try:
            made = laid_out(size(bare, made.asked * first.asked / made.period))
        except PlanError:
            break
    return first


def least_period_of(plan: Plan, memory: int) -> Sizing:
    """The shortest step whose plan needs at most `memory` bytes of arena and state on every device, and its slots.

    Raises OutOfMemory, with the bytes that the fewest slots take, where no slots are few enough.
    """
    found = [laid_out(one) for one in trade_off(without_controls(plan)).sizings]
    fitting = [one for one in found if device_nbytes(one.plan) <= memory]
    if not fitting:
        need = min(device_nbytes(one.plan) for one in found)
        raise OutOfMemory(
            f"the fewest slots of these orders need {need:,} bytes on the fullest device, {need - memory:,} more than the {memory:,} "
            "that are given. Use smaller micro-batches, a schedule with fewer of them in flight, recomputation, or more devices."
        )
    return min(fitting, key=lambda one: (one.period, device_nbytes(one.plan)))


def device_nbytes(plan: Plan) -> int:
    """Bytes of arena and state on the fullest device."""
    return max((plan.arenas.get(d, 0) + plan.states.get(d, 0) for d in plan.devices), default=0)


def laid_out(sizing: Sizing) -> Sizing:
    """A sizing whose plan has its memory laid out for the new slots, with the period that is proved of it."""
    if sizing.per != "step":
        return sizing
    roles = fold(sizing.plan)
    plan = unfolded(roles, memory(roles.plan, options(sizing.plan.machine))).whole
    return replace(sizing, plan=plan, period=check(plan).period)


def without_controls(plan: Plan) -> Plan:
    """The plan without the orderings that an earlier layout of its memory relied on: these registers stand behind all others."""
    registers, count = plan.register_templates, len(plan.register_templates)
    while count and registers[count - 1].types == (CONTROL,) and registers[count - 1].name.startswith("control."):
        count -= 1

    def kept(actor: ActorTemplate) -> ActorTemplate:
        return replace(actor, ports=tuple(p for p in actor.ports if p.register < count))

    if count == len(registers):
        return plan
    return replace(plan, register_templates=registers[:count], actor_templates=tuple(map(kept, plan.actor_templates)))
