"""Messages between two ends (send and receive meet): both ends of a link have to take them in one order, whatever else they do."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from oflow.check import check
from oflow.errors import DeadlockError
from oflow.plan import Plan
from tests.check.executor import Executor
from tests.plans import PlanBuilder

Message = tuple[int, int]
"""(device that sends, device that receives)."""


def exchange(messages: list[Message], orders: dict[int, tuple[int, ...]], acts: int = 1) -> Plan:
    """Every device makes what it sends, on its compute stream, and has a link stream that takes its ends of the messages in this order."""
    b = PlanBuilder()
    rows: dict[str, dict[int, int]] = {}
    for number, (source, target) in enumerate(messages):
        made = b.register(f"m{number}", f"cpu:{source}", 2)
        got = b.register(f"g{number}", f"cpu:{target}", 2)
        b.actor(f"make{number}", f"cpu:{source}", [], [(made, 1, "whole")], acts=acts, stream=f"make{number}")
        for name, device, ins, outs in (("send", source, [(made, 1, "whole")], []), ("recv", target, [], [(got, 1, "whole")])):
            row = b.actor(f"{name}{number}", f"cpu:{device}", ins, outs, acts=acts, stream="link", rendezvous=f"message{number}")
            rows.setdefault(f"cpu:{device}/link", {})[number] = row
        b.actor(f"use{number}", f"cpu:{target}", [(got, 1, "whole")], [], acts=acts, stream=f"use{number}")
    return b.plan({name: tuple(own[m] for m in orders[int(name[4])] if m in own) * acts for name, own in rows.items()})


def test_two_messages_of_one_link_are_taken_in_one_order():
    messages = [(0, 1), (0, 1)]
    for order in ((0, 1), (1, 0)):
        assert check(exchange(messages, {0: order, 1: order}, acts=3)).deadlock_free
    with pytest.raises(DeadlockError) as e:
        check(exchange(messages, {0: (0, 1), 1: (1, 0)}))
    text = str(e.value)
    for words in ("send0@cpu:0", "recv0@cpu:1", "send1@cpu:0", "recv1@cpu:1", "message", "another order on cpu:"):
        assert words in text, text
    assert len(e.value.cycle) == 4  # a turn on each stream, and a partner in each message
    assert sum("rendezvous partner" in line for line in e.value.cycle) == sum("its turn on stream" in line for line in e.value.cycle) == 2


def test_a_send_does_not_overtake_the_answer_to_it():
    """Each sends before it receives: where ends meet, nobody gets to receive."""
    messages = [(0, 1), (1, 0)]
    with pytest.raises(DeadlockError) as e:
        check(exchange(messages, {0: (0, 1), 1: (1, 0)}))
    assert {f"{name}@cpu:{d}" for name, d in (("send0", 0), ("recv0", 1), ("send1", 1), ("recv1", 0))} <= set(str(e.value).split())
    assert check(exchange(messages, {0: (0, 1), 1: (0, 1)})).deadlock_free


@pytest.mark.parametrize("acts", [1, 2])
def test_every_pair_of_orders_of_three_messages(acts):
    messages = [(0, 1), (0, 1), (1, 0)]
    for here in permutations(range(3)):
        for there in permutations(range(3)):
            plan = exchange(messages, {0: here, 1: there}, acts)
            if here == there:
                assert check(plan).deadlock_free and not Executor(plan, 0).run(2).hung
            else:
                assert Executor(plan, 0).run(2).hung
                with pytest.raises(DeadlockError, match="rendezvous partner"):
                    check(plan)


def test_the_verdict_on_many_links_is_that_of_a_run():
    counts = {True: 0, False: 0}
    for seed in range(300):
        rng = random.Random(seed)
        devices = rng.randint(2, 4)
        messages = [tuple(rng.sample(range(devices), 2)) for _ in range(rng.randint(2, 5))]
        common = rng.sample(range(len(messages)), len(messages))
        orders = {}
        for device in range(devices):
            own = list(common)
            if rng.random() < 0.4:
                i = rng.randrange(len(own) - 1)
                own[i], own[i + 1] = own[i + 1], own[i]
            orders[device] = tuple(own)
        plan = exchange(messages, orders, rng.randint(1, 2))
        try:
            hangs = not check(plan).deadlock_free
        except DeadlockError as e:
            hangs = True
            assert any("rendezvous partner" in line for line in e.cycle), f"seed {seed}"
        assert hangs == Executor(plan, seed).run(3).hung, f"seed {seed}"
        counts[hangs] += 1
    print(counts)
    assert min(counts.values()) > 50, counts
