"""The loops give the same answers as they stand and compiled; and they stay exact where numbers grow."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from oflow.check import act_graph, check, check_memory, play, steady
from oflow.check.period import PER_SECOND, certified
from oflow.errors import PlanError
from oflow.machine import Cost
from oflow.native import available
from oflow.plan import Plan
from tests.check.executor import with_meetings
from tests.plans import chain, pipeline_1f1b, random_plan


def outcome(plan: Plan, compiled: bool) -> tuple[object, ...]:
    """All that the loops find, or the words in which they refuse."""
    try:
        fired = play(plan, compiled=compiled)
        graph = act_graph(plan, fired)
        found = steady(graph, compiled=compiled)
        assert certified(graph, found)
        used = check_memory(plan, graph, compiled=compiled)
    except PlanError as e:
        return (str(e),)
    return fired.tolist(), found.period, found.cycle, found.potentials.tolist(), used


def crowded(plan: Plan, seed: int) -> Plan:
    """Some registers at one offset, so that turns must be proved."""
    moved = tuple(
        replace(t, offsets=(0,)) if t.region == "arena" and not t.initial and (number + seed) % 3 == 0 else t
        for number, t in enumerate(plan.register_templates)
    )
    return replace(plan, register_templates=moved)


@pytest.mark.skipif(not available(), reason="numba is not installed")
def test_one_source_gives_the_same_answers_compiled():
    refused = 0
    for seed in range(150):
        plan = random_plan(seed)
        plan = crowded(with_meetings(plan, seed) if seed % 2 else plan, seed)
        found = outcome(plan, compiled=False)
        assert found == outcome(plan, compiled=True), f"seed {seed}"
        refused += len(found) == 1
    assert 10 < refused < 140, refused


@pytest.mark.parametrize("seconds", [1e-15, 1e-3, 1 / 3, 1e4, 1e9])
def test_long_steps_do_not_overflow(seconds):
    """1F1B with 1, 2 and 1/2 as stage times has a period of (8 + 4 - 1) * 3 + 1/2 of them, at any scale."""
    plan = pipeline_1f1b(4, 8)
    scaled = tuple(replace(t, costs=(Cost(seconds=2 * t.costs[0].seconds * seconds),)) for t in plan.actor_templates)
    plan = replace(plan, actor_templates=scaled)
    graph = act_graph(plan, play(plan))
    found = steady(graph)
    assert certified(graph, found)
    assert float(found.period / PER_SECOND) == pytest.approx(67 * seconds, rel=1e-9)


def test_times_without_a_common_measure_coarsen_the_unit_where_they_must():
    plan = chain(40, 3, devices=2)
    times = [1e5 + 1e-15 * 2**i for i in range(40)]
    scaled = tuple(replace(t, costs=(Cost(seconds=s),)) for t, s in zip(plan.actor_templates, times, strict=True))
    plan = replace(plan, actor_templates=scaled)
    graph = act_graph(plan, play(plan))
    found = steady(graph)
    assert certified(graph, found) and found.unit > 1
    assert float(found.period / PER_SECOND) == pytest.approx(max(times), rel=1e-12)


def test_a_certificate_that_is_a_little_wrong_is_none():
    plan = pipeline_1f1b(3, 6)
    graph = act_graph(plan, play(plan))
    found = steady(graph)
    shorter = found.period - Fraction(found.unit, found.parts)
    assert certified(graph, found) and not certified(graph, replace(found, period=shorter))
    critical = int(graph.targets[found.cycle[0]])
    for change in (-1, 1):
        moved = found.potentials.copy()
        moved[critical] += change
        assert not certified(graph, replace(found, potentials=moved))
    assert np.all(found.starts >= 0)


def test_a_slow_end_reaches_back_through_many_credits_in_few_passes():
    plan = chain(3000, 1)
    slow = tuple(
        replace(t, costs=(Cost(seconds=10.0 if i == 2999 else 1.0),)) for i, t in enumerate(plan.actor_templates)
    )
    proof = check(replace(plan, actor_templates=slow))
    assert proof.period == 11.0 and proof.bound == "register r2998@cpu:0, 1 slot"
