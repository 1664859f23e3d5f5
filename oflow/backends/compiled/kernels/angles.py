"""Sine and cosine of any finite angle, by the multiple of pi / 2 that is nearest to it.

The multiple and the rest come from the angle's product with 2 / pi modulo 4, to as many bits as it takes (Payne and Hanek,
"Radian reduction for trigonometric functions", 1983): a table holds 2^k 2 / pi modulo 4 for steps of the exponent k.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from oflow.backends.compiled.kernels.memory import mark_constant
from oflow.backends.compiled.kernels.number import FORMATS, PI, POINT, Function, inline, polynomial, two_parts
from oflow.native.intrinsics import bits_of_float64, float64_of_bits, fused, magnitude, nearest

_SIN = (
    -0.16666666666666632029, 0.0083333333333224138059, -0.00019841269829807802431, 2.7557313691891320101e-6,
    -2.5050758108811975876e-8, 1.5896795190723678426e-10,
)  # fmt: skip
"""(sin(r) - r) / r^3 in r^2 for |r| <= pi / 4."""
_COS = (
    0.041666666666666599477, -0.0013888888888874124101, 0.000024801587289482273438, -2.7557314352351034994e-7,
    2.0875723274674970319e-9, -1.1359647828714594537e-11,
)  # fmt: skip
"""(cos(r) - 1 + r^2 / 2) / r^4 in r^2."""
_SIN32 = (-0.16666666641608926, 0.0083333293837887947, -0.00019839334145077268, 2.7183047667877842e-6)
_COS32 = (0.041666666622797134, -0.0013888883750625801, 2.4799519244558649e-5, -2.7210172557687499e-7)
_STRIDE = 16
"""Exponents for one row of the table of multiples of 2 / pi."""


def _constants(values: list[float]) -> Function:
    """i -> values[i], from constant memory."""

    @intrinsic
    def entry(typing: Any, i: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = ir.ArrayType(ir.DoubleType(), len(values))
            name = f"constants.{abs(hash(tuple(values)))}"
            table = builder.module.globals.get(name)
            if table is None:
                table = ir.GlobalVariable(builder.module, kind, name)
                table.global_constant, table.linkage = True, "internal"
                table.initializer = ir.Constant(kind, [ir.Constant(ir.DoubleType(), v) for v in values])
            found = builder.load(builder.gep(table, [ir.Constant(ir.IntType(64), 0), args[0]], inbounds=True))
            mark_constant(builder, found)
            return found

        return types.float64(types.int64), code

    return entry


def _multiples() -> list[list[float]]:
    """2^(16 k) 2 / pi modulo 4 in three parts, for k = 0, 1, ... 61: lists of first, second and third parts."""
    parts: list[list[float]] = [[], [], []]
    for k in range(62):
        rest = ((2 << 2 * POINT) // PI << _STRIDE * k) % (4 << POINT)
        for part in parts:
            value = rest / (1 << POINT)
            part.append(value)
            top, bottom = value.as_integer_ratio()
            rest -= (top << POINT) // bottom
    return parts


@cache
def _quarters() -> Function:
    """x -> (bits whose last two are n, r, rest) where x = n pi / 2 + r + rest, |r| <= pi / 4, n modulo 4; float64."""
    first, second, third = (_constants(part) for part in _multiples())
    high, low = two_parts((PI, POINT + 1), np.float64)
    magic, quarter, four = 1.5 * 2.0**52, 0.25, 4.0
    fraction, bias, exponents, little = np.int64(52), np.int64(1023), np.int64(2047), 0.78539816

    @inline
    def modulo_four(x):  # type: ignore[no-untyped-def]
        return fused(nearest(x * quarter), -four, x)

    @inline
    def quarters(x):  # type: ignore[no-untyped-def]
        row = (((bits_of_float64(x) >> fraction) & exponents) - bias - fraction) >> np.int64(4)
        row = row if row > np.int64(0) else np.int64(0)
        m = x * float64_of_bits((bias - (row << np.int64(4))) << fraction)  # whole where row > 0
        t = first(row)
        a = m * t
        b = fused(m, t, -a)
        t = second(row)
        c = m * t
        rest = fused(m, t, -c) + m * third(row)
        a, b, c = modulo_four(a), modulo_four(b), modulo_four(c)
        bc = b + c
        got = bc - b
        rest += (b - (bc - got)) + (c - got)
        total = a + bc
        got = total - a
        rest += (a - (total - got)) + (bc - got)
        shifted = total + magic
        total -= shifted - magic
        near = total + rest
        rest = (total - near) + rest
        r = near * high
        rest = fused(near, high, -r) + fused(near, low, rest * high)
        small = magnitude(x) <= little
        r = x if small else r
        rest = 0.0 if small else rest
        n = bits_of_float64(shifted)
        n = np.int64(0) if small else n
        return n, r, rest

    return quarters


_PARTS = 4
_WIDE_STRIDE = 32


def _short_multiples() -> list[list[Any]]:
    """2^(32 k) 2 / pi modulo 4 for k = 0 ... 3, each in four parts of 29 bits or (the last) 53."""
    rows = []
    for k in range(4):
        rest = ((2 << 2 * POINT) // PI << _WIDE_STRIDE * k) % (4 << POINT)
        row = []
        for part in range(1, _PARTS):
            unit = POINT - 29 * part + 2  # 27 bits after the point, then 29 more each
            row.append(np.float64((rest >> unit << unit) / (1 << POINT)))
            rest %= 1 << unit
        rows.append([*row, np.float64(rest / (1 << POINT))])
    return rows


@cache
def _quarters32() -> Function:
    """`_quarters` of a float32 given as float64: products with 29 bits are exact, so r needs no second part."""
    (p0, q0, r0, s0), (p1, q1, r1, s1), (p2, q2, r2, s2), (p3, q3, r3, s3) = _short_multiples()
    magic, quarter, four, turn = 1.5 * 2.0**52, 0.25, 4.0, float(PI / (2 << POINT))
    bounds = [2.0 ** (23 + _WIDE_STRIDE * k) for k in (1, 2, 3)]
    b1, b2, b3 = bounds
    scales = [2.0 ** -(_WIDE_STRIDE * k) for k in (1, 2, 3)]
    f1, f2, f3 = scales

    @inline
    def modulo_four(x):  # type: ignore[no-untyped-def]
        return fused(nearest(x * quarter), -four, x)

    @inline
    def quarters(x):  # type: ignore[no-untyped-def]
        size = magnitude(x)
        i, j, k = size >= b1, size >= b2, size >= b3
        m = x * (f3 if k else (f2 if j else (f1 if i else 1.0)))
        p = p3 if k else (p2 if j else (p1 if i else p0))
        q = q3 if k else (q2 if j else (q1 if i else q0))
        r = r3 if k else (r2 if j else (r1 if i else r0))
        s = s3 if k else (s2 if j else (s1 if i else s0))
        a, b, c = modulo_four(m * p), modulo_four(m * q), m * r
        shifted = (a + b + c) + magic
        rest = ((a - (shifted - magic)) + b) + (c + m * s)
        return bits_of_float64(shifted), rest * turn, 0.0

    return quarters


def _wave(dtype: str, ahead: int) -> Function:
    """sin(x + ahead pi / 2)."""
    real, short = FORMATS[dtype].real, dtype == "float32"
    quarters = _quarters32() if short else _quarters()
    sine, cosine = polynomial(*(_SIN32 if short else _SIN)), polynomial(*(_COS32 if short else _COS))
    half, one, step = 0.5, 1.0, np.int64(ahead)

    @inline
    def function(x):  # type: ignore[no-untyped-def]
        n, r, rest = quarters(np.float64(x))
        n += step
        z = r * r
        s = r + fused(r * z, sine(z), rest - half * z * rest)
        h = half * z
        w = one - h
        c = w + (((one - w) - h) + fused(z * z, cosine(z), -r * rest))
        value = c if n & np.int64(1) else s
        return real(-value if n & np.int64(2) else value)

    return function


@cache
def sin(dtype: str) -> Function:
    """Sine of an angle in radians. Error 1.0 ulp, reduced with 2 / pi to as many bits as it takes (Payne and Hanek 1983)."""
    return _wave(dtype, 0)


@cache
def cos(dtype: str) -> Function:
    """Cosine of an angle in radians. Error 1.0 ulp; see sin."""
    return _wave(dtype, 1)
