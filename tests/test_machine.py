"""The machine model: curves, grids, works, and files."""

import itertools
import math
import random

import msgspec
import pytest

import oflow as of
from oflow import machine as machines
from oflow.actors import simulate
from oflow.arrays import durations
from oflow.errors import PlanError
from oflow.machine import (
    ARITHMETIC,
    PLAIN,
    PRODUCTS,
    Cost,
    Curve,
    Device,
    Kernel,
    Link,
    Machine,
    Products,
    Rates,
    Work,
    pull_cost,
    total,
)  # fmt: skip
from oflow.plan import Plan
from oflow.presets import preset
from tests.plans import pipeline_1f1b

SIZES = (4.0, 16.0, 64.0)


def rates(**changes: object) -> Rates:
    """Products of k flops a nanosecond at any m and n; near bytes take 0.01 ns, far ones 0.1 ns."""
    grid = Products(SIZES, SIZES, SIZES, tuple(k * 1e9 for _ in SIZES for _ in SIZES for k in SIZES))
    byte = Curve((1e3, 1e6), (1e-11, 1e-10))
    plain = Kernel(5e-9, 1e-9, byte)
    given: dict[str, object] = {"products": dict.fromkeys(PRODUCTS, grid), "byte": byte, "operations": {ARITHMETIC: 1e-11, "exp": 1e-9}}
    return Rates(**{**given, "kernels": {PLAIN: plain, "own": Kernel(1e-6, 2e-6, byte)}, **changes})  # type: ignore[arg-type]


def measured(**changes: object) -> Machine:
    core = Device(rates=rates(**changes))
    return Machine("test", {"cpu": core, "host": core}, Link(1e-6, 1e9), workers=2)


def test_a_curve_is_linear_in_logarithms_and_constant_outside() -> None:
    curve = Curve((1.0, 100.0), (1.0, 4.0))
    assert [curve.at(x) for x in (0.1, 1, 100, 1e9)] == [1, 1, 4, 4]
    assert curve.at(10.0) == pytest.approx(2.0)


def test_a_grid_of_products_is_exact_at_its_points_and_between_in_logarithms() -> None:
    grid = rates().products[PRODUCTS[0]]
    for k in SIZES:
        assert grid.rate(16, 64, k) == pytest.approx(k * 1e9)
    assert grid.rate(30, 30, 32) == pytest.approx(32e9)
    assert grid.rate(1000, 1000, 1000) == pytest.approx(64e9)
    assert grid.rate(1, 16, 16) == pytest.approx(16e9 / 4)  # as long as four rows


def test_works_are_timed_by_kind_and_by_where_their_bytes_are() -> None:
    found = rates()
    product = Work(PRODUCTS[1], shape=(2, 16, 16, 64))
    assert found.seconds(product) == pytest.approx(2 * 2 * 16 * 16 * 64 / 64e9)
    wide = Work(PRODUCTS[1], shape=(2, 16, 16, 64), itemsize=8)
    assert found.seconds(wide) == pytest.approx(2 * found.seconds(product))
    loop = Work("anything", touched=((1e3, 100.0), (1e6, 100.0)), rows=3)
    assert found.seconds(loop) == pytest.approx(5e-9 + 3e-9 + 1e-9 + 1e-8)
    heavy = Work("anything", touched=((1e3, 100.0),), operations=(("exp", 1000.0),), rows=1)
    assert found.seconds(heavy) == pytest.approx(5e-9 + 1e-9 + 1e-6)
    assert found.seconds(Work("own", touched=((0.0, 1e3),), rows=2)) == pytest.approx(1e-6 + 4e-6 + 1e-8)


def test_other_workers_slow_down_far_bytes_and_products() -> None:
    found = rates(crowded=Curve((1e3, 1e6), (1.0, 2.0)), crowded_products=1.5)
    near, far = (Work("x", touched=((reach, 1e6),)) for reach in (1e3, 1e6))
    assert found.seconds(near, busy=True) == pytest.approx(found.seconds(near))
    assert found.seconds(far, busy=True) == pytest.approx(2 * found.seconds(far), rel=1e-3)
    product = Work(PRODUCTS[0], shape=(1, 64, 64, 64))
    assert found.seconds(product, busy=True) == pytest.approx(1.5 * found.seconds(product))


def test_equal_works_are_one_that_is_done_several_times() -> None:
    one, other = Work("a", touched=((8.0, 8.0),)), Work("b")
    added = total([Cost(1.0, 2.0, 1, (("cpu:1", 3),), works=(one, other)), Cost(works=(one,)), Cost(received=(("cpu:1", 4),))])
    assert added.works == (Work("a", ((8.0, 8.0),), times=2.0), other)
    assert (added.flops, added.nbytes, added.calls, added.received) == (1.0, 2.0, 1, (("cpu:1", 7),))
    assert measured().seconds(added, "cpu:0") > measured().seconds(Cost(works=(one, other)), "cpu:0")


def test_without_rates_only_totals_count() -> None:
    cost = Cost(1e9, 1e6, 2, works=(Work("own", rows=1e9),))
    assert preset().seconds(cost, "cpu:0") == 2 * 2e-6 + 1e9 / 1e11


@pytest.mark.parametrize("seed", range(20))
def test_calls_one_after_the_other_take_the_sum_of_their_times(seed: int) -> None:
    """On any machine of constants, in any grouping: none hides another's flops or bytes."""
    draw = random.Random(seed)
    costs = [Cost(draw.choice([0.0, 1e6, 3e8]), draw.choice([0.0, 4096.0, 1e7]), draw.randrange(3)) for _ in range(draw.randint(1, 9))]
    cut = draw.randint(0, len(costs))
    for name in ("reference", "two-level", "a100"):
        found, wanted = preset(name), sum(preset(name).seconds(one, "cuda:0") for one in costs)
        for added in (total(costs), total([total(costs[:cut]), total(costs[cut:])])):
            assert found.seconds(added, "cuda:0") == pytest.approx(wanted), f"seed {seed}"
            assert len(added.roofs) <= 7


