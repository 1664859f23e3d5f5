"""The rules of one actor, event by event."""

import pytest

from oflow.actors import ACK, REQ, Actor
from oflow.errors import ProtocolError
from oflow.plan import Plan
from tests.plans import PlanBuilder, chain, diamond


def actor(plan: Plan, row: int, **options: object) -> Actor:
    return Actor(plan.actors[row], plan.registers, checked=True, **options)  # type: ignore[arg-type]


def test_takes_in_order_whatever_order_messages_arrive_in() -> None:
    reader = actor(chain(2, 2), 1)
    assert not reader.receive((1, REQ, 0, 1, 1, 0, 0)), "seq 1 is not next"
    assert reader.receive((1, REQ, 0, 0, 0, 0, 0))
    assert reader.launch() == (0, (0,))
    assert reader.done() == [(0, ACK, 0, 0, 0, 1, 0)]
    assert reader.ready and reader.launch() == (1, (1,))


def test_repeated_and_foreign_messages_are_dropped_and_counted() -> None:
    source = actor(diamond(1), 0)
    assert source.launch() == (0, (0,))
    assert [m[:2] for m in source.done()] == [(1, REQ), (2, REQ)]
    ack = (0, ACK, 0, 0, 0, 1, 0)
    assert not source.receive(ack) and not source.receive(ack), "the second reader still owes"
    assert source.owing(0) == (2,) and source.dropped == 1
    assert not source.receive((0, ACK, 0, 0, 0, 2, 7)) and source.dropped == 2, "another epoch"
    assert not source.receive((0, ACK, 0, 0, 5, 2, 0)) and source.dropped == 3, "another seq"
    assert source.receive((0, ACK, 0, 0, 0, 2, 0)) and source.ready


def test_a_slot_written_early_is_a_protocol_error_with_its_story() -> None:
    reader = actor(chain(2, 1), 1)
    reader.receive((1, REQ, 0, 0, 0, 0, 0))
    reader.launch()
    with pytest.raises(ProtocolError, match="before seq 0 was handed back") as caught:
        reader.receive((1, REQ, 0, 0, 1, 0, 0))
    assert caught.value.story == ("act 0 of a1@cpu:0: take register 0 slot 0 seq 0",)


def test_launch_and_done_out_of_turn() -> None:
    plan = chain(2, 1)
    with pytest.raises(ProtocolError, match="not ready"):
        actor(plan, 1).launch()
    with pytest.raises(ProtocolError, match="done without an act"):
        actor(plan, 0).done()
    with pytest.raises(ProtocolError, match="no port for an Ack"):
        actor(plan, 1).receive((1, ACK, 0, 0, 0, 0, 0))


def test_limit_and_admission() -> None:
    source = actor(chain(2, 2), 0, limit=1)
    source.launch()
    source.done()
    assert not source.ready and not source.missing
    assert source.admit(2) and not source.admit(3), "it becomes ready once"


def test_windows_hold_one_slot_for_several_acts() -> None:
    b = PlanBuilder()
    constant, data, total = b.register("c", "cpu:0", 1, 1), b.register("x", "cpu:0", 2, 2), b.register("sum", "cpu:0", 2)
    b.actor("work", "cpu:0", [(constant, 0, "whole"), (data, 2, "slice")], [(total, 4, "sum")], acts=4)
    b.actor("read", "cpu:0", [(total, 1, "whole")])
    b.actor("make", "cpu:0", [], [(data, 1, "whole")], acts=2)
    work = actor(b.plan(), 0)
    seen = []
    for _ in range(4):
        act, slots = work.launch()
        seen.append((act, slots, [m[:5] for m in work.done()]))
        work.validate()
    assert [s[1] for s in seen] == [(0, 0, 0), (0, 0, 0), (0, 1, 0), (0, 1, 0)]
    assert seen[1][2] == [(2, ACK, data, 0, 0)]
    assert seen[3][2] == [(2, ACK, data, 1, 1), (1, REQ, total, 0, 0)]
    assert work.missing == (1,), "the constant is never taken again"


def test_initial_tokens_shift_the_producer() -> None:
    b = PlanBuilder()
    ring = b.register("ring", "cpu:0", 3, 2)
    b.actor("write", "cpu:0", [], [(ring, 1, "whole")], stream="a")
    b.actor("read", "cpu:0", [(ring, 1, "whole")], stream="b")
    plan = b.plan()
    writer, reader = actor(plan, 0), actor(plan, 1)
    assert writer.launch() == (0, (2,)) and writer.done() == [(1, REQ, ring, 2, 2, 0, 0)]
    assert not writer.ready, "slot 0 is owed from the start"
    assert reader.launch() == (0, (0,)) and writer.receive(reader.done()[0])
    assert writer.launch() == (1, (0,))


def test_a_slot_without_readers_is_free_at_once() -> None:
    b = PlanBuilder()
    b.actor("state", "cpu:0", [], [(b.register("m", "cpu:0", 1, 1, state="m"), 1, "keep")])
    told: list[tuple[str, int, int, int]] = []
    lone = actor(b.plan(), 0, watch=lambda *event: told.append(event))
    for act in range(3):
        assert lone.launch() == (act, (0,)) and lone.done() == []
    assert told[:3] == [("write", 0, 0, 1), ("full", 0, 0, 1), ("free", 0, 0, 1)]
