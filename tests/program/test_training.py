"""What belongs to training: optimizers, schedules, clipping, tied weights, buffers, barriers, custom operators."""

from __future__ import annotations

import numpy as np
import pytest

import oflow as of
from tests.program.nets import BATCH, FOUR, LEFT, NARROW, ONE, RIGHT, WIDE, batches, classifier

TWO_STAGES = {"micro_batches": 4, "checked": True}


@pytest.mark.parametrize("layout,clip", [("data", 1e6), ("data", 1e-3), ("tensor", 1e-3), ("grid", 1e-3), ("pipeline x tensor", 1e-3)])
def test_clipping_by_the_global_norm_counts_each_parameter_once(layout: str, clip: float) -> None:
    sgd = of.optim.SGD(lr=1.0, clip_norm=clip)
    x, y = batches(1)[0]
    with classifier("single", sgd) as single, classifier(layout, sgd, micro_batches=2) as other:
        before = single.state_dict()
        assert np.isclose(single(x, y), other(x, y), rtol=1e-13)
        after, got = single.state_dict(), other.state_dict()
    moved = {name: after[name] - before[name] for name in after if name != "optimizer.step"}
    norm = np.sqrt(sum((m * m).sum() for m in moved.values()))
    assert np.isclose(norm, clip, rtol=1e-3) if clip < 1 else norm < clip
    for name in moved:
        np.testing.assert_allclose(got[name], after[name], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("layout", ["single", "data3", "tensor", "pipeline x data"])
def test_a_learning_rate_schedule_is_part_of_the_graph(layout: str) -> None:
    """rate(n) = 1 / (n + 1) for steps counted from 0: compared with constant rates, a step at a time."""
    data = batches(3)
    state = None
    with classifier(layout, of.optim.SGD(lr=lambda step: 1.0 / (step + 1.0)), micro_batches=2) as scheduled:
        for number, (x, y) in enumerate(data):
            with classifier("single", of.optim.SGD(lr=1 / (number + 1))) as constant:
                if state is not None:
                    constant.load_state_dict(state)
                np.testing.assert_allclose(scheduled(x, y), constant(x, y), rtol=1e-12)
                state = constant.state_dict()
                np.testing.assert_allclose(scheduled.state_dict()["up.weight"], state["up.weight"], rtol=1e-9, atol=1e-12)
        assert scheduled.state_dict()["optimizer.step"] == 3


def test_adamw_is_the_published_rule() -> None:
    """Loshchilov and Hutter 2019, algorithm 2, against plain NumPy on gradients of a quadratic."""
    lr, decay, betas, eps = 0.1, 0.3, (0.8, 0.95), 1e-6
    module = of.nn.Module()
    module.w = of.nn.Parameter((3, 4), "float64", "normal")
    adamw = of.optim.AdamW(lr=lr, betas=betas, eps=eps, weight_decay=decay)
    step = of.compile(lambda x: of.sum(of.square(module.w - x)), of.spec((3, 4), "float64"), optimizer=adamw)
    with step:
        w, m, v = step.state_dict()["w"], np.zeros((3, 4)), np.zeros((3, 4))
        for t in range(1, 5):
            x = np.random.default_rng(t).normal(size=(3, 4))
            step(x)
            g = 2 * (w - x)
            m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
            w = w - lr * decay * w - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
            np.testing.assert_allclose(step.state_dict()["w"], w, rtol=1e-12)


class Tied(of.nn.Module):
    """Numbers i (n,) -> the row of a table -> hidden -> scores against the same table."""

    def __init__(self):
        super().__init__()
        self.table = of.nn.Embedding(NARROW, WIDE, dtype="float64")
        self.mid = of.nn.Linear(WIDE, WIDE, dtype="float64")
        self.head = of.nn.Module()
        self.head.weight = self.table._parameters["weight"]


def tied(staged: bool, first=LEFT, second=RIGHT, **options) -> of.Program:
    from contextlib import nullcontext

    model = Tied()
    stage = of.stage if staged else lambda i: nullcontext()
    if staged:
        model.table.to_global(first, of.B)
        model.mid.to_global(second, of.B)

    def loss(i, y):
        with stage(0):
            x = model.table(i)
        with stage(1):
            return of.cross_entropy(of.linear(of.gelu(model.mid(x)), model.head.weight), y)

    where = (first, second) if staged else (ONE, ONE)
    specs = [of.spec((BATCH,), "int64", place, of.S(0) if place.size > 1 else of.B) for place in where]
    return of.compile(loss, *specs, optimizer=of.optim.AdamW(lr=0.05, clip_norm=0.5), **options)


@pytest.mark.parametrize("schedule", ["1f1b", "gpipe"])
def test_tied_weights_across_stages(schedule: str) -> None:
    draw = np.random.default_rng(1)
    data = [(draw.integers(0, NARROW, BATCH), draw.integers(0, NARROW, BATCH)) for _ in range(5)]
    with tied(False) as single, tied(True, schedule=schedule, **TWO_STAGES) as staged:
        assert sorted(n for n in staged.state_dict() if n.endswith("weight")) == ["mid.weight", "table.weight"]
        for i, y in data:
            np.testing.assert_allclose(staged(i, y), single(i, y), rtol=1e-12)
        a, b = single.state_dict(), staged.state_dict()
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(b[name], a[name], rtol=1e-9, atol=1e-12)


class Counted(of.nn.Module):
    """Keeps how many samples it has seen and a running mean of its input."""

    def __init__(self):
        super().__init__()
        self.lin = of.nn.Linear(WIDE, 1, dtype="float64")
        self.seen = of.nn.Buffer((), "float64")
        self.running = of.nn.Buffer((WIDE,), "float64")

    def forward(self, x):
        self.seen = self.seen + float(BATCH)
        self.running = self.running * 0.5 + of.mean(x, 0) * 0.5
        return self.lin(x)


@pytest.mark.parametrize("where,sbp", [(ONE, of.B), (FOUR, of.S(0)), (FOUR, of.B)], ids=["single", "data", "repeated"])
@pytest.mark.parametrize("micro_batches", [1, 4])
@pytest.mark.parametrize("optimizer", [of.optim.SGD(lr=0.01), None], ids=["training", "no optimizer"])
def test_buffers_are_written_once_a_step(where, sbp, micro_batches: int, optimizer) -> None:
    model = Counted()
    step = of.compile(
        lambda x: of.sum(of.square(model(x))), of.spec((BATCH, WIDE), "float64", where, sbp),
        optimizer=optimizer, micro_batches=micro_batches, checked=True,
    )  # fmt: skip
    running = np.zeros(WIDE)
    with step:
        for number, (x, _) in enumerate(batches(3)):
            step(x)
            running = 0.5 * running + 0.5 * x.mean(0)
            state = step.state_dict()
            assert state["seen"] == BATCH * (number + 1)
            np.testing.assert_allclose(state["running"], running, rtol=1e-13)


def centred(**options) -> of.Program:
    model = of.nn.Linear(WIDE, NARROW, dtype="float64")

    def loss(x):
        h = model(x)
        return of.sum(of.power(h - of.mean(h, 0), 2.0)), h - of.mean(h, 0)  # statistics of the whole batch

    return of.compile(loss, of.spec((BATCH, WIDE), "float64", FOUR, of.S(0)), optimizer=of.optim.SGD(lr=0.01), **options)


@pytest.mark.parametrize("micro_batches", [2, 4])
def test_statistics_of_the_batch_wait_for_all_micro_batches_under_gpipe(micro_batches: int) -> None:
    with centred() as whole, centred(micro_batches=micro_batches, schedule="gpipe", checked=True) as parts:
        for x, _ in batches(3):
            (a, rows), (b, others) = whole(x), parts(x)
            np.testing.assert_allclose(b, a, rtol=1e-12)
            np.testing.assert_allclose(others, rows, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(parts.state_dict()["weight"], whole.state_dict()["weight"], rtol=1e-11)


def test_statistics_of_the_batch_are_refused_under_1f1b() -> None:
    message = r"test_training\.py:\d+: sub works .* complete only after all 4 of them.*Use schedule='gpipe'"
    with pytest.raises(of.SbpError, match=message):
        centred(micro_batches=4)


cube = of.op("test_cube", rule="i -> i", exact=True, example=lambda: [of.Example((np.arange(-3.0, 4.0),))])
"""x -> x^3, an operator as a user adds one."""


@cube.kernel
def _(out: np.ndarray, x: np.ndarray) -> None:
    np.multiply(x * x, x, out=out)


@cube.grad
def _(g, y, x):
    return [g * of.square(x) * 3.0]


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_an_operator_of_the_user_trains_in_any_layout(micro_batches: int) -> None:
    module = of.nn.Module()
    module.w = of.nn.Parameter((), "float64", "constant", value=0.5)
    step = of.compile(
        lambda x: of.sum(cube(x * module.w)), of.spec((8,), "float64", FOUR, of.S(0)),
        optimizer=of.optim.SGD(lr=1e-3), micro_batches=micro_batches, checked=True,
    )  # fmt: skip
    x = np.arange(8.0) / 4
    with step:
        np.testing.assert_allclose(step(x), ((x * 0.5) ** 3).sum(), rtol=1e-14)
        np.testing.assert_allclose(step.state_dict()["w"], 0.5 - 1e-3 * (3 * 0.25 * x**3).sum(), rtol=1e-14)
