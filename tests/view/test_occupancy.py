"""Bytes over time are those that a count byte by byte finds; slots are used in turn."""

from __future__ import annotations

import numpy as np
import pytest

from oflow.actors import simulate
from oflow.arrays import tables
from oflow.errors import DeadlockError
from oflow.plan import Plan
from oflow.trace import SlotEvent, SlotEvents, Trace
from oflow.view.occupancy import Level, levels, thinned, uses
from tests.plans import chain, diamond, gpipe, pipeline_1f1b, random_plan
from tests.view.things import rich_plan

PLANS = {"rich": rich_plan(), "1f1b": pipeline_1f1b(3, 5), "gpipe": gpipe(3, 4), "diamond": diamond(2), "chain": chain(4, 2, 2)}


def found(plan: Plan, trace: Trace) -> list[Level]:
    return levels(plan, tables(plan), uses(trace.events, trace.seconds), trace.seconds)


def slow_live(plan: Plan, events: list[SlotEvent], device: str, time: float) -> int:
    """Bytes of the arena marked one by one by what happened until `time`, plus scratch and state."""
    marked = np.zeros(plan.arenas.get(device, 0), bool)
    held = {}
    for event in events:
        if event.time <= time:
            held[event.register, event.slot] = event.event != "free"
    for (row, slot), busy in held.items():
        r = plan.registers[row]
        if busy and r.device == device and r.region == "arena":
            start = r.offset + slot * r.slot_nbytes
            marked[start : start + r.slot_nbytes] = True
    for stream, (offset, nbytes) in plan.scratches.items():
        if stream.startswith(f"{device}/"):
            marked[offset : offset + nbytes] = True
    return int(marked.sum()) + plan.states.get(device, 0)


def check_levels(plan: Plan, trace: Trace) -> None:
    events = list(trace.events)
    for device, level in zip(tables(plan).devices, found(plan, trace), strict=True):
        assert level.time[0] == 0.0 and (np.diff(level.time) > 0).all()
        moments = {e.time for e in events if plan.registers[e.register].device == device} | {0.0, trace.seconds / 3}
        for time in sorted(moments - {trace.seconds}):
            at = int(np.searchsorted(level.time, time, "right")) - 1
            assert level.live[at] == slow_live(plan, events, device, time), (device, time)
        assert level.live.max() <= plan.arenas.get(device, 0) + plan.states.get(device, 0)
        assert len(level.peak) == len({row for row, _ in level.peak})


@pytest.mark.parametrize("name", PLANS)
def test_bytes_are_those_that_are_held(name: str) -> None:
    check_levels(PLANS[name], simulate(PLANS[name], steps=2))


@pytest.mark.parametrize("seed", range(40))
def test_bytes_of_random_plans(seed: int) -> None:
    print(f"seed {seed}")
    plan = random_plan(seed)
    try:
        trace = simulate(plan, steps=2)
    except DeadlockError:
        return
    check_levels(plan, trace)


@pytest.mark.parametrize("name", PLANS)
def test_a_slot_is_used_in_turn(name: str) -> None:
    plan = PLANS[name]
    trace = simulate(plan, steps=3)
    made = uses(trace.events, trace.seconds)
    for row in range(len(plan.registers)):
        for slot in range(plan.registers[row].slots):
            mine = (made.register == row) & (made.slot == slot)
            assert (made.start[mine][1:] >= made.stop[mine][:-1]).all()


def test_shared_bytes_count_once_and_peaks_are_kept() -> None:
    plan = chain(3, 2)
    t = tables(plan)
    events = SlotEvents.of([SlotEvent(float(i), 0, i % 2, "write" if i % 4 < 2 else "free") for i in range(400)])
    (level, *_) = levels(plan, t, uses(events, 500.0), 500.0)
    assert level.live.max() == 2 * int(t.slot_nbytes[0])
    time, live = thinned(level, 40)
    assert len(time) <= 60 and live.max() == level.live.max() and time[0] == 0.0 and time[-1] == 500.0
    at = np.searchsorted(level.time, time)
    assert (level.live[at] == live).all()
