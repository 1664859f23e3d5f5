"""The compiled form of matmul: any spec, against einsum, on whole numbers, to the bit."""

import dataclasses

import numpy as np
import pytest

from oflow.backends.compiled import direct
from oflow.backends.compiled.form import FORMS
from oflow.backends.compiled.matmul import axes_of, best, joined
from oflow.errors import KernelMissing
from oflow.native import available
from oflow.native.blas import blas, symbol
from oflow.ops import REGISTRY
from oflow.ops.matmul import _einsum, split_spec

needs_numba = pytest.mark.skipif(not available(), reason="numba is not installed")
SEED = 20240817


def whole(rng, shape, dtype):
    return rng.integers(-5, 6, shape).astype(dtype)


def run(spec, out, a, b, accumulate=False):
    call = dataclasses.replace(direct.call_of("matmul", [out], [a, b], {"spec": spec}), accumulate=accumulate)
    steps = FORMS["matmul"](call)
    assert direct.bind(steps, (out, a, b))() == 0


def check(spec, sizes, dtype="float32", rng=None, accumulate=False):
    rng = rng or np.random.default_rng(SEED)
    left, right, result = ([sizes[f] for f in part.split()] for part in split_spec(spec))
    a, b, start = (whole(rng, shape, dtype) for shape in (left, right, result))
    got = start.copy()
    run(spec, got, a, b, accumulate)
    want = np.einsum(_einsum(spec), a, b) + (start if accumulate else 0)
    np.testing.assert_array_equal(got, want, err_msg=f"seed {SEED}: {spec} {sizes} {dtype} accumulate={accumulate}")


SPECS = [
    "m k, k n -> m n", "k m, k n -> m n", "m k, n k -> m n", "k m, n k -> m n",
    "m k, k n -> n m", "k m, k n -> n m", "m k, n k -> n m", "k m, n k -> n m",
    "b t k, n k -> b t n", "b t k, b t n -> n k", "b t n, n k -> b t k",
    "b t h d, b s h d -> b h t s", "b h t s, b s h d -> b t h d", "b h t s, b t h d -> b s h d",
    "k, k n -> n", "m k, k -> m", "k, k ->", "m, n -> m n", "b k, b k -> b", "m b k, b k n -> b m n",
    "b t h d, n h d -> b t n", "b t h d, h n d -> b t n", "h d n, b h t d -> b t n", "m j k, k j n -> m n",
    "b c m k, c b k n -> m b n c",
]  # fmt: skip
SIZES = {"m": 5, "n": 7, "k": 6, "b": 2, "t": 3, "s": 4, "h": 3, "d": 5, "j": 2, "c": 3}


@needs_numba
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("spec", SPECS)
def test_a_spec_gives_the_bits_of_einsum(spec, dtype, accumulate):
    check(spec, SIZES, dtype, accumulate=accumulate)


@needs_numba
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("spec", SPECS)
def test_axes_of_size_one_and_none(spec, accumulate):
    for factor in {*spec.replace(",", " ").replace("->", " ").split()}:
        for size in (0, 1):
            check(spec, {**SIZES, factor: size}, accumulate=accumulate)


@needs_numba
def test_matrices_that_blas_cannot_read():
    check("m k b, k n b -> m n b", {"m": 5, "n": 7, "k": 6, "b": 9})


def test_whole_numbers_have_no_form():
    types = [np.zeros((2, 2), "int64")] * 3
    assert FORMS["matmul"](direct.call_of("matmul", types[:1], types[1:], {"spec": "m k, k n -> m n"})) is None


