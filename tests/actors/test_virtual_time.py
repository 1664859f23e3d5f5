"""The compiled simulation is the twin of the Python one: the same spans, slot events and deadlocks, bit for bit."""

import pytest

from oflow.actors.native.virtual import virtual_time
from oflow.actors.simulate import interpreted, simulate
from oflow.errors import DeadlockError, PlanError
from oflow.native import available
from oflow.plan import Plan
from oflow.presets import preset
from oflow.trace import SlotEvents, Span, Spans, Trace
from tests.check.executor import with_meetings
from tests.plans import chain, diamond, pipeline_1f1b, random_plan

pytestmark = pytest.mark.skipif(not available(), reason="numba is not installed")


def outcome(machine, plan: Plan) -> Trace | str:
    try:
        return machine(plan, preset("two-level"), 3, events=True)
    except DeadlockError as e:
        return str(e)


def same(plan: Plan) -> bool:
    """Whether both machines agree; returns whether the plan ran."""
    one, other = outcome(virtual_time, plan), outcome(interpreted, plan)
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return False
    assert one.spans == other.spans and one.steps == other.steps and one.busy() == other.busy()
    assert sorted(one.events) == sorted(other.events)
    assert list(one.events.time) == sorted(one.events.time)
    assert virtual_time(plan, preset("two-level"), 3, events=False).events == SlotEvents.of(())
    return True


@pytest.mark.parametrize("seed", range(150))
def test_random_plans(seed: int) -> None:
    print("seed", seed)
    plan = random_plan(seed)
    same(plan)
    try:
        same(with_meetings(plan, seed))
    except PlanError as e:  # a rendezvous on a stream without an order
        assert "explicit order" in str(e)


def test_known_plans_run() -> None:
    for plan in (chain(7, 1, 3), chain(9, 3, 2), diamond(2), pipeline_1f1b(4, 9)):
        assert same(plan)


def test_columns_are_sequences_of_rows() -> None:
    rows = [Span(1, 0, "b", 0.5, 2.0), Span(0, 0, "a", 0.0, 1.0), Span(0, 1, "a", 0.0, 0.5)]
    spans = Spans.of(rows)
    assert list(spans) == rows and len(spans) == 3 and spans[-1] == rows[-1] and list(spans[1:]) == rows[1:]
    assert list(spans.in_time()) == [rows[2], rows[1], rows[0]]
    assert spans != spans.in_time() and Spans.of(rows) == spans and hash(Spans.of(rows)) == hash(spans)
    assert Trace(spans).seconds == 2.0 and Trace(spans).busy() == {"b": 1.5, "a": 1.5}
    assert Trace(Spans.of(())).seconds == 0.0
    with pytest.raises(IndexError):
        spans[3]


def test_what_is_no_machine_is_refused() -> None:
    for wrong in (40, "h100"):
        with pytest.raises(PlanError, match=r"test_virtual_time.py:\d+: .* is no machine; give an of.Machine"):
            simulate(pipeline_1f1b(2, 2), wrong)  # type: ignore[arg-type]
