"""Arithmetic, rounding, remainders, extremes: NumPy's names and meanings, Python's sign of remainders."""

from __future__ import annotations

from typing import Any

from oflow.errors import TraceError
from oflow.ops.elementwise import elementwise
from oflow.ops.tensor import Tensor, user_line
from oflow.ops.transcendental import rsqrt, sqrt

add = elementwise("add", "a + b", operands="a b", grad={"a": "g", "b": "g"}, linear=[{0, 1}], monotone=[{0}, {1}])
sub = elementwise("sub", "a - b", operands="a b", grad={"a": "g", "b": "-g"}, linear=[{0, 1}], monotone=[{0}], antitone=[{1}])
mul = elementwise(
    "mul", "a * b", operands="a b", grad={"a": "g * b", "b": "g * a"}, linear=[{0}, {1}],
    rises={"a": "b", "b": "a"}, falls={"a": "b", "b": "a"},
)  # fmt: skip
div = elementwise(
    "div", "a / b", operands="a b", grad={"a": "g / b", "b": "-g * y / b"}, linear=[{0}], rises={"a": "b"}, falls={"a": "b"},
    floats=True, domain=(1, 4),
)  # fmt: skip
neg = elementwise("neg", "-a", grad={"a": "-g"}, linear=[{0}], antitone=[{0}])
reciprocal = elementwise("reciprocal", "1 / a", grad={"a": "-g * y * y"}, floats=True, domain=(0.5, 4))
square = elementwise("square", "a * a", grad={"a": "2 * g * a"})
absolute = elementwise("abs", "abs(a)", grad={"a": "g * sign(a)"})
sign = elementwise("sign", "sign(a)", monotone=[{0}])
floor_divide = elementwise("floor_divide", "a // b", operands="a b", domain=(1, 4))
remainder = elementwise("remainder", "a % b", operands="a b", grad={"a": "g", "b": "-g * (a // b)"}, domain=(1, 4))
lerp = elementwise(
    "lerp", "a + t * (b - a)", operands="a b t", grad={"a": "g * (1 - t)", "b": "g * t", "t": "g * (b - a)"}, linear=[{0, 1}], floats=True
)

floor = elementwise("floor", "floor(a)", monotone=[{0}], floats=True)
ceil = elementwise("ceil", "ceil(a)", monotone=[{0}], floats=True)
trunc = elementwise("trunc", "trunc(a)", monotone=[{0}], floats=True)
rint = elementwise("rint", "rint(a)", monotone=[{0}], floats=True)

minimum = elementwise(
    "minimum", "min(a, b)", operands="a b", monotone=[{0}, {1}], also=["P(min),P(min) -> P(min)"],
    grad={"a": "where(a <= b, g, 0)", "b": "where(a <= b, 0, g)"},
)  # fmt: skip
maximum = elementwise(
    "maximum", "max(a, b)", operands="a b", monotone=[{0}, {1}], also=["P(max),P(max) -> P(max)"],
    grad={"a": "where(a >= b, g, 0)", "b": "where(a >= b, 0, g)"},
)  # fmt: skip
pow_ = elementwise(
    "power", "a ** b", operands="a b", grad={"a": "g * b * a ** (b - 1)", "b": "g * y * log(a)"}, domain=(1, 3), tolerance=1e-4,
    floats=True,
)  # fmt: skip


def power(a: Tensor | float, b: Tensor | float) -> Any:
    """a ** b, elementwise; the powers 3, 2, 1, 0.5, -0.5 and -1 of a tensor use the cheaper operators."""
    if isinstance(b, int | float) and isinstance(a, Tensor):
        if b == 1:
            return a
        if b == 3:
            return mul(square(a), a)
        made = {2: square, 0.5: sqrt, -0.5: rsqrt, -1: reciprocal}.get(b)
        if made:
            return made(a)
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        raise TraceError("power takes at least one tensor", line=user_line())
    return pow_(a, b)


def clip(a: Tensor, a_min: Tensor | float | None = None, a_max: Tensor | float | None = None) -> Any:
    """min(max(a, a_min), a_max), elementwise; a bound that is None does not bound. On a bound the gradient goes to a."""
    lifted = a if a_min is None else maximum(a, a_min)
    return lifted if a_max is None else minimum(lifted, a_max)


def round(a: Tensor, decimals: int = 0) -> Any:
    """The nearest number with so many decimals, halves to even, as in NumPy. Not differentiable; whole numbers stay."""
    if not a.type.is_float:
        return a
    scale = 10.0 ** abs(decimals)
    if decimals == 0:
        return rint(a)
    return div(rint(mul(a, scale)), scale) if decimals > 0 else mul(rint(div(a, scale)), scale)
