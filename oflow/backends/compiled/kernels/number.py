"""What functions of one number are written with: formats, polynomials, constants to 1400 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from oflow.native.intrinsics import bits_of_float32, bits_of_float64, float32_of_bits, float64_of_bits

Function = Callable[..., Any]
inline = njit(forceinline=True, error_model="numpy", fastmath=False)  # else it would be the caller's


@dataclass(frozen=True)
class Format:
    """A floating-point format: NumPy types, casts between numbers and their bits, bits of the fraction."""

    real: Any
    whole: Any
    of_bits: Any
    bits_of: Any
    fraction: int

    @property
    def limits(self) -> Any:
        return np.finfo(self.real)

    def bits(self, value: Any) -> Any:
        """The bits of a number as a whole number."""
        return self.real(value).view(self.whole)[()]


FORMATS = {
    "float32": Format(np.float32, np.int32, float32_of_bits, bits_of_float32, 23),
    "float64": Format(np.float64, np.int64, float64_of_bits, bits_of_float64, 52),
}


def polynomial(*coefficients: float) -> Function:
    """c0 + c1 x + c2 x^2 + ... by Horner's rule, every step rounded once."""

    @intrinsic
    def value(typing: Any, x: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = context.get_value_type(x)
            rounded = np.float32 if x == types.float32 else np.float64
            numbers = [ir.Constant(kind, float(rounded(c))) for c in reversed(coefficients)]
            step = builder.module.declare_intrinsic("llvm.fma", [kind], ir.FunctionType(kind, [kind] * 3))
            found = numbers[0]
            for number in numbers[1:]:
                found = builder.call(step, [found, args[0], number])
            return found

        return x(x), code

    return value


def two_parts(value: Any, real: Any) -> tuple[Any, Any]:
    """A constant, given in hundreds of bits as (numerator, bits after the point), as the sum of two numbers."""
    numerator, point = value
    high = real(numerator / (1 << point))
    scaled = float(high).as_integer_ratio()
    rest = numerator * scaled[1] - (scaled[0] << point)
    return high, real(rest / (scaled[1] << point))


def _sum_of(term: Callable[[int], int]) -> int:
    """term(0) + term(1) + ... until one is 0."""
    total = 0
    for i in count():
        found = term(i)
        if not found:
            return total
        total += found
    raise AssertionError


def _arctangent(inverse: int, point: int) -> int:
    """atan(1 / inverse)."""
    return _sum_of(lambda i: (-1) ** i * ((1 << point) // (inverse ** (2 * i + 1) * (2 * i + 1))))


POINT = 1400
PI = 4 * (4 * _arctangent(5, POINT) - _arctangent(239, POINT))
"""Pi with 1400 bits after the point (Machin 1706)."""
LN2 = _sum_of(lambda i: (1 << POINT) // ((i + 1) << (i + 1)))
