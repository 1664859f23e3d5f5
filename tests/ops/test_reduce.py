"""Reductions against NumPy, their gradients, positions of extremes, and the same on split axes."""

import numpy as np
import pytest

import oflow as of
from oflow.errors import ShapeError
from tests.ops.traced import numeric, pullback, value

SEED = 303
AXES = [(None, False), (0, False), (1, True), ((0, 2), False), (-1, True)]


def data(*shape, seed=SEED):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(("axis", "keepdims"), AXES)
def test_values_are_numpys(axis, keepdims):
    x = data(4, 5, 3)
    for name in ("sum", "prod", "max", "min", "mean", "var", "std"):
        found = value(lambda t, n=name: getattr(of, n)(t, axis, keepdims=keepdims), x)
        np.testing.assert_allclose(found, getattr(np, name)(x, axis=axis, keepdims=keepdims), rtol=1e-12, err_msg=f"{name} seed {SEED}")
    marks = x > 1
    for name in ("any", "all", "count_nonzero"):
        for operand in (marks, np.trunc(x), np.trunc(x).astype("int64")):
            found = value(lambda t, n=name: getattr(of, n)(t, axis, keepdims=keepdims), operand)
            np.testing.assert_array_equal(found, getattr(np, name)(operand, axis=axis, keepdims=keepdims))
    for ddof in (0, 1):
        wanted = np.var(x, axis=axis, ddof=ddof, keepdims=keepdims)
        np.testing.assert_allclose(value(lambda t, d=ddof: of.var(t, axis, d, keepdims), x), wanted, rtol=1e-12)
    wanted = np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))
    np.testing.assert_allclose(value(lambda t: of.logsumexp(t, axis, keepdims), x), wanted, rtol=1e-12)


def test_conditions_are_counted():
    marks = data(4, 5) > 0
    for name in ("sum", "prod"):
        found = value(lambda t, n=name: getattr(of, n)(t, 0), marks)
        np.testing.assert_array_equal(found, getattr(np, name)(marks, axis=0))
        assert found.dtype == "int64"
    np.testing.assert_array_equal(value(lambda t: of.max(t, 0), marks), marks.max(0))


@pytest.mark.parametrize("order", [None, 0, 1, 2, 3, 0.5, np.inf, -np.inf])
def test_norms(order):
    x = data(4, 5)
    for axis in (0, 1):
        np.testing.assert_allclose(value(lambda t, a=axis: of.norm(t, order, a), x), np.linalg.norm(x, order, axis=axis), rtol=1e-12)
    np.testing.assert_allclose(value(lambda t: of.norm(t, order), x), np.linalg.norm(x.reshape(-1), order), rtol=1e-12)


def test_logsumexp_of_extreme_numbers():
    x = np.array([[1e4, 9999.0], [-1e4, -1e4], [-np.inf, -np.inf], [np.inf, 0.0], [-np.inf, 3.0]])
    np.testing.assert_allclose(value(lambda t: of.logsumexp(t, 1), x), np.logaddexp(x[:, 0], x[:, 1]), rtol=1e-12)


@pytest.mark.parametrize(("axis", "keepdims"), AXES)
def test_gradients(axis, keepdims):
    x = data(3, 4, 2)
    functions = [of.logsumexp, of.var, of.std, of.prod, of.mean, lambda t, a, keepdims: of.norm(t, None, a, keepdims)]
    functions += [lambda t, a, keepdims: of.norm(t, 3, a, keepdims), lambda t, a, keepdims: of.norm(t, np.inf, a, keepdims)]
    for i, made in enumerate(functions):
        function = lambda t, f=made: f(t, axis, keepdims=keepdims)  # noqa: E731
        g = data(*value(function, x).shape, seed=SEED + 1)
        (found,), (wanted,) = pullback(function, g, x), numeric(function, g, x)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7, err_msg=f"function {i}, seed {SEED}")


