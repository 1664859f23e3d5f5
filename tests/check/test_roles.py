"""Folding a plan to one device a role changes no answer: verdicts, periods, busy seconds and bytes are those of the whole plan."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import oflow as of
from oflow.check import ActGraph, act_graph, check, check_layouts, check_memory, check_rates, fold, play, steady
from oflow.check.acts import DATA, SLOT
from oflow.check.period import PER_SECOND, busy_seconds
from oflow.check.references import check_references
from oflow.errors import OflowError
from oflow.machine import Cost
from tests.compiler.nets import pipeline
from tests.plans import random_plan


def grid(data: int, tensor: int, stages: int = 1, rows: int = 16, micro_batches: int = 2) -> of.Program:
    """Two layers a stage, split over tensor groups, on data x tensor devices a stage."""
    group, axes = data * tensor, [name for name, n in (("data", data), ("tensor", tensor)) if n > 1]
    mesh = [n for n in (data, tensor) if n > 1]
    places = [of.placement("cpu", np.arange(s * group, (s + 1) * group).reshape(mesh).tolist(), names=axes) for s in range(stages)]
    layers = [(of.nn.Linear(16, 32), of.nn.Linear(32, 16)) for _ in range(stages)]

    def split(**by: of.Sbp) -> dict[str, of.Sbp]:
        return {name: sbp for name, sbp in by.items() if name in axes}

    for (up, down), place in zip(layers, places, strict=True):
        up.to_global(place, split(tensor=of.S(0)))
        down.to_global(place, {})
        down.weight.to_global(place, split(tensor=of.S(1)))

    def loss(x: Any, y: Any) -> Any:
        for i, (up, down) in enumerate(layers):
            with of.stage(i):
                x = x + down(of.gelu(up(x)))
        with of.stage(stages - 1):
            return of.mse(x, y)

    specs = (of.spec((rows, 16), "float32", place, split(data=of.S(0))) for place in (places[0], places[-1]))
    return of.compile(loss, *specs, optimizer=of.optim.SGD(lr=0.1), micro_batches=micro_batches)


PLANS = {
    "data": lambda: grid(4, 1),
    "tensor": lambda: grid(1, 4),
    "2-D": lambda: grid(2, 4, stages=2),
    "2-D pipeline": lambda: grid(2, 2, stages=2, micro_batches=4),
    "data pipeline": lambda: pipeline(3, 4, ranks=2),
    "single devices": lambda: pipeline(3, 8),
    "uneven": lambda: grid(3, 1, rows=20),
    "uneven pipeline": lambda: grid(3, 2, stages=2, rows=28),
}


@cache
def compiled(name: str) -> of.Plan:
    return PLANS[name]().plan


def verdict(plan: of.Plan) -> tuple[object, ...]:
    """What `check` says, without folding."""
    try:
        check_references(plan)
        check_layouts(plan)
        check_rates(plan)
        graph = act_graph(plan, play(plan))
        arenas, states = check_memory(plan, graph)
    except OflowError as e:
        return (type(e).__name__,)
    return float(steady(graph).period / PER_SECOND), arenas, states, busy_seconds(graph)


def folded_verdict(plan: of.Plan) -> tuple[object, ...]:
    try:
        proof = check(plan)
    except OflowError as e:
        return (type(e).__name__,)
    return proof.period, proof.arenas, proof.states, proof.busy


def roles_of(plan: of.Plan) -> int:
    return len(fold(plan).plan.devices)


@pytest.mark.parametrize("name", PLANS)
def test_the_proof_is_that_of_the_whole_plan(name):
    plan = compiled(name)
    assert folded_verdict(plan) == verdict(plan)


@pytest.mark.parametrize("name", PLANS)
def test_the_starts_are_a_schedule_of_the_whole_plan(name):
    plan = compiled(name)
    proof, graph = check(plan), act_graph(plan, play(plan))
    assert proof.acts == len(proof.starts) == len(graph)
    slack = proof.starts[graph.targets] + proof.period * graph.distances - proof.starts[graph.sources] - graph.seconds[graph.sources]
    assert slack.min() >= -1e-9 * proof.period


def test_devices_that_do_the_same_are_one_role():
    assert roles_of(compiled("data")) == 2  # and the host
    assert 3 <= roles_of(compiled("2-D pipeline")) <= 5
    assert roles_of(compiled("single devices")) == 4
    assert 2 < roles_of(compiled("uneven")) <= 4


@pytest.mark.parametrize("name", PLANS)
def test_orders_are_unfolded_to_every_device(name):
    plan = compiled(name)
    roles = fold(plan)
    assert roles.unfolded_order(roles.plan.order) == plan.order
    assert np.array_equal(np.unique(roles.rows), np.arange(roles.plan.actor_bases[-1]))


def arcs(graph: ActGraph, row: Callable[[int], int], register: Callable[[int], int]) -> set[tuple[int, ...]]:
    """(source row and act, waiting row and act, distance, kind, register) of what registers make an act wait for, rows renamed."""
    own = np.flatnonzero((graph.kinds == DATA) | (graph.kinds == SLOT))
    columns = (graph.sources, graph.waiters, graph.distances, graph.kinds, graph.refs)
    rows, found = graph.owners.tolist(), set()
    for source, waiter, distance, kind, ref in zip(*(column[own].tolist() for column in columns), strict=True):
        found.add((row(rows[source]), graph.act(source), row(rows[waiter]), graph.act(waiter), distance, kind, register(ref)))
    return found


@pytest.mark.parametrize("name", PLANS)
def test_the_arcs_at_home_are_those_of_one_device_in_the_whole_plan(name):
    plan = compiled(name)
    roles = fold(plan)
    whole, folded = act_graph(plan, play(plan)), act_graph(roles.plan, play(roles.plan))
    first = set(roles.representatives.values())
    of_device = [actor.device for actor in plan.actors]
    homes = [register.device for register in plan.registers]

    row = {int(folded): r for r, folded in enumerate(roles.rows) if of_device[r] in first}.__getitem__

    def register(number: int) -> int:
        template = roles.plan.register_template_of(number)
        base, place = plan.register_bases[template], number - roles.plan.register_bases[template]
        group = plan.rank_table[plan.register_templates[template].group]
        return base + [rank for rank, device in enumerate(group) if device in first][place]

    found = arcs(roles.at_home(folded), row, register)
    wanted = {a for a in arcs(whole, int, int) if of_device[a[0]] == of_device[a[2]] == homes[a[6]] and homes[a[6]] in first}
    assert found == wanted and found


def other_peer(rng: random.Random, plan: of.Plan) -> of.Plan:
    """One rank's port reads another device's shard."""
    ranks = [len(plan.rank_table[t.group]) for t in plan.actor_templates]
    number = rng.choice([n for n, t in enumerate(plan.actor_templates) if ranks[n] > 1 and any(p.direction == "in" for p in t.ports)])
    actor = plan.actor_templates[number]
    at = rng.choice([i for i, p in enumerate(actor.ports) if p.direction == "in"])
    shards = len(plan.rank_table[plan.register_templates[actor.ports[at].register].group])
    peers = list(actor.ports[at].peers or range(ranks[number]))
    peers[rng.randrange(len(peers))] = rng.randrange(-1, shards)
    ports = (*actor.ports[:at], replace(actor.ports[at], peers=tuple(peers)), *actor.ports[at + 1 :])
    return with_actor(plan, number, replace(actor, ports=ports))


def with_actor(plan: of.Plan, number: int, actor: Any) -> of.Plan:
    return replace(plan, actor_templates=(*plan.actor_templates[:number], actor, *plan.actor_templates[number + 1 :]))


def other_order(rng: random.Random, plan: of.Plan) -> of.Plan:
    stream = rng.choice([s for s, rows in plan.order.items() if len(set(rows)) > 1])
    rows = list(plan.order[stream])
    i = rng.randrange(len(rows) - 1)
    rows[i], rows[i + 1] = rows[i + 1], rows[i]
    return replace(plan, order={**plan.order, stream: tuple(rows)})


def other_slots(rng: random.Random, plan: of.Plan) -> of.Plan:
    number = rng.randrange(len(plan.register_templates))
    register = plan.register_templates[number]
    changed = replace(register, slots=max(1, register.slots + rng.choice((-1, 1))))
    return replace(plan, register_templates=(*plan.register_templates[:number], changed, *plan.register_templates[number + 1 :]))


def other_offset(rng: random.Random, plan: of.Plan) -> of.Plan:
    number = rng.choice([n for n, r in enumerate(plan.register_templates) if len(plan.rank_table[r.group]) > 1])
    register = plan.register_templates[number]
    offsets = list(register.offsets * (len(plan.rank_table[register.group]) if len(register.offsets) == 1 else 1))
    offsets[rng.randrange(len(offsets))] = max(0, offsets[0] + rng.choice((-64, 64, 1)))
    changed = replace(register, offsets=tuple(offsets))
    return replace(plan, register_templates=(*plan.register_templates[:number], changed, *plan.register_templates[number + 1 :]))


def other_cost(rng: random.Random, plan: of.Plan) -> of.Plan:
    number = rng.choice([n for n, t in enumerate(plan.actor_templates) if len(plan.rank_table[t.group]) > 1])
    actor = plan.actor_templates[number]
    costs = list(actor.costs * (len(plan.rank_table[actor.group]) if len(actor.costs) == 1 else 1))
    costs[rng.randrange(len(costs))] = Cost(seconds=rng.random() * 1e-3)
    return with_actor(plan, number, replace(actor, costs=tuple(costs)))


CHANGES = (other_peer, other_order, other_slots, other_offset, other_cost)


@pytest.mark.parametrize("change", CHANGES)
def test_changed_plans_get_the_verdict_of_the_whole_plan(change):
    names = [name for name in PLANS if name != "single devices"]
    found = []
    for seed in range(30):
        print("seed", seed)
        rng = random.Random(seed)
        plan = change(rng, compiled(rng.choice(names)))
        found.append(verdict(plan))
        assert folded_verdict(plan) == found[-1]
    refused = sum(len(one) == 1 for one in found)
    assert refused if change is not other_cost else not refused


def test_a_rank_that_reads_another_peer_gets_its_own_role():
    plan = compiled("data")
    number = next(n for n, t in enumerate(plan.actor_templates) if len(plan.rank_table[t.group]) == 4 and t.stream == "compute")
    actor = plan.actor_templates[number]
    at = next(i for i, p in enumerate(actor.ports) if p.direction == "in" and not p.peers)
    ports = (*actor.ports[:at], replace(actor.ports[at], peers=(0, 1, 2, 2)), *actor.ports[at + 1 :])
    changed = with_actor(plan, number, replace(actor, ports=ports))
    assert roles_of(changed) == 4


def test_random_plans():
    for seed in range(200):
        print("seed", seed)
        plan = random_plan(seed)
        assert folded_verdict(plan) == verdict(plan)
