"""Sharded state changes where bytes live and nothing else: every stage against zero=0, on meshes, pipelines, micro-batches, drivers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oflow as of
from oflow.native import available
from tests.compiler.data_parallel import wide
from tests.program.nets import BATCH, FOUR, NARROW, WIDE, Net, batches, classifier, exact, whole_numbers
from tests.program.test_training import tied

SGD, ADAM = of.optim.SGD(lr=0.1, momentum=0.9), of.optim.AdamW(lr=1e-2, clip_norm=0.5)
STAGES = (1, 2, 3)
EXECUTORS = ("native", "processes", "threads", "simulator") if available() else ("threads", "simulator")


def run(layout: str, zero: Any, optimizer: Any, steps: int = 3, **options: Any) -> tuple[list[float], dict[str, np.ndarray]]:
    with classifier(layout, optimizer, zero=zero, **options) as step:
        return [float(loss) for loss in step.stream(batches(steps))], step.state_dict()


def close(one: tuple[Any, dict[str, np.ndarray]], other: tuple[Any, dict[str, np.ndarray]]) -> None:
    np.testing.assert_allclose(one[0], other[0], rtol=1e-12)
    assert one[1].keys() == other[1].keys()
    for name, value in one[1].items():
        np.testing.assert_allclose(value, other[1][name], rtol=1e-9, atol=1e-13, err_msg=name)


@pytest.mark.parametrize(
    "layout,micro_batches,optimizer",
    [
        ("data", 1, SGD), ("data", 4, ADAM), ("data3", 1, ADAM), ("data3", 4, SGD), ("grid", 4, ADAM), ("pipeline x data", 1, ADAM),
        ("pipeline x data", 4, SGD), pytest.param("grid", 1, SGD, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_every_stage_trains_as_whole_state_does(layout: str, micro_batches: int, optimizer: Any) -> None:
    plain = run(layout, 0, optimizer, micro_batches=micro_batches, executor="simulator")
    for zero in STAGES:
        close(run(layout, zero, optimizer, micro_batches=micro_batches, executor="simulator", checked=True), plain)


@pytest.mark.parametrize("zero", [2, 3])
def test_all_drivers_give_the_same_bits(zero: int) -> None:
    runs = [run("pipeline x data", zero, ADAM, micro_batches=4, executor=executor)[0] for executor in EXECUTORS]
    assert all(one == runs[0] for one in runs), runs


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("layout", ["data", pytest.param("grid", marks=pytest.mark.slow), "pipeline x data"])
def test_exact_arithmetic_gives_the_same_bits_in_every_stage(layout: str, micro_batches: int) -> None:
    losses = []
    for zero in (0, *STAGES, {"stage": 3, "gather": "step"}):
        with exact(layout, zero=zero, micro_batches=micro_batches) as step:
            losses.append([step(x, y) for x, y in whole_numbers(2)])
    assert all(one == losses[0] for one in losses), losses


def test_a_checkpoint_of_split_parameters_goes_on_whole(tmp_path: Path) -> None:
    data = batches(6)
    with classifier("data", ADAM, zero=3) as split, classifier("data", ADAM) as whole:
        expected = [whole(*batch) for batch in data]
        np.testing.assert_allclose([split(*batch) for batch in data[:3]], expected[:3], rtol=1e-12)
        split.save(tmp_path / "three")
    for layout, zero in (("data", 0), ("data3", 2), ("single", 0)):
        with classifier(layout, ADAM, zero=zero) as step:
            step.load_state_dict(of.load(tmp_path / "three"))
            np.testing.assert_allclose([step(*batch) for batch in data[3:]], expected[3:], rtol=1e-11)


@pytest.mark.parametrize("zero", STAGES)
def test_another_program_reads_split_parameters(zero: int) -> None:
    model = Net(lambda inner, outer: of.nn.Linear(inner, outer, dtype="float64"))
    x, y = batches(1)[0]
    with classifier("data", SGD, model, zero=zero) as step:
        step(x, y)
        spec = of.spec((BATCH, WIDE), "float64", FOUR, of.S(0))
        with of.compile(lambda x: model.down(of.gelu(model.up(x))), spec, state=step) as read:
            np.testing.assert_allclose(read(x), read.graph.evaluate(x), rtol=1e-12)


@pytest.mark.parametrize("schedule", ["1f1b", "gpipe"])
@pytest.mark.parametrize("zero", STAGES)
def test_tied_weights_across_stages(zero: int, schedule: str) -> None:
    draw = np.random.default_rng(1)
    data = [(draw.integers(0, NARROW, BATCH), draw.integers(0, NARROW, BATCH)) for _ in range(3)]
    options = {"micro_batches": 2, "schedule": schedule}
    with tied(True, **options) as whole, tied(True, zero=zero, **options) as split:
        np.testing.assert_allclose([split(*one) for one in data], [whole(*one) for one in data], rtol=1e-12)


class Looked(of.nn.Module):
    """Numbers (n,) -> scores (n, 5): a table, dropout, and a buffer that counts."""

    def __init__(self, sparse: bool):
        super().__init__()
        self.table = of.nn.Embedding(16, WIDE, dtype="float64", sparse=sparse)
        self.lin = of.nn.Linear(WIDE, NARROW, dtype="float64")
        self.seen = of.nn.Buffer((), "float64")

    def forward(self, i):
        self.seen = self.seen + float(BATCH)
        return self.lin(of.dropout(self.table(i), 0.25))


def looked_up(zero: int, sparse: bool, **options: Any) -> tuple[list[float], dict[str, np.ndarray]]:
    model = Looked(sparse)
    specs = [of.spec((BATCH,), "int64", FOUR, of.S(0))] * 2
    draw = np.random.default_rng(5)
    with of.compile(lambda i, y: of.cross_entropy(model(i), y), *specs, optimizer=of.optim.Adagrad(), zero=zero, **options) as step:
        losses = [float(step(draw.integers(0, 16, BATCH), draw.integers(0, NARROW, BATCH))) for _ in range(3)]
        return losses, step.state_dict()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("zero", STAGES)
def test_tables_dropout_and_buffers(zero: int, sparse: bool) -> None:
    close(looked_up(zero, sparse), looked_up(0, sparse))


def test_automatic_layouts_are_split_where_they_repeat() -> None:
    def program(zero: int) -> of.Program:
        model = Net(lambda inner, outer: of.nn.Linear(inner, outer, dtype="float64"))
        specs = of.spec((BATCH, WIDE), "float64", FOUR, of.S(0)), of.spec((BATCH,), "int64", FOUR, of.S(0))
        loss = lambda x, y: of.cross_entropy(model.down(of.gelu(model.up(x))), y)  # noqa: E731
        return of.compile(loss, *specs, optimizer=ADAM, layout="auto", zero=zero)

    with program(0) as whole, program(2) as split:
        close(([split(*one) for one in batches(3)], split.state_dict()), ([whole(*one) for one in batches(3)], whole.state_dict()))
        assert split.plan.states["cpu:0"] < whole.plan.states["cpu:0"]
        assert split.parameter_choices()


def test_the_named_axis_is_the_one_that_is_split() -> None:
    for axis in (0, "data"):
        grid = of.placement("cpu", [[0, 1], [2, 3]], names=("data", "tensor"))
        model = Net(lambda inner, outer: of.nn.Linear(inner, outer, dtype="float64"))
        model.up.weight.to_global(grid, (of.B, of.S(0)))
        specs = of.spec((BATCH, WIDE), "float64", grid, (of.S(0), of.B)), of.spec((BATCH,), "int64", grid, (of.S(0), of.B))
        loss = lambda x, y: of.cross_entropy(model.down(of.gelu(model.up(x))), y)  # noqa: B023, E731
        step = of.compile(loss, *specs, optimizer=SGD, zero={"stage": 1, "axis": axis}, strict=False)
        homes = {step.graph.values[p.value].name: step.graph.values[p.value].layout for p in step.graph.parameters}
        assert str(homes["up.weight.momentum"].sbp) == "(S(1), S(0))"
        assert str(homes["down.weight.momentum"].sbp) == "(S(1), B)"


def test_recomputed_regions_gather_again() -> None:
    """No copy of a split parameter is kept from the forward to what the backward computes again."""

    def program(zero: int) -> of.Program:
        model = Net(lambda inner, outer: of.nn.Linear(inner, outer, dtype="float64"))
        where = of.placement("cuda", [0, 1, 2, 3]) if zero == 3 else FOUR
        specs = of.spec((BATCH, WIDE), "float64", where, of.S(0)), of.spec((BATCH,), "int64", where, of.S(0))
        inner = of.recompute(lambda x: of.gelu(model.up(x)))
        return of.compile(lambda x, y: of.cross_entropy(model.down(inner(x)), y), *specs, optimizer=SGD, zero=zero)

    graph = program(3).graph
    phases = {v: node.phase for node in graph.nodes for v in node.outs}
    whole = {n.outs[0] for n in graph.nodes if n.attributes.get("why") == "sharded state" and n.ins[0] not in phases}
    assert whole and all(phases[v] == n.phase for n in graph.nodes for v in n.ins if v in whole)
    with program(1) as one, program(2) as two:
        np.testing.assert_allclose([one(*b) for b in batches(2)], [two(*b) for b in batches(2)], rtol=1e-12)


@pytest.mark.parametrize("layout", ["data", "pipeline x data"])
def test_buckets_change_no_bit(layout: str) -> None:
    """Ranks are summed in the same order, in a bucket or alone."""
    for zero, micro_batches in ((0, 4), (1, 1), (2, 4)):
        options = {"micro_batches": micro_batches, "executor": "simulator", "checked": True}
        runs = [run(layout, zero, ADAM, bucket_nbytes=limit, **options) for limit in (None, 600, 1 << 30)]
        for losses, state in runs[1:]:
            assert losses == runs[0][0]
            assert all((state[name] == runs[0][1][name]).all() for name in state)


def sixteen_bits(zero: Any, steps: int = 3, **options: Any) -> tuple[list[float], dict[str, np.ndarray]]:
    draw = np.random.default_rng(0)
    data = [(draw.normal(size=(64, 64)).astype("float32"), draw.integers(0, 128, 64)) for _ in range(steps)]
    with wide(4, zero, batch=64, **options) as step:
        return [float(step(*one)) for one in data], step.state_dict()


@pytest.mark.parametrize("precision,micro_batches", [("bfloat16", 1), ("bfloat16", 2), ("float16", 1), ("float16", 2)])
def test_buckets_of_sixteen_bits_change_no_bit(precision: str, micro_batches: int) -> None:
    """And beside whole state sums are taken in another order at most."""
    options = {"precision": precision, "micro_batches": micro_batches, "executor": "simulator", "checked": True}
    whole = sixteen_bits(0, **options)
    for zero in (0, 1, 2, 3, {"stage": 3, "gather": "step"}):
        alone = sixteen_bits(zero, **options)
        for limit in (1, 20_000, 1 << 30):
            losses, state = sixteen_bits(zero, bucket_nbytes=limit, **options)
            assert losses == alone[0]
            assert all((state[name] == alone[1][name]).all() for name in state)
        np.testing.assert_allclose(alone[0], whole[0], rtol=1e-4)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_driver_runs_buckets(executor: str) -> None:
    plain = run("pipeline x data", 2, SGD, micro_batches=4, executor=executor)
    assert run("pipeline x data", 2, SGD, micro_batches=4, executor=executor, bucket_nbytes=1 << 20)[0] == plain[0]
    options = {"precision": "bfloat16", "micro_batches": 2, "executor": executor}
    assert sixteen_bits(2, **options)[0] == sixteen_bits(2, bucket_nbytes=1 << 20, **options)[0]


def test_what_is_refused() -> None:
    for wrong in (4, True, "1", {"stage": 1, "where": "data"}, {"stage": 3, "gather": "never"}):
        with pytest.raises(of.PlanError, match="zero"):
            classifier("data", zero=wrong)
    with pytest.raises(of.PlanError, match=r"mesh axis .model.*cpu:0-3"):
        classifier("data", zero={"stage": 1, "axis": "model"})


def test_one_device_has_nothing_to_split() -> None:
    assert classifier("single", zero=3).plan == classifier("single").plan
