"""A plan's file carries its certificate; whoever reads it verifies, and refuses what is not so or was changed."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import pytest

import oflow as of
from oflow.check import Certificate, certify, check, load, to_json, verify
from oflow.check.certificate import sealed
from oflow.errors import PlanError
from oflow.plan import FORMAT_VERSION, Plan
from tests.check.executor import with_meetings
from tests.plans import PlanBuilder, chain, gpipe, pipeline_1f1b, random_plan
from tests.program.nets import exact

PLAN = pipeline_1f1b(3, 4)


def others(value: Any) -> list[Any]:
    """The value changed a little, in several ways."""
    if isinstance(value, bool | int):
        return [value + 1, value - 1, 0, -1, 2 * value]
    if isinstance(value, str):
        return [value + "x", "", "1/0", "7/3"]
    if isinstance(value, dict):
        first = next(iter(value))
        return [{**value, first: value[first] + 1}, {k: v for k, v in value.items() if k != first}, {**value, "cpu:99": 0}]
    changed = [value[:-1], value[1:], value[::-1], value + value[:1], ()]
    if value and isinstance(value[0], int):
        changed += [(*value[:i], value[i] + d, *value[i + 1 :]) for i in range(len(value)) for d in (1, -1, 10**15)]
    return changed


@pytest.mark.parametrize("name", [f.name for f in fields(Certificate)])
def test_a_field_that_was_changed_is_refused(name):
    good = certify(PLAN)
    verify(PLAN, good)
    value = getattr(good, name)
    for other in others(value):
        if other != value:
            with pytest.raises(PlanError, match="certificate is wrong about"):
                verify(PLAN, replace(good, **{name: other}))


LIES = {
    "acts": lambda c: c.acts + 1, "period": lambda c: str(Fraction(c.period) - Fraction(1, 10**15)), "bound": lambda c: "nothing",
    "critical_cycle": lambda c: c.critical_cycle[1:], "cycle": lambda c: c.cycle[1:], "stream": lambda c: "cpu:0/compute",
    "arenas": lambda c: {**c.arenas, "cpu:0": 0}, "states": lambda c: {**c.states, "cpu:0": 1}, "order": lambda c: c.order[::-1],
    "starts": lambda c: tuple(0 for _ in c.starts), "unit": lambda c: c.unit * 10**6, "parts": lambda c: c.parts + 1,
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found_though_it_is_sealed_again(name):
    good = certify(PLAN)
    lie = sealed(PLAN, replace(good, **{name: LIES[name](good)}))
    with pytest.raises(PlanError, match="certificate is wrong about") as e:
        verify(PLAN, lie)
    assert "sealed" not in str(e.value)


def test_another_valid_witness_is_as_good_when_sealed():
    """What is certified is the statement; starts that are all later by the same time show it as well."""
    good = certify(PLAN)
    later = replace(good, starts=tuple(s + 5 for s in good.starts))
    with pytest.raises(PlanError, match="changed after it was sealed"):
        verify(PLAN, later)
    verify(PLAN, sealed(PLAN, later))


def test_a_plan_that_was_changed_is_refused_though_it_is_right_itself():
    text = json.loads(to_json(PLAN))
    text["schedule"] = "other"
    with pytest.raises(PlanError, match="wrong about seal"):
        load(json.dumps(text))
    text["certificate"] = None
    assert load(json.dumps(text)) == replace(PLAN, schedule="other")
    slower = json.loads(to_json(PLAN))
    slower["actor_templates"][0]["costs"][0]["seconds"] = 9.0
    with pytest.raises(PlanError, match="certificate is wrong about"):
        load(json.dumps(slower))


@pytest.mark.parametrize("plan", [
    PLAN, gpipe(2, 3), chain(5, 1), PlanBuilder().plan(), exact("grid", micro_batches=3).plan,
    exact("pipeline x tensor", micro_batches=3).plan,
])  # fmt: skip
def test_equal_plans_come_back_with_their_certificate(plan: Plan):
    text = to_json(plan)
    found = json.loads(text)
    assert found["version"] == FORMAT_VERSION == 2 and load(text) == plan
    assert to_json(load(text)) == text
    proof, certificate = check(plan), certify(plan)
    assert float(Fraction(certificate.period)) == proof.period
    assert (certificate.acts, certificate.bound, certificate.arenas) == (proof.acts, proof.bound, proof.arenas)


def test_random_plans_come_back():
    kept = 0
    for seed in range(150):
        plan = random_plan(seed)
        plan = with_meetings(plan, seed) if seed % 2 else plan
        text = to_json(plan)
        if "certificate" in json.loads(text):
            assert load(text) == plan, seed
            kept += 1
        else:
            with pytest.raises(PlanError):
                load(text)
    assert 30 < kept < 140


def test_a_file_of_arrays_carries_it_too(tmp_path):
    plan = exact("data", micro_batches=3).plan
    plan.to_arrays(tmp_path / "plan.safetensors")
    assert of.Plan.from_arrays(tmp_path / "plan.safetensors") == plan
    raw = (tmp_path / "plan.safetensors").read_bytes()
    period = certify(plan).period
    assert raw.count(period.encode()) == 1
    (tmp_path / "plan.safetensors").write_bytes(raw.replace(period.encode(), b"9" * len(period)))
    with pytest.raises(PlanError, match="certificate is wrong about"):
        of.Plan.from_arrays(tmp_path / "plan.safetensors")
