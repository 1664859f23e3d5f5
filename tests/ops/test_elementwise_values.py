"""Elementwise operators against NumPy's functions and PyTorch's definitions, at ordinary and at extreme operands."""

import math

import numpy as np
import pytest

import oflow as of
from oflow.errors import ShapeError
from oflow.ops import REGISTRY
from oflow.ops.elementwise import Elementwise
from oflow.ops.linearity import linear_sets
from oflow.types import TensorType
from tests.ops.traced import numeric, pullback, value

SEED = 77
ERF = np.vectorize(math.erf)
SIGNED = np.random.default_rng(SEED).uniform(-4, 4, (7, 5))
POSITIVE, SMALL = np.abs(SIGNED) + 0.1, SIGNED / 5
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -2.5, 3e38])


def logistic(x):
    return 1 / (1 + np.exp(-x))


UNARY = [
    ("abs", np.abs, SIGNED), ("sign", np.sign, SIGNED), ("floor", np.floor, SIGNED), ("ceil", np.ceil, SIGNED), ("trunc", np.trunc, SIGNED),
    ("rint", np.rint, SIGNED), ("reciprocal", np.reciprocal, SIGNED), ("square", np.square, SIGNED), ("exp", np.exp, SIGNED),
    ("exp2", np.exp2, SIGNED), ("expm1", np.expm1, SIGNED), ("log", np.log, POSITIVE), ("log2", np.log2, POSITIVE),
    ("log10", np.log10, POSITIVE), ("log1p", np.log1p, SMALL), ("sqrt", np.sqrt, POSITIVE), ("rsqrt", lambda x: x**-0.5, POSITIVE),
    ("sin", np.sin, SIGNED), ("cos", np.cos, SIGNED), ("tan", np.tan, SIGNED), ("arcsin", np.arcsin, SMALL), ("arccos", np.arccos, SMALL),
    ("arctan", np.arctan, SIGNED), ("sinh", np.sinh, SIGNED), ("cosh", np.cosh, SIGNED), ("tanh", np.tanh, SIGNED),
    ("arcsinh", np.arcsinh, SIGNED), ("arccosh", np.arccosh, POSITIVE + 1), ("arctanh", np.arctanh, SMALL), ("erf", ERF, SIGNED),
    ("isnan", np.isnan, SPECIAL), ("isinf", np.isinf, SPECIAL), ("isfinite", np.isfinite, SPECIAL), ("nan_to_num", np.nan_to_num, SPECIAL),
    ("relu", lambda x: np.maximum(x, 0), SIGNED), ("relu6", lambda x: np.clip(x, 0, 6), 3 * SIGNED), ("sigmoid", logistic, SIGNED),
    ("silu", lambda x: x * logistic(x), SIGNED), ("log_sigmoid", lambda x: np.log(logistic(x)), SIGNED),
    ("softplus", lambda x: np.log(1 + np.exp(x)), SIGNED), ("mish", lambda x: x * np.tanh(np.log(1 + np.exp(x))), SIGNED),
    ("elu", lambda x: np.where(x > 0, x, np.exp(x) - 1), SIGNED), ("leaky_relu", lambda x: np.where(x > 0, x, 0.01 * x), SIGNED),
    ("hardsigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1), SIGNED), ("hardswish", lambda x: x * np.clip(x / 6 + 0.5, 0, 1), SIGNED),
    ("gelu", lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), SIGNED),
]  # fmt: skip


@pytest.mark.parametrize(("name", "definition", "x"), UNARY, ids=[row[0] for row in UNARY])
def test_one_operand(name, definition, x):
    with np.errstate(all="ignore"):
        wanted = definition(x)
    np.testing.assert_allclose(value(getattr(of, name), x), wanted, rtol=1e-12, atol=1e-14, err_msg=f"seed {SEED}")


