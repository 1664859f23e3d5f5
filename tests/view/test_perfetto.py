"""The Chrome trace: valid JSON whose slices, arrows and counters agree with the trace and the plan."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from oflow import view
from oflow.actors import simulate
from oflow.plan import Plan
from tests.plans import gpipe, pipeline_1f1b
from tests.view.things import rich_plan

Events = list[dict[str, Any]]


def events(plan: Plan, steps: int) -> Events:
    found: Events = json.loads(view.perfetto(simulate(plan, steps=steps), plan))["traceEvents"]
    return found


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
    found = [e for e in events(plan, 2) if e["ph"] == "C"]
    most: dict[str, int] = {}
    for e in found:
        register = next(name for name in slots if name in e["name"].split())
        [count] = e["args"].values()
        assert 0 <= count <= slots[register]
        most[register] = max(most.get(register, 0), count)
    assert most["stash0"] == 3 and most["stash2"] == 1
