"""The curve of period against bytes falls, holds every plan there is, and misses no point of a small plan's front."""

from __future__ import annotations

import itertools
from collections import Counter
from itertools import pairwise

import pytest

import oflow as of
from oflow.check import check
from oflow.compiler.resize import device_nbytes, without_controls
from oflow.errors import OutOfMemory
from oflow.sizing import trade_off
from oflow.sizing.ratio import Ratio, long_period, ratio
from tests.compiler.nets import pipeline
from tests.sizing.cases import flow_of, random_plans


def test_the_curve_is_the_pareto_front_of_small_plans():
    compared = 0
    for seed, plan in random_plans(range(120)):
        flow = flow_of(plan)
        if not 1 <= len(flow.buffers) <= 3 or any(not plan.order.get(s) and len(rows) > 1 for s, rows in plan.streams.items()):
            continue
        points = trade_off(plan, resolution=1e-9).sizings
        assert all(a.period < b.period and a.nbytes > b.nbytes for a, b in pairwise(points)), f"seed {seed}"
        front: dict[float, int] = {}
        for slots in itertools.product(*(range(b.least, 7) for b in flow.buffers)):
            found = ratio(flow, slots)
            if isinstance(found, Ratio):
                at = float(found.period) * 1e-15
                front[at] = min(front.get(at, 1 << 60), flow.nbytes(slots))
        wanted, least = [], 1 << 60
        for at in sorted(front):
            if front[at] < least:
                wanted.append((pytest.approx(at), front[at]))
                least = front[at]
        assert [(p.period, p.nbytes) for p in points] == wanted, f"seed {seed}"
        compared += len(points) > 1
    assert compared > 10


def test_a_slower_step_never_needs_more():
    whole = pipeline(4, 8).plan
    plan = without_controls(whole)
    flow = flow_of(plan)
    points = trade_off(plan).sizings
    assert points[-1].asked <= float(long_period(flow)) and all(p.bound <= p.nbytes for p in points)
    assert points[0].period <= check(whole).period
    assert points[-1].nbytes <= flow.nbytes(flow.slots)


def test_least_slots_of_a_compiled_plan():
    plan = pipeline(4, 8).plan
    found = plan.least_slots()
    proof = found.plan.check()
    assert proof.period == found.period <= found.asked == pytest.approx(plan.check().period)
    assert found.nbytes <= found.before and found.bound <= found.nbytes
    assert device_nbytes(found.plan) <= device_nbytes(plan)
    kept = Counter(r.name for r in without_controls(found.plan).register_templates)
    assert kept == Counter(r.name for r in without_controls(plan).register_templates)
    assert of.Plan.from_json(found.plan.to_json()) == found.plan


def test_least_period_within_a_limit_of_memory():
    plan = pipeline(4, 8).plan
    roomy = plan.least_period(1 << 30)
    assert roomy.period <= plan.least_slots().period
    need = device_nbytes(plan.least_period(device_nbytes(roomy.plan)).plan)
    with pytest.raises(OutOfMemory, match=r"the fewest slots of these orders need .* bytes on the fullest device"):
        plan.least_period(need // 4)


def test_what_is_no_period_and_no_memory_is_refused_with_a_remedy():
    plan = pipeline(2, 4).plan
    for period in ("x", -1.0, 0, True, float("nan")):
        with pytest.raises(of.PlanError, match=f"period={period!r} is no number of seconds; write one"):
            plan.least_slots(period=period)
    for memory in ("1", -1, 0.5, None):
        with pytest.raises(of.PlanError, match=f"memory={memory!r} is no number of bytes; write one, such as memory=16 << 30"):
            plan.least_period(memory=memory)


def test_compile_with_the_least_slots_is_as_fast_and_computes_the_same():
    plain, least = pipeline(3, 8), pipeline(3, 8, slots="least")
    assert least.plan.check().period <= plain.plan.check().period * 1.02  # what the layout's control registers may cost either
    slots = [sum(r.slots for r in p.plan.register_templates if r.region == "arena") for p in (plain, least)]
    assert slots[1] < slots[0]
    with pytest.raises(of.PlanError, match="slots='few' is not known"):
        pipeline(2, 2, slots="few")
