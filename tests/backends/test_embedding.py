"""Compiled embedding: random tables whole and split, repeated numbers, numbers out of range, adding to what is there."""

import numpy as np
import pytest

from oflow.backends.compiled.form import OUT_OF_RANGE
from oflow.native import available
from tests.backends.pairs import compiled, plain

pytestmark = pytest.mark.skipif(not available(), reason="numba is not installed")
SEED = 31337


def cases(dtype):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    for shape, rows, d in [((7,), 5, 3), ((4, 9), 64, 16), ((300,), 3, 33), ((0,), 4, 2), ((2, 3, 5), 1000, 257)]:
        ids = rng.integers(0, rows, shape)
        yield ids, rng.standard_normal((rows, d)).astype(dtype), rng.standard_normal((*shape, d)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lookup_and_gradient_of_whole_and_split_tables(dtype):
    for ids, table, g in cases(dtype):
        rows = len(table)
        for start, stop in [(0, rows), (0, rows // 2), (rows // 2, rows), (rows // 3, rows // 3)]:
            here = {"rows": rows, "offset": start}
            status, (got,) = compiled("embedding", [ids, np.ascontiguousarray(table[start:stop])], here)
            assert status == 0
            inside = (ids >= start) & (ids < stop)
            np.testing.assert_array_equal(got, np.where(inside[..., None], table[ids], 0))
        status, (got,) = compiled("embedding_grad", [ids, g], {"rows": rows})
        want = np.zeros(table.shape, dtype)
        np.add.at(want, ids.reshape(-1), g.reshape(-1, g.shape[-1]))  # in the order of the positions
        assert status == 0
        np.testing.assert_array_equal(got, want)
        np.testing.assert_allclose(got, plain("embedding_grad", [ids, g], {"rows": rows})[0], rtol=1e-4, atol=1e-4)


def test_whole_numbers_and_bools_can_be_looked_up():
    ids = np.array([2, 0, 2])
    for dtype in ("int64", "int32", "uint8", "bool"):
        table = np.arange(9).reshape(3, 3).astype(dtype)
        np.testing.assert_array_equal(compiled("embedding", [ids, table], {"rows": 3})[1][0], table[ids])


@pytest.mark.parametrize("wrong", [-1, 5, 2**40, -(2**62)])
def test_numbers_out_of_range_are_a_status_and_nothing_is_written(wrong):
    ids = np.array([0, 4, wrong, 1])
    status, (got,) = compiled("embedding", [ids, np.ones((5, 2), "float32")], {"rows": 5})
    assert status == OUT_OF_RANGE and (got == 77).all()
    assert compiled("embedding_grad", [ids, np.ones((4, 2), "float32")], {"rows": 5})[0] == OUT_OF_RANGE


def test_adding_to_what_is_there():
    for ids, table, g in cases("float32"):
        attrs = {"rows": len(table)}
        _, (got,) = compiled("embedding", [ids, table], attrs, accumulate=True)
        np.testing.assert_array_equal(got, table[ids] + np.float32(77))
        _, (got,) = compiled("embedding_grad", [ids, g], attrs, accumulate=True)
        want = np.full(table.shape, 77, "float32")
        np.add.at(want, ids.reshape(-1), g.reshape(-1, g.shape[-1]))
        np.testing.assert_array_equal(got, want)