def test_gradient_of_softmax_sums_to_nothing():
    """The gradient of log-sum-exp is softmax, also far from 0."""
    x = data(3, 4) + np.array([[1e3], [-1e3], [0.0]])
    (found,) = pullback(lambda t: of.logsumexp(t, 1), np.ones(3), x)
    wanted = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(found, wanted / wanted.sum(1, keepdims=True), rtol=1e-12)


def test_gradients_where_there_is_no_derivative():
    ties = np.array([[2.0, 1.0, 2.0], [3.0, 3.0, 3.0], [0.0, 1.0, -1.0]])
    g = np.array([6.0, 3.0, 1.0])
    np.testing.assert_array_equal(pullback(lambda t: of.max(t, 1), g, ties)[0], [[3, 0, 3], [1, 1, 1], [0, 1, 0]])
    np.testing.assert_array_equal(pullback(lambda t: of.min(t, 1), g, ties)[0], [[0, 6, 0], [1, 1, 1], [0, 0, 1]])
    zeros = np.zeros((3, 3))
    for function in (lambda t: of.norm(t, axis=1), lambda t: of.std(t, 1)):
        np.testing.assert_array_equal(pullback(function, g, zeros)[0], zeros)


def test_gradient_of_a_product_with_zeros():
    x = np.array([[2.0, 3.0, 4.0], [2.0, 0.0, 4.0], [0.0, 3.0, 0.0]])
    np.testing.assert_array_equal(pullback(lambda t: of.prod(t, 1), np.ones(3), x)[0], [[12, 8, 6], [0, 8, 0], [0, 0, 0]])
    small = np.array([1e-200, 1e-200, 2.0])
    np.testing.assert_allclose(pullback(of.prod, np.ones(()), small)[0], [2e-200, 2e-200, 0.0], err_msg="the product itself is 0")


@pytest.mark.parametrize("split", [False, True])
def test_positions_of_extremes(split):
    x = np.trunc(2 * data(4, 5, 3))
    x[1, 2, 0] = np.nan
    for name in ("argmax", "argmin"):
        for axis, keepdims in ((0, False), (1, True), (-1, False), (None, False), (None, True)):
            found = value(lambda t, n=name, a=axis, k=keepdims: getattr(of, n)(t, a, k, split=split), x)
            np.testing.assert_array_equal(found, getattr(np, name)(x, axis=axis, keepdims=keepdims), err_msg=f"seed {SEED}")


def test_axes_and_counts_that_do_not_exist():
    with pytest.raises(ShapeError, match="is not an axis"):
        value(lambda t: of.prod(t, 2), data(3, 4))
    with pytest.raises(ShapeError, match="too few"):
        value(lambda t: of.var(t, 0, ddof=3), data(3, 4))


# ------------------------------------------------------------ on split axes


@pytest.mark.parametrize("size", [2, 7])
def test_a_split_axis_needs_no_gathering(size):
    """Uneven shards and a rank with nothing at all; what travels is as large as the results."""
    where = of.placement("cpu", [0, 1, 2])
    x = np.trunc(3 * data(4, size))
    functions = {
        "argmax": lambda t: of.argmax(t, 1, split=True), "argmin": lambda t: of.argmin(t, 1, split=True),
        "logsumexp": lambda t: of.logsumexp(t, 1), "var": lambda t: of.var(t, 1), "norm": lambda t: of.norm(t, np.inf, 1),
        "any": lambda t: of.any(t > 3, 1), "all": lambda t: of.all(t > -3, 1), "log": lambda t: of.log(of.max(t, 1) + 20.0),
        "count": lambda t: of.count_nonzero(t, 1), "clip": lambda t: of.clip(-2.0 * of.max(t, 1) + 1.0, -5.0, None) < 0,
    }  # fmt: skip
    program = of.compile(lambda t: {k: f(t) for k, f in functions.items()}, of.spec(x.shape, "float64", where, of.S(1)))
    with program as step:
        found = step(x)
    for name, function in functions.items():
        np.testing.assert_allclose(found[name], value(function, x), rtol=1e-12, err_msg=f"{name} seed {SEED}")
    np.testing.assert_array_equal(found["argmax"], x.argmax(1))
