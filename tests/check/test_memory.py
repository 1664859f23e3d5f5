"""Bytes are shared only by registers whose uses are proved to take turns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oflow.check import check
from oflow.check.memory import devices_hold
from oflow.check.room import remedies
from oflow.errors import OutOfMemory, PlanError
from oflow.machine import Device, Machine
from oflow.plan import ALIGNMENT, Plan, Scratch
from oflow.types import TensorType
from tests.plans import PlanBuilder, pipeline_1f1b


def line(acts: int = 1, order: bool = True, control: bool = False) -> Plan:
    """a -> x -> b -> y -> c -> z -> d on one stream; x and z never live at once where the stream has an order."""
    b = PlanBuilder()
    x, y, z = (b.register(name, "cpu:0", 1) for name in "xyz")
    turn = b.register("turn", "cpu:0", 1, 1) if control else -1
    b.actor("a", "cpu:0", [(turn, 1, "control")] if control else [], [(x, 1, "whole")], acts=acts)
    b.actor("b", "cpu:0", [(x, 1, "whole")], [(y, 1, "whole")], acts=acts)
    b.actor("c", "cpu:0", [(y, 1, "whole")], [(z, 1, "whole")], acts=acts)
    b.actor("d", "cpu:0", [(z, 1, "whole")], [(turn, 1, "control")] if control else [], acts=acts)
    return b.plan({"cpu:0/compute": (0, 1, 2, 3) * acts} if order else None)


def moved(plan: Plan, **offsets: int) -> Plan:
    templates = tuple(replace(t, offsets=(offsets.get(t.name, t.offsets[0]),)) for t in plan.register_templates)
    return replace(plan, register_templates=templates)


@pytest.mark.parametrize("acts", [1, 3])
def test_registers_that_take_turns_may_share(acts):
    proof = check(moved(line(acts), z=0))
    assert proof.arenas == {"cpu:0": 2 * ALIGNMENT}


def test_a_control_register_proves_the_turn_that_no_stream_order_gives():
    with pytest.raises(PlanError) as e:
        check(moved(line(order=False), z=0))
    for words in ("x@cpu:0 [0, 64)", "z@cpu:0 [0, 64)", "a@cpu:0 of the next step", "wait for d@cpu:0", "control register"):
        assert words in str(e.value)
    assert check(moved(line(order=False, control=True), z=0)).deadlock_free


def test_two_live_at_once_are_refused():
    with pytest.raises(PlanError, match=r"x@cpu:0 .* and register y@cpu:0 .* share bytes \[0, 64\)"):
        check(moved(line(), y=0))


def test_an_order_of_micro_batches_that_mixes_the_uses_is_refused():
    plan = moved(line(2), z=0)
    assert check(replace(plan, order={"cpu:0/compute": (0, 1, 2, 3, 0, 1, 2, 3)})).deadlock_free
    with pytest.raises(PlanError, match="share bytes"):
        check(replace(plan, order={"cpu:0/compute": (0, 1, 2, 0, 3, 1, 2, 3)}))


@pytest.mark.parametrize("change, words", [
    ({"initial": 1, "slots": 2}, "initial tokens"), ({"region": "state", "state": "p"}, "state is never shared"),
])  # fmt: skip
def test_kept_registers_share_with_nobody(change, words):
    plan = line()
    templates = plan.register_templates
    same = tuple(replace(t, offsets=(0,), **(change if t.name == "z" or "state" in change else {})) for t in templates)
    with pytest.raises(PlanError, match=words):
        check(replace(plan, register_templates=same, states={"cpu:0": 1024}))


def test_scratch_is_its_streams_alone():
    plan = line()
    templates = tuple(replace(t, scratch=(Scratch((TensorType((8,)),)),)) for t in plan.actor_templates)
    plan = replace(plan, actor_templates=templates, arenas={"cpu:0": 256})
    with pytest.raises(PlanError, match=r"needs scratch bytes \[0, 32\), but stream cpu:0/compute has 0"):
        check(plan)
    assert check(replace(plan, scratches={"cpu:0/compute": (192, 64)})).arenas == {"cpu:0": 256}
    with pytest.raises(PlanError, match=r"share bytes \[128, 192\).*scratch belongs"):
        check(replace(plan, scratches={"cpu:0/compute": (128, 64)}))
    with pytest.raises(PlanError, match=r"\[224, 288\) of the arena of cpu:0, which has 256 bytes"):
        check(replace(plan, scratches={"cpu:0/compute": (224, 64)}))


def test_registers_lie_inside_their_arena():
    with pytest.raises(PlanError, match=r"register z@cpu:0 lies at bytes \[128, 192\) of the arena of cpu:0, which has 191"):
        check(replace(line(), arenas={"cpu:0": 191}))


def test_out_of_memory_says_what_takes_the_bytes_and_what_would_help(golden):
    plan = replace(pipeline_1f1b(2, 3), machine=Machine("tiny", {"cpu": Device(memory_nbytes=200)}))
    with pytest.raises(OutOfMemory) as e:
        check(plan)
    golden("out_of_memory.txt", f"{e.value}\n")


def test_what_is_taken_already_is_not_proposed():
    plan = pipeline_1f1b(2, 3)
    words = [
        ({}, {'recompute="auto" or offload="auto"', 'slots="least"'}),
        ({"recompute": "all"}, {'offload="auto"', 'slots="least"'}),
        ({"offload": "auto", "slots": "least"}, {'recompute="auto"'}),
        ({"recompute": "auto", "offload": "auto", "slots": "least"}, set()),
    ]
    for taken, left in words:
        assert {remedy.words for remedy in remedies(plan, "cpu:0", taken)} == left, taken
        with pytest.raises(OutOfMemory) as e:
            devices_hold(replace(plan, machine=Machine("tiny", {"cpu": Device(memory_nbytes=200)})), taken)
        assert all(f"{name}={value!r}" in str(e.value) for name, value in taken.items())
    assert "Nothing that of.compile can do is left" in str(e.value)


def test_state_that_is_repeated_can_be_split():
    b = PlanBuilder()
    weight, moment = (b.register(name, "cpu:0", 1) for name in ("w", "w.m"))
    b.actor("read", "cpu:0", [(weight, 1, "whole")], [])
    b.actor("update", "cpu:0", [], [(weight, 1, "keep"), (moment, 1, "keep")])
    plan = b.plan()
    four = tuple(f"cpu:{i}" for i in range(4))
    kept = tuple(replace(t, region="state", state=t.name, layout="B", mesh=(4,)) for t in plan.register_templates)
    actors = tuple(replace(t, ports=tuple(replace(p, peers=()) for p in t.ports)) for t in plan.actor_templates)
    plan = replace(plan, actor_templates=actors, register_templates=kept, rank_table=(four,) * len(plan.rank_table))
    assert [(r.words, r.nbytes) for r in remedies(plan, "cpu:2")] == [(f"zero={n}", ALIGNMENT * 3 // 4) for n in (1, 3)]
    assert [r.words for r in remedies(plan, "cpu:2", {"zero": 2})] == ["zero=3"] and not remedies(plan, "cpu:2", {"zero": 3})
