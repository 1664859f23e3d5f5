"""schedule: slots for every register, and the order of actions on every compute stream. Both are plain data in the plan.

Slots: a register that a stage's forward makes and its backward reads (the stash: the received activation, saved values, the
loss's turnaround) gets as many as the schedule keeps micro-batches in flight on that stage; what crosses streams is double
buffered; the rest has one slot. Order: a stage's actions as the schedule lists them, its once-a-step work before or after.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from oflow.compiler.chain import joins_before
from oflow.compiler.options import Options
from oflow.compiler.schedules import named_schedule
from oflow.plan import ActorTemplate, Plan, PortTemplate
from oflow.schedule import Action, Schedule

COMPUTE = "compute"


def schedule(plan: Plan, options: Options) -> Plan:
    acting = [a for a in plan.actor_templates if a.calls and a.stream == COMPUTE]
    stages = 1 + max((a.stage for a in acting), default=0)
    rows = named_schedule(options.schedule, stages, stages, plan.micro_batches)
    uses = _uses(plan)
    depth = {id(a): d for a, d in zip(plan.actor_templates, joins_before(plan), strict=True)}
    registers = tuple(
        replace(template, slots=_slots(plan, rows, uses.get(row, []), template.initial, depth))
        for row, template in enumerate(plan.register_templates)
    )
    actors = tuple(replace(a, priority=_priority(a)) for a in plan.actor_templates)
    made = replace(plan, register_templates=registers, actor_templates=actors, schedule=rows.name)
    return replace(made, order=_orders(made, rows))


@dataclass(frozen=True, slots=True)
class _Use:
    actor: ActorTemplate
    port: PortTemplate


def _uses(plan: Plan) -> dict[int, list[_Use]]:
    found: dict[int, list[_Use]] = {}
    for actor in plan.actor_templates:
        for port in actor.ports:
            found.setdefault(port.register, []).append(_Use(actor, port))
    return found


def _slots(plan: Plan, rows: Schedule, uses: list[_Use], initial: int, depth: dict[int, int]) -> int:
    makers = [u.actor for u in uses if u.port.direction == "out"]
    readers = [u.actor for u in uses if u.port.direction == "in"]
    if initial or not makers or not readers:
        return max(initial, 1)
    maker = makers[0]
    per_micro_batch = any(u.port.direction == "out" and maker.acts // max(u.port.every, 1) > 1 for u in uses)
    if per_micro_batch and any(depth[id(r)] > depth[id(maker)] for r in readers if r.acts == maker.acts):
        return plan.micro_batches
    crossing = any((r.group, r.stream) != (maker.group, maker.stream) for r in readers)
    late = [r.stage for r in readers if r.phase != "F"]
    if per_micro_batch and maker.phase == "F" and late:
        # a copy runs ahead of the forward that waits for it, so it needs one slot more to prefetch into
        ahead = 1 if maker.stream.startswith("copy") else 0
        return min(max(rows.stash(stage) for stage in {maker.stage, *late}), plan.micro_batches) + ahead
    return 2 if crossing and (per_micro_batch or maker.phase == "F") else 1


def _priority(actor: ActorTemplate) -> int:
    """Where no order is given: the most downstream first, backward before forward."""
    return {"F": 0, "update": 2}.get(actor.phase, 1) * 1000 + actor.stage


@dataclass(frozen=True, slots=True)
class _Joins:
    """before: how many joins over all micro-batches lie before each template. of_phase: by phase, the numbers before work of each
    micro-batch, anywhere in the plan: streams that do work of once a step on the way to another's must agree on its order.
    """

    before: list[int]
    of_phase: dict[str, tuple[int, ...]]


def _joins(plan: Plan) -> _Joins:
    before = joins_before(plan)
    found: dict[str, set[int]] = {}
    for actor, depth in zip(plan.actor_templates, before, strict=True):
        if actor.stream == COMPUTE and actor.phase != "update" and actor.acts >= plan.micro_batches:
            found.setdefault(actor.phase, set()).add(depth)
    return _Joins(before, {phase: tuple(sorted(some)) for phase, some in found.items()})


def _orders(plan: Plan, rows: Schedule) -> dict[str, tuple[int, ...]]:
    """The order of each compute stream whose stages all stand in one row of the schedule."""
    joins = _joins(plan)
    known: dict[tuple[int, ...], tuple[int, ...] | None] = {}  # ranks that run the same templates have the same order
    orders = {}
    for stream, actors in plan.streams.items():
        if stream.endswith(f"/{COMPUTE}"):
            row_of = {plan.template_of(a): a for a in actors}
            key = tuple(row_of)
            if key not in known:
                known[key] = _template_order(plan, rows, key, joins)
            if (order := known[key]) is not None:
                orders[stream] = tuple(row_of[number] for number in order)
    return orders


def _template_order(plan: Plan, rows: Schedule, numbers: tuple[int, ...], joins: _Joins) -> tuple[int, ...] | None:
    """The order of a stream that runs these templates, as their numbers; None where they stand in several rows."""
    stages = {plan.actor_templates[n].stage for n in numbers if plan.actor_templates[n].phase != "update"}
    mine = [row for row in rows.rows if stages & {action.stage for action in row}]
    return _stream_order(plan, mine[0] if mine else (), numbers, joins) if len(mine) <= 1 else None


def _stream_order(plan: Plan, row: tuple[Action, ...], numbers: tuple[int, ...], joins: _Joins) -> tuple[int, ...]:
    """Work of once a step stands before the first action that needs it, the backward's not before a forward action; updates come last.

    Neighbouring actions of one phase form a run; where it has barriers (work that waits for all micro-batches), the whole run
    passes one barrier before the next.
    """
    actor, depths = plan.actor_templates, joins.before
    updates = [n for n in numbers if actor[n].phase == "update"]
    once = [n for n in numbers if actor[n].phase != "update" and actor[n].acts < plan.micro_batches]
    each = [n for n in numbers if actor[n].phase != "update" and actor[n].acts >= plan.micro_batches]
    waiting = sorted(once, key=lambda n: (depths[n], actor[n].phase != "F", n))
    order: list[int] = []

    def emit_once(depth: int, phase: str) -> None:
        ready = {n for n in waiting if depths[n] <= depth and (phase != "F" or actor[n].phase == "F")}
        order.extend(n for n in waiting if n in ready)
        waiting[:] = [n for n in waiting if n not in ready]

    for phase, run in itertools.groupby(row, key=lambda action: action.phase):
        actions = list(run)
        stages = {action.stage for action in actions}
        mine: dict[tuple[int, int], list[int]] = {}
        for n in each:
            if actor[n].phase == phase and actor[n].stage in stages:
                mine.setdefault((depths[n], actor[n].stage), []).append(n)
        for depth in joins.of_phase.get(phase, ()):
            emit_once(depth, phase)
            for action in actions:
                order += mine.get((depth, action.stage), ())
    return tuple([*order, *waiting, *updates])
