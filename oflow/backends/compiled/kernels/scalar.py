"""Functions of one number that vectorise: no branches and no calls; `exp("float32")` makes one.

Errors in units in the last place (ulp) of the result, held by tests over all exponents; NaN propagates everywhere:

    function  float32 float64
    exp         1.0     1.0   results below the smallest normal number are 0; overflow is inf
    log         1.0     1.0   denormals right; log(0) = -inf, log of a negative number is NaN
    expm1       2.0     2.0   relative near 0 too
    log1p       2.0     2.0   relative near 0 too; log1p(-1) = -inf
    tanh        2.5     2.5   relative near 0 too
    erf         2.0     2.0   relative near 0 too
    sin, cos    1.0     1.0   any finite operand; absolute error 2^-80 where float64 results are below 2^-27; NaN of infinity
    power       1.0     2.0   all of C's special cases; float64 results below the smallest normal number are 0

exp after Cody and Waite, "Software Manual for the Elementary Functions" (1980); log after Sun's fdlibm; polynomials by Remez
exchange. The functions are compiled without the callers' fast-math flags (their compensated sums may not be reassociated)
and inlined by LLVM.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from oflow.backends.compiled.kernels.number import FORMATS, LN2, POINT, Function, inline, polynomial, two_parts
from oflow.native.intrinsics import fused, magnitude

# ---------------------------------------------------------------- exp


EXP = {
    "float32": (0.500000007791, 0.166666668601, 0.0416662699261, 0.00833326449188, 0.0013946074562, 0.000199183126094),
    "float64": (
        0.50000000000000127403, 0.16666666666666699142, 0.041666666666515420705, 0.0083333333333071470871,
        0.0013888888947016198372, 0.00019841269917509537123, 0.0000248014899414249203, 2.7557216193028084402e-6,
        2.7631280723962425424e-7, 2.511789322215095715e-8,
    ),
}  # fmt: skip
"""(e^r - 1 - r) / r^2 for |r| <= ln(2) / 2."""


@cache
def reduced_of(dtype: str) -> Function:
    """x -> (bits of n above the format's fraction, e^r - 1 - r, r) where x = n ln(2) + r, |r| <= ln(2) / 2."""
    form = FORMATS[dtype]
    real, whole, bits_of, shift = form.real, form.whole, form.bits_of, form.whole(form.fraction)
    high, low = (-part for part in two_parts((LN2, POINT), real))
    inverse, magic = real(1 / math.log(2)), real(1.5 * 2.0**form.fraction)
    tail = polynomial(*EXP[dtype])

    @inline
    def reduced(x):  # type: ignore[no-untyped-def]
        shifted = fused(x, inverse, magic)  # its low bits are n: cheaper than rounding and converting
        n = shifted - magic
        r = fused(n, low, fused(n, high, x))
        return whole(bits_of(shifted) << shift), tail(r) * (r * r), r

    return reduced


@cache
def exp(dtype: str) -> Function:
    """e^x. Error 1.0 ulp; 0 where the result would be below the smallest normal number."""
    form = FORMATS[dtype]
    real, whole, of_bits, bits_of, reduced = form.real, form.whole, form.of_bits, form.bits_of, reduced_of(dtype)
    one, zero, infinity = real(1), real(0), real(np.inf)
    lowest, highest = real(np.log(form.limits.tiny)), real(np.log(form.limits.max))

    @inline
    def function(x):  # type: ignore[no-untyped-def]
        n, tail, r = reduced(x)
        value = of_bits(whole(bits_of(one + (r + tail)) + n))
        overflow = x * infinity
        value = value if x >= lowest else zero
        return value if x <= highest else overflow

    return function


@cache
def tanh(dtype: str) -> Function:
    """(e^2x - 1) / (e^2x + 1). Error 2.5 ulp."""
    form = FORMATS[dtype]
    real, whole, of_bits, reduced = form.real, form.whole, form.of_bits, reduced_of(dtype)
    one, two, bits_of_one = real(1), real(2), form.bits(1.0)
    limit = real(20 if dtype == "float32" else 44)

    @inline
    def function(x):  # type: ignore[no-untyped-def]
        x = two * x
        x = limit if x > limit else x
        x = -limit if x < -limit else x
        n, tail, r = reduced(x)
        power = of_bits(whole(bits_of_one + n))
        less_one = fused(power, r + tail, power - one)
        return less_one / (less_one + two)

    return function


@cache
def expm1(dtype: str) -> Function:
    """e^x - 1. Error 2.0 ulp."""
    form = FORMATS[dtype]
    real, whole, of_bits, reduced, power = form.real, form.whole, form.of_bits, reduced_of(dtype), exp(dtype)
    one, bits_of_one = real(1), form.bits(1.0)
    limit = real(20 if dtype == "float32" else 44)

    @inline
    def function(x):  # type: ignore[no-untyped-def]
        near = limit if x > limit else x
        near = -limit if near < -limit else near
        n, tail, r = reduced(near)
        scale = of_bits(whole(bits_of_one + n))
        value = fused(scale, r + tail, scale - one)
        return power(x) if x > limit else value

    return function


# ---------------------------------------------------------------- log


_LOG32 = (
    0.333333126049, -0.250000095891, 0.200021185863, -0.16667996047, 0.142195540173, -0.124055898386, 0.118881531718,
    -0.116756315881, 0.0674662554422,
)  # fmt: skip
"""(log(1 + f) - f + f^2 / 2) / f^3 for 1 + f between sqrt(1/2) and sqrt(2)."""
_LOG64 = (
    0.66666666666667344556, 0.39999999999414343262, 0.28571428742471319874, 0.22222198563739385997, 0.18183564858714676021,
    0.15314035913957658368, 0.14796105809034190786,
)  # fmt: skip
"""(2 atanh(s) - 2 s) / s^3 in s^2, where 1 + f = (1 + s) / (1 - s)."""


@cache
def split_of(dtype: str) -> Function:
    """x > 0 -> (k, f) where x = 2^k (1 + f), 1 + f between sqrt(1/2) and sqrt(2); k is a floating-point number."""
    form = FORMATS[dtype]
    real, whole, of_bits, bits_of, shift = form.real, form.whole, form.of_bits, form.bits_of, form.whole(form.fraction)
    least, mask, smallest = form.bits(math.sqrt(0.5)), whole(2**form.fraction - 1), form.limits.tiny
    scale, scaled, zero, one = real(2.0**form.fraction), real(-form.fraction), real(0), real(1)

    @inline
    def split(x):  # type: ignore[no-untyped-def]
        larger = x * scale
        added = scaled if x < smallest else zero
        x = larger if x < smallest else x
        bits = whole(bits_of(x) - least)
        m = of_bits(whole(whole(bits & mask) + least))
        return real(whole(bits >> shift)) + added, m - one

    return split


@cache
def _log_core(dtype: str) -> Function:
    """(k, f) -> k ln(2) + log(1 + f)."""
    form = FORMATS[dtype]
    # n * high is exact for every exponent: its last 12 bits are 0
    high = form.real(int(math.log(2) * 2.0 ** (form.fraction - 12)) * 2.0 ** -(form.fraction - 12))
    low = form.real((LN2 - int(float(high) * 2**80) * 2 ** (POINT - 80)) / (1 << POINT))
    half, two = form.real(0.5), form.real(2)
    tail = polynomial(*(_LOG32 if dtype == "float32" else _LOG64))

    @inline
    def single(k, f):  # type: ignore[no-untyped-def]
        z = f * f
        rest = fused(f * z, tail(f), fused(k, low, -half * z))
        return k * high + (f + rest)

    @inline
    def double(k, f):  # type: ignore[no-untyped-def]
        s = f / (two + f)
        z, square = s * s, half * f * f
        rest = square - fused(s, square + z * tail(z), k * low)
        return k * high - (rest - f)

    return single if dtype == "float32" else double


@cache
def log(dtype: str) -> Function:
    """Natural logarithm. Error 1.0 ulp, for denormal operands too."""
    real, split, core = FORMATS[dtype].real, split_of(dtype), _log_core(dtype)
    zero, infinity, nan = real(0), real(np.inf), real(np.nan)

    @inline
    def function(x):  # type: ignore[no-untyped-def]
        k, f = split(x)
        value = core(k, f)
        value = value if x < infinity else x
        value = -infinity if x == zero else value
        return nan if x < zero else value

    return function


@cache
def log1p(dtype: str) -> Function:
    """log(1 + x): what 1 + x loses by rounding is added to first order (Kahan's correction). Error 2.0 ulp."""
    real, logarithm = FORMATS[dtype].real, log(dtype)
    zero, one, infinity = real(0), real(1), real(np.inf)

    @inline
    def function(x):  # type: ignore[no-untyped-def]
        u = one + x
        lost = x - (u - one) if x < one else one - (u - x)
        ordinary = (u > zero) & (u < infinity)
        correction = lost / (u if ordinary else one)
        value = logarithm(u)
        return value + correction if ordinary else value

    return function


# ---------------------------------------------------------------- erf


_ERF = {
    "float32": (0.128379165914, -0.376126271355, 0.112836001691, -0.0268544442372, 0.00518953459339, -0.000802083429868, 7.88909551048e-5),
    "float64": (
        0.12837916709551257377, -0.37612638903183748177, 0.1128379167095488446, -0.026866170645077873967,
        0.0052239776248284295814, -0.00085483269814259963389, 0.00012055331132988645488, -0.000014925595773305656753,
        1.6461008500463625126e-6, -1.6350396504903226317e-7, 1.466033085878754786e-8, -1.1374964774195254884e-9,
        5.9607017395584993832e-11,
    ),
}  # fmt: skip
"""erf(x) / x - 1 in x^2, for |x| < 1."""
_LOG_ERFC = {
    "float32": (
        -1.84960551004, -2.63896751605, -0.843107064829, -0.0415635508656, 0.010046587538, -0.0020120967031,
        0.000289588218768, -2.16973793044e-5,
    ),
    "float64": (
        -1.8496055099332482486, -2.6389675142347912396, -0.84310725635848651197, -0.041561098046500606335,
        0.010033825434091643613, -0.0019779030205866808703, 0.00023732471319638987288, 0.000026270310542147279561,
        -0.000027140797005364632596, 9.5763728349481438162e-6, -2.0166231212870384549e-6, 9.9625824850285387041e-8,
        1.304959206635840462e-7, -7.112442247806358316e-8, 2.3273558716158023848e-8, -5.6005259734815001745e-9,
        1.0225206511944210648e-9, -1.3895249785134933797e-10, 1.3288211500760704052e-11, -7.9745769490895596062e-13,
        2.2548464275831273849e-14,
    ),
}  # fmt: skip
"""log(1 - erf(t)) in t - 1, up to the limit (4 and 6) from which erf is 1."""


@cache
def erf(dtype: str) -> Function:
    """The error function. Error 2.0 ulp."""
    form = FORMATS[dtype]
    real, whole, of_bits, bits_of = form.real, form.whole, form.of_bits, form.bits_of
    near, far, power = polynomial(*_ERF[dtype]), polynomial(*_LOG_ERFC[dtype]), exp(dtype)
    limit = real(4 if dtype == "float32" else 6)
    one, sign = real(1), form.bits(-0.0)

    @inline
    def function(x):  # type: ignore[no-untyped-def]
        size = magnitude(x)
        small = fused(x, near(x * x), x)
        t = limit if size > limit else size
        large = one - power(far(t - one))
        large = of_bits(whole(bits_of(large) | whole(bits_of(x) & sign)))
        return small if size < one else large

    return function


# ---------------------------------------------------------------- division


@cache
def divide(dtype: str) -> Function:
    """a / b, rounded once. With the fast-math flags 1 / sqrt(0) would be NaN: LLVM takes an estimate and improves it."""

    @inline
    def function(a, b):  # type: ignore[no-untyped-def]
        return a / b

    return function
