"""schedule: slots for every register, and the order of actions on every compute stream. Both are plain data in the plan.

Slots: what the order needs, see `slots`. Order: a stage's actions as the schedule lists them, its once-a-step work before or after.
A rank with several stages has one row for all of them; a stage that has no work in a phase passes its actions by.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from oflow.compiler.chain import joins_before
from oflow.compiler.chunks import order_for, stage_homes
from oflow.compiler.options import Options
from oflow.compiler.slots import slot_counts
from oflow.compiler.stage_times import COMPUTE, each_micro_batch, stage_times
from oflow.plan import ActorTemplate, Plan
from oflow.schedule import Action, Schedule, replay


def schedule(plan: Plan, options: Options) -> Plan:
    homes = plan_homes(plan)
    times = stage_times(plan, options.machine, len(homes))
    found = order_for(options.schedule, homes, plan.micro_batches, times)
    halves = in_halves(found)
    rows = halves if found.splits_backward else found  # where it parts some backwards, the graph parts all
    slots = slot_counts(plan, replay(halves, times))
    registers = tuple(replace(register, slots=count) for register, count in zip(plan.register_templates, slots, strict=True))
    actors = tuple(replace(a, priority=_priority(a)) for a in plan.actor_templates)
    made = replace(plan, register_templates=registers, actor_templates=actors, schedule=rows.name)
    return replace(made, order=_orders(made, rows))


def plan_homes(plan: Plan) -> tuple[int, ...]:
    """The homes of the plan's stages. A stage is where most of its actors are."""
    groups: dict[int, Counter[int]] = {}
    for actor in plan.actor_templates:
        if actor.calls and actor.stream == COMPUTE and actor.phase != "update":
            groups.setdefault(actor.stage, Counter())[actor.group] += 1
    return stage_homes({stage: plan.rank_table[found.most_common(1)[0][0]] for stage, found in groups.items()})


def in_halves(rows: Schedule) -> Schedule:
    """The schedule with I and then W for every full backward."""
    halves = {"F": "F", "B": "IW", "I": "I", "W": "W"}
    return Schedule(rows.name, tuple(tuple(Action(a.stage, p, a.micro_batch) for a in row for p in halves[a.phase]) for row in rows.rows))


PRIORITIES = {"W": 0, "F": 1, "B": 2, "I": 2, "update": 3}


def _priority(actor: ActorTemplate) -> int:
    """Where no order is given: backward before forward, what only leads to weight gradients last, the most downstream first."""
    return PRIORITIES[actor.phase] * 1000 + actor.stage


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
        if actor.stream == COMPUTE and each_micro_batch(plan, actor):
            found.setdefault(actor.phase, set()).add(depth)
    return _Joins(before, {phase: tuple(sorted(some)) for phase, some in found.items()})


def _orders(plan: Plan, found: Schedule) -> dict[str, tuple[int, ...]]:
    """The order of each compute stream whose stages all stand in one row of the schedule."""
    joins = _joins(plan)
    known: dict[bytes, np.ndarray | None] = {}  # ranks that run the same templates have the same order
    orders = {}
    for stream, actors in plan.streams.items():
        if stream.endswith(f"/{COMPUTE}"):
            rows = np.array(actors)
            numbers = np.searchsorted(plan.actor_bases, rows, "right") - 1
            key = numbers.tobytes()
            if key not in known:
                order = _template_order(plan, found, tuple(numbers.tolist()), joins)
                known[key] = None if order is None else np.searchsorted(numbers, order)
            if (places := known[key]) is not None:
                orders[stream] = tuple(rows[places].tolist())
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
    once = [n for n in numbers if actor[n].phase != "update" and not each_micro_batch(plan, actor[n])]
    each: dict[tuple[int, str, int], list[int]] = {}
    for n in numbers:
        if each_micro_batch(plan, actor[n]):
            each.setdefault((actor[n].stage, actor[n].phase, depths[n]), []).append(n)
    waiting = sorted(once, key=lambda n: (depths[n], actor[n].phase != "F", n))
    order: list[int] = []

    def emit_once(depth: int, phase: str) -> None:
        ready = {n for n in waiting if depths[n] <= depth and (phase != "F" or actor[n].phase == "F")}
        order.extend(n for n in waiting if n in ready)
        waiting[:] = [n for n in waiting if n not in ready]

    for phase, run in itertools.groupby(row, key=lambda action: action.phase):
        actions = list(run)
        for depth in joins.of_phase.get(phase, ()):
            emit_once(depth, phase)
            for action in actions:
                order += each.get((action.stage, phase, depth), ())
    return tuple([*order, *waiting, *updates])
