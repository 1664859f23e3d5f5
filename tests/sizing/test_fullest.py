"""The fullest device: its live bytes are what any layout takes at least, the least of them are found, and the least period that fits in
a limit is between the bound and what comes out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from oflow.check import check
from oflow.compiler.least_period import least_period_of
from oflow.compiler.least_slots import least_slots
from oflow.compiler.memory import memory
from oflow.compiler.options import options
from oflow.compiler.resize import device_nbytes, with_layout
from oflow.errors import DeadlockError, OutOfMemory, PlanError
from oflow.plan import Plan
from oflow.sizing import FULLEST, TOTAL, problem_of, size, with_slots
from oflow.sizing.least import least
from tests.compiler.data_parallel import layered
from tests.compiler.nets import pipeline
from tests.sizing.cases import random_plans
from tests.sizing.test_least import cheapest, every_period, keeps

MOST = 4


def plans(seeds: range, buffers: int) -> Iterator[tuple[int, Plan]]:
    """Random plans with an order on every stream and up to so many registers to choose slots of."""
    for seed, plan in random_plans(seeds):
        ordered = all(plan.order.get(s) or len(rows) == 1 for s, rows in plan.streams.items())
        if ordered and 1 <= len(problem_of(plan, of=FULLEST).flow.buffers) <= buffers:
            yield seed, plan


def test_no_layout_is_smaller_than_the_live_bytes() -> None:
    compared, tight = 0, 0
    for seed, plan in plans(range(150), 9):
        flow, rng = problem_of(plan, of=FULLEST).flow, np.random.default_rng(seed)
        slots = [int(rng.integers(b.least, b.least + 3)) for b in flow.buffers]
        try:
            made = with_layout(with_slots(plan, {b.register: n for b, n in zip(flow.buffers, slots, strict=True)}))
        except DeadlockError:
            continue
        assert flow.nbytes(slots) <= device_nbytes(made), f"seed {seed}"
        compared += 1
        tight += flow.nbytes(slots) == device_nbytes(made)
    assert compared > 20 and tight > compared // 2


def test_nothing_smaller_keeps_the_period_on_the_fullest_device() -> None:
    compared, other = 0, 0
    for seed, plan in plans(range(120), 4):
        flow, all_devices = problem_of(plan, of=FULLEST).flow, problem_of(plan, of=TOTAL).flow
        for period in every_period(flow):
            found = least(flow, period)
            assert keeps(flow, found.slots, period), f"seed {seed}"
            best = cheapest(flow, period, MOST)
            assert best is None or found.nbytes == found.bound == best or found.bound <= found.nbytes < best, f"seed {seed}"
            compared += best is not None
            other += flow.nbytes(least(all_devices, period).slots) > found.nbytes
    assert compared > 60 and other > 1  # where bytes on all devices are fewest, those of the fullest need not be


@pytest.mark.parametrize("last", [30, pytest.param(500, marks=pytest.mark.slow)])
def test_the_least_period_in_a_limit_is_between_its_bound_and_what_is_found(last: int) -> None:
    """Against laying out the plan with all slots up to MOST of each register."""
    compared, between, proved = 0, 0, 0
    for seed, plan in plans(range(last), 3):
        flow = problem_of(plan, of=FULLEST).flow
        tried = list[tuple[int, float]]()
        for slots in itertools.product(*(range(b.least, MOST + 1) for b in flow.buffers)):
            try:
                made = with_layout(with_slots(plan, {b.register: n for b, n in zip(flow.buffers, slots, strict=True)}))
            except DeadlockError:
                continue
            tried.append((device_nbytes(made), check(made).period))
        for limit in sorted({nbytes for nbytes, _ in tried}):
            best = min(period for nbytes, period in tried if nbytes <= limit)
            found = least_period_of(plan, limit)
            assert device_nbytes(found.plan) <= limit and check(found.plan).period == found.period, f"seed {seed}"
            assert found.fastest <= best * (1 + 1e-12), f"seed {seed}, {limit} bytes"
            compared += 1
            between += found.period > best
            proved += found.period_gap < 1e-9
        with pytest.raises(OutOfMemory, match="live there at once"):
            least_period_of(plan, min(nbytes for nbytes, _ in tried) - 1)
    assert compared > 10 and proved > compared * 0.9 and between < compared * 0.1, (compared, proved, between)


def test_what_does_not_fit_with_the_fewest_bytes_in_total_is_made_small_on_the_fullest_device() -> None:
    found = 0
    for seed, plan in plans(range(100), 6):
        both = [size(plan, of=measure).plan for measure in (TOTAL, FULLEST)]
        try:
            total, fullest = (device_nbytes(with_layout(made)) for made in both)
        except DeadlockError:
            continue
        for limit in (total, fullest) if fullest < total else ():
            made = options(plan.machine, memory=limit, slots="least")
            sized = memory(least_slots(replace(plan, machine=made.machine), made), made)
            assert device_nbytes(sized) == limit, f"seed {seed}"
            found += 1
    assert found > 1


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_live_bytes_of_compiled_plans(ranks: int, schedule: str) -> None:
    plan = pipeline(3, 8, ranks, schedule=schedule).plan
    found = plan.least_slots(of=FULLEST)
    assert found.exact and found.nbytes <= device_nbytes(found.plan) <= device_nbytes(plan)
    limit = device_nbytes(found.plan)
    least = plan.least_period(limit)
    assert device_nbytes(least.plan) <= limit and least.period_gap < 0.01 and least.memory == limit
    with pytest.raises(OutOfMemory, match=f"{size(plan, period=1.0, of=FULLEST).bound:,} bytes live there at once"):
        plan.least_period(found.bound // 2)


@pytest.mark.parametrize("zero", [2, 3])
def test_rings_keep_their_waits_and_find_a_new_place(zero: int) -> None:
    plan = layered(6, zero).plan
    once = plan.least_slots().plan
    once.least_slots(of=FULLEST).plan.check()
    waits = [sum(bool(r.ring) for r in made.register_templates) for made in (plan, once)]
    assert waits[0] == waits[1] and size(plan, of=FULLEST).nbytes <= device_nbytes(once)


def test_a_measure_that_there_is_not_is_refused() -> None:
    with pytest.raises(PlanError, match="of='total' or of='fullest', not of='largest'"):
        pipeline(2, 2).plan.least_slots(of="largest")
