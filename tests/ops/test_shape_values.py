"""Operators that move elements, against NumPy's functions of the same names; what may be split; constants; errors at the user's line."""

import numpy as np
import pytest

import oflow as of
from oflow.errors import ShapeError
from oflow.ops import REGISTRY
from oflow.types import TensorType
from tests.ops.traced import numeric, pullback, value

SEED = 611


def data(*shape, seed=SEED):
    return np.random.default_rng(seed).standard_normal(shape)


def check(function, *arrays, reference=None):
    """The same function of oflow and of NumPy, and its gradient against differences."""
    wanted = (reference or function)(np, *arrays)
    found = value(lambda *ts: function(of, *ts), *arrays)
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == wanted.dtype
    g = data(*wanted.shape, seed=SEED + 1)
    given = pullback(lambda *ts: function(of, *ts), g, *arrays)
    for slope, expected in zip(given, numeric(lambda *ts: function(of, *ts), g, *arrays), strict=True):
        np.testing.assert_allclose(slope if slope is not None else 0 * expected, expected, atol=1e-8)


MOVES = {
    "expand_dims": lambda m, x: m.expand_dims(x, (0, -1)),
    "expand_dims one": lambda m, x: m.expand_dims(x, 1),
    "squeeze": lambda m, x: m.squeeze(m.expand_dims(x, (1, 3)), 1),
    "squeeze all": lambda m, x: m.squeeze(m.expand_dims(x, (1, 3))),
    "moveaxis": lambda m, x: m.moveaxis(x, 0, -1),
    "moveaxis two": lambda m, x: m.moveaxis(x, (0, 2), (1, 0)),
    "swapaxes": lambda m, x: m.swapaxes(x, 0, 2),
    "transpose": lambda m, x: m.transpose(x, (1, 2, 0)),
    "methods": lambda m, x: x.transpose(1, 0, 2).swapaxes(0, 1).reshape(2, -1).T.flatten(),
    "matrix transpose": lambda m, x: x.mT,
    "ravel": lambda m, x: m.ravel(x),
    "broadcast_to": lambda m, x: m.broadcast_to(m.expand_dims(x, 1), (2, 3, 5, 4, 2)),
    "stack": lambda m, x: m.stack([x, x * 2.0, x], 1),
    "stack last": lambda m, x: m.stack([x, x * 2.0], -1),
    "concat": lambda m, x: m.concatenate([x, x[:1], x[1:]], 0),
    "concat flat": lambda m, x: m.concatenate([x, x[:1]], None),
    "tile": lambda m, x: m.tile(x, (2, 1, 3)),
    "tile new axes": lambda m, x: m.tile(x, (2, 2, 1, 1)),
    "tile short": lambda m, x: m.tile(x, 2),
    "repeat": lambda m, x: m.repeat(x, 3, 1),
    "repeat flat": lambda m, x: m.repeat(x, 2),
    "repeat each": lambda m, x: m.repeat(x, [2, 0, 1], 0),
    "roll": lambda m, x: m.roll(x, 2, 0),
    "roll axes": lambda m, x: m.roll(x, (1, -1), (0, 2)),
    "roll one axis twice": lambda m, x: m.roll(x, (1, 3), (1, 1)),
    "roll flat": lambda m, x: m.roll(x, 5),
    "roll around": lambda m, x: m.roll(x, 7, (0, 1)),
    "flip": lambda m, x: m.flip(x),
    "flip axis": lambda m, x: m.flip(x, (0, -1)),
    "pad": lambda m, x: m.pad(x, ((1, 2), (0, 0), (3, 0))),
    "pad value": lambda m, x: m.pad(x, 1, constant_values=2.5),
    "pad edge": lambda m, x: m.pad(x, ((2, 0), (1, 4), (0, 0)), mode="edge"),
    "pad reflect": lambda m, x: m.pad(x, ((2, 1), (0, 3), (1, 0)), mode="reflect"),
    "pad symmetric": lambda m, x: m.pad(x, ((3, 2), (0, 0), (1, 2)), mode="symmetric"),
    "pad wrap": lambda m, x: m.pad(x, ((1, 2), (4, 0), (0, 1)), mode="wrap"),
    "triu": lambda m, x: m.triu(x),
    "tril": lambda m, x: m.tril(x, 1),
    "triu of a vector": lambda m, x: m.triu(x[0, :, 0], -1),
    "diagonal": lambda m, x: m.diagonal(x, 1, 0, 2),
    "diagonal low": lambda m, x: m.diagonal(x, -1, 1, 2),
    "diag": lambda m, x: m.diag(x[:, :, 0]),
    "diag of a vector": lambda m, x: m.diag(x[0, :, 0], -2),
    "trace": lambda m, x: m.trace(x[:, :3, 0] * 1.0),
}


