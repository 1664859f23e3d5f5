"""GPT-3's example at a small size: the answers that are found for one device a role are those of the whole plan."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest

import oflow as of
from oflow import compiler
from oflow.actors import simulate
from oflow.check import act_graph, check, fold, play, steady
from oflow.check.period import PER_SECOND
from oflow.compiler.unfold import unfolded
from oflow.plan import Plan

SMALL = {"layers": 2, "stages": 2, "data": 4, "tensor": 2, "batch": 128, "machine": "reference", "precision": None}
"""Nothing is allocated, so that the width is GPT-3's: inference then finds the layouts of a large plan."""


@cache
def gpt3() -> of.Program:
    sys.path.insert(0, str(Path(of.__file__).parents[1] / "examples"))
    try:
        import gpt3
    finally:
        sys.path.pop(0)
    program: of.Program = gpt3.build(**SMALL)
    return program


def plan_after(name: str) -> Plan:
    found = gpt3().passes[name]
    assert isinstance(found, Plan)
    return found


def test_a_stage_has_fewer_roles_than_devices() -> None:
    plan = gpt3().plan
    assert len(plan.devices) == 2 * 4 * 2 + 1
    assert len(fold(plan).plan.devices) == 2 * 2 + 1


def test_orders_and_layouts_found_for_one_device_a_role_are_those_found_for_all() -> None:
    whole = plan_after("rings")
    for one in compiler.FOLDED_PASSES:
        whole = one(whole, gpt3().given)
        assert plan_after(one.__name__) == whole


def test_the_period_is_that_of_the_whole_plan_played_out() -> None:
    plan = gpt3().plan
    proof = check(plan)
    assert proof.period == float(steady(act_graph(plan, play(plan))).period / PER_SECOND)
    assert proof.arenas.keys() == proof.states.keys() == set(plan.devices)
    steps = [simulate(some, plan.machine, steps=6, events=False) for some in (plan, fold(plan).plan)]
    assert steps[0].spans.in_time().stop.max() == pytest.approx(steps[1].spans.in_time().stop.max(), rel=1e-12)


def test_a_pass_that_changes_nothing_leaves_the_whole_plan_as_it_is() -> None:
    roles = fold(gpt3().plan)
    assert unfolded(roles, roles.plan) is roles
