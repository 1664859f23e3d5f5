"""Large plans are shown by role: of the devices that behave alike (`oflow.check.roles`) only the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from oflow.arrays import tables
from oflow.check import HandOver, Proof, fold
from oflow.check.roles import Roles
from oflow.plan import Plan

MOST_ACTORS = 16_000
"""A plan with more actors is shown by role."""


@dataclass(frozen=True)
class Shown:
    """The plan that a report shows, with its proof. alike: for each of its devices all those that it stands for."""

    plan: Plan
    proof: Proof | None
    alike: Mapping[str, tuple[str, ...]]


def shown(plan: Plan, proof: Proof | None) -> Shown:
    """The plan itself, or one device a role of it."""
    roles = fold(plan) if plan.actor_bases[-1] > MOST_ACTORS else None
    if roles is None or roles.plan is plan:
        return alone(plan, proof)
    alike: dict[str, tuple[str, ...]] = {}
    for device, first in roles.representatives.items():
        alike[first] = (*alike.get(first, ()), device)
    return Shown(roles.plan, _folded(roles, proof) if proof is not None else None, alike)


def alone(plan: Plan, proof: Proof | None) -> Shown:
    """The plan as it is: every device for itself."""
    return Shown(plan, proof, {device: (device,) for device in plan.devices})


def _folded(roles: Roles, proof: Proof) -> Proof:
    """The proof with the rows of the folded plan."""
    streams = tables(roles.plan).streams
    cycle = tuple(_hand_over(roles, entry, streams) for entry in proof.cycle)
    busy = {stream: seconds for stream, seconds in proof.busy.items() if stream in streams}
    return replace(proof, cycle=cycle, busy=busy)


def _hand_over(roles: Roles, entry: HandOver, streams: tuple[str, ...]) -> HandOver:
    source, target = (int(roles.rows[row]) if row >= 0 else -1 for row in (entry.source, entry.target))
    stream = list(roles.whole.streams)[entry.stream] if entry.stream >= 0 else ""
    if stream:
        device, _, kind = stream.rpartition("/")
        stream = f"{roles.representatives[device]}/{kind}"
    register = _register(roles, entry.register) if entry.register >= 0 else -1
    return entry._replace(source=source, target=target, register=register, stream=streams.index(stream) if stream else -1)


def _register(roles: Roles, row: int) -> int:
    whole, folded = roles.whole, roles.plan
    number = whole.register_template_of(row)
    group = whole.register_templates[number].group
    device = whole.rank_table[group][row - whole.register_bases[number]]
    return folded.register_bases[number] + folded.rank_table[group].index(roles.representatives[device])