@pytest.mark.parametrize("name", MOVES)
def test_as_numpy(name):
    check(MOVES[name], np.round(data(3, 4, 2) * 16) / 16)


@pytest.mark.parametrize("sections", [3, [2], [1, 4, 4], [5, 2], 5])
def test_array_split(sections):
    x = data(7, 2)
    found = value(lambda t: tuple(of.array_split(t, sections)), x)
    for part, wanted in zip(found, np.array_split(x, sections), strict=True):
        np.testing.assert_array_equal(part, wanted)
    assert [p.shape for p in value(lambda t: tuple(of.split(t, 2, axis=1)), x)] == [(7, 1)] * 2


INDICES = [
    np.s_[1], np.s_[-1], np.s_[1:3], np.s_[:, 1], np.s_[..., 0], np.s_[::2], np.s_[::-1], np.s_[5:0:-2, 1:], np.s_[:, ::-3], np.s_[None],
    np.s_[:, None, 1], np.s_[1, ..., None], np.s_[-3:-1], np.s_[3:1], np.s_[-20:20], np.s_[-10::-1], np.s_[..., 1, ::-1], np.s_[0, 1, 2],
    np.s_[[0, 2, 2]], np.s_[:, [3, -1]], np.s_[1:, [[0, 1], [2, 3]], ::2], np.s_[2, [0, 1]], np.s_[0, :, [2, 1]], np.s_[[1, 0], :, 1],
    np.s_[:, 1, [0, 1]], np.s_[np.array([1, 5]), None, 2:], np.s_[:0], np.s_[()], np.s_[...],
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing_as_numpy(index):
    check(lambda m, x: x[index], data(6, 4, 3))


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (np.s_[6], "index 6 on axis 0"), (np.s_[0, 0, 0, 0], "3 axes"), (np.s_[..., ...], "does not fit"), (np.s_[[0], [1]], "2 indices"),
        (np.s_["a"], "use integers"), (np.s_[True], "use integers"),
    ],
)  # fmt: skip
def test_wrong_indices_are_errors(index, said):
    with pytest.raises(ShapeError, match=rf"test_shape_values.*{said}"):
        of.compile(lambda x: x[index], of.spec((6, 4, 3)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda x: of.reshape(x, 5, -1), "24 elements do not fit"), (lambda x: of.reshape(x, -1, -1), "one may be -1"),
        (lambda x: of.expand_dims(x, 4), "axis 4 is not one of the 4 axes"), (lambda x: of.squeeze(x, 0), "has size 2, not 1"),
        (lambda x: of.transpose(x, (0, 0, 1)), "not an order"), (lambda x: of.stack([x, x[0]]), "must be equal"),
        (lambda x: of.concat([x, x[:, :1]]), "must be equal"), (lambda x: of.split(x, 5, axis=1), "no 5 equal parts"),
        (lambda x: of.repeat(x, [1, 2, 3], 0), "must be 2 numbers"), (lambda x: of.pad(x, 9, mode="reflect"), "takes 9 and 9"),
        (lambda x: of.pad(x, 1, mode="mean"), "not one of constant"), (lambda x: of.pad(x, (1, 2, 3)), "no pair"),
        (lambda x: of.moveaxis(x, (0, 1), 0), "2 axes cannot go to 1"), (lambda x: of.diag(x), "vector or a matrix"),
        (lambda x: of.concat([]), "at least one tensor"), (lambda x: of.roll(x, (1, 2), (0, 1, 2)), "2 shifts for 3"),
    ],
)  # fmt: skip
def test_errors_name_the_users_line(wrong, said):
    with pytest.raises(ShapeError, match=rf"test_shape_values.*{said}"):
        of.compile(wrong, of.spec((2, 3, 4)))


# ---------------------------------------------------------------- constants


