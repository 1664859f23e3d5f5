"""Exponentials, logarithms, roots, angles: NumPy's names. Functions with NaN below some point (log, sqrt) pass candidates of a
minimum only: the lesser candidates of a maximum may lie there."""

from __future__ import annotations

from oflow.ops.elementwise import elementwise

LEAST = ["P(min) -> P(min)"]

exp = elementwise("exp", "exp(a)", grad={"a": "g * y"}, monotone=[{0}], floats=True)
exp2 = elementwise("exp2", "exp2(a)", grad={"a": "0.6931471805599453 * g * y"}, monotone=[{0}], floats=True)
expm1 = elementwise("expm1", "expm1(a)", grad={"a": "g * (y + 1)"}, monotone=[{0}], floats=True)
log = elementwise("log", "log(a)", grad={"a": "g / a"}, also=LEAST, floats=True, domain=(0.5, 4))
log2 = elementwise("log2", "log2(a)", grad={"a": "g / (0.6931471805599453 * a)"}, also=LEAST, floats=True, domain=(0.5, 4))
log10 = elementwise("log10", "log10(a)", grad={"a": "g / (2.302585092994046 * a)"}, also=LEAST, floats=True, domain=(0.5, 4))
log1p = elementwise("log1p", "log1p(a)", grad={"a": "g / (1 + a)"}, also=LEAST, floats=True, domain=(-0.5, 4))
logaddexp = elementwise(
    "logaddexp", "where(a == b, a + 0.6931471805599453, max(a, b) + log1p(exp(-abs(a - b))))", operands="a b",
    grad={"a": "where(a == b, 0.5 * g, g * (0.5 * tanh(0.5 * (a - b)) + 0.5))",
          "b": "where(a == b, 0.5 * g, g * (0.5 * tanh(0.5 * (b - a)) + 0.5))"},
    monotone=[{0}, {1}], floats=True,
)  # fmt: skip
sqrt = elementwise("sqrt", "sqrt(a)", grad={"a": "0.5 * g / y"}, also=LEAST, floats=True, domain=(0.5, 4))
rsqrt = elementwise("rsqrt", "1 / sqrt(a)", grad={"a": "-0.5 * g * y / a"}, also=["P(min) -> P(max)"], floats=True, domain=(0.5, 4))
hypot = elementwise("hypot", "hypot(a, b)", operands="a b", grad={"a": "g * a / y", "b": "g * b / y"}, floats=True, domain=(0.5, 4))
erf = elementwise("erf", "erf(a)", grad={"a": "1.1283791670955126 * g * exp(-a * a)"}, monotone=[{0}], floats=True)

sin = elementwise("sin", "sin(a)", grad={"a": "g * cos(a)"}, floats=True)
cos = elementwise("cos", "cos(a)", grad={"a": "-g * sin(a)"}, floats=True)
tan = elementwise("tan", "tan(a)", grad={"a": "g * (1 + y * y)"}, floats=True, domain=(-1.25, 1.25))
arcsin = elementwise("arcsin", "arcsin(a)", grad={"a": "g / sqrt(1 - a * a)"}, floats=True, domain=(-0.9, 0.5))
arccos = elementwise("arccos", "arccos(a)", grad={"a": "-g / sqrt(1 - a * a)"}, floats=True, domain=(-0.9, 0.5))
arctan = elementwise("arctan", "arctan(a)", grad={"a": "g / (1 + a * a)"}, monotone=[{0}], floats=True)
arctan2 = elementwise(
    "arctan2", "arctan2(a, b)", operands="a b", grad={"a": "g * b / (a * a + b * b)", "b": "-g * a / (a * a + b * b)"},
    floats=True, domain=(0.5, 4),
)  # fmt: skip
sinh = elementwise("sinh", "sinh(a)", grad={"a": "g * cosh(a)"}, monotone=[{0}], floats=True)
cosh = elementwise("cosh", "cosh(a)", grad={"a": "g * sinh(a)"}, floats=True)
tanh = elementwise("tanh", "tanh(a)", grad={"a": "g * (1 - y * y)"}, monotone=[{0}], floats=True)
arcsinh = elementwise("arcsinh", "arcsinh(a)", grad={"a": "g / sqrt(1 + a * a)"}, monotone=[{0}], floats=True)
arccosh = elementwise("arccosh", "arccosh(a)", grad={"a": "g / sqrt(a * a - 1)"}, also=LEAST, floats=True, domain=(1.5, 4))
arctanh = elementwise("arctanh", "arctanh(a)", grad={"a": "g / (1 - a * a)"}, floats=True, domain=(-0.9, 0.5))
