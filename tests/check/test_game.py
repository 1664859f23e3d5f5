"""The token game: what can hang is refused, and the cycle says who waits for whom."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from oflow.check import check, check_rates, play
from oflow.errors import DeadlockError
from oflow.plan import Plan
from tests.plans import PlanBuilder, chain, gpipe, pipeline_1f1b


def refused(plan: Plan) -> tuple[str, ...]:
    with pytest.raises(DeadlockError) as e:
        check(plan)
    cycle = e.value.cycle
    assert cycle and all(line in str(e.value) for line in cycle)
    for line, following in zip(cycle, cycle[1:] + cycle[:1], strict=True):
        waited = re.search(r"(?:from|behind|partner) (\S+)", line)
        assert waited and following.startswith(waited[1] + " "), cycle  # each entry waits for the actor of the next
    return cycle


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_1f1b_with_one_slot_removed(stage):
    slots = [4 - i for i in range(4)]
    assert check(pipeline_1f1b(4, 8, slots)).deadlock_free
    slots[stage] -= 1
    cycle = refused(pipeline_1f1b(4, 8, slots))
    assert any(f"waits for a free slot of stash{stage}@cpu:{stage} ({slots[stage]} slot" in line for line in cycle)
    assert any(f"waits for its turn on stream cpu:{stage}/compute behind F{stage}@cpu:{stage}" in line for line in cycle)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_gpipe_with_one_slot_removed(stage):
    assert check(gpipe(3, 4)).deadlock_free
    cycle = refused(gpipe(3, 4, [4 - (i == stage) for i in range(3)]))
    assert any(f"F{stage}@cpu:{stage} (act 3) waits for a free slot of stash{stage}@cpu:{stage} (3 slots)" in c for c in cycle)


def test_one_slot_is_enough_without_an_order():
    assert check(pipeline_1f1b(4, 8, 1, order=False)).deadlock_free


def collectives(second: tuple[int, int]) -> Plan:
    """Two ranks, each with two rendezvous collectives; `second`: the order of rank 1."""
    b = PlanBuilder()
    for rank in (0, 1):
        for name in ("reduce", "gather"):
            r = b.register(f"{name}_out", f"cpu:{rank}", 2)
            b.actor(name, f"cpu:{rank}", [], [(r, 1, "whole")], rendezvous=name)
            b.actor(f"use_{name}", f"cpu:{rank}", [(r, 1, "whole")], stream="side")
    return b.plan({"cpu:0/compute": (0, 2), "cpu:1/compute": tuple(4 + 2 * i for i in second)})


def test_rendezvous_order_swapped_on_one_rank():
    assert check(collectives((0, 1))).deadlock_free
    cycle = refused(collectives((1, 0)))
    assert sum("rendezvous partner" in line for line in cycle) == 2
    assert {line.split()[0] for line in cycle} == {"reduce@cpu:0", "gather@cpu:0", "reduce@cpu:1", "gather@cpu:1"}


def buffer_on_the_forward_stream(slots: int) -> Plan:
    """Two ranks in a collective on their forward streams; a pipeline buffer on rank 0's forward stream runs two micro-batches
    ahead of it, behind a repeat actor with `slots` slots that rank 1 reads too (the hang of libai issue 232)."""
    b = PlanBuilder()
    repeated = b.register("repeated", "cpu:0", slots)
    buffered, gathered = b.register("buffered", "cpu:0", 4), b.register("gathered", "cpu:0", 4)
    b.actor("repeat", "cpu:0", [], [(repeated, 1, "whole")], acts=2, stream="copy")
    b.actor("buffer", "cpu:0", [(repeated, 1, "whole")], [(buffered, 1, "whole")], acts=2, stream="forward")
    b.actor("gather", "cpu:0", [], [(gathered, 1, "whole")], acts=2, stream="forward", rendezvous="gather")
    b.actor("backward", "cpu:0", [(buffered, 1, "whole"), (gathered, 1, "whole")], acts=2, stream="backward", phase="B")
    b.actor("gather", "cpu:1", acts=2, stream="forward", rendezvous="gather")
    b.actor("forward", "cpu:1", [(repeated, 1, "whole")], acts=2, stream="forward")
    return b.plan({"cpu:0/forward": (1, 1, 2, 2), "cpu:1/forward": (4, 5, 4, 5)})


def test_stream_order_and_one_slot_and_collective_order():
    assert check(buffer_on_the_forward_stream(2)).deadlock_free
    cycle = refused(buffer_on_the_forward_stream(1))
    wanted = [
        "buffer@cpu:0 (act 1) waits for data of repeated@cpu:0 from repeat@cpu:0",
        "repeat@cpu:0 (act 1) waits for a free slot of repeated@cpu:0 (1 slot) from forward@cpu:1",
        "forward@cpu:1 (act 0) waits for its turn on stream cpu:1/forward behind gather@cpu:1 (act 0)",
        "gather@cpu:1 (act 0) waits for its rendezvous partner gather@cpu:0 in gather",
        "gather@cpu:0 (act 0) waits for its turn on stream cpu:0/forward behind buffer@cpu:0 (act 1)",
    ]
    assert sorted(cycle) == sorted(wanted)


def test_a_loop_without_tokens_and_control_registers():
    b = PlanBuilder()
    there, back = b.register("there", "cpu:0", 1), b.register("back", "cpu:0", 1)
    b.actor("a", "cpu:0", [(back, 1, "control")], [(there, 1, "whole")], stream="a")
    b.actor("b", "cpu:0", [(there, 1, "whole")], [(back, 1, "control")], stream="b")
    cycle = refused(b.plan())
    assert sorted(line.split()[0] for line in cycle) == ["a@cpu:0", "b@cpu:0"]
    registers = list(b.registers)
    registers[back] = replace(registers[back], initial=1)
    assert check(replace(b.plan(), register_templates=tuple(registers))).deadlock_free


def test_a_play_of_many_actors_is_the_same_compiled():
    plan = chain(10_000, 2)
    check_rates(plan)
    played = play(plan, compiled=True)
    assert (played == play(plan, compiled=False)).all() and len(played) == 10_000
