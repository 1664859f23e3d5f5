"""Elements chosen by number and sums by number: NumPy's meanings, gradients, split axes, errors of the kernel."""

import numpy as np
import pytest

import oflow as of
from oflow.errors import ShapeError
from oflow.ops import REGISTRY
from oflow.ops.constant import constant
from oflow.types import TensorType
from tests.ops.traced import numeric, pullback, value

SEED = 613


def data(*shape, seed=SEED):
    return np.random.default_rng(seed).standard_normal(shape)


def numbers(below, *shape, seed=SEED):
    return np.random.default_rng(seed).integers(-below, below, shape)


def same_slopes(function, *arrays):
    """The gradient of each float operand, the others constants, against differences."""
    g = data(*value(function, *arrays).shape, seed=SEED + 1)
    for position, x in enumerate(arrays):
        if x.dtype.kind == "f":

            def alone(t, position=position):
                return function(*(t if i == position else constant(t.builder, y) for i, y in enumerate(arrays)))

            (given,), (expected,) = pullback(alone, g, x), numeric(alone, g, x)
            np.testing.assert_allclose(given, expected, atol=1e-8, err_msg=f"operand {position}, seed {SEED}")


@pytest.mark.parametrize(("axis", "shape"), [(0, (5,)), (1, (2, 3)), (-1, ()), (None, (4, 2))])
def test_take(axis, shape):
    x = data(6, 4, 3)
    i = numbers(x.size if axis is None else x.shape[axis], *shape)
    np.testing.assert_array_equal(value(lambda t, j: of.take(t, j, axis), x, i), np.take(x, i, axis))
    np.testing.assert_array_equal(value(lambda t: of.take(t, i.tolist(), axis), x), np.take(x, i, axis))
    same_slopes(lambda t, j: of.take(t, j, axis), x, i)


@pytest.mark.parametrize("mode", ["wrap", "clip"])
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_take_of_numbers_out_of_range(mode, dtype):
    x, i = data(5, 2), np.array([-12, -6, -5, -1, 0, 4, 5, 13], dtype)
    np.testing.assert_array_equal(value(lambda t, j: of.take(t, j, 0, mode), x, i), np.take(x, i, 0, mode=mode))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_along_axis(axis):
    x = data(4, 5, 3)
    i = np.argsort(x, axis)[(slice(None),) * (axis % 3) + (slice(1, 3),)]
    np.testing.assert_array_equal(value(lambda t, j: of.take_along_axis(t, j, axis), x, i), np.take_along_axis(x, i, axis))
    same_slopes(lambda t, j: of.take_along_axis(t, j, axis), x, i)


def test_take_along_axis_broadcasts_the_other_axes():
    x, i = data(4, 5, 3), numbers(5, 1, 2, 3)
    np.testing.assert_array_equal(
        value(lambda t, j: of.take_along_axis(t, j, 1), x, i), np.take_along_axis(x, np.broadcast_to(i, (4, 2, 3)), 1)
    )
    lone = data(1, 5, 1)
    i = numbers(5, 4, 2, 3)
    np.testing.assert_array_equal(
        value(lambda t, j: of.take_along_axis(t, j, 1), lone, i), np.take_along_axis(np.broadcast_to(lone, (4, 5, 3)), i, 1)
    )
    same_slopes(lambda t, j: of.take_along_axis(t, j, 1), lone, i)


def index_add(x, axis, i, source):
    """PyTorch's definition, written out."""
    x = x.copy()
    for place, number in enumerate(i):
        x[(slice(None),) * axis + (number,)] += np.take(source, place, axis)
    return x


@pytest.mark.parametrize(("axis", "width"), [(0, 3), (1, 3), (2, 3), (0, 700)])
def test_index_add_and_segment_sum(axis, width):
    x, count = data(6, 4, width), 9
    n = x.shape[axis]
    i = numbers(n, count)
    source = data(*x.shape[:axis], count, *x.shape[axis + 1 :], seed=SEED + 2)
    wanted = index_add(x, axis, i, source)
    np.testing.assert_allclose(value(lambda t, j, s: of.index_add(t, axis, j, s), x, i, source), wanted, atol=1e-12)
    sums = index_add(np.zeros_like(x), axis, i, source)
    np.testing.assert_allclose(value(lambda s, j: of.segment_sum(s, j, n, axis), source, i), sums, atol=1e-12)
    if width < 10:
        same_slopes(lambda t, j, s: of.index_add(t, axis, j, s), x, i, source)


@pytest.mark.parametrize("axis", [0, 1])
def test_scatter_add(axis):
    x = data(5, 4)
    shape = (7, 4) if axis == 0 else (5, 7)
    i, source = numbers(x.shape[axis], *shape), data(*shape, seed=SEED + 3)
    wanted = x.copy()
    np.add.at(wanted, (i, np.arange(4)) if axis == 0 else (np.arange(5)[:, None], i), source)
    np.testing.assert_allclose(value(lambda t, j, s: of.scatter_add(t, axis, j, s), x, i, source), wanted, atol=1e-12)
    same_slopes(lambda t, j, s: of.scatter_add(t, axis, j, s), x, i, source)


