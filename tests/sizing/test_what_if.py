"""Forecasts are what the changed plan does: exactly what `check` proves of it, and what a simulation settles to."""

from __future__ import annotations

import importlib
import random
from dataclasses import replace

import pytest

from oflow.check import check
from oflow.errors import DeadlockError, PlanError
from oflow.machine import Cost, Link
from oflow.plan import Plan, at_rank
from oflow.sizing import sensitivities, what_if, what_would_help, with_slots
from tests.check.test_period import settled
from tests.compiler.nets import pipeline
from tests.plans import pipeline_1f1b
from tests.sizing.cases import random_plans
from tests.test_house import ROOT
from tests.view.report.test_data import widened


def slower(plan: Plan, name: str, factor: float) -> Plan:
    """The plan whose actor takes `factor` times as long."""
    actors = tuple(
        replace(a, costs=tuple(Cost(seconds=(c.seconds or 0.0) * factor) for c in a.costs)) if a.name == name else a
        for a in plan.actor_templates
    )
    return replace(plan, actor_templates=actors)


def test_a_faster_operator_and_other_slots_on_random_plans():
    compared = 0
    for seed, plan in random_plans(range(260)):
        if any(not plan.order.get(stream) and len(rows) > 1 for stream, rows in plan.streams.items()):
            continue
        rng = random.Random(seed)
        name, factor = rng.choice(plan.actor_templates).name, rng.choice((0.5, 2.0, 4.0, 3.0))
        changed = slower(plan, name, 1 / factor)
        kept = {row: r for row, r in enumerate(plan.register_templates) if r.region == "arena" and not r.initial}
        slots = {row: rng.randint(1, 4) for row in rng.sample(sorted(kept), min(2, len(kept)))}
        changed = with_slots(changed, slots)
        asked = {plan.register_templates[row].name: n for row, n in slots.items()}
        try:
            found = what_if(plan, faster={name: factor}, slots=asked)
        except DeadlockError:
            with pytest.raises(DeadlockError):
                settled(changed, 4, 2)
            continue
        assert found.period == pytest.approx(settled(changed), rel=1e-3), f"seed {seed}"
        compared += 1
    assert compared > 60


def test_faster_links_on_a_compiled_plan():
    plan = pipeline(4, 4, ranks=2).plan
    for link, machine in (
        (4.0, replace(plan.machine, link=Link(plan.machine.link.latency / 4, plan.machine.link.bandwidth * 4))),
        (Link(0.0, 1e12), replace(plan.machine, link=Link(0.0, 1e12))),
        ({"cpu:0>cpu:2": Link(1e-3, 1e9)}, replace(plan.machine, links={"cpu:0>cpu:2": Link(1e-3, 1e9)})),
    ):
        found, changed = what_if(plan, link=link), replace(plan, machine=machine)
        assert found.period == check(changed).period == pytest.approx(settled(changed), rel=1e-3)
        assert found.critical_cycle and found.before == check(plan).period


def test_what_would_help_is_ranked_and_true():
    plan = pipeline(4, 4).plan
    found = what_would_help(plan, factor=2.0, top=6)
    assert found and all(f.period < f.before == check(plan).period for f in found)
    assert list(found) == sorted(found, key=lambda f: (f.period, f.nbytes, f.what))
    for one in found:
        name, _, rest = one.what.partition(" 2 times as fast")
        if not rest and not name.startswith(("stream", "link", "all links", "register")):
            assert what_if(plan, faster={name: 2.0}).period == one.period
        if name.startswith("all links"):
            assert what_if(plan, link=2.0).period == one.period
    everything = what_would_help(plan, factor=2.0, top=1000)
    assert [f.what for f in everything[:6]] == [f.what for f in found]


@pytest.mark.parametrize(("devices", "named"), [(8, 8), (9, 1)])
def test_streams_of_many_devices_are_not_all_named(devices, named):
    plan = widened(pipeline_1f1b(2, 4), devices)
    streams = [f.what for f in what_would_help(plan, top=100) if f.what.startswith("stream ")]
    assert streams and all(what.count("/compute") == named for what in streams)
    assert all(("and those of 8 more devices" in what) == (named == 1) for what in streams)


