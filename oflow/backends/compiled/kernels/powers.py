"""x^y. float32 goes through float64; float64 needs the logarithm in two parts."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from oflow.backends.compiled.kernels.number import FORMATS, LN2, POINT, Function, inline, polynomial, two_parts
from oflow.backends.compiled.kernels.scalar import EXP, exp, split_of
from oflow.native.intrinsics import bits_of_float64, float64_of_bits, fused, magnitude, round_down

_POWER = (
    0.3999999999999997749, 0.28571428571445112004, 0.2222222221753635611, 0.18181818870328158704, 0.15384556870109056621,
    0.13336317451175897039, 0.1167481790213678273, 0.11989017802226759449,
)  # fmt: skip
"""(2 atanh(s) - 2 s - 2/3 s^3) / s^5 in s^2."""


_LOG_HALF = (0.66666665645110892, 0.400003352759996, 0.2853730268734601, 0.23582271265078275)
"""_LOG64 to half of the precision."""


@cache
def _power32() -> Function:
    """(x >= 0, y) -> x^y for float32: in float64 with polynomials of half its precision."""
    split, tail, ending = split_of("float64"), polynomial(*_LOG_HALF), polynomial(*EXP["float32"])
    ln2, inverse, magic, shift = math.log(2), 1 / math.log(2), 1.5 * 2.0**52, np.int64(52)
    two, one, zero, infinity, limit, bits_of_one = 2.0, 1.0, 0.0, np.inf, 200.0, FORMATS["float64"].bits(1.0)

    @inline
    def positive(x, y):  # type: ignore[no-untyped-def]
        x = np.float64(x)
        k, f = split(x)
        s = f / (two + f)
        z = s * s
        logarithm = fused(k, ln2, two * s + s * z * tail(z))
        logarithm = logarithm if x < infinity else x
        logarithm = -infinity if x == zero else logarithm
        p = np.float64(y) * logarithm
        p = limit if p > limit else p
        p = -limit if p < -limit else p
        shifted = fused(p, inverse, magic)
        r = fused(shifted - magic, -ln2, p)
        scale = float64_of_bits(bits_of_one + (bits_of_float64(shifted) << shift))
        return np.float32((one + (r + r * r * ending(r))) * scale)

    return positive


@cache
def _power64() -> Function:
    """(x > 0, y) -> x^y for float64: the logarithm in two parts."""
    split, power, tail = split_of("float64"), exp("float64"), polynomial(*_POWER)
    ln2, ln2_rest = two_parts((LN2, POINT), np.float64)
    two_thirds, rest_of_it = two_parts(((2 << POINT) // 3, POINT), np.float64)
    two, zero, infinity = 2.0, 0.0, np.inf

    @inline
    def sum_of(a, b):  # type: ignore[no-untyped-def]
        total = a + b
        got = total - a
        return total, (a - (total - got)) + (b - got)

    @inline
    def positive(x, y):  # type: ignore[no-untyped-def]
        k, f = split(x)
        d = two + f
        s = f / d
        s_rest = (fused(-s, d, f) - s * (f - (d - two))) / d
        z = s * s
        z_rest = fused(s, s, -z) + two * s * s_rest
        # 2/3 s^3 in two parts; the terms after it need one
        c = z * two_thirds
        c_rest = fused(z, two_thirds, -c) + (z_rest * two_thirds + z * rest_of_it)
        c, more = sum_of(c, z * z * tail(z))
        c_rest += more
        e = s * c
        e_rest = fused(s, c, -e) + (s * c_rest + s_rest * c)
        a = k * ln2
        a_rest = fused(k, ln2, -a) + k * ln2_rest
        high, r1 = sum_of(a, two * s)
        high, r2 = sum_of(high, e)
        low = r1 + r2 + (a_rest + e_rest + two * s_rest)
        high, low = sum_of(high, low)
        high = high if x < infinity else x
        high = -infinity if x == zero else high
        p = y * high
        rest = fused(y, high, -p) + y * low
        value = power(p)
        better = fused(value, rest, value)
        return better if better - better == zero and p - p == zero else value

    return positive


@cache
def power(dtype: str) -> Function:
    """x^y. Error 1.0 ulp (float32), 2.0 ulp (float64). A negative x has powers of whole y only."""
    form = FORMATS[dtype]
    real, bits_of = form.real, form.bits_of
    positive = _power32() if dtype == "float32" else _power64()
    zero, one, half, infinity, nan = real(0), real(1), real(0.5), real(np.inf), real(np.nan)

    @inline
    def function(x, y):  # type: ignore[no-untyped-def]
        size = magnitude(x)
        value = positive(size, y)
        whole = round_down(y) == y
        halved = y * half
        odd = whole and round_down(halved) != halved
        value = -value if odd and bits_of(x) < 0 else value
        value = nan if not whole and x < zero and size < infinity else value
        value = one if size == one and magnitude(y) == infinity else value
        value = x + y if x != x or y != y else value
        return one if x == one or y == zero else value

    return function
