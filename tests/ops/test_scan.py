"""Scans against their definitions, gradients with zeros and ties, directions."""

import numpy as np
import pytest

import oflow as of
from oflow.errors import ShapeError
from tests.ops.traced import numeric, pullback, value

SEED = 404


def data(*shape, seed=SEED):
    return np.random.default_rng(seed).standard_normal(shape)


def directed(function, x, axis, reverse, exclusive=False, first=0.0):
    """`function` accumulates along an axis; the rest is written out with flips."""
    x = np.flip(x, axis) if reverse else x
    y = function(x, axis=axis)
    if exclusive:
        start = np.full_like(np.take(y, [0], axis), first)
        y = np.concatenate([start, np.delete(y, -1, axis)], axis)
    return np.flip(y, axis) if reverse else y


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("reverse", [False, True])
def test_values(axis, reverse):
    x = data(4, 5, 3)
    for exclusive in (False, True):
        choices = {"reverse": reverse, "exclusive": exclusive}
        for name, first in (("cumsum", 0.0), ("cumprod", 1.0)):
            wanted = directed(getattr(np, name), x, axis, reverse, exclusive, first)
            found = value(lambda t, n=name, c=choices: getattr(of, n)(t, axis, **c), x)
            np.testing.assert_allclose(found, wanted, rtol=1e-12, err_msg=f"seed {SEED}")
    for name, function in (("cummax", np.maximum), ("cummin", np.minimum), ("logcumsumexp", np.logaddexp)):
        found = value(lambda t, n=name: getattr(of, n)(t, axis, reverse=reverse), x)
        np.testing.assert_allclose(found, directed(function.accumulate, x, axis, reverse), rtol=1e-12, err_msg=f"{name} seed {SEED}")


def test_no_axis_is_the_flattened_array():
    x = data(4, 5)
    np.testing.assert_allclose(value(of.cumsum, x), np.cumsum(x))
    np.testing.assert_array_equal(value(of.cumsum, x > 0), np.cumsum(x > 0))
    np.testing.assert_allclose(value(of.cumprod, x), np.cumprod(x))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
def test_gradient_of_a_running_product_with_zeros(reverse, exclusive):
    x = np.array([[2.0, 0.0, 3.0, -1.0, 0.0, 2.0], [1.0, 2.0, -3.0, 4.0, 0.5, 2.0]])
    g = data(2, 6)
    function = lambda t: of.cumprod(t, 1, reverse=reverse, exclusive=exclusive)  # noqa: E731
    np.testing.assert_allclose(pullback(function, g, x)[0], numeric(function, g, x)[0], rtol=1e-6, atol=1e-6, err_msg=f"seed {SEED}")


def test_gradient_of_a_running_extreme_goes_to_the_last_of_equals():
    x, g = np.array([1.0, 3.0, 2.0, 3.0, 0.0]), np.array([1.0, 10.0, 100.0, 1000.0, 10000.0])
    np.testing.assert_array_equal(pullback(of.cummax, g, x)[0], [1, 110, 0, 11000, 0])
    np.testing.assert_array_equal(pullback(of.cummin, g, x)[0], [1111, 0, 0, 0, 10000])
    np.testing.assert_array_equal(pullback(lambda t: of.cummax(t, reverse=True), g, x)[0], [0, 11, 0, 1100, 10000])


def test_extreme_numbers():
    x = np.array([-1e4, 1e4, 5.0, 1e4])
    np.testing.assert_allclose(value(of.logcumsumexp, x), np.logaddexp.accumulate(x))
    (slopes,) = pullback(of.logcumsumexp, np.array([0.0, 0.0, 0.0, 1.0]), x)
    np.testing.assert_allclose(slopes, [0.0, 0.5, 0.0, 0.5], atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_recurrence(reverse):
    x, a, g = data(3, 6), data(3, 6, seed=1), data(3, 6, seed=2)
    a[:, 2] = 0
    wanted, h = np.zeros_like(x), np.zeros(3)
    for i in range(6)[:: -1 if reverse else 1]:
        h = wanted[:, i] = x[:, i] + a[:, i] * h
    function = lambda x, a: of.recurrence(x, a, 1, reverse=reverse)  # noqa: E731
    np.testing.assert_allclose(value(function, x, a), wanted, rtol=1e-12, err_msg=f"seed {SEED}")
    for found, slopes in zip(pullback(function, g, x, a), numeric(function, g, x, a), strict=True):
        np.testing.assert_allclose(found, slopes, rtol=1e-6, atol=1e-7)
    with pytest.raises(ShapeError, match="one shape"):
        value(of.recurrence, x, a[0])


def test_empty_axes():
    for function in (of.cumsum, of.cumprod, of.cummax, lambda t, axis: of.recurrence(t, t, axis)):
        assert value(lambda t, f=function: f(t, 1), np.zeros((3, 0))).shape == (3, 0)
        assert value(lambda t, f=function: f(t, 1), np.zeros((0, 3))).shape == (0, 3)