CONSTANTS = {
    "zeros": (lambda: of.zeros((2, 3)), np.zeros((2, 3), "float32")),
    "ones": (lambda: of.ones(4, "int64"), np.ones(4, "int64")),
    "full": (lambda: of.full((2, 1), 2.5, "float64"), np.full((2, 1), 2.5)),
    "arange": (lambda: of.arange(5), np.arange(5)),
    "arange down": (lambda: of.arange(7, -2, -3), np.arange(7, -2, -3)),
    "arange none": (lambda: of.arange(3, 3), np.arange(3, 3)),
    "arange float": (lambda: of.arange(0.5, 3, 0.75, "float64"), np.arange(0.5, 3, 0.75)),
    "linspace": (lambda: of.linspace(-1, 2, 7, dtype="float64"), np.linspace(-1, 2, 7)),
    "linspace open": (lambda: of.linspace(0, 1, 4, endpoint=False, dtype="float64"), np.linspace(0, 1, 4, endpoint=False)),
    "linspace one": (lambda: of.linspace(3, 9, 1), np.linspace(3, 9, 1, dtype="float32")),
    "eye": (lambda: of.eye(3, 5, 1), np.eye(3, 5, 1, dtype="float32")),
    "identity": (lambda: of.identity(2, "int64"), np.identity(2, "int64")),
    "tri": (lambda: of.tri(3, 4, -1), np.tri(3, 4, -1, dtype="float32")),
    "constant": (lambda: of.constant([[1.5, 2], [3, 4]]), np.array([[1.5, 2], [3, 4]])),
    "constant bool": (lambda: of.constant(np.array([True, False])), np.array([True, False])),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name):
    made, wanted = CONSTANTS[name]
    found = of.compile(lambda x: (x, made()), of.spec((1,))).graph.evaluate(np.zeros(1, "float32"))[1]
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-15)


def test_constants_like_another_tensor():
    def made(x):
        return of.zeros_like(x), of.ones_like(x, "bool"), of.full_like(x, 7, "float64")

    for found, wanted in zip(value(made, np.arange(6).reshape(2, 3)), (np.zeros, np.ones, lambda s, d: np.full(s, 7, d)), strict=True):
        np.testing.assert_array_equal(found, wanted((2, 3), found.dtype))


def test_a_large_constant_is_an_error():
    with pytest.raises(ShapeError, match=r"test_shape_values.*pass it as an input"):
        of.compile(lambda x: of.constant(np.zeros(100_000)), of.spec((1,)))


def test_constants_run_where_they_are_read():
    """A mask made of several constants, read on another placement than the input's."""
    here, there = of.placement("cpu", [0, 1]), of.placement("cpu", [2, 3])
    x = data(6, 6).astype("float32")

    def two(t):
        return of.tril(t.to_global(there, of.S(0))), of.triu(t), of.arange(6) * 2

    low, high, numbers = of.compile(two, of.spec((6, 6), "float32", here, of.S(1)))(x)
    np.testing.assert_array_equal(low, np.tril(x))
    np.testing.assert_array_equal(high, np.triu(x))
    np.testing.assert_array_equal(numbers, np.arange(6) * 2)


# ---------------------------------------------------------------- what may be split


def found(name, *shapes, parts=2, **attrs):
    return {str(s) for s in REGISTRY[name].signatures(tuple(map(TensorType, shapes)), attrs, parts)}


PASSED = {"B -> B", "P -> P", "P(max) -> P(max)", "P(min) -> P(min)"}
TWO = {
    "B,B -> B", "P,P -> P", "P(max),B -> P(max)", "B,P(max) -> P(max)", "P(max),P(max) -> P(max)",
    "P(min),B -> P(min)", "B,P(min) -> P(min)", "P(min),P(min) -> P(min)",
}  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "parts", "splits"),
    [
        ((6, 4), (24,), 2, {"S(0) -> S(0)"}), ((6, 4), (24,), 4, set()), ((24,), (6, 4), 3, {"S(0) -> S(0)"}),
        ((5, 4), (5, 2, 2), 2, {"S(0) -> S(0)", "S(1) -> S(1)"}), ((5, 4), (5, 2, 2), 4, {"S(0) -> S(0)"}),
        ((6, 4), (4, 6), 2, {"S(0) -> S(0)"}), ((6, 4), (4, 6), 4, set()), ((6, 4), (2, 12), 2, {"S(0) -> S(0)"}),
        ((3, 4, 5), (12, 5), 3, {"S(0) -> S(0)", "S(2) -> S(1)"}), ((2, 6, 10), (12, 5, 2), 5, {"S(2) -> S(1)"}),
        ((1, 6), (6, 1), 2, {"S(0) -> S(1)", "S(1) -> S(0)"}), ((4, 1, 3), (4, 3), 3, {"S(0) -> S(0)", "S(2) -> S(1)"}),
    ],
)  # fmt: skip
def test_reshape_splits_the_outermost_axes_of_each_group_into_equal_parts(before, after, parts, splits):
    """Regression: a view on a split axis keeps the split only where the parts are the same elements."""
    assert found("reshape", before, parts=parts, shape=after) == PASSED | splits