def test_one_slot_more_where_a_slot_is_what_is_waited_for():
    plan = pipeline_1f1b(4, 12, slots=[4, 2, 2, 1], order=False)
    found = [f for f in what_would_help(plan, top=100) if f.what.startswith("register")]
    for one in found:
        name, slots = one.what.removeprefix("register ").removesuffix(" slots").split(" with ")
        assert what_if(plan, slots={name: int(slots)}).period == one.period < one.before
        assert one.nbytes == 64


def test_derivatives_and_slack():
    plan = pipeline_1f1b(4, 8)
    found = sensitivities(plan)
    assert "np." not in repr(found)
    tiny = 1e-6
    for name, rate in found.operators.items():
        seconds = next(a.costs[0].seconds or 0.0 for a in plan.actor_templates if a.name == name)
        longer, shorter = (check(slower(plan, name, 1 + sign * tiny / seconds)).period for sign in (1, -1))
        # other cycles are as long as the one that is named: they may rise faster, and hold the period up
        assert longer - found.period >= rate * tiny * (1 - 1e-3)
        assert found.period - shorter <= rate * tiny * (1 + 1e-3)
    assert sum(found.streams.values()) == pytest.approx(found.period)
    idle = {name: room for name, room in found.slack.items() if room > 0}
    for name, room in idle.items():
        seconds = next(a.costs[0].seconds or 0.0 for a in plan.actor_templates if a.name == name)
        assert check(slower(plan, name, 1 + room / seconds)).period == pytest.approx(found.period)
    assert not set(idle) & set(found.operators)


def test_names_that_fit_nothing():
    plan = pipeline_1f1b(2, 2)
    for asked, message in (
        ({"faster": {"G*": 2.0}}, r"no actor is called G\*; there are F0, B0"),
        ({"faster": {"cpu:7/*": 2.0}}, r"no stream is called cpu:7/\*; there are cpu:0/compute"),
        ({"faster": {"F0": 0.0}}, "F0 cannot be 0.0 times as fast"),
        ({"slots": {"y": 2}}, "no register is called y; there are x1"),
        ({"slots": {"x1": 0}}, "register x1 cannot have 0 slots"),
        ({"link": {"cpu:0": 2.0}}, "is no link; write cpu:0>cpu:1"),
    ):
        with pytest.raises(PlanError, match=message):
            what_if(plan, **asked)


@pytest.mark.parametrize("schedule", ["1f1b", "gpipe", "zero-bubble"])
def test_forecasts_of_compiled_schedules(schedule):
    """Every phase twice as fast, as the check of the changed plan and its simulation have it."""
    plan = pipeline(4, 8, schedule=schedule).plan
    assert check(plan).period == pytest.approx(settled(plan, 24, 8), rel=1e-3)
    machine = plan.machine
    for device in ("cpu:1", "cpu:2"):
        found = what_if(plan, faster={f"{device}/*": 2.0})
        actors = tuple(
            replace(a, costs=tuple(
                Cost(seconds=machine.seconds(at_rank(a.costs, rank), d) / (2.0 if d == device else 1.0))
                for rank, d in enumerate(plan.rank_table[a.group])
            ))
            for a in plan.actor_templates
        )  # fmt: skip
        changed = replace(plan, actor_templates=actors)
        assert found.period == check(changed).period == pytest.approx(settled(changed, 24, 8), rel=1e-3)


@pytest.mark.parametrize("options", [{}, pytest.param({"schedule": "interleaved", "chunks": 2, "layers": 8}, marks=pytest.mark.slow)])
def test_forecasts_of_the_example(monkeypatch, options):
    """examples/gpt.py, also with two stages a rank: what would help most, each against the simulator."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    plan = importlib.import_module("gpt").build(executor="simulator", **options).plan
    assert check(plan).period == pytest.approx(settled(plan, 16, 8), rel=1e-3)
    found = what_if(plan, link=2.0)
    link = plan.machine.link
    changed = replace(plan, machine=replace(plan.machine, link=Link(link.latency / 2, link.bandwidth * 2)))
    assert found.period < found.before and found.period == pytest.approx(settled(changed, 16, 8), rel=1e-3)
    best = what_would_help(plan, top=5)
    assert len(best) == 5 and max(f.period for f in best) < check(plan).period
