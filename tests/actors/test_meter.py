"""Meters: what a running session has counted, the same on every driver."""

import pytest

from oflow.actors import simulate
from oflow.actors.streams import device_streams
from oflow.plan import Plan
from tests.actors.kernels import SESSIONS
from tests.plans import chain, diamond, gpipe, pipeline_1f1b, random_plan

PLANS = {"1f1b": pipeline_1f1b(3, 5), "gpipe": gpipe(3, 4), "diamond": diamond(2), "chain": chain(4, 2, 2)}
every_session = pytest.mark.parametrize("start", SESSIONS.values(), ids=SESSIONS.keys())
STEPS = 3


def nothing(act: int, slots: tuple[int, ...]) -> None:
    pass


def resting(plan: Plan) -> list[int]:
    """Slots in use after some steps, by driver."""
    found = []
    for start in SESSIONS.values():
        with start(plan, [nothing] * len(plan.actors)) as session:
            read = session.meter()
            session.drain(STEPS)
            session.trace()  # acks may still be on their way
            found.append(read().slots_in_use)
    return found


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_slots_in_use_at_rest_are_the_same_on_every_driver(plan: Plan) -> None:
    found = resting(plan)
    assert len(set(found)) == 1, dict(zip(SESSIONS, found, strict=True))


@every_session
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_what_is_counted_holds_what_is_recorded(start, plan: Plan) -> None:
    """Work that is counted covers the spans of the acts, and no stream works longer than the time that passes."""
    with start(plan, [nothing] * len(plan.actors), recorded=True) as session:
        read = session.meter()
        before = read()
        assert set(before.busy) == set(device_streams(plan)) and not any(before.busy.values())
        for step in range(1, STEPS + 1):
            session.drain(step)
        trace, after = session.trace(), read()
    assert 0 <= after.slots_in_use <= after.slots == sum(r.slots for r in plan.registers if r.region == "arena" and r.producer >= 0)
    recorded = trace.busy()
    for stream, seconds in after.busy.items():
        assert recorded.get(stream, 0.0) - 1e-9 <= seconds <= after.seconds + 1e-9, stream


def test_the_simulator_counts_virtual_time() -> None:
    plan = PLANS["1f1b"]
    with SESSIONS["simulator"](plan, [nothing] * len(plan.actors)) as session:
        read = session.meter()
        session.drain(STEPS)
        found = read()
    predicted = {stream: seconds for stream, seconds in simulate(plan, steps=STEPS).busy().items() if stream in found.busy}
    assert found.busy == pytest.approx(predicted) and found.seconds > 0


def test_random_plans_can_be_read_at_any_time() -> None:
    for seed in range(20):
        plan = random_plan(seed, size=8)
        for name, start in SESSIONS.items():
            with start(plan, [nothing] * len(plan.actors)) as session:
                found = session.meter()()
                assert 0 <= found.slots_in_use <= found.slots, (seed, name)
