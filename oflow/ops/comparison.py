"""Comparisons, logic on conditions, choice by a condition, tests for special numbers, and bitwise operators.

The order of conditions is False < True, so P(max) of them is "on any device" and P(min) "on all devices"; a comparison with a
partial maximum is one of the two. (A NaN among the candidates of a maximum compares like no number at all.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.elementwise import elementwise
from oflow.ops.tensor import Tensor, user_line

equal = elementwise("equal", "a == b", operands="a b")
not_equal = elementwise("not_equal", "a != b", operands="a b")
less = elementwise("less", "a < b", operands="a b", monotone=[{1}], antitone=[{0}])
less_equal = elementwise("less_equal", "a <= b", operands="a b", monotone=[{1}], antitone=[{0}])
greater = elementwise("greater", "a > b", operands="a b", monotone=[{0}], antitone=[{1}])
greater_equal = elementwise("greater_equal", "a >= b", operands="a b", monotone=[{0}], antitone=[{1}])

logical_not = elementwise("logical_not", "not a", masks="a", antitone=[{0}])
logical_and = elementwise(
    "logical_and", "a and b", operands="a b", masks="a b", monotone=[{0}, {1}], also=["P(min),P(min) -> P(min)"]
)
logical_or = elementwise(
    "logical_or", "a or b", operands="a b", masks="a b", monotone=[{0}, {1}], also=["P(max),P(max) -> P(max)"]
)
logical_xor = elementwise("logical_xor", "a != b", operands="a b", masks="a b")

where = elementwise(
    "where", "where(c, a, b)", operands="c a b", masks="c", linear=[{1, 2}], monotone=[{1}, {2}, {1, 2}],
    grad={"a": "where(c, g, 0)", "b": "where(c, 0, g)"},
)  # fmt: skip

isnan = elementwise("isnan", "isnan(a)")
isinf = elementwise("isinf", "isinf(a)")
isfinite = elementwise("isfinite", "isfinite(a)")
_replace = elementwise(
    "nan_to_num", "where(isnan(a), n, where(a == 1e999, p, where(a == -1e999, m, a)))", operands="a n p m", floats=True,
    grad={
        "a": "where(isfinite(a), g, 0)", "n": "where(isnan(a), g, 0)", "p": "where(a == 1e999, g, 0)", "m": "where(a == -1e999, g, 0)",
    },
)  # fmt: skip

bitwise_and = elementwise("bitwise_and", "a & b", operands="a b", whole=True)
bitwise_or = elementwise("bitwise_or", "a | b", operands="a b", whole=True)
bitwise_xor = elementwise("bitwise_xor", "a ^ b", operands="a b", whole=True)
bitwise_not = elementwise("bitwise_not", "~a", whole=True, antitone=[{0}])
left_shift = elementwise("left_shift", "a << b", operands="a b", whole=True, linear=[{0}], domain=(0, 9))
right_shift = elementwise("right_shift", "a >> b", operands="a b", whole=True, monotone=[{0}], domain=(0, 9))


def nan_to_num(a: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """NaN, inf and -inf replaced by numbers: by default 0 and the largest and smallest number of the dtype, as in NumPy."""
    if not a.type.is_float:
        return a
    limits = np.finfo(a.dtype)
    most, least = (float(limits.max) if posinf is None else posinf), (float(limits.min) if neginf is None else neginf)
    if not all(isinstance(number, int | float) for number in (nan, most, least)):
        raise ShapeError("nan, posinf and neginf are Python numbers; for tensors use of.where(of.isnan(a), ...)", line=user_line())
    return _replace(a, float(nan), float(most), float(least))
