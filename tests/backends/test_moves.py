"""The compiled forms of the moving operators: random shapes and axes against the NumPy kernels, to the bit."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from oflow.backends.compiled import direct
from oflow.backends.compiled.form import FORMS, kernel
from oflow.backends.compiled.moves import Axis, joined
from oflow.native import addresses, available
from oflow.ops import REGISTRY
from oflow.types import DTYPES as ALL
from oflow.types import HALF

DTYPES = [dtype for dtype in ALL if dtype not in HALF]

pytestmark = pytest.mark.skipif(not available(), reason="numba is not installed")
SEED = 77191
JOINS = ("sum", "max", "min")


def values(rng, shape, dtype):
    return rng.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)


def run(op, out, ins, attrs, accumulate=False):
    steps = FORMS[op](dataclasses.replace(direct.call_of(op, [out], ins, attrs), accumulate=accumulate))
    assert steps is not None
    assert direct.bind(steps, (out, *ins))() == 0
    return out


def check(rng, op, shape, ins, attrs):
    """The form against the NumPy kernel, overwriting and (floats) adding."""
    dtype = attrs.get("dtype", ins[0].dtype if ins else None)
    want = np.empty(shape, dtype)
    REGISTRY[op].run(want, *ins, **attrs)
    said = f"seed {SEED}: {op} of {[a.shape for a in ins]} {want.dtype} {attrs}"
    got = run(op, np.full(shape, 99).astype(dtype), ins, attrs)
    np.testing.assert_array_equal(got, want, err_msg=said)
    if want.dtype.kind == "f" and op != "cast":
        start = values(rng, shape, dtype)
        np.testing.assert_array_equal(run(op, start.copy(), ins, attrs, accumulate=True), start + want, err_msg=f"adding, {said}")


def shapes(rng, low=0, high=6, largest=6):
    return tuple(int(n) for n in rng.integers(1, largest, rng.integers(low, high)))


@pytest.fixture(scope="module", autouse=True)
def built():
    """All routines at once: one child process for each would take its imports' time each."""
    moves = [kernel("moves", "move", dtype, how) for dtype in DTYPES for how in JOINS]
    copies = [kernel("moves", "move", dtype, "copy") for dtype in ("uint8", "int32", "int64")]
    addresses([*moves, *copies, *(kernel("moves", "cast", a, b) for a in DTYPES for b in DTYPES if a != b)])


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose(rng, dtype):
    for shape in [(), (0, 3), (40, 50), (3, 33, 17), (2, 5, 3, 64), *(shapes(rng, 1) for _ in range(30))]:
        axes = tuple(int(a) for a in rng.permutation(len(shape)))
        check(rng, "transpose", tuple(shape[a] for a in axes), [values(rng, shape, dtype)], {"axes": axes})


@pytest.mark.parametrize("dtype", DTYPES)
def test_broadcast(rng, dtype):
    for big in [(), (3, 0, 2), (7, 300), (300, 7), *(shapes(rng) for _ in range(30))]:
        small = [1 if rng.integers(2) else n for n in big[rng.integers(0, len(big) + 1) :]]
        check(rng, "broadcast_to", big, [values(rng, small, dtype)], {"shape": big})


@pytest.mark.parametrize("dtype", DTYPES)
def test_slice_and_pad(rng, dtype):
    for shape in [(5, 700), (20, 30, 40), *(shapes(rng, 1) for _ in range(30))]:
        starts = tuple(int(rng.integers(0, n)) for n in shape)
        stops = tuple(int(rng.integers(a, n + 1)) for a, n in zip(starts, shape, strict=True))
        cut = tuple(b - a for a, b in zip(starts, stops, strict=True))
        check(rng, "slice", cut, [values(rng, shape, dtype)], {"starts": starts, "stops": stops})
        check(rng, "pad", shape, [values(rng, cut, dtype)], {"starts": starts, "shape": shape})


