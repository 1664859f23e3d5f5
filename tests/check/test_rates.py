"""Plans whose steps do not add up are refused, with the actor, the register and the numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oflow.check import check
from oflow.errors import PlanError
from oflow.plan import Plan
from tests.plans import PlanBuilder, chain, pipeline_1f1b


def pair(acts: tuple[int, int], every: tuple[int, int], slots: int = 2, initial: int = 0) -> Plan:
    b = PlanBuilder()
    r = b.register("r", "cpu:0", slots, initial)
    b.actor("p", "cpu:0", [], [(r, every[0], "whole")], acts=acts[0], stream="a")
    b.actor("c", "cpu:0", [(r, every[1], "whole")], [], acts=acts[1], stream="b")
    return b.plan()


@pytest.mark.parametrize("acts, every", [((1, 1), (1, 1)), ((4, 1), (4, 1)), ((1, 4), (1, 4)), ((6, 4), (3, 2))])
def test_balanced_rates_pass(acts, every):
    assert check(pair(acts, every)).deadlock_free


@pytest.mark.parametrize(
    "acts, every, words",
    [
        ((4, 1), (1, 1), ("r@cpu:0 is not balanced", "p@cpu:0 hands on 4/1 = 4", "c@cpu:0 takes 1/1 = 1")),
        ((4, 4), (2, 1), ("hands on 4/2 = 2", "takes 4/1 = 4")),
        ((4, 4), (3, 4), ("p@cpu:0 acts 4 times", "r@cpu:0", "every=1 or 2 or 4")),
        ((1, 1), (1, 0), ("c@cpu:0 takes its slot of r@cpu:0 once per run", "p@cpu:0")),
        ((1, 1), (0, 1), ("p@cpu:0 takes its slot of r@cpu:0 once per run", "c@cpu:0")),
        ((1, 1), (0, 0), ("c@cpu:0 waits for r@cpu:0", "initial=1")),
    ],
)
def test_unbalanced_rates_are_refused(acts, every, words):
    with pytest.raises(PlanError) as e:
        check(pair(acts, every))
    assert all(word in str(e.value) for word in words), e.value


def test_a_slot_for_the_run_needs_room_beside_its_token():
    with pytest.raises(PlanError, match="give it 2 slots"):
        check(pair((1, 1), (0, 0), 1, 1))
    assert check(pair((1, 1), (0, 0), 2, 1)).deadlock_free


@pytest.mark.parametrize("initial, every, words", [(0, 0, "starts without a token"), (1, 1, "would starve"), (1, 0, "")])
def test_a_register_that_nobody_writes(initial, every, words):
    b = PlanBuilder()
    r = b.register("frozen", "cpu:0", 1, initial)
    b.actor("reader", "cpu:0", [(r, every, "whole")])
    if not words:
        assert check(b.plan()).deadlock_free
        return
    with pytest.raises(PlanError, match=words) as e:
        check(b.plan())
    assert "reader@cpu:0" in str(e.value) and "frozen@cpu:0" in str(e.value)


def test_an_order_names_every_act_once():
    plan = pipeline_1f1b(2, 3)
    short = {stream: rows[:-1] for stream, rows in plan.order.items()}
    with pytest.raises(PlanError, match=r"order of cpu:0/compute names U0@cpu:0 0 times, but it acts 1 times"):
        check(replace(plan, order=short))


def test_rendezvous_needs_an_order_equal_acts_and_own_streams():
    plan = chain(2, 2)
    met = replace(plan, actor_templates=tuple(replace(t, rendezvous="m") for t in plan.actor_templates))
    with pytest.raises(PlanError, match="needs an explicit order"):
        check(met)
    b = PlanBuilder()
    for name, acts in (("a", 1), ("b", 2)):
        b.actor(name, f"cpu:{acts}", acts=acts, rendezvous="m")
    with pytest.raises(PlanError, match="acts must be equal"):
        check(b.plan({"cpu:1/compute": (0,), "cpu:2/compute": (1, 1)}))
    b = PlanBuilder()
    for name in ("a", "b"):
        b.actor(name, "cpu:0", rendezvous="m")
    with pytest.raises(PlanError, match="share stream cpu:0/compute"):
        check(b.plan({"cpu:0/compute": (0, 1)}))
