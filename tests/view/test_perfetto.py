"""The Chrome trace: valid by the rules of its format, and its slices, arrows and counters agree with the trace and the plan."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import oflow as of
from oflow import view
from oflow.actors import simulate
from oflow.errors import DeadlockError
from oflow.plan import Plan
from tests.plans import gpipe, pipeline_1f1b, random_plan
from tests.view.chrome_trace import Events, validated
from tests.view.things import rich_plan


def events(plan: Plan, steps: int) -> Events:
    return validated(view.perfetto(simulate(plan, steps=steps), plan))


@pytest.mark.parametrize("plan", [rich_plan(), pipeline_1f1b(3, 4), gpipe(2, 2)], ids=["rich", "1f1b", "gpipe"])
def test_the_events(plan: Plan) -> None:
    steps = 2
    found = events(plan, steps)
    names = {e["pid"]: e["args"]["name"] for e in found if e["name"] == "process_name"}
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in found if e["name"] == "thread_name"}
    assert sorted(names.values()) == sorted(plan.devices)
    assert sorted(f"{names[pid]}/{name}" for (pid, _), name in threads.items()) == sorted(plan.streams)
    slices = [e for e in found if e["ph"] == "X"]
    assert Counter(e["args"]["actor"] for e in slices) == {a.id: steps * a.acts for a in plan.actors}
    for e in slices:
        actor = plan.actors[e["args"]["actor"]]
        assert f"{names[e['pid']]}/{threads[e['pid'], e['tid']]}" == actor.stream
        assert e["dur"] >= 0 and e["ts"] >= 0


@pytest.mark.parametrize("plan", [rich_plan(), pipeline_1f1b(3, 4)], ids=["rich", "1f1b"])
def test_arrows_run_forward_between_streams(plan: Plan) -> None:
    found = events(plan, 2)
    sent = {e["id"]: e for e in found if e["ph"] == "s"}
    taken = {e["id"]: e for e in found if e["ph"] == "f"}
    assert sent and sent.keys() == taken.keys()
    for id, e in sent.items():
        assert e["ts"] <= taken[id]["ts"] + 1e-9
        assert (e["pid"], e["tid"]) != (taken[id]["pid"], taken[id]["tid"])


def test_every_message_of_a_pipeline_is_an_arrow() -> None:
    stages, micro_batches, steps = 3, 4, 2
    found = events(pipeline_1f1b(stages, micro_batches), steps)
    assert sum(e["ph"] == "s" for e in found) == 2 * (stages - 1) * micro_batches * steps


def test_counters_stay_within_the_slots() -> None:
    plan = pipeline_1f1b(3, 4)
    slots = {r.name: r.slots for r in plan.registers}
    found = [e for e in events(plan, 2) if e["ph"] == "C" and e["name"].startswith("slots")]
    most: dict[str, int] = {}
    for e in found:
        register = next(name for name in slots if name in e["name"].split())
        [count] = e["args"].values()
        assert 0 <= count <= slots[register]
        most[register] = max(most.get(register, 0), count)
    assert most["stash0"] == 3 and most["stash2"] == 1


def test_bytes_never_exceed_what_the_plan_lays_out() -> None:
    plan = rich_plan()
    found = events(plan, 2)
    names = {e["pid"]: e["args"]["name"] for e in found if e["name"] == "process_name"}
    counted = [e for e in found if e["ph"] == "C" and e["name"] == "bytes"]
    assert {names[e["pid"]] for e in counted} == set(plan.devices)
    for e in counted:
        device = names[e["pid"]]
        assert plan.states.get(device, 0) <= e["args"]["live"] <= plan.arenas.get(device, 0) + plan.states.get(device, 0)


def test_random_plans_are_valid() -> None:
    shown = 0
    for seed in range(30):
        print(f"seed {seed}")
        plan = random_plan(seed)
        try:
            trace = simulate(plan, steps=3)
        except DeadlockError:
            continue
        validated(view.perfetto(trace, plan))
        shown += 1
    assert shown > 15


def test_a_measured_run_is_valid() -> None:
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    given = of.spec(x.shape, "float32", of.placement("cpu", [0, 1]), of.S(0))
    with of.compile(lambda x: of.relu(x) @ of.relu(x).T, given, executor="threads", record=True) as run:
        for _ in range(3):
            run(x)
        found = validated(view.perfetto(run.trace(), run.plan))
    assert {e["ph"] for e in found} == {"M", "X", "s", "f", "C"}


def test_acts_that_follow_each_other_do_not_overlap_by_a_rounding() -> None:
    """Thirds of a nanosecond: start + duration in floating-point microseconds would end after the next act has begun."""
    plan = pipeline_1f1b(2, 8)
    third = tuple(replace(a, costs=(replace(a.costs[0], seconds=1e-9 / 3 + 1e-6 / 7),)) for a in plan.actor_templates)
    events(replace(plan, actor_templates=third), 3)