BINARY = [
    "floor_divide", "remainder", "mod", "arctan2", "hypot", "logaddexp", "maximum", "minimum", "power", "less", "less_equal", "greater",
    "greater_equal", "equal", "not_equal",
]  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_two_operands(name):
    draw = np.random.default_rng(SEED)
    a, b = draw.uniform(-4, 4, (6, 5)), draw.uniform(0.5, 3, 5) * (1 if name == "power" else draw.choice([-1, 1], 5))
    a = np.abs(a) if name == "power" else a
    np.testing.assert_allclose(value(getattr(of, name), a, b), getattr(np, name)(a, b), rtol=1e-12, err_msg=f"seed {SEED}")


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("name", ["floor_divide", "remainder", "bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"])
def test_whole_numbers(name, dtype):
    draw = np.random.default_rng(SEED)
    low = 0 if dtype == "uint8" else -50
    a, b = draw.integers(low, 50, (6, 5)).astype(dtype), draw.integers(1, 7, 5).astype(dtype)
    b = -b if "shift" not in name and low else b
    function, definition = getattr(of, name), getattr(np, name)
    for found, wanted in ((value(function, a, b), definition(a, b)), (value(lambda t: function(t, 3), a), definition(a, 3))):
        np.testing.assert_array_equal(found, wanted, err_msg=f"seed {SEED}")
        assert found.dtype == dtype


def test_conditions():
    p, q = np.array([True, True, False, False]), np.array([True, False, True, False])
    for name in ("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor"):
        np.testing.assert_array_equal(value(getattr(of, name), p, q), getattr(np, name)(p, q))
    np.testing.assert_array_equal(value(lambda p, q: (p & q) | (~p ^ q), p, q), (p & q) | (~p ^ q))
    with pytest.raises(ShapeError, match="whole-number or bool"):
        value(of.bitwise_and, SIGNED, SIGNED)


