"""Registers that share bytes: slots that a step does not go round evenly, registers that one stream keeps apart, orders across devices."""

from __future__ import annotations

import numpy as np
import pytest

from oflow.check import act_graph, check, play, turns, uses
from oflow.check.blocks import blocks
from oflow.errors import PlanError
from oflow.plan import ALIGNMENT, Plan
from tests.check.test_memory import moved
from tests.check.test_verdict import made
from tests.plans import PlanBuilder


def rings(first: int, second: int, acts: int = 1) -> Plan:
    """a -> x -> b -> y -> c on one ordered stream, x with `first` slots and then y with `second`, at offset 0 both."""
    b = PlanBuilder()
    x, y, z = b.register("x", "cpu:0", first), b.register("y", "cpu:0", second), b.register("z", "cpu:0", 1)
    b.actor("a", "cpu:0", [], [(x, 1, "whole")], acts=acts)
    b.actor("b", "cpu:0", [(x, 1, "whole")], [(z, 1, "whole")], acts=acts)
    b.actor("c", "cpu:0", [(z, 1, "whole")], [(y, 1, "whole")], acts=acts)
    b.actor("d", "cpu:0", [(y, 1, "whole")], [], acts=acts)
    return b.plan({"cpu:0/compute": (0, 1, 2, 3) * acts})


@pytest.mark.parametrize("first, second, acts", [(3, 2, 1), (3, 3, 2), (5, 4, 3), (2, 7, 3)])
def test_slots_that_a_step_does_not_go_round_evenly_take_turns(first, second, acts):
    assert check(moved(rings(first, second, acts), y=0)).deadlock_free


def two_rings(*, order: bool) -> Plan:
    """a writes, b reads x and y, of 3 slots each and one turn a step; the third of x lies where the first of y does."""
    b = PlanBuilder()
    x, y = b.register("x", "cpu:0", 3), b.register("y", "cpu:0", 3)
    b.actor("a", "cpu:0", [], [(x, 1, "whole"), (y, 1, "whole")])
    b.actor("b", "cpu:0", [(x, 1, "whole"), (y, 1, "whole")], [], stream="compute" if order else "copy")
    return moved(b.plan({"cpu:0/compute": (0, 1)} if order else None), y=2 * ALIGNMENT)


def test_slots_of_other_steps_may_share():
    assert check(two_rings(order=True)).deadlock_free
    with pytest.raises(PlanError, match=r"register [xy]@cpu:0 .* and register [xy]@cpu:0 .* share bytes") as e:
        check(moved(two_rings(order=True), y=0))
    assert "a@cpu:0, which writes the second, wait for b@cpu:0" in str(e.value)
    with pytest.raises(PlanError, match=r"of the next step|steps later"):
        check(two_rings(order=False))  # a may be three steps ahead


def test_too_many_steps_to_follow_are_refused_out_of_caution(monkeypatch):
    monkeypatch.setattr(uses, "MOST", 2)
    with pytest.raises(PlanError, match="share bytes"):
        check(two_rings(order=True))


@pytest.mark.parametrize("second, ok", [("compute", True), ("copy", False)])
def test_one_stream_keeps_apart_what_nobody_reads(second, ok):
    b = PlanBuilder()
    x, y = b.register("x", "cpu:0", 1), b.register("y", "cpu:0", 1)
    b.actor("a", "cpu:0", [], [(x, 1, "whole")])
    b.actor("b", "cpu:0", [], [(y, 1, "whole")], stream=second)
    plan = moved(b.plan(), y=0)
    if ok:
        assert check(plan).deadlock_free
    else:
        with pytest.raises(PlanError, match="share bytes"):
            check(plan)


def test_one_act_does_not_take_turns_with_itself():
    b = PlanBuilder()
    x, y, z = (b.register(name, "cpu:0", 1) for name in "xyz")
    b.actor("a", "cpu:0", [], [(x, 1, "whole")])
    b.actor("b", "cpu:0", [], [(y, 1, "whole"), (z, 1, "whole")])
    with pytest.raises(PlanError, match=r"register [yz]@cpu:0 .* and register [yz]@cpu:0"):
        check(moved(b.plan(), x=0, y=0, z=0))


# ---------------------------------------------------------------- orders across devices


def across(ranks: int, layers: int, apart: int) -> Plan:
    """Layer i of a rank reads what layer i - 1 of both its neighbours made; its register lies where that of layer i - `apart` did."""
    b = PlanBuilder()
    rows = [[b.register(f"x{i}.{r}", f"cpu:{r}", 1) for r in range(ranks)] for i in range(layers)]
    for i in range(layers):
        for r in range(ranks):
            ins = [(rows[i - 1][(r + turn) % ranks], 1, "whole") for turn in (1, -1)] if i else []
            b.actor(f"a{i}.{r}", f"cpu:{r}", ins, [(rows[i][r], 1, "whole")])
    plan = b.plan({f"cpu:{r}/compute": tuple(range(r, ranks * layers, ranks)) for r in range(ranks)})
    return moved(plan, **{f"x{i}.{r}": i % apart * ALIGNMENT for i in range(layers) for r in range(ranks)})


def proofs(plan: Plan) -> tuple[np.ndarray, ...]:
    """Of the orders that a plan needs: what each proof shows when it is asked about all of them."""
    graph = act_graph(plan, play(plan))
    arena = blocks(plan, graph.tables, "arena")
    shared = uses.sharing(arena)
    needed, chains = uses.orders(graph, arena, shared), turns._chains(graph)
    ways = (turns._by_stream, turns._by_arc, turns._within_devices(None), turns._into_devices(None), turns._by_clocks(None))
    return tuple(way(graph, chains, needed) for way in ways)


def test_orders_across_devices_need_no_clocks():
    plan = across(ranks=5, layers=12, apart=4)
    *quick, clocks = proofs(plan)
    stream, arc, within, into = quick
    others = stream | arc | within
    assert clocks.all() and into[~others].all() and not others.all()
    assert check(plan).deadlock_free
    with pytest.raises(PlanError, match="share bytes"):
        check(across(ranks=5, layers=12, apart=1))


def test_the_quick_proofs_show_nothing_that_clocks_do_not():
    shown = np.zeros(5, int)
    for seed in range(400):
        plan = made(seed)
        try:
            *quick, clocks = proofs(plan)
        except PlanError:  # it hangs
            continue
        for number, proved in enumerate(quick):
            assert not (proved & ~clocks).any(), f"seed {seed}: proof {number}"
            shown[number] += proved.sum()
        shown[4] += (clocks & ~np.logical_or.reduce(quick)).sum()
    print("shown", shown.tolist())
    assert (shown[:4] > 0).all(), shown
