"""The steady period is exact: it is what a simulation settles to, and a schedule of that period certifies it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from oflow.actors import simulate
from oflow.check import act_graph, check, period, play, steady
from oflow.check.period import attained, certified
from oflow.errors import DeadlockError
from oflow.machine import Cost
from oflow.plan import Plan
from tests.check.executor import with_meetings
from tests.plans import PlanBuilder, chain, gpipe, pipeline_1f1b, random_plan


def settled(plan: Plan, steps: int = 72, window: int = 24) -> float:
    """Seconds a step between the ends of two late steps, of the slowest actor; windows are whole numbers of small cycles."""
    ends = {(span.actor, span.act): span.stop for span in simulate(plan, steps=steps).spans}
    return max(
        (ends[a.id, steps * a.acts - 1] - ends[a.id, (steps - window) * a.acts - 1]) / window for a in plan.actors
    )  # fmt: skip


@pytest.mark.parametrize("plan", [
    pipeline_1f1b(4, 8), pipeline_1f1b(3, 7), pipeline_1f1b(4, 8, update=False), pipeline_1f1b(2, 3, 1, order=False),
    gpipe(4, 8), chain(6, 1), chain(6, 2, devices=3),
])  # fmt: skip
def test_period_is_what_a_simulation_settles_to(plan):
    assert check(plan).period == pytest.approx(settled(plan), rel=1e-3)


def test_period_of_random_plans():
    compared = 0
    for seed in range(400):
        plan = random_plan(seed)
        plan = with_meetings(plan, seed) if seed % 2 else plan
        if any(not plan.order.get(stream) and len(rows) > 1 for stream, rows in plan.streams.items()):
            continue  # a free choice may cost time; the period is a bound there
        try:
            proof = check(plan)
        except DeadlockError:
            continue
        assert proof.period == pytest.approx(settled(plan), rel=1e-3), f"seed {seed}"
        compared += 1
    assert compared > 100


def test_a_first_guess_from_played_steps_changes_no_answer(monkeypatch):
    """Large plans begin with the cycle that some steps, played one after the other, wait for: with any plan the search ends the same."""
    played = better = 0
    for seed in range(600):
        rng = random.Random(seed)
        shaped = rng.choice((pipeline_1f1b, gpipe))(rng.randint(1, 5), rng.randint(1, 9))
        plan = (shaped, with_meetings(random_plan(seed), seed), random_plan(seed, rng.randint(3, 14)))[seed % 3]
        seconds = [rng.choice((0.0, 1.0, rng.random(), 1e-6)) for _ in plan.actor_templates]
        timed = tuple(replace(t, costs=(Cost(seconds=s),)) for t, s in zip(plan.actor_templates, seconds, strict=True))
        plan = replace(plan, actor_templates=timed)
        try:
            graph = act_graph(plan, play(plan))
        except DeadlockError:
            continue
        searched = steady(graph)
        guesses = [guess for n in period.ROUNDS if (guess := period._played_cycle(graph, searched.weights, n, None))]
        monkeypatch.setattr(period, "MANY", 0)
        found = steady(graph)
        monkeypatch.undo()
        assert found.period == searched.period, f"seed {seed}"
        assert certified(graph, found) and attained(graph, found), f"seed {seed}"
        assert all(guess[0] * found.unit <= found.period for guess in guesses), f"seed {seed}: no cycle takes longer than the period"
        played += len(guesses) > 0
        better += len(guesses) > 0 and guesses[0][0] * found.unit == found.period
    print("guessed", played, "right at once", better)
    assert played > 200 and better > 100


def test_period_of_a_free_stream_is_a_lower_bound():
    for seed in range(300):
        plan = replace(random_plan(seed), order={})
        try:
            period = check(plan).period
        except DeadlockError:
            continue
        assert simulate(plan, steps=60).seconds >= period * (60 - 6), f"seed {seed}"  # 6: the steps that ramps may save


def test_1f1b_meets_its_formula_and_names_what_bounds_it():
    proof = check(pipeline_1f1b(4, 8))  # forward 1 s, backward 2 s, update 0.5 s
    assert proof.period == (8 + 4 - 1) * 3 + 0.5
    assert proof.bound == "order of stream cpu:0/compute + register w0@cpu:0, 1 slot, 1 initial token"
    assert proof.critical_cycle[-1] == "stream cpu:0/compute: B0@cpu:0 act 7 .. F0@cpu:0 act 0 of the next step"
    assert proof.busy == {f"cpu:{i}/compute": 24.5 for i in range(4)}
    drained = check(pipeline_1f1b(4, 8, update=False))  # the order alone keeps the next step's forwards behind
    assert (drained.period, drained.bound) == (33.0, "order of stream cpu:0/compute")


def test_more_slots_move_the_bound_from_a_register_to_a_stream():
    def two(slots: int) -> Plan:
        b = PlanBuilder()
        h = b.register("h", "cpu:0", slots)
        b.actor("make", "cpu:0", [], [(h, 1, "whole")], seconds=2.0)
        b.actor("use", "cpu:1", [(h, 1, "whole")], seconds=3.0)
        return b.plan()

    assert (check(two(1)).period, check(two(1)).bound) == (5.0, "register h@cpu:0, 1 slot")
    assert (check(two(2)).period, check(two(2)).bound) == (3.0, "stream cpu:1/compute")
    text = str(check(two(1)))
    assert "deadlock-free" in text and "period: 5 s a step, bound by register h@cpu:0, 1 slot" in text
    assert "use@cpu:1 frees a slot of h@cpu:0 for make@cpu:0 of the next step" in text


def test_partners_leave_together():
    b = PlanBuilder()
    for rank, seconds in ((0, 1.0), (1, 4.0)):
        b.actor("meet", f"cpu:{rank}", seconds=seconds, rendezvous="m")
        b.actor("rest", f"cpu:{rank}", seconds=3.0)
    plan = b.plan({"cpu:0/compute": (0, 1), "cpu:1/compute": (2, 3)})
    assert check(plan).period == settled(plan) == 7.0


def test_the_starts_certify_the_period():
    plan = pipeline_1f1b(6, 12)
    graph = act_graph(plan, play(plan))
    found = steady(graph)
    assert certified(graph, found)
    assert not certified(graph, replace(found, period=found.period - 1))
    assert len(check(plan).starts) == sum(a.acts for a in plan.actors)


def test_work_without_time_and_a_plan_without_actors():
    plan = chain(3, 2)
    idle = replace(plan, actor_templates=tuple(replace(t, costs=(Cost(),)) for t in plan.actor_templates))
    assert check(idle).period == 0.0
    empty = check(PlanBuilder().plan())
    assert (empty.period, empty.bound, empty.critical_cycle, empty.acts) == (0.0, "nothing", (), 0)
