"""Activation functions: PyTorch's names and definitions, written so that large operands neither overflow nor cancel."""

from __future__ import annotations

from typing import Any

from oflow.errors import ShapeError
from oflow.ops.arithmetic import div, mul
from oflow.ops.elementwise import elementwise
from oflow.ops.tensor import Tensor, user_line

relu = elementwise("relu", "max(a, 0)", grad={"a": "where(a > 0, g, 0)"}, monotone=[{0}])
relu6 = elementwise("relu6", "min(max(a, 0), 6)", grad={"a": "where(a > 0 and a < 6, g, 0)"}, monotone=[{0}], domain=(-4, 9))
leaky = elementwise(
    "leaky_relu", "where(a > 0, a, s * a)", operands="a s", grad={"a": "where(a > 0, g, g * s)", "s": "where(a > 0, 0, g * a)"},
    rises={"a": "s"}, floats=True,
)  # fmt: skip
exponential_unit = elementwise(
    "elu", "where(a > 0, a, k * expm1(min(a, 0)))", operands="a k",
    grad={"a": "where(a > 0, g, g * k * exp(min(a, 0)))", "k": "where(a > 0, 0, g * expm1(min(a, 0)))"},
    rises={"a": "k"}, floats=True,
)  # fmt: skip

_LOGISTIC = "(0.5 * tanh(0.5 * a) + 0.5)"
_SOFTPLUS = "(max(a, 0) + log1p(exp(-abs(a))))"
sigmoid = elementwise("sigmoid", "0.5 * tanh(0.5 * a) + 0.5", grad={"a": "g * y * (1 - y)"}, monotone=[{0}], floats=True)
log_sigmoid = elementwise(
    "log_sigmoid", "min(a, 0) - log1p(exp(-abs(a)))", grad={"a": "g * (0.5 - 0.5 * tanh(0.5 * a))"}, monotone=[{0}], floats=True
)
soft_plus = elementwise("softplus", _SOFTPLUS, grad={"a": f"g * {_LOGISTIC}"}, monotone=[{0}], floats=True)
silu = elementwise(
    "silu", f"a * {_LOGISTIC}", grad={"a": f"g * ({_LOGISTIC} * (1 + a * (1 - {_LOGISTIC})))"}, floats=True
)
mish = elementwise(
    "mish", f"a * tanh{_SOFTPLUS}", floats=True,
    grad={"a": f"g * (tanh{_SOFTPLUS} + a * {_LOGISTIC} * (1 - tanh{_SOFTPLUS} * tanh{_SOFTPLUS}))"},
)  # fmt: skip
hardsigmoid = elementwise(
    "hardsigmoid", "min(max(a + 3, 0), 6) / 6", grad={"a": "where(a > -3 and a < 3, g / 6, 0)"}, monotone=[{0}], floats=True
)
hardswish = elementwise(
    "hardswish", "a * min(max(a + 3, 0), 6) / 6", grad={"a": "where(a <= -3, 0, where(a >= 3, g, g * (a / 3 + 0.5)))"}, floats=True
)

_GATE = "(0.5 * tanh(a * (0.7978845608028654 + 0.035677408136300125 * (a * a))) + 0.5)"
gelu_tanh = elementwise(
    "gelu", f"a * {_GATE}", floats=True,
    grad={"a": f"g * ({_GATE} * (1 + a * (1 - {_GATE}) * (1.5957691216057308 + 0.21406444881780074 * (a * a))))"},
)  # fmt: skip
_NORMAL = "(0.5 + 0.5 * erf(0.7071067811865476 * a))"
gelu_erf = elementwise(
    "gelu_erf", f"a * {_NORMAL}", floats=True, grad={"a": f"g * ({_NORMAL} + 0.3989422804014327 * a * exp(-0.5 * a * a))"}
)


def gelu(a: Tensor, approximate: str = "tanh") -> Any:
    """a times the normal distribution function of a (Hendrycks and Gimpel 2016). approximate: "tanh", as in GPT-2, or "none"."""
    if approximate not in ("tanh", "none"):
        raise ShapeError(f'approximate is "tanh" or "none", not {approximate!r}', line=user_line())
    return gelu_tanh(a) if approximate == "tanh" else gelu_erf(a)


def leaky_relu(a: Tensor, negative_slope: Tensor | float = 0.01) -> Any:
    """a where it is positive, else negative_slope * a; a slope that is a tensor broadcasts (PReLU)."""
    return leaky(a, negative_slope)


def elu(a: Tensor, alpha: Tensor | float = 1.0) -> Any:
    """a where it is positive, else alpha * (e^a - 1) (Clevert et al. 2015)."""
    return exponential_unit(a, alpha)


def softplus(a: Tensor, beta: float = 1.0) -> Any:
    """log(1 + e^(beta a)) / beta."""
    return soft_plus(a) if beta == 1 else div(soft_plus(mul(a, beta)), beta)
