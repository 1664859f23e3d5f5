"""Sorting against NumPy: ties, NaN, both orders, gradients; the k largest; positions in sorted numbers."""

import numpy as np
import pytest

import oflow as of
from oflow.errors import ShapeError
from tests.ops.traced import pullback, value

SEED = 505


def tied(*shape):
    """Whole numbers with ties."""
    return np.random.default_rng(SEED).integers(-3, 4, shape).astype("float64")


def descending_order(x, axis):
    """Stable, the largest first, NaN before all: by the definition, on keys (x has no inf)."""
    key = np.where(np.isnan(x), -np.inf, -x)
    return np.argsort(key, axis=axis, stable=True)


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_sort_and_argsort(axis):
    x = tied(6, 9, 4)
    x[2, 3], x[0, 0, 0] = np.nan, -np.inf
    flat = x.reshape(-1) if axis is None else x
    at = 0 if axis is None else axis
    np.testing.assert_array_equal(value(lambda t: of.sort(t, axis), x), np.sort(x, axis=axis), err_msg=f"seed {SEED}")
    np.testing.assert_array_equal(value(lambda t: of.argsort(t, axis), x), np.argsort(x, axis=axis, stable=True))
    down = descending_order(flat, at)
    np.testing.assert_array_equal(value(lambda t: of.argsort(t, axis, descending=True), x), down)
    np.testing.assert_array_equal(value(lambda t: of.sort(t, axis, descending=True), x), np.take_along_axis(flat, down, at))


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
@pytest.mark.parametrize("k", [0, 1, 3, 9])
@pytest.mark.parametrize("axis", [0, 1])
def test_topk(dtype, k, axis):
    x = np.abs(tied(9, 9)).astype(dtype)
    if dtype == "float32":
        x[1, :3], x[:, 4] = np.nan, np.nan
    for largest in (True, False):
        order = (descending_order(x.astype("float64"), axis) if largest else np.argsort(x, axis=axis, stable=True)).take(range(k), axis)
        values, positions = value(lambda t, n=largest: of.topk(t, k, axis, n), x)
        np.testing.assert_array_equal(positions, order, err_msg=f"seed {SEED}")
        np.testing.assert_array_equal(values, np.take_along_axis(x, order, axis))


def test_gradients_go_back_to_where_values_came_from():
    x, g = np.array([[3.0, 1.0, 3.0, 2.0]]), np.array([[1.0, 10.0, 100.0, 1000.0]])
    np.testing.assert_array_equal(pullback(of.sort, g, x)[0], [[100, 1, 1000, 10]])
    np.testing.assert_array_equal(pullback(lambda t: of.sort(t, descending=True), g, x)[0], [[1, 1000, 10, 100]])
    np.testing.assert_array_equal(pullback(lambda t: of.topk(t, 2), g[:, :2], x)[0], [[1, 0, 10, 0]])
    np.testing.assert_array_equal(pullback(lambda t: of.topk(t, 2, largest=False), g[:, :2], x)[0], [[0, 1, 0, 10]])


def test_searchsorted():
    a, v = np.sort(tied(20)), tied(5, 6) + 0.5 * (tied(5, 6) > 0)
    for side in ("left", "right"):
        np.testing.assert_array_equal(value(lambda a, v, s=side: of.searchsorted(a, v, s), a, v), np.searchsorted(a, v, side=side))


def test_errors():
    with pytest.raises(ShapeError, match="k is 5"):
        value(lambda t: of.topk(t, 5), tied(3, 4))
    with pytest.raises(ShapeError, match="side"):
        value(lambda a: of.searchsorted(a, a, "middle"), tied(3))
    with pytest.raises(ShapeError, match="one axis"):
        value(lambda a: of.searchsorted(a, a), tied(3, 3))


def test_on_shards():
    where, x = of.placement("cpu", [0, 1, 2]), tied(7, 5)
    with of.compile(lambda t: (of.sort(t, 1), *of.topk(t, 2, 1)), of.spec(x.shape, "float64", where, of.S(0))) as step:
        ordered, values, positions = step(x)
    np.testing.assert_array_equal(ordered, np.sort(x, 1))
    np.testing.assert_array_equal((values, positions), value(lambda t: of.topk(t, 2, 1), x))
