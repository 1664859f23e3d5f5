"""The verdict is that of an independent run, both ways: what is accepted runs to its end in any interleaving, and what is refused
hangs or clashes as the refusal says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import gcd, lcm

import pytest

from oflow.check import check
from oflow.errors import DeadlockError, PlanError
from oflow.plan import Plan, Register
from tests.check.executor import Executor, with_meetings
from tests.plans import PlanBuilder, play, random_plan

STEPS = 3
ROTATING = "accepted with slots that steps do not go round"


def random_line(rng: random.Random, seed: int) -> Plan:
    """A chain on one or two streams, in an order that runs: many of its registers take turns."""
    b, n, acts = PlanBuilder(), rng.randint(4, 8), rng.randint(1, 3)
    registers = [b.register(f"r{i}", "cpu:0", rng.choice((1, 1, 2))) for i in range(n - 1)]
    streams = [rng.choice(("s", "s", "s", "t")) for _ in range(n)]
    for i in range(n):
        ins = [(registers[j], 1, "whole") for j in ([i - 1] if i else [])]
        b.actor(f"a{i}", "cpu:0", ins, [(r, 1, "whole") for r in registers[i : i + 1]], acts=acts, stream=streams[i])
    plan = b.plan()
    return replace(plan, order=play(plan, seed=seed) or {})


def crowded(plan: Plan, rng: random.Random, most: int = 4) -> Plan:
    """Two to `most` registers of one device lie over each other, some of them slot against slot."""
    free = [n for n, t in enumerate(plan.register_templates) if t.region == "arena" and not t.initial]
    by_device: dict[int, list[int]] = {}
    for n in free:
        by_device.setdefault(plan.register_templates[n].group, []).append(n)
    several = [some for some in by_device.values() if len(some) > 1]
    if not several:
        return plan
    some = rng.choice(several)
    moved = list(plan.register_templates)
    for n in rng.sample(some, min(len(some), rng.randint(2, most))):
        moved[n] = replace(moved[n], offsets=(moved[some[0]].offsets[0] + rng.choice((0, 0, 64)),))
    return replace(plan, register_templates=tuple(moved), arenas={d: nbytes + 512 for d, nbytes in plan.arenas.items()})


def made(seed: int) -> Plan:
    rng = random.Random(seed)
    if rng.random() < 0.4:
        return crowded(random_line(rng, seed), rng, most=2)
    plan = random_plan(seed, rng.randint(3, 8))
    if rng.random() < 0.5:
        plan = with_meetings(plan, seed, rng.choice((2, 3, 4)))
    return crowded(plan, rng) if rng.random() < 0.5 else plan


def named(plan: Plan, names: tuple[str, str]) -> list[Register]:
    return [r for r in plan.registers if f"register {r.label}" in names]


def steps_round(plan: Plan, registers: list[Register]) -> int:
    """After how many steps each of them is written to the slot again that it was written to at first."""
    found = 1
    for r in registers:
        turns = plan.actors[r.producer].acts // next(p.every for p in plan.actors[r.producer].outs if p.register == r.id)
        found = lcm(found, r.slots // gcd(r.slots, turns))
    return found


def rotating(plan: Plan, run: Executor) -> Iterator[list[Register]]:
    """The pairs that have bytes in common, of which a step does not go round some slots evenly: they may meet in later steps."""
    for number, mates in run.sharing.items():
        for mate in mates:
            pair = [plan.registers[number], mate]
            if number < mate.id and steps_round(plan, pair) > 1:
                yield pair


def clashes(plan: Plan, users: list[Register], seed: int) -> bool:
    """Whether two registers can meet in their bytes: an act that uses one of them is held for as long as the rest can go on."""
    pair, least = frozenset(r.name for r in users), steps_round(plan, users) + 1
    rows = [row for register in users for row in register.consumers or (register.producer,)]
    held = ((kind, row, act) for kind in ("finish", "start") for row in rows for act in range(least * plan.actors[row].acts))
    return any(pair in Executor(plan, seed).run(max(STEPS, least + 1), held=one).clashes for one in held)


@pytest.mark.parametrize("seeds", [range(500), pytest.param(range(10_000, 30_000), marks=pytest.mark.slow)], ids=["sample", "slow"])
def test_the_verdict_equals_an_independent_run(seeds):
    counts: Counter[str] = Counter()
    for seed in seeds:
        plan = made(seed)
        try:
            check(plan)
        except DeadlockError as e:
            assert e.cycle and Executor(plan, seed).run(STEPS).hung, f"seed {seed}: it was refused but does not hang: {e}"
            counts["hangs"] += 1
            continue
        except PlanError as e:
            if "cannot share" in str(e):  # what holds a value from step to step is nobody else's, used or not
                counts["kept"] += 1
                continue
            names = e.facts["registers"]
            assert isinstance(names, tuple)
            assert clashes(plan, named(plan, names), seed), f"seed {seed}: it was refused but does not clash: {e}"
            counts["clashes"] += 1
            continue
        for turn in range(2):
            run = Executor(plan, seed + turn).run(STEPS)
            assert not run.hung and not run.clashes, f"seed {seed}: it was accepted, hangs: {run.hung}, clashes: {run.clashes}"
        for pair in rotating(plan, run):
            assert not clashes(plan, pair, seed), f"seed {seed}: it was accepted, but {[r.name for r in pair]} clash"
            counts[ROTATING] += 1
        counts["accepted"] += 1
        counts["accepted with shared bytes"] += any(run.sharing.values())
        counts["accepted with meetings"] += any(t.rendezvous for t in plan.actor_templates)
    print(dict(counts))
    kinds = "hangs", "clashes", "accepted", "accepted with shared bytes", "accepted with meetings", ROTATING
    assert all(counts[kind] > len(seeds) // 100 for kind in kinds), counts