@pytest.mark.parametrize("dtype", DTYPES)
def test_slice_and_pad_with_steps_and_values(rng, dtype):
    for shape in [(5, 700), (700, 3), (20, 30, 40), *(shapes(rng, 1) for _ in range(20))]:
        spans = [range(n)[:: int(rng.choice([-3, -1, 1, 2]))] for n in shape]
        steps, cut = tuple(r.step for r in spans), tuple(map(len, spans))
        starts, stops = tuple(r.start for r in spans), tuple(r.stop for r in spans)
        check(rng, "slice", cut, [values(rng, shape, dtype)], {"starts": starts, "stops": stops, "steps": steps})
        check(rng, "pad", shape, [values(rng, cut, dtype)], {"starts": starts, "shape": shape, "steps": steps})
        filled = {"starts": starts, "shape": shape, "steps": steps, "value": 1}
        want, got = np.empty(shape, dtype), np.empty(shape, dtype)
        x = values(rng, cut, dtype)
        REGISTRY["pad"].run(want, x, **filled)
        np.testing.assert_array_equal(run("pad", got, [x], filled), want, err_msg=f"seed {SEED}: {shape} {filled}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_concat_reshape_accumulate_and_full(rng, dtype):
    for shape in [(0, 3), (4, 300), *(shapes(rng, 1) for _ in range(20))]:
        axis = int(rng.integers(len(shape)))
        parts = [(*shape[:axis], int(rng.integers(0, 5)), *shape[axis + 1 :]) for _ in range(3)]
        whole = (*shape[:axis], sum(p[axis] for p in parts), *shape[axis + 1 :])
        check(rng, "concat", whole, [values(rng, p, dtype) for p in parts], {"axis": axis})
        check(rng, "reshape", (math.prod(shape),), [values(rng, shape, dtype)], {"shape": (math.prod(shape),)})
        check(rng, "accumulate", shape, [values(rng, shape, dtype)], {})
        check(rng, "full", shape, [], {"shape": shape, "dtype": dtype, "value": 1})


@pytest.mark.parametrize("value", [-2.5, math.inf, math.nan, 1e-300])
def test_full_of_special_values(rng, value):
    for dtype in ("float32", "float64"):
        check(rng, "full", (3, 5), [], {"shape": (3, 5), "dtype": dtype, "value": value})


def test_full_of_a_number_that_does_not_fit_is_an_error():
    with pytest.raises(OverflowError):
        run("full", np.zeros(3, "uint8"), [], {"shape": (3,), "dtype": "uint8", "value": 300})


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_cast(rng, source, target):
    for size in (0, 1, 7, 130):
        x = (rng.standard_normal(size) * 60).astype(source)
        if target == "uint8" and x.dtype.kind == "f":
            x = np.abs(x)
        check(rng, "cast", (size,), [x], {"dtype": target})
    limits = np.array([0, 1, 2**31 - 1, 2**31, 2**40 + 3, -(2**31), 255, 256, -1], "int64").astype(source)
    if limits.dtype.kind != "f" or target in ("float32", "float64", "bool", "int64"):
        check(rng, "cast", limits.shape, [limits], {"dtype": target})
    if limits.dtype.kind == "f" and target in ("float32", "float64", "bool"):
        check(rng, "cast", (5,), [np.array([np.nan, np.inf, -np.inf, -0.0, 1e-40], source)], {"dtype": target})


# ---------------------------------------------------------------- boxing


def box(rng, shape, sizes):
    starts = [int(rng.integers(0, n - size + 1)) for n, size in zip(shape, sizes, strict=True)]
    return tuple((a, a + size) for a, size in zip(starts, sizes, strict=True))


@pytest.mark.parametrize("op", JOINS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_boxing(rng, dtype, op):
    """Parts of an axis from several sources, each place given once or more; some places by none."""
    for flat, number in itertools.product([False, True], range(12)):
        shape = tuple(int(n) for n in rng.integers(2, 7, rng.integers(1, 4)))
        room = (math.prod(shape),) if flat else shape
        sources = [values(rng, tuple(n + 2 for n in shape), dtype) for _ in range(3)]
        held = (sources[0].size,) if flat else sources[0].shape
        axis = int(rng.integers(len(room)))
        cut = int(rng.integers(1, room[axis]))
        pulls = []
        for low, high in ((0, cut), (cut, room[axis]))[: 1 + number % 2]:
            put = tuple((low, high) if i == axis else (0, n) for i, n in enumerate(room))
            for source in rng.permutation(3)[: rng.integers(1, 4)]:
                pulls.append((int(source), box(rng, held, [b - a for a, b in put]), put))
        attrs = {"pulls": tuple(pulls), "flat": flat, "op": op}
        check_overwrites(shape, sources, attrs)
        if op == "sum" and sources[0].dtype.kind == "f":
            check(rng, "boxing", shape, sources, attrs)


def check_overwrites(shape, sources, attrs):
    want = np.empty(shape, sources[0].dtype)
    REGISTRY["boxing"].run(want, *sources, **attrs)
    np.testing.assert_array_equal(run("boxing", np.empty_like(want), sources, attrs), want, err_msg=f"seed {SEED}: {attrs}")


@pytest.mark.parametrize("op", JOINS)
def test_joining_keeps_nan(op):
    every = np.array([np.nan, np.inf, -np.inf, 0.0, -1.0] * 20, "float32")
    a, b = (np.ascontiguousarray(x) for x in (np.repeat(every, 100), np.tile(every, 100)))
    region = ((0, a.size),)
    with np.errstate(invalid="ignore"):
        check_overwrites(a.shape, [a, b], {"pulls": ((0, region, region), (1, region, region)), "flat": False, "op": op})


def test_adding_a_join_that_is_no_sum_has_no_form():
    x, region = np.zeros(3), ((0, 3),)
    call = direct.call_of("boxing", [x], [x], {"pulls": ((0, region, region),), "flat": False, "op": "max"})
    assert FORMS["boxing"](dataclasses.replace(call, accumulate=True)) is None


# ---------------------------------------------------------------- axes


def test_axes_are_joined_where_one_step_walks_both():
    assert joined([Axis(2, 12, 12), Axis(1, 99, 5), Axis(3, 4, 4), Axis(4, 1, 1)]) == [Axis(24, 1, 1)]
    assert joined([Axis(3, 4, 1), Axis(4, 1, 3)]) == [Axis(3, 4, 1), Axis(4, 1, 3)]
    assert joined([Axis(3, 4, 0), Axis(4, 1, 0)]) == [Axis(12, 1, 0)]