@pytest.mark.parametrize("name", ["reference", "two-level", "a100", "measured"])
def test_a_pull_copies_what_is_the_devices_own_and_a_link_delivers_the_rest(name: str) -> None:
    """Bytes that came over a link lie where they are wanted: no machine charges memory for them again."""
    machine = measured() if name == "measured" else preset(name)
    alone, both, far = (pull_cost(moved, own, 1, 4) for moved, own in (((), 1e6), ([("cpu:1", 3 << 20)], 1e6), ([("cpu:1", 3 << 20)], 0)))
    sent = machine.link_between("cpu:1", "cpu:0").seconds(3 << 20)
    assert machine.seconds(both, "cpu:0") == pytest.approx(machine.seconds(alone, "cpu:0") + sent)
    assert machine.seconds(far, "cpu:0") < machine.seconds(both, "cpu:0")
    core = machine.device("cpu:0")
    assert core.rates or machine.seconds(alone, "cpu:0") == pytest.approx(core.launch + 2e6 / core.memory_bandwidth)


def test_bytes_of_the_same_worker_cross_no_link() -> None:
    cost = Cost(works=(Work("x"),), received=(("cpu:1", 1000),))
    assert measured().seconds(cost, "cpu:0", near={"cpu:0", "cpu:1"}) < 1e-7 < 1e-6 < measured().seconds(cost, "cpu:0")


# ---------------------------------------------------------------- files


def test_a_machine_survives_its_file_and_a_plan(tmp_path) -> None:
    path = machines.save(measured(), tmp_path / "machine.json")
    assert machines.load(path) == measured()
    plan = _program(machine=measured()).plan
    assert plan.machine == measured() and Plan.from_json(plan.to_json()) == plan


def test_a_file_that_is_no_machine_says_what_to_do(tmp_path) -> None:
    path = tmp_path / "machine.json"
    for text in ("{", "[]", msgspec.json.encode(measured(byte=Curve((1.0, 2.0), (1.0, -1.0)))).decode()):
        path.write_text(text)
        with pytest.raises(PlanError, match="oflow bench machine"):
            machines.load(path)


def test_nothing_measured_says_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(PlanError, match="not measured yet; run: oflow bench machine"):
        _program(machine="measured")
    machines.save(measured())
    assert _program(machine="measured").plan.machine == measured()
    with pytest.raises(PlanError, match="'reference' and 'measured'"):
        _program(machine="mine")


# ---------------------------------------------------------------- plans


def _program(**options):
    def loss(x):
        hidden = of.tanh(of.contract("b i, i o -> b o", x, of.full_like(x, 0.5)))
        return of.mean(hidden * hidden)

    return of.compile(loss, of.spec((8, 8), "float32", of.placement("cpu", [0, 1]), of.S(0)), executor="simulator", **options)


def test_every_call_of_a_plan_has_its_works_with_distances() -> None:
    plan = _program().plan
    for template in plan.actor_templates:
        for cost in template.costs:
            assert len(cost.works) >= 1
            assert sum(w.times for w in cost.works) >= len(template.calls)
            for reach, nbytes in (part for work in cost.works for part in work.touched if work.nbytes):
                assert math.log2(reach) == int(math.log2(reach)) and nbytes >= 0
    kernels = {w.kernel for t in plan.actor_templates for c in t.costs for w in c.works}
    assert kernels & set(PRODUCTS) and {"feed", "fetch"} <= kernels


def test_the_reference_is_the_same_as_ever() -> None:
    assert preset() == preset("reference") and preset().devices["cpu"].rates is None
    assert _program().plan == _program(machine=preset()).plan


def test_durations_of_all_rows_are_those_of_each_act() -> None:
    plan = _program().plan
    uneven = Machine("u", {"cpu": Device(), "cpu:1": Device(flops=1e9), "host": Device()}, Link(), {"cpu:0>cpu:1": Link(1.0, 1.0)})
    for machine in (preset(), preset("two-level"), measured(), uneven):
        assert durations(plan, machine).tolist() == [machine.seconds(a.cost, a.device) for a in plan.actors]


# ---------------------------------------------------------------- workers


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 9])
def test_acts_of_one_worker_do_not_overlap_and_none_idles_with_work(workers: int) -> None:
    plan = pipeline_1f1b(4, 6)
    trace = simulate(plan, steps=2, workers=workers)
    groups = _workers_of(plan, workers)
    for group in groups:
        mine = sorted((s.start, s.stop) for s in trace.spans if s.stream in group)
        assert all(b[0] >= a[1] - 1e-12 for a, b in itertools.pairwise(mine))
    busy = sum(s.stop - s.start for s in trace.spans)
    assert trace.seconds >= busy / max(1, len(groups)) - 1e-9
    if workers == 1:
        assert trace.seconds == pytest.approx(busy)


def test_as_many_workers_as_devices_change_nothing() -> None:
    plan = pipeline_1f1b(3, 5)
    assert simulate(plan, workers=3).seconds == pytest.approx(simulate(plan).seconds)
    assert simulate(plan, workers=2).seconds > simulate(plan).seconds


def _workers_of(plan: Plan, workers: int) -> list[set[str]]:
    from oflow.actors.simulate import shares

    return [set(share) for share in shares(plan, workers)]
