"""The elementwise operators. `gelu` is the tanh form (Hendrycks and Gimpel 2016, as in GPT-2)."""

from __future__ import annotations

from typing import Any

from oflow.errors import TraceError
from oflow.ops.elementwise import elementwise
from oflow.ops.tensor import Tensor, user_line

add = elementwise("add", "a + b", operands="a b", grad={"a": "g", "b": "g"}, linear=[{0, 1}], monotone=[{0}, {1}])
sub = elementwise("sub", "a - b", operands="a b", grad={"a": "g", "b": "-g"}, linear=[{0, 1}], monotone=[{0}], antitone=[{1}])
mul = elementwise("mul", "a * b", operands="a b", grad={"a": "g * b", "b": "g * a"}, linear=[{0}, {1}])
div = elementwise(
    "div", "a / b", operands="a b", grad={"a": "g / b", "b": "-g * y / b"}, linear=[{0}], floats=True, domain=(1, 4)
)
neg = elementwise("neg", "-a", grad={"a": "-g"}, linear=[{0}], antitone=[{0}])
square = elementwise("square", "a * a", grad={"a": "2 * g * a"})
absolute = elementwise("abs", "abs(a)", grad={"a": "g * sign(a)"})
sign = elementwise("sign", "sign(a)", monotone=[{0}])
floor = elementwise("floor", "floor(a)", monotone=[{0}], floats=True)
minimum = elementwise(
    "minimum", "min(a, b)", operands="a b", monotone=[{0}, {1}],
    grad={"a": "where(a <= b, g, 0)", "b": "where(a <= b, 0, g)"},
)  # fmt: skip
maximum = elementwise(
    "maximum", "max(a, b)", operands="a b", monotone=[{0}, {1}],
    grad={"a": "where(a >= b, g, 0)", "b": "where(a >= b, 0, g)"},
)  # fmt: skip
where = elementwise(
    "where", "where(c, a, b)", operands="c a b", masks="c", linear=[{1, 2}], monotone=[{1}, {2}],
    grad={"a": "where(c, g, 0)", "b": "where(c, 0, g)"},
)  # fmt: skip

exp = elementwise("exp", "exp(a)", grad={"a": "g * y"}, monotone=[{0}], floats=True)
log = elementwise("log", "log(a)", grad={"a": "g / a"}, monotone=[{0}], floats=True, domain=(0.5, 4))
sqrt = elementwise("sqrt", "sqrt(a)", grad={"a": "0.5 * g / y"}, monotone=[{0}], floats=True, domain=(0.5, 4))
cos = elementwise("cos", "cos(a)", grad={"a": "-g * sin(a)"}, floats=True)
sin = elementwise("sin", "sin(a)", grad={"a": "g * cos(a)"}, floats=True)
tanh = elementwise("tanh", "tanh(a)", grad={"a": "g * (1 - y * y)"}, monotone=[{0}], floats=True)
sigmoid = elementwise(
    "sigmoid", "0.5 * tanh(0.5 * a) + 0.5", grad={"a": "g * y * (1 - y)"}, monotone=[{0}], floats=True
)
pow_ = elementwise(
    "power", "a ** b", operands="a b", grad={"a": "g * b * a ** (b - 1)", "b": "g * y * log(a)"}, domain=(1, 3), tolerance=1e-4,
    floats=True,
)  # fmt: skip
relu = elementwise("relu", "max(a, 0)", grad={"a": "where(a > 0, g, 0)"}, monotone=[{0}])

_GATE = "(0.5 * tanh(a * (0.7978845608028654 + 0.035677408136300125 * (a * a))) + 0.5)"
gelu = elementwise(
    "gelu", f"a * {_GATE}", floats=True,
    grad={"a": f"g * ({_GATE} * (1 + a * (1 - {_GATE}) * (1.5957691216057308 + 0.21406444881780074 * (a * a))))"},
)  # fmt: skip

equal = elementwise("equal", "a == b", operands="a b")
not_equal = elementwise("not_equal", "a != b", operands="a b")
less = elementwise("less", "a < b", operands="a b")
less_equal = elementwise("less_equal", "a <= b", operands="a b")
greater = elementwise("greater", "a > b", operands="a b")
greater_equal = elementwise("greater_equal", "a >= b", operands="a b")
logical_not = elementwise("logical_not", "not a", masks="a")
logical_and = elementwise("logical_and", "a and b", operands="a b", masks="a b")
logical_or = elementwise("logical_or", "a or b", operands="a b", masks="a b")


def power(a: Tensor | float, b: Tensor | float) -> Any:
    """a ** b, elementwise; the powers 2, 0.5, 1 and -1 of a tensor use the cheaper operators."""
    if isinstance(b, int | float) and isinstance(a, Tensor):
        if b == 2:
            return square(a)
        if b == 0.5:
            return sqrt(a)
        if b == 1:
            return a
        if b == -1:
            return div(1.0, a)
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        raise TraceError("power takes at least one tensor", line=user_line())
    return pow_(a, b)


def clip(a: Tensor, low: float, high: float) -> Any:
    """min(max(a, low), high), elementwise."""
    return minimum(maximum(a, low), high)
