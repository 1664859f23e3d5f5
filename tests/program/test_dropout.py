"""Random operators in programs: the same draws on any layout, for any number of micro-batches, in every schedule; new ones each step."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest

import oflow as of

BATCH, SEQ, WIDTH, HIDDEN = 12, 3, 6, 10
ONE, TWO, THREE = of.placement("cpu", [0]), of.placement("cpu", [0, 1]), of.placement("cpu", [0, 1, 2])
GRID = of.placement("cpu", [[0, 1], [2, 3]])


class Net(of.nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = of.nn.Linear(WIDTH, HIDDEN, dtype="float64"), of.nn.Linear(HIDDEN, WIDTH, dtype="float64")
        self.inner, self.outer = of.nn.Dropout(0.4), of.nn.Dropout(0.25)

    def forward(self, x, stage):
        with stage(0):
            h = self.inner(of.relu(self.up(x)))
        of.tap("inner", h)
        with stage(1):
            y = self.outer(self.down(h))
        of.tap("outer", y)
        return y


def annotated(model, layout):
    """Lays the model out; returns the placements and sbp of input and target, and what marks stages."""
    plain = lambda i: nullcontext()  # noqa: E731
    if layout == "data":
        return (THREE, of.S(0)), (THREE, of.S(0)), plain
    if layout == "sequence":
        return (TWO, of.S(1)), (TWO, of.S(1)), plain
    if layout == "tensor":
        model.up.to_global(THREE, of.S(0))
        model.down.weight.to_global(THREE, of.S(1))
        return (THREE, of.B), (THREE, of.B), plain
    if layout == "grid":
        model.up.to_global(GRID, (of.B, of.S(0)))
        model.down.weight.to_global(GRID, (of.B, of.S(1)))
        return (GRID, (of.S(0), of.B)), (GRID, (of.S(0), of.B)), plain
    if layout == "pipeline":
        first, second = of.placement("cpu", [0, 1]), of.placement("cpu", [2, 3])
        model.up.to_global(first, of.B)
        model.down.to_global(second, of.B)
        return (first, of.S(0)), (second, of.S(0)), of.stage
    return (ONE, of.B), (ONE, of.B), plain


def program(layout="single", optimizer=None, train=True, model=None, **options):
    model = (model or Net()).train(train)
    xs, ys, stage = annotated(model, layout)

    def loss(x, y):
        return of.mse(model(x, stage), y)

    shape = (BATCH, SEQ, WIDTH)
    return of.compile(loss, of.spec(shape, "float64", *xs), of.spec(shape, "float64", *ys),
                      optimizer=optimizer or of.optim.SGD(lr=0.01), **options)  # fmt: skip


def batch(i=0):
    draw = np.random.default_rng(i)
    return draw.normal(size=(BATCH, SEQ, WIDTH)), draw.normal(size=(BATCH, SEQ, WIDTH))


def run(steps=3, **options):
    """Losses, what the first dropout dropped and its values in each step, and the weights in the end."""
    with program(**options) as step:
        losses, dropped, values = [], [], []
        for i in range(steps):
            losses.append(float(step(*batch(i))))
            dropped.append((step.taps["inner"] == 0, step.taps["outer"] == 0))
            values.append(step.taps["outer"])
        return losses, dropped, values, step.state_dict()


@pytest.fixture(scope="module")
def single():
    return run()


def assert_same(found, single):
    for mine, theirs in zip(found[1], single[1], strict=True):
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(found[0], single[0], rtol=1e-12)
    for name, value in single[3].items():
        np.testing.assert_allclose(found[3][name], value, rtol=1e-10, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("micro_batches, schedule", [(1, "1f1b"), (2, "1f1b"), (4, "1f1b"), (4, "gpipe")])
@pytest.mark.parametrize("layout", ["single", "data", "tensor", "sequence", "grid", "pipeline"])
def test_every_layout_drops_the_same(layout, micro_batches, schedule, single):
    assert_same(run(layout=layout, micro_batches=micro_batches, schedule=schedule), single)


@pytest.mark.parametrize("executor", ["simulator", "threads", "native", "processes"])
def test_every_driver_drops_the_same(executor, single):
    assert_same(run(layout="pipeline", micro_batches=2, executor=executor), single)


def test_each_step_and_each_call_drops_anew(single):
    inner = [masks[0] for masks in single[1]]
    for one, other in pairwise(inner):
        assert 0.2 < (one == other).mean() < 0.9
    hidden = Net()

    def twice(x):
        return of.dropout(x), of.dropout(x), of.dropout(x, name="shared"), of.dropout(x, name="shared")

    one, other, third, fourth = of.compile(twice, of.spec((1000,)))(np.ones(1000, "float32"))
    assert 0.4 < (one == other).mean() < 0.6
    np.testing.assert_array_equal(third, fourth)
    assert hidden.training


def test_the_reference_draws_what_the_program_draws():
    with program("grid", micro_batches=2) as step:
        x, y = batch()
        expected = step.graph.evaluate(x, y)
        assert step(x, y) == pytest.approx(expected, rel=1e-12)
        second = step.graph.evaluate(x, y)
        assert second != expected


def test_the_seed_decides(single):
    assert run(seed=1)[0] != single[0]
    assert run(seed=0)[0] == single[0]


def test_a_checkpoint_goes_on_with_the_same_draws(tmp_path, single):
    with program() as step:
        step(*batch(0))
        step.save(tmp_path / "one")
    with program("data", micro_batches=2, seed=99) as resumed:
        resumed.load_state_dict(of.load(tmp_path / "one"))
        assert resumed.state_dict()["random.step"] == 1 and resumed.state_dict()["random.seed"] == 0
        for i in (1, 2):
            assert float(resumed(*batch(i))) == pytest.approx(single[0][i], rel=1e-12)
            np.testing.assert_array_equal(resumed.taps["inner"] == 0, single[1][i][0])


def test_stream_counts_every_step(single):
    with program(micro_batches=2) as step:
        assert [float(loss) for loss in step.stream(batch(i) for i in range(3))] == pytest.approx(single[0], rel=1e-12)
        assert step.state_dict()["random.step"] == 3


def test_evaluation_of_shared_state_drops_nothing():
    model = Net()
    with program(model=model) as step:
        step(*batch())
        model.eval()
        with of.compile(lambda x: model(x, lambda i: nullcontext()), of.spec((BATCH, SEQ, WIDTH), "float64"), state=step) as f:
            x = batch()[0]
            found, state = f(x), step.state_dict()
        assert not any("random" in p.name for p in f.graph.parameters)
    h = np.maximum(x @ state["up.weight"].T + state["up.bias"], 0)
    np.testing.assert_allclose(found, h @ state["down.weight"].T + state["down.bias"], rtol=1e-12, atol=1e-14)


def test_programs_without_an_optimizer_draw_the_same_every_time():
    with of.compile(lambda x: of.rand_like(x), of.spec((50,))) as draw:
        x = np.zeros(50, "float32")
        np.testing.assert_array_equal(draw(x), draw(x))


def test_gradient_uses_the_mask_of_the_forward():
    """A weight whose every element passes once: its gradient is the mask over 1 - p."""

    class Scale(of.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = of.nn.Parameter((1000,), "float64", "zeros")

        def forward(self, x):
            y = of.dropout(self.weight * x, 0.3)
            return of.sum(y * x), of.dropout(x, 0.3, name="dropout.0")

    model = Scale()
    with of.compile(lambda x: model(x), of.spec((1000,), "float64"), optimizer=of.optim.SGD(lr=1.0)) as step:
        _, mask = step(np.ones(1000))
        np.testing.assert_array_equal(step.state_dict()["weight"], -mask)
        assert 0.5 < (mask > 0).mean() < 0.9


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_batch_on_another_axis(micro_batches):
    """(batch, seq) -> (seq, batch): time splits axis 1 there, and the draws are those of the whole."""

    def f(x):
        return of.transpose(of.dropout(of.transpose(x, (1, 0)), 0.5), (1, 0))

    x = np.ones((12, 7), "float32")
    expected = of.compile(f, of.spec(x.shape))(x)
    np.testing.assert_array_equal(of.compile(f, of.spec(x.shape, "float32", TWO, of.S(0)), micro_batches=micro_batches)(x), expected)


def test_draws_away_from_the_input_need_no_stage():
    other = of.placement("cpu", [2, 3])

    def f(x):
        return of.dropout(of.dropout(x, 0.5).to_global(other, of.S(0)), 0.5) + of.rand_like(x).to_global(other, of.S(0))

    x = np.ones((9, 4), "float32")
    expected = of.compile(f, of.spec(x.shape, "float32", ONE, of.B))(x)
    np.testing.assert_array_equal(of.compile(f, of.spec(x.shape, "float32", TWO, of.B), micro_batches=3)(x), expected)


# ------------------------------------------------------------ attention in programs


class Block(of.nn.Module):
    def __init__(self, kv_heads):
        super().__init__()
        self.norm = of.nn.RMSNorm(16, dtype="float64")
        self.attention = of.nn.Attention(16, 4, kv_heads=kv_heads, causal=True, rotary=100.0, dtype="float64")
        self.gate, self.drop = of.nn.SwiGLU(16, 24, dtype="float64"), of.nn.Dropout(0.2)
        self.places = of.nn.Embedding(8, 16, dtype="float64")

    def forward(self, x):
        x = x + self.places(of.positions(x, 1))
        x = x + self.drop(self.attention(self.norm(x)))
        return x + self.drop(self.gate(self.norm(x)))


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("layout", ["data", "sequence", "tensor", "grid"])
def test_a_transformer_block_is_the_same_on_any_layout(layout, kv_heads):
    def trained(layout, **options):
        model = Block(kv_heads)
        where, how = {"single": (ONE, of.B), "data": (TWO, of.S(0)), "sequence": (TWO, of.S(1)), "tensor": (TWO, of.B),
                      "grid": (GRID, (of.S(0), of.B))}[layout]  # fmt: skip
        if layout in ("tensor", "grid"):
            columns, rows = (of.S(0), of.S(1)) if layout == "tensor" else ((of.B, of.S(0)), (of.B, of.S(1)))
            for part in (model.attention.query, model.gate.gate, model.gate.up):
                part.to_global(where, columns)
            for part in (model.attention.out, model.gate.down):
                part.weight.to_global(where, rows)
        spec = of.spec((4, 8, 16), "float64", where, how)
        with of.compile(lambda x, y: of.mse(model(x), y), spec, spec, optimizer=of.optim.SGD(lr=0.1), **options) as step:
            draw = np.random.default_rng(1)
            losses = [float(step(draw.normal(size=(4, 8, 16)), draw.normal(size=(4, 8, 16)))) for _ in range(3)]
            return losses, step.state_dict()

    expected, state = trained("single")
    losses, found = trained(layout, micro_batches=2)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    for name, value in state.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


class Memory(of.nn.Module):
    """A sequence (seq, heads, d) attends to learned keys."""

    def __init__(self, causal):
        super().__init__()
        self.keys, self.causal = of.nn.Parameter((1, 8, 2, 4), "float64"), causal

    def forward(self, x):
        return of.reshape(of.attention(of.rotary(of.reshape(x, (1, *x.shape))), self.keys, self.keys, causal=self.causal), x.shape)


@pytest.mark.parametrize("where, how", [(ONE, of.B), (TWO, of.S(0))])
def test_a_sequence_cut_in_time_knows_its_positions(where, how):
    """Axis 0 of the input is the sequence, so micro-batches cut it: positions are cut with it, but an offset cannot be."""
    x = np.random.default_rng(3).normal(size=(8, 2, 4))
    spec, full, causal = of.spec(x.shape, "float64", where, how), Memory(causal=False), Memory(causal=True)
    expected = of.compile(lambda x: full(x), spec)(x)
    np.testing.assert_allclose(of.compile(lambda x: full(x), spec, micro_batches=2)(x), expected, rtol=1e-12)
    with pytest.raises(of.SbpError, match=r"test_dropout\.py:\d+: causal_attention of .* cannot be cut into 2 .* on the micro-batch axis"):
        of.compile(lambda x: causal(x), spec, micro_batches=2)
