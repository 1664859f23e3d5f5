"""The least slots for a period: what comes out runs at it, its bound holds, and on small plans nothing smaller does."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from oflow.check import act_graph, check, play, steady
from oflow.errors import DeadlockError, PlanError
from oflow.machine import Cost
from oflow.plan import ActorTemplate, Plan, PortTemplate, RegisterTemplate
from oflow.sizing import size, with_slots
from oflow.sizing.classes import representatives
from oflow.sizing.flow import Flow, femtoseconds, whole_step
from oflow.sizing.least import least
from oflow.sizing.ratio import Ratio, long_period, ratio
from oflow.types import TensorType
from tests.plans import pipeline_1f1b
from tests.sizing.cases import flow_of, random_plans

MOST = 5


def every_period(flow: Flow) -> set[Fraction]:
    """The periods with the plan's own slots, with all there are, between them, and one that only asks to be alive."""
    own, full = ratio(flow, flow.slots), ratio(flow, [0] * len(flow.buffers))
    assert isinstance(own, Ratio) and isinstance(full, Ratio)
    return {own.period, full.period, (own.period + full.period) / 2, long_period(flow)}


def keeps(flow: Flow, slots: Sequence[int], period: Fraction) -> bool:
    found = ratio(flow, slots)
    return isinstance(found, Ratio) and found.period <= period


def cheapest(flow: Flow, period: Fraction, most: int = MOST) -> int | None:
    """By trying all slots up to `most`."""
    best = None
    for slots in itertools.product(*(range(b.least, most + 1) for b in flow.buffers)):
        if (best is None or flow.nbytes(slots) < best) and keeps(flow, slots, period):
            best = flow.nbytes(slots)
    return best


def compare(seeds: range, buffers: int) -> int:
    compared = 0
    for seed, plan in random_plans(seeds):
        flow = flow_of(plan)
        for period in every_period(flow) if flow.buffers else ():
            found = least(flow, period)
            assert keeps(flow, found.slots, period) and found.bound <= found.nbytes, f"seed {seed}"
            if len(flow.buffers) <= buffers and (best := cheapest(flow, period)) is not None:
                assert found.bound <= best <= found.nbytes or found.nbytes < best, f"seed {seed}"  # < : more than MOST slots of one
                assert found.bound == found.nbytes, f"seed {seed}"
                compared += 1
    return compared


def test_nothing_smaller_keeps_the_period():
    assert compare(range(250), 4) > 150


@pytest.mark.slow
def test_nothing_smaller_keeps_the_period_of_many_plans():
    assert compare(range(1_000, 4_000), 6) > 3_000


def test_the_flow_is_the_plan_for_any_slots():
    compared = 0
    for seed, plan in random_plans(range(600)):
        if any(not plan.order.get(stream) and len(rows) > 1 for stream, rows in plan.streams.items()):
            continue  # a stream without an order: the check knows a bound only, the sum of its acts
        flow, rng = flow_of(plan), np.random.default_rng(seed)
        slots = [int(rng.integers(b.least, b.least + 3)) for b in flow.buffers]
        changed = with_slots(plan, {b.register: n for b, n in zip(flow.buffers, slots, strict=True)})
        try:
            graph = act_graph(changed, play(changed))
        except DeadlockError:
            assert not isinstance(ratio(flow, slots), Ratio), f"seed {seed}"
            continue
        found = ratio(flow, slots)
        assert isinstance(found, Ratio) and found.period == steady(graph).period, f"seed {seed}"
        compared += 1
    assert compared > 100


def replicas(ranks: int, slower: float = 0.0) -> Plan:
    """Three actors and two registers on each rank; `slower`: what rank 0's second actor takes more."""
    devices = tuple(f"cpu:{i}" for i in range(ranks))
    registers = tuple(RegisterTemplate(f"r{i}", 0, (TensorType((16,)),), 2, offsets=(128 * i,)) for i in range(2))
    costs = (Cost(seconds=2.0),) if not slower else tuple(Cost(seconds=2.0 + slower * (i == 0)) for i in range(ranks))
    peers = tuple((i + 1) % ranks for i in range(ranks))
    actors = (
        ActorTemplate("a", 0, (PortTemplate(0, "out"),), stream="a", acts=3, costs=(Cost(seconds=1.0),)),
        ActorTemplate("b", 0, (PortTemplate(0, "in", peers=peers), PortTemplate(1, "out")), stream="b", acts=3, costs=costs),
        ActorTemplate("c", 0, (PortTemplate(1, "in"),), stream="c", acts=3, costs=(Cost(seconds=1.0),)),
    )
    plain = pipeline_1f1b(1, 1)
    return Plan(actors, registers, (devices,), plain.machine, arenas=dict.fromkeys(devices, 512))


def test_ranks_that_are_alike_are_one():
    plan = replicas(8)
    graph = act_graph(plan, play(plan))
    assert len(set(representatives(graph, femtoseconds(graph)).tolist())) == 9
    uneven = replicas(8, slower=0.5)
    graph = act_graph(uneven, play(uneven))
    assert len(set(representatives(graph, femtoseconds(graph)).tolist())) > 9
    for made in (plan, uneven):
        flow, graph = flow_of(made), act_graph(made, play(made))
        found = ratio(flow, flow.slots)
        assert isinstance(found, Ratio) and found.period == steady(graph).period
        assert size(made).nbytes == size(made).bound == least(flow, found.period).nbytes
    assert len(whole_step(act_graph(plan, play(plan))).weights) == 9


def test_a_period_that_no_slots_allow_is_refused_with_the_one_that_they_do():
    plan = pipeline_1f1b(4, 8)
    fastest = size(plan).period
    with pytest.raises(PlanError, match=r"no slots let a step take 1 s; with as many as one likes it takes 33\.5 s"):
        size(plan, period=1.0)
    assert size(plan, period=fastest).period == fastest == check(plan).period


def test_slots_of_state_and_of_the_host_are_not_chosen():
    plan = pipeline_1f1b(2, 4)
    assert not [r for r in size(plan).rows if r.register.startswith("w")]
    away = replace(plan, rank_table=tuple((d.replace("cpu", "host"),) for (d,) in plan.rank_table), order={})
    assert whole_step(act_graph(away, play(away))).buffers == ()