@needs_numba
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("cuts", [(2, 3, 1), (0, 4, 2), (6,)])
@pytest.mark.parametrize("spec", SPECS)
def test_an_operand_may_come_in_pieces(spec, cuts, accumulate):
    """Any operand, along any axis, uneven and empty pieces: the product of the whole, by the form and by NumPy's kernel."""
    parts = [part.split() for part in spec.replace("->", ",").split(",")]
    factors = sorted({f for part in parts for f in part})
    rng = np.random.default_rng(SEED)
    for operand in (0, 1):
        for axis, factor in enumerate(parts[operand]):
            sizes = {f: 2 + i for i, f in enumerate(factors)} | {factor: sum(cuts)}
            a, b = (rng.integers(-3, 4, [sizes[f] for f in part]).astype("float32") for part in parts[:2])
            want = np.full([sizes[f] for f in parts[2]], 7.0, "float32")
            whole = np.empty_like(want)
            REGISTRY["matmul"].run(whole, a, b, spec=spec)
            pieces = np.split((a, b)[operand], np.cumsum(cuts)[:-1], axis)
            ins = [np.ascontiguousarray(x) for x in ([*pieces, b] if operand == 0 else [a, *pieces])]
            attrs = {"spec": spec, "pieces": ((operand, axis),)}
            if len(cuts) == 1:
                attrs = {"spec": spec}
            if not accumulate:
                REGISTRY["matmul"].run(want, *ins, **attrs)
                np.testing.assert_array_equal(want, whole)
            got = np.full_like(whole, 7.0)
            call = dataclasses.replace(direct.call_of("matmul", [got], ins, attrs), accumulate=accumulate)
            assert direct.bind(FORMS["matmul"](call), (got, *ins))() == 0
            np.testing.assert_array_equal(got, whole + 7 if accumulate else whole)


@needs_numba
def test_random_specs():
    """Up to two axes of each kind, in any order in each place."""
    rng = np.random.default_rng(SEED)
    for _ in range(300):
        kinds = {kind: [f"{kind}{i}" for i in range(rng.integers(0, 3))] for kind in "bmnk"}
        places = ["bmk", "bkn", "bmn"]
        parts = [list(rng.permutation([f for kind in kinds_of for f in kinds[kind]])) for kinds_of in places]
        spec = f"{' '.join(parts[0])}, {' '.join(parts[1])} -> {' '.join(parts[2])}"
        sizes = {f: int(rng.integers(1, 8)) for part in parts for f in part}
        check(spec, sizes, "float32", rng, accumulate=bool(rng.integers(2)))


@needs_numba
@pytest.mark.parametrize("shape", [(64, 64, 64), (1, 300, 200), (300, 1, 200), (33, 65, 1), (129, 3, 257)])
def test_larger_products(shape):
    for spec in SPECS[:8]:
        check(spec, dict(zip("mnk", shape, strict=True)))


@needs_numba
def test_nan_stands_where_numpy_has_it():
    a, b = np.ones((9, 8), "float32"), np.ones((8, 10), "float32")
    a[3, 2], b[1, 4] = np.nan, np.inf
    got = np.full((9, 10), np.nan, "float32")
    run("m k, k n -> m n", got, a, b)
    np.testing.assert_array_equal(got, a @ b)


def test_neighbouring_axes_become_one():
    axes = joined(axes_of("b t k, n k -> b t n", {"b": 2, "t": 3, "k": 6, "n": 7}, ((18, 6, 1), (6, 1), (21, 7, 1))))
    assert [len(axes[kind]) for kind in ("batch", "row", "column", "summed")] == [0, 1, 1, 1]
    found = best(axes)
    assert (found.routine, found.rows.size, found.columns.size, found.summed.size, found.loops) == ("matrices", 6, 7, 6, ())


def test_the_library_of_numpy_has_both_products():
    found = blas()
    assert found.integer_bits in (32, 64)
    assert len({symbol(name) for name in ("gemm.float32", "gemm.float64", "gemv.float32", "gemv.float64")}) == 4


def test_what_is_missing_is_named():
    with pytest.raises(KernelMissing, match="numpy, mkl"):
        blas("netlib")
    with pytest.raises(KernelMissing, match=r"gemm\.float64"):
        symbol("gemm.int64")




@needs_numba
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_was_there_is_not_read(dtype):
    """A product that overwrites NaN."""
    for m, n, k in [(1, 1, 1), (2, 3, 4), (9, 8, 7), (1, 40, 30), (40, 1, 30), (1, 1, 99), (70, 80, 90)]:
        got = np.full((m, n), np.nan, dtype)
        run("m k, k n -> m n", got, np.ones((m, k), dtype), np.ones((k, n), dtype))
        np.testing.assert_array_equal(got, k)
