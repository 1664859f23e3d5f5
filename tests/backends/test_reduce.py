"""Compiled reductions: random shapes and axes of every dtype against NumPy, NaN, ties, long rows."""

import itertools

import numpy as np
import pytest

from oflow.backends.compiled.reduce import groups_of
from oflow.native import available
from tests.backends.pairs import build, compiled

pytestmark = pytest.mark.skipif(not available(), reason="numba is not installed")
SEED = 90210
REFERENCE = {"sum": np.sum, "max": np.max, "min": np.min}
FIRST = {"max": -np.inf, "min": np.inf}


DTYPES = ["float32", "float64", "int64", "int32", "uint8"]


@pytest.fixture(scope="module", autouse=True)
def built():
    matrices = [np.zeros((3, 3), dtype) for dtype in DTYPES]
    axes = [{"axes": (axis,), "keepdims": False} for axis in (0, 1)]
    build([(how, [x], attrs) for x in matrices for how in REFERENCE for attrs in axes])
    build([("argmax", [x], {"axis": axis}) for x in matrices for axis in (0, 1)])


def subsets(rank):
    return itertools.chain.from_iterable(itertools.combinations(range(rank), k) for k in range(rank + 1))


@pytest.mark.parametrize("how", REFERENCE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_axes(how, dtype):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    for shape in [(), (1,), (70,), (9, 33), (3, 5, 7), (2, 1, 19, 3), (2, 3, 4, 5), (2, 3, 2, 3, 4)]:
        x = rng.integers(0, 100, shape).astype(dtype)
        for axes in subsets(len(shape)):
            for keepdims in (False, True):
                found = compiled(how, [x], {"axes": axes, "keepdims": keepdims})
                if found is None:
                    assert axes == (0, 2, 4)  # reduced, kept, reduced, kept, reduced
                    continue
                want = REFERENCE[how](x, axis=axes, keepdims=keepdims)
                np.testing.assert_array_equal(found[1][0], np.asarray(want).astype(dtype), f"{how} {shape} {axes}")


def test_many_groups_of_axes_are_left_to_numpy():
    x = np.zeros((2,) * 6, "float32")
    assert groups_of(x.shape, (0, 2, 4)) == [(i % 2 == 0, 2) for i in range(6)]
    for axes in [(0, 2, 4), (1, 3, 5)]:
        assert compiled("sum", [x], {"axes": axes, "keepdims": False}) is None


@pytest.mark.parametrize("how", REFERENCE)
def test_reductions_of_nothing(how):
    for shape, axes in [((0, 3), (0,)), ((3, 0), (1,)), ((0, 3), (1,)), ((2, 0, 3), (0, 1)), ((2, 3, 0), (1,))]:
        _, (got,) = compiled(how, [np.zeros(shape, "float32")], {"axes": axes, "keepdims": False})
        assert (got == FIRST.get(how, 0.0)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("how", ["max", "min"])
def test_nan_wins(how, dtype):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    for _ in range(20):
        x = rng.standard_normal((int(rng.integers(1, 40)), int(rng.integers(1, 90)))).astype(dtype)
        x[rng.random(x.shape) < 0.02] = np.nan
        x[rng.random(x.shape) < 0.05] = rng.choice([np.inf, -np.inf])
        for axes in subsets(2):
            _, (got,) = compiled(how, [x], {"axes": axes, "keepdims": False})
            np.testing.assert_array_equal(got, REFERENCE[how](x, axis=axes))


def test_long_sums_keep_their_digits():
    print(f"seed {SEED}")
    x = np.random.default_rng(SEED).random((2, 3_000_001)).astype("float32")
    _, (got,) = compiled("sum", [x], {"axes": (1,), "keepdims": False})
    np.testing.assert_allclose(got, x.astype("float64").sum(1), rtol=2e-7)
    wide = np.random.default_rng(SEED).random((61, 9001)).astype("float32")
    _, (got,) = compiled("sum", [wide], {"axes": (0,), "keepdims": False})
    np.testing.assert_allclose(got, wide.astype("float64").sum(0), rtol=2e-6)


def test_sums_can_be_added_to_what_is_there():
    x = np.arange(60.0).reshape(3, 4, 5)
    for axes in subsets(3):
        _, (got,) = compiled("sum", [x], {"axes": axes, "keepdims": False}, accumulate=True)
        np.testing.assert_array_equal(got, 77 + x.sum(axes))
    assert compiled("max", [x], {"axes": (0,), "keepdims": False}, accumulate=True) is None


@pytest.mark.parametrize("dtype", [*DTYPES, "bool"])
def test_argmax_is_the_first_largest_or_the_first_nan(dtype):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    for shape in [(1,), (2000,), (40, 1100), (5, 70, 3), (2, 3, 4, 17)]:
        for top in (3, 1000):
            x = rng.integers(0, 2 if dtype == "bool" else min(top, 255), shape).astype(dtype)
            if dtype.startswith("float"):
                x[rng.random(shape) < 0.003] = np.nan
                x[rng.random(shape) < 0.003] = -np.inf
            for axis in range(len(shape)):
                _, (got,) = compiled("argmax", [x], {"axis": axis})
                np.testing.assert_array_equal(got, np.argmax(x, axis=axis))
    assert compiled("argmax", [np.zeros((3, 0), dtype)], {"axis": 1}) is None
