"""Vectorised functions against exact values: every exponent, denormals, infinities, NaN, and the errors that kernels/scalar.py states."""

import ctypes
import hashlib
import importlib.util
import math
from decimal import Decimal, getcontext
from pathlib import Path

import numpy as np
import pytest

from oflow import native

pytestmark = pytest.mark.skipif(not native.available(), reason="numba is not installed")

SOURCE = """# {hash}
from oflow.backends.compiled.kernels import {module}
from oflow.native.intrinsics import POINTERS, words
pointer, f = POINTERS["{dtype}"], {module}.{name}("{dtype}")
def kernel(block):
    q = words(block)
    out, x, y = pointer(q[1]), pointer(q[2]), pointer(q[3])
    for i in range(q[0]):
        out[i] = f({args})
    return 0
"""
ULPS = {
    "exp": (1, 1), "log": (1, 1), "tanh": (2.5, 2.5), "erf": (2, 2), "sin": (1, 1), "cos": (1, 1), "power": (1, 2), "expm1": (2, 2),
    "log1p": (2, 2),
}  # fmt: skip
SEED = 31


def compiled(name, dtype, x, y=None):
    """`name` of every element."""
    spec = importlib.util.find_spec("oflow.backends.compiled.kernels")
    module = {"sin": "angles", "cos": "angles", "power": "powers"}.get(name, "scalar")
    folder = Path(spec.submodule_search_locations[0])
    text = b"".join((folder / f"{source}.py").read_bytes() for source in (module, "scalar", "number"))
    args = "x[i]" if y is None else "x[i], y[i]"
    routine = SOURCE.format(hash=hashlib.sha256(text).hexdigest(), module=module, dtype=dtype, name=name, args=args)
    x = np.ascontiguousarray(x, dtype)
    y = x if y is None else np.ascontiguousarray(y, dtype)
    out = np.empty_like(x)
    block = np.array([x.size, out.ctypes.data, x.ctypes.data, y.ctypes.data], np.int64)
    address = native.addresses([routine])[routine]
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(block.ctypes.data) == 0
    return out


def numbers(dtype, count=60, seed=SEED):
    """Random numbers of both signs in every exponent, denormal ones too, and zeros."""
    random = np.random.default_rng(seed)
    limits = np.finfo(dtype)
    exponents = np.repeat(np.arange(limits.minexp - limits.nmant, limits.maxexp), count if dtype == "float32" else count // 4)
    found = np.ldexp(random.uniform(1, 2, exponents.size), exponents) * random.choice([-1, 1], exponents.size)
    return np.concatenate([found, [0.0, -0.0, 1.0, -1.0]]).astype(dtype)


def between(low, high, dtype, count=200_000):
    return np.random.default_rng(SEED).uniform(low, high, count).astype(dtype)


def ulps(found, wanted, dtype):
    """Largest error in units in the last place of the wanted values (pairs high + rest, or float64)."""
    high, rest = wanted if isinstance(wanted, tuple) else (wanted, 0.0)
    with np.errstate(over="ignore"):
        rounded = np.asarray(high).astype(dtype)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(found[~finite], rounded[~finite])
    unit = np.spacing(np.maximum(np.abs(rounded[finite]), np.finfo(dtype).tiny)).astype("float64")
    error = np.abs((found[finite].astype("float64") - high[finite]) - (rest[finite] if isinstance(rest, np.ndarray) else rest)) / unit
    return float(error.max(initial=0))


def exact(function, xs):
    """Values with 45 digits as pairs high + rest of float64."""
    pairs = [function(x) for x in xs]
    high = np.array([float(p) for p in pairs])
    rest = np.array([float(p - Decimal(h)) if math.isfinite(h) and p.is_finite() else 0.0 for p, h in zip(pairs, high, strict=True)])
    return high, rest


getcontext().prec = 50
DECIMAL = {"exp": lambda x: Decimal(x).exp(), "log": lambda x: Decimal(x).ln()}
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


def decimal_tanh(x):
    x = Decimal(x)
    if abs(x) < Decimal("1e-6"):
        return x - x**3 / 3 + 2 * x**5 / 15
    power = (2 * min(max(x, Decimal(-60)), Decimal(60))).exp()
    return (power - 1) / (power + 1)


def decimal_erf(x):
    """By its Taylor series."""
    x = min(max(Decimal(x), Decimal(-7)), Decimal(7))
    with_more = term = x
    n = 0
    while term and abs(term) > Decimal("1e-48") * abs(with_more):
        n += 1
        term = -term * x * x / n
        with_more += term / (2 * n + 1)
    return 2 * with_more / PI.sqrt()


def decimal_expm1(x):
    x = Decimal(x)
    return x + x * x / 2 + x**3 / 6 if abs(x) < Decimal("1e-10") else x.exp() - 1


def decimal_log1p(x):
    x = Decimal(x)
    return x - x * x / 2 + x**3 / 3 - x**4 / 4 if abs(x) < Decimal("1e-10") else (1 + x).ln()


DECIMAL |= {"tanh": decimal_tanh, "erf": decimal_erf, "expm1": decimal_expm1, "log1p": decimal_log1p}
RANGES = {
    "exp": [(-87.3, 88.7), (-1, 1)], "log": [(0, 4), (0.99, 1.01)], "tanh": [(-10, 10), (-1, 1)], "erf": [(-5, 5), (-1.1, 1.1)],
    "expm1": [(-30, 88.7), (-1, 1)], "log1p": [(-0.999, 4), (-0.01, 0.01)],
}  # fmt: skip
NUMPY = {
    "exp": np.exp, "log": np.log, "tanh": np.tanh, "erf": np.vectorize(math.erf), "sin": np.sin, "cos": np.cos, "expm1": np.expm1,
    "log1p": np.log1p,
}  # fmt: skip


@pytest.mark.parametrize("name", RANGES)
def test_float32_is_within_its_bound_everywhere(name):
    for x in (numbers("float32", 300), *(between(*span, "float32") for span in RANGES[name])):
        with np.errstate(all="ignore"):
            wanted = NUMPY[name](x.astype("float64"))
        wanted[np.isnan(wanted)] = np.nan
        found = compiled(name, "float32", x)
        flushed = np.abs(wanted) < np.finfo("float32").tiny if name == "exp" else np.zeros(x.shape, bool)
        assert (found[flushed] == 0).all()
        assert ulps(found[~flushed], wanted[~flushed], "float32") <= ULPS[name][0], f"seed {SEED}"


@pytest.mark.parametrize("name", RANGES)
def test_float64_is_within_its_bound_everywhere(name):
    for x in (numbers("float64", 8), *(between(*span, "float64", 2500) for span in RANGES[name])):
        x = x[x > {"log": 0, "log1p": -1}.get(name, -np.inf)]
        x = x[np.abs(x) < 708] if name.startswith("exp") else x
        assert ulps(compiled(name, "float64", x), exact(DECIMAL[name], x), "float64") <= ULPS[name][1], f"seed {SEED}"


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(name, dtype):
    limits = np.finfo(dtype)
    x = np.array([np.nan, np.inf, -np.inf, 0.0, limits.max, -limits.max, limits.smallest_subnormal, limits.tiny, -1e-3], dtype)
    with np.errstate(all="ignore"):
        wanted = NUMPY[name](x.astype("float64")).astype(dtype)
    found = compiled(name, dtype, x)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(wanted))
    np.testing.assert_allclose(found, wanted, rtol=4 * limits.eps)