def test_moves_along_a_split_axis_need_it_whole():
    assert found("slice", (6, 4), starts=(1, 0), stops=(3, 4)) == PASSED | {"S(1) -> S(1)"}
    assert found("slice", (6, 4), starts=(0, 3), stops=(6, -1), steps=(1, -1)) == PASSED | {"S(0) -> S(0)"}
    assert found("roll", (6, 4), shifts=(1, 0)) == PASSED | {"S(1) -> S(1)"}
    assert found("pad", (6, 4), starts=(0, 1), shape=(6, 6)) == PASSED | {"S(0) -> S(0)"}
    assert found("pad", (6, 4), starts=(0, 1), shape=(6, 6), value=1.0) == (PASSED | {"S(0) -> S(0)"}) - {"P -> P"}
    assert found("concat", (6, 4), (6, 3), axis=1) == TWO | {"S(0),S(0) -> S(0)"}


def test_a_repeated_axis_may_be_split_in_the_result_alone():
    assert found("broadcast_to", (4, 1), shape=(3, 4, 5)) == PASSED | {"B -> S(0)", "S(0) -> S(1)", "B -> S(2)"}


def test_a_diagonal_goes_with_the_rows_or_is_a_partial_sum():
    assert found("diagonal", (5, 6), offset=0) == PASSED | {"S(0) -> S(0)", "S(1) -> P"}
    assert found("diagonal", (6, 5), offset=0) == PASSED | {"S(0) -> P", "S(1) -> S(0)"}
    assert found("diagonal", (5, 5), offset=1) == PASSED | {"S(0) -> P", "S(1) -> P", "B -> S(0)"}
    assert found("diagonal_matrix", (5,), offset=0, rows=5, columns=6) == PASSED | {"S(0) -> S(0)", "B -> S(1)"}


@pytest.mark.parametrize(
    ("before", "after", "sums", "extremes"),
    [
        ("float32", "float64", True, True), ("float64", "float32", False, True), ("int64", "float64", False, True),
        ("int64", "int32", True, False), ("int32", "int64", False, True), ("float32", "int64", False, False),
        ("bool", "float32", False, True),
    ],
)  # fmt: skip
def test_a_cast_passes_sums_that_it_neither_rounds_nor_wraps(before, after, sums, extremes):
    kept = {str(s) for s in REGISTRY["cast"].signatures((TensorType((4,), before),), {"dtype": after}, 2)}
    assert ("P -> P" in kept) == sums
    assert ({"P(max) -> P(max)", "P(min) -> P(min)"} <= kept) == extremes
    assert "S(0) -> S(0)" in kept


# ---------------------------------------------------------------- programs: gradients through split layouts


@pytest.mark.parametrize("sbp", [of.S(0), of.S(1), of.B])
@pytest.mark.parametrize("batches", [1, 2])
def test_gradients_of_stack_and_broadcast_on_split_layouts(sbp, batches):
    """Regression: the cotangent of stack is cut along the new axis, that of a broadcast is summed over all devices."""
    two = of.placement("cpu", [0, 1])

    class Net(of.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = of.nn.Parameter((4, 6), "float32", "normal", std=1.0)
            self.b = of.nn.Parameter((6,), "float32", "normal", std=1.0)

        def forward(self, x):
            both = of.stack([of.matmul(x, self.w), of.broadcast_to(self.b, (8, 6))], 1)
            cut = of.concat([both[:, ::-1, 1:5:3], of.roll(both, 1, 2)[..., :3]], 2)
            return of.mean(of.square(of.pad(cut, ((0, 0), (0, 1), (1, 0)), constant_values=1.0)))

    x = data(8, 4).astype("float32")

    def trained(layout, many):
        model = Net()
        model.w.to_global(two, layout)
        program = of.compile(model, of.spec((8, 4), "float32", two, of.S(0)), optimizer=of.optim.SGD(0.5), micro_batches=many, seed=3)
        return [float(program(x)) for _ in range(3)], program.state_dict()

    losses, state = trained(sbp, batches)
    wanted, expected = trained(of.B, 1)
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    for name, kept in expected.items():
        np.testing.assert_allclose(state[name], kept, rtol=1e-5, atol=1e-6, err_msg=name)
