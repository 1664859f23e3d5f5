"""Rotary positions against complex multiplication, and on any layout."""

from __future__ import annotations

import numpy as np
import pytest

import oflow as of

SHAPE = (2, 9, 3, 8)


def turned(x, positions, base=10000.0, interleaved=False, dims=None):
    """Pairs as complex numbers times exp(i angle)."""
    dims = x.shape[-1] if dims is None else dims
    at = np.broadcast_to(positions, x.shape[:2])[..., None, None]
    half = dims // 2
    angles = at * base ** (-2 * np.arange(half) / dims)
    one, two = (x[..., 0:dims:2], x[..., 1:dims:2]) if interleaved else (x[..., :half], x[..., half:dims])
    z = (one + 1j * two) * np.exp(1j * angles)
    y = x.copy()
    if interleaved:
        y[..., 0:dims:2], y[..., 1:dims:2] = z.real, z.imag
    else:
        y[..., :half], y[..., half:dims] = z.real, z.imag
    return y


@pytest.mark.parametrize("options", [
    {}, {"interleaved": True}, {"base": 500000.0}, {"dims": 4}, {"dims": 6, "interleaved": True}, {"dims": 0},
])  # fmt: skip
def test_rotary_is_complex_multiplication(options):
    x = np.random.default_rng(3).standard_normal(SHAPE)
    y = of.compile(lambda x: of.rotary(x, offset=5, **options), of.spec(SHAPE, "float64"))(x)
    np.testing.assert_allclose(y, turned(x, np.arange(5, 14), **options), rtol=1e-12, atol=1e-14)


def test_given_positions_may_differ_by_row():
    x, at = np.random.default_rng(3).standard_normal(SHAPE), np.random.default_rng(4).integers(0, 1000, SHAPE[:2])
    y = of.compile(lambda x, at: of.rotary(x, at), of.spec(SHAPE, "float64"), of.spec(SHAPE[:2], "int64"))(x, at)
    np.testing.assert_allclose(y, turned(x, at), rtol=1e-12, atol=1e-14)


def test_products_depend_on_the_distance_alone():
    x = np.random.default_rng(5).standard_normal((1, 1, 1, 8))
    near, far = (turned(x, np.array([p])) @ turned(x[..., ::-1], np.array([p + 3])).swapaxes(-1, -2) for p in (0, 400))
    np.testing.assert_allclose(near, far, rtol=1e-9)


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("sbp", ["batch", "sequence", "heads", "grid"])
def test_any_layout_turns_alike(sbp, micro_batches):
    two, grid = of.placement("cpu", [0, 1]), of.placement("cpu", [[0, 1], [2, 3]])
    where, how = {"batch": (two, of.S(0)), "sequence": (two, of.S(1)), "heads": (two, of.S(2)), "grid": (grid, (of.S(1), of.S(1)))}[sbp]
    x = np.random.default_rng(6).standard_normal((4, 9, 3, 8))

    def f(x):
        return of.rotary(x).to_global(where, how)

    program = of.compile(f, of.spec(x.shape, "float64", where, how), micro_batches=micro_batches)
    np.testing.assert_allclose(program(x), turned(x, np.arange(9)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("x", "positions", "options", "message"), [
    ((2, 9, 8), None, {}, "batch, seq, heads, d"), (SHAPE, None, {"dims": 3}, "even"), (SHAPE, None, {"dims": 10}, "at most the 8"),
    (SHAPE, ((8,), "int64"), {}, "factor 't'"), (SHAPE, ((9,), "float32"), {}, "whole positions"),
])  # fmt: skip
def test_errors_name_the_line(x, positions, options, message):
    specs = [of.spec(x), *([of.spec(*positions)] if positions else [])]
    with pytest.raises(of.ShapeError, match=r"test_rotary\.py:\d+.*" + message):
        of.compile(lambda *x: of.rotary(*x, **options), *specs)
