"""What passes decide for one device a role, given to all devices that have it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from oflow.check import Roles
from oflow.compiler.expand import column
from oflow.plan import ActorTemplate, Plan, RegisterTemplate, at_rank


def unfolded(roles: Roles, made: Plan) -> Roles:
    """The same roles, of the plan whose devices do as their representatives do in `made`.

    made: `roles.plan` with other orders, slots, offsets or arenas, and with control registers behind the others. What a pass left as
    it was is not made again.
    """
    folded, plan = roles.plan, roles.whole
    if made is folded:
        return roles
    if folded is plan:
        return Roles(made, roles.role, made)
    changed: dict[str, Any] = {}
    if made.register_templates is not folded.register_templates:
        changed["register_templates"] = _registers(roles, made)
    if made.actor_templates is not folded.actor_templates:
        changed["actor_templates"] = _actors(roles, made)
    if made.arenas is not folded.arenas:
        changed["scratches"] = dict(sorted(roles.of_streams(made.scratches).items()))
        changed |= {"arenas": roles.of_devices(made.arenas), "states": roles.of_devices(made.states)}
    whole = replace(plan, **changed) if changed else plan
    found = {stream: rows for stream, rows in made.order.items() if folded.order.get(stream) is not rows}
    if found:
        whole = whole.with_order({**plan.order, **dict(sorted(roles.unfolded_order(found).items()))})
    return Roles(whole, roles.role, made)


def _registers(roles: Roles, made: Plan) -> tuple[RegisterTemplate, ...]:
    whole = roles.whole.register_templates
    laid_out = [
        replace(template, slots=laid.slots, offsets=column([at_rank(laid.offsets, place) for place in roles.places[template.group]]))
        for template, laid in zip(whole, made.register_templates, strict=False)
    ]
    return (*laid_out, *made.register_templates[len(whole) :])


def _actors(roles: Roles, made: Plan) -> tuple[ActorTemplate, ...]:
    """With the ports on control registers that a pass added."""
    first = len(roles.whole.register_templates)
    added = [tuple(port for port in laid.ports if port.register >= first) for laid in made.actor_templates]
    return tuple(
        replace(actor, ports=(*actor.ports, *ports)) if ports else actor
        for actor, ports in zip(roles.whole.actor_templates, added, strict=True)
    )