def test_functions_of_several_attributes():
    x = 3 * SIGNED
    for low, high in ((None, 2.0), (-1.0, None), (-1.0, 2.0)):
        np.testing.assert_array_equal(value(lambda t, a=low, b=high: of.clip(t, a, b), x), np.clip(x, low, high))
    np.testing.assert_array_equal(value(of.clip, x, -POSITIVE, POSITIVE), np.clip(x, -POSITIVE, POSITIVE))
    for decimals in (0, 2, -1):
        np.testing.assert_allclose(value(lambda t, d=decimals: of.round(10 * t, d), x), np.round(10 * x, decimals), rtol=1e-14)
    np.testing.assert_array_equal(value(lambda t: of.nan_to_num(t, 1.0, 2.0, -3.0), SPECIAL), np.nan_to_num(SPECIAL, True, 1.0, 2.0, -3.0))
    np.testing.assert_allclose(value(lambda t: of.gelu(t, "none"), x), 0.5 * x * (1 + ERF(x / np.sqrt(2))), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(value(lambda t: of.softplus(t, 2.0), x), np.log(1 + np.exp(2 * x)) / 2, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(value(lambda t: of.elu(t, 0.5), x), np.where(x > 0, x, 0.5 * np.expm1(x)), rtol=1e-12)
    np.testing.assert_allclose(value(of.leaky_relu, x, np.arange(5.0)), np.where(x > 0, x, np.arange(5.0) * x))
    np.testing.assert_allclose(value(of.lerp, x, SIGNED, SMALL), x + SMALL * (SIGNED - x))
    for power in (3, 2, 1, 0.5, -0.5, -1, 2.5):
        np.testing.assert_allclose(value(lambda t, p=power: t**p, POSITIVE), POSITIVE**power, rtol=1e-13)
    with pytest.raises(ShapeError, match="approximate"):
        value(lambda t: of.gelu(t, "sigmoid"), x)


def test_extreme_operands_neither_overflow_nor_cancel():
    x = np.array([-1e4, -90.0, -1e-6, 0.0, 1e-6, 90.0, 1e4], "float32")
    wide = x.astype("float64")
    cases = [
        (of.softplus, np.logaddexp(0, wide)), (of.log_sigmoid, -np.logaddexp(0, -wide)), (of.sigmoid, np.exp(-np.logaddexp(0, -wide))),
        (of.elu, np.where(wide > 0, wide, np.expm1(wide))), (of.mish, wide * np.tanh(np.logaddexp(0, wide))),
        (of.silu, wide * np.exp(-np.logaddexp(0, -wide))), (lambda t: of.gelu(t, "none"), 0.5 * wide * (1 + ERF(wide / np.sqrt(2)))),
    ]  # fmt: skip
    for function, wanted in cases:
        np.testing.assert_allclose(value(function, x), wanted, rtol=2e-6, atol=1e-7)
        (slope,) = pullback(function, np.ones_like(x), x)
        assert np.isfinite(slope).all()
    ends = np.array([-np.inf, np.inf, 3.0])
    np.testing.assert_allclose(value(of.logaddexp, ends, ends), ends + np.log(2))
    np.testing.assert_allclose(value(of.logaddexp, ends, ends[::-1]), np.logaddexp(ends, ends[::-1]))


def test_gradients_of_functions_made_of_several_operators():
    g = np.random.default_rng(SEED).standard_normal(SIGNED.shape)
    for function in (lambda t: of.softplus(t, 3.0), lambda t: of.clip(t, -1.0, 2.0), lambda t: t**3, lambda t: of.power(t * t + 1, -0.5)):
        np.testing.assert_allclose(pullback(function, g, SIGNED)[0], numeric(function, g, SIGNED)[0], rtol=1e-6, atol=1e-7)


def test_what_is_declared_linear_is_what_the_expression_says():
    for op in REGISTRY.values():
        if isinstance(op, Elementwise):
            assert set(linear_sets(op.expr, op.operands)) == set(op.partials.linear), op.name


def signatures(name, dtypes, **attrs):
    ins = tuple(TensorType((4,), dtype) for dtype in dtypes)
    return {str(s) for s in REGISTRY[name].signatures(ins, attrs, 2)} - {"B -> B", "S(0) -> S(0)"}


def test_a_number_says_what_may_be_partial():
    rising, falling = {"P(max) -> P(max)", "P(min) -> P(min)"}, {"P(max) -> P(min)", "P(min) -> P(max)"}
    assert signatures("mul", ["float64"], b=2.0) == rising | {"P -> P"}
    assert signatures("mul", ["float64"], a=-2.0) == falling | {"P -> P"}
    assert signatures("mul", ["float64"], b=0.0) == {"P -> P"}, "0 times the -inf of a rank without a candidate is NaN"
    assert signatures("div", ["float64"], b=-2.0) == falling | {"P -> P"}
    assert signatures("div", ["float64"], a=2.0) == set()
    assert signatures("add", ["float64"], b=3.0) == rising
    assert signatures("add", ["float64"], b=0.0) == rising | {"P -> P"}
    assert signatures("sub", ["float64"], a=3.0) == falling
    assert signatures("leaky_relu", ["float64"], s=0.1) == rising
    assert signatures("leaky_relu", ["float64"], s=-0.1) == set()


def test_partial_extremes_stay_where_every_candidate_has_a_value():
    for name in ("log", "sqrt", "log1p", "log2", "log10", "arccosh"):
        assert signatures(name, ["float64"]) == {"P(min) -> P(min)"}, f"{name} of a lesser candidate may be NaN"
    assert signatures("rsqrt", ["float64"]) == {"P(min) -> P(max)"}
    for name in ("arcsin", "reciprocal"):
        assert signatures(name, ["float64"]) == set(), f"{name} of other candidates may be NaN, or jump"
    for name in ("neg", "add", "sub"):
        ins = ["int64"] * len(REGISTRY[name].operands)
        assert not any("max" in s for s in signatures(name, ins)), "the smallest whole number wraps around"