def arctangent(inverse, bits):
    """atan(1 / inverse) with `bits` bits after the point."""
    power, total, n = (1 << bits) // inverse, 0, 1
    while power:
        total += power // n if n % 4 == 1 else -(power // n)
        power, n = power // inverse**2, n + 2
    return total


BITS = 1400
WHOLE_PI = 4 * (4 * arctangent(5, BITS) - arctangent(239, BITS))


def reduced(x):
    """x modulo 2 pi for any float64, in whole numbers."""
    top, bottom = float(x).as_integer_ratio()
    rest = ((top << BITS) // bottom) % (2 * WHOLE_PI)
    return Decimal(rest - 2 * WHOLE_PI if rest > WHOLE_PI else rest) / Decimal(2) ** BITS


def decimal_sine(r):
    total = term = r
    n = 1
    while term and abs(term) > Decimal("1e-48") * abs(total):
        n += 2
        term = -term * r * r / (n * (n - 1))
        total += term
    return total


def decimal_cosine(r):
    half = decimal_sine(r / 2)
    return decimal_sine(PI / 2 - abs(r)) if abs(abs(r) - PI / 2) < 1 else 1 - 2 * half * half


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_angles_of_any_size(dtype):
    random = np.random.default_rng(SEED)
    x = np.concatenate([random.choice(numbers(dtype), 1500), between(-50, 50, dtype, 1500)])
    x = x[np.abs(x) > 1e-290]
    angles = [reduced(v) for v in x]
    for name, function, column in (("sin", decimal_sine, 0), ("cos", decimal_cosine, 0)):
        assert ulps(compiled(name, dtype, x), exact(function, angles), dtype) <= ULPS[name][column], f"seed {SEED}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_power_is_within_its_bound(dtype):
    random = np.random.default_rng(SEED)
    limits = np.finfo(dtype)
    x = np.abs(random.choice(numbers(dtype), 3000))
    x = np.concatenate([x[x > 0], between(0.9, 1.1, dtype, 2000)])
    largest = math.log(limits.max)
    reach = largest * 0.99 / np.maximum(np.abs(np.log(x.astype("float64"))), 1e-9)
    y = (random.uniform(-1, 1, x.size) * np.minimum(reach, 1e6)).astype(dtype)
    wanted = exact(lambda pair: (Decimal(pair[1]) * Decimal(pair[0]).ln()).exp(), list(zip(x.tolist(), y.tolist(), strict=True)))
    normal = wanted[0] > limits.tiny
    found = compiled("power", dtype, x, y)
    assert ulps(found[normal], tuple(w[normal] for w in wanted), dtype) <= ULPS["power"][dtype == "float64"], f"seed {SEED}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_power_has_the_special_cases_of_c(dtype):
    values = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 1e30, -1e30, 2.5, -2.5, 1e-30]
    x, y = (a.reshape(-1).astype(dtype) for a in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        wanted = np.power(x, y)
    found = compiled("power", dtype, x, y)
    np.testing.assert_allclose(found, wanted, rtol=4 * np.finfo(dtype).eps)
    zeros = wanted == 0
    np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(wanted[zeros]))