def test_more_elements_than_a_block():
    random = np.random.default_rng(SEED)
    x, i = random.integers(-9, 9, (3, 700, 40)).astype("float64"), random.integers(-700, 700, 900)
    taken = value(lambda t, j: of.take(t, j, 1), x, i)
    np.testing.assert_array_equal(taken, np.take(x, i, 1))
    wanted = index_add(np.zeros_like(x), 1, i, taken)
    np.testing.assert_array_equal(value(lambda s, j: of.segment_sum(s, j, 700, 1), taken, i), wanted)
    along = random.integers(0, 700, (3, 900, 40))
    np.testing.assert_array_equal(value(lambda t, j: of.take_along_axis(t, j, 1), x, along), np.take_along_axis(x, along, 1))
    wanted = np.zeros_like(x)
    np.add.at(wanted, (np.arange(3)[:, None, None], along, np.arange(40)), taken)
    np.testing.assert_array_equal(value(lambda t, j, s: of.scatter_add(t, 1, j, s), np.zeros_like(x), along, taken), wanted)


def test_one_hot():
    i = np.array([[0, 3], [4, -1]])
    found = value(lambda j: of.one_hot(j, 4), i)
    np.testing.assert_array_equal(found, (np.arange(4) == i[..., None]).astype("float32"))
    assert found.dtype == "float32" and value(lambda j: of.one_hot(j, 4, "int64"), i).dtype == "int64"


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("wrong", [-6, 5])
@pytest.mark.parametrize("name", ["take", "take_along_axis", "segment_sum", "scatter_sum"])
def test_numbers_out_of_range_are_errors(name, wrong):
    i = np.array([0, wrong])
    calls = {
        "take": lambda t: of.take(t, i), "take_along_axis": lambda t: of.take_along_axis(t, i),
        "segment_sum": lambda t: of.segment_sum(t[:2], i, 5), "scatter_sum": lambda t: of.scatter_add(t, 0, i, t[:2]),
    }  # fmt: skip
    with pytest.raises(IndexError, match=r"range\(-5, 5\)"):
        value(calls[name], data(5))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda x: of.take(x, x), "whole numbers, got f32"), (lambda x: of.take(x, [0], 2), "axis 2"),
        (lambda x: of.take(x, [0], 0, "no"), "not one of raise"), (lambda x: of.take_along_axis(x, [0]), "must have the 2 axes"),
        (lambda x: of.take_along_axis(x, [[0]] * 2, 1), "do not broadcast"), (lambda x: of.index_add(x, 0, [0, 1], x), "do not stand"),
        (lambda x: of.scatter_add(x, 0, [[0, 1]], x), "one number for each"),
    ],
)  # fmt: skip
def test_errors_name_the_users_line(wrong, said):
    with pytest.raises(ShapeError, match=rf"test_gather.*{said}"):
        of.compile(wrong, of.spec((5, 3)))


# ---------------------------------------------------------------- what may be split


def found(name, x, i, **attrs):
    return {str(s) for s in REGISTRY[name].signatures((TensorType(x), TensorType(i, "int64")), attrs, 2)}


def test_what_is_chosen_from_may_be_split():
    """Regression: a rank has nothing for the numbers of others, so results are sums, not shards."""
    passed = {"B,B -> B", "P,B -> P", "P(max),B -> P(max)", "P(min),B -> P(min)"}
    assert found("take", (6, 4), (5,), axis=0, count=6) == passed | {"S(0),B -> P", "S(1),B -> S(1)", "B,S(0) -> S(0)"}
    assert found("take_along_axis", (6, 4), (5, 4), axis=0, count=6) == passed | {"S(0),B -> P", "S(1),S(1) -> S(1)", "B,S(0) -> S(0)"}


def test_what_is_summed_into_may_be_split():
    passed = {"B,B -> B", "P,B -> P"}
    assert found("segment_sum", (5, 4), (5,), axis=0, count=6) == passed | {"S(0),S(0) -> P", "S(1),B -> S(1)", "B,B -> S(0)"}
    assert found("scatter_sum", (5, 4), (5, 4), axis=0, count=6) == passed | {"S(0),S(0) -> P", "S(1),S(1) -> S(1)", "B,B -> S(0)"}


@pytest.mark.parametrize(("mesh", "sbp"), [([0, 1, 2], of.S(0)), ([0, 1], of.S(1)), ([[0, 1], [2, 3]], (of.S(0), of.S(0)))])
@pytest.mark.parametrize("batches", [1, 2])
def test_programs_on_split_tables(mesh, sbp, batches):
    """The table is a parameter, and also rows of the batch are chosen from each other: micro-batches must not see them apart."""
    where = of.placement("cpu", mesh)
    count = 1 if isinstance(sbp, of.sbp.Sbp) else len(sbp)
    everywhere = of.B if count == 1 else (of.B,) * count
    x, i = data(4, 5).astype("float32"), numbers(7, 4, 3)

    class Net(of.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = of.nn.Parameter((7, 5), "float32", "normal", std=1.0)

        def forward(self, x, i):
            rows = of.take(self.table, i, 0)
            turned = of.take(x, of.constant([3, -1, 0, 2]), 0)
            along = of.take_along_axis(self.table, i[:2, :1], 0)
            summed = of.index_add(turned, 0, [1, 1, 2, 0], of.sum(rows, 1))
            return of.mean(of.square(summed)) + of.sum(along)

    def trained(layout, many):
        model = Net()
        model.table.to_global(where, layout)
        specs = of.spec((4, 5), "float32", where, everywhere), of.spec((4, 3), "int64", where, everywhere)
        program = of.compile(model, *specs, optimizer=of.optim.SGD(0.1), micro_batches=many, schedule="gpipe", seed=3)
        return [float(program(x, i)) for _ in range(3)], program.state_dict()["table"]

    losses, table = trained(sbp, batches)
    wanted, expected = trained(everywhere, 1)
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    np.testing.assert_allclose(table, expected, rtol=1e-5, atol=1e-6)
