"""Operators: what each one IS, in one block: rule, gradient, cost, local attributes, expression or kernel, example."""

from __future__ import annotations

from typing import Any

from oflow.ops.arithmetic import (
    absolute,
    add,
    clip,
    cos,
    div,
    equal,
    exp,
    floor,
    gelu,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    mul,
    neg,
    not_equal,
    power,
    relu,
    sigmoid,
    sign,
    sin,
    sqrt,
    square,
    sub,
    tanh,
    where,
)
from oflow.ops.attention import causal_attention
from oflow.ops.boxing import accumulate, boxing, to_global
from oflow.ops.convolution import conv2d
from oflow.ops.elementwise import elementwise, sum_to
from oflow.ops.embedding import embedding
from oflow.ops.fused import fused, fused_attrs
from oflow.ops.losses import cross_entropy, mse, softmax_cross_entropy, sum_squared_error
from oflow.ops.matmul import contract, linear, matmul
from oflow.ops.normalize import layer_norm, rms_norm
from oflow.ops.op import REGISTRY, Example, Op, Shards, op
from oflow.ops.pooling import avg_pool2d, max_pool2d
from oflow.ops.reduce import argmax, max, mean, min, sum
from oflow.ops.shape import broadcast_to, cast, concat, full_like, getitem, reshape, transpose
from oflow.ops.softmax import causal_softmax, softmax
from oflow.ops.tensor import Tensor
from oflow.ops.update import adamw_update, assign, increment, momentum_update, sgd_update, sum_squares

_METHODS: dict[str, Any] = {
    "__add__": add, "__sub__": sub, "__mul__": mul, "__truediv__": div, "__pow__": power, "__neg__": neg, "__matmul__": matmul,
    "__radd__": lambda t, x: add(x, t), "__rsub__": lambda t, x: sub(x, t), "__rmul__": lambda t, x: mul(x, t),
    "__rtruediv__": lambda t, x: div(x, t), "__rpow__": lambda t, x: power(x, t), "__eq__": equal, "__ne__": not_equal,
    "__lt__": less, "__le__": less_equal, "__gt__": greater, "__ge__": greater_equal,
    "__abs__": absolute, "__getitem__": getitem, "reshape": reshape, "transpose": transpose, "sum": sum, "mean": mean,
    "max": max, "min": min, "cast": cast,
}  # fmt: skip
for _name, _function in _METHODS.items():
    setattr(Tensor, _name, lambda self, *args, _call=_function, **attrs: _call(self, *args, **attrs))
setattr(Tensor, "T", property(transpose))  # noqa: B010 - bound here, where the operators are known

__all__ = [
    "REGISTRY", "Example", "Op", "Shards", "Tensor", "absolute", "accumulate", "adamw_update", "add", "argmax", "assign", "avg_pool2d",
    "boxing", "broadcast_to", "cast", "causal_attention", "causal_softmax", "clip", "concat", "contract", "conv2d", "cos",
    "cross_entropy", "div", "elementwise", "embedding", "equal", "exp", "floor", "full_like", "fused", "fused_attrs", "gelu",
    "getitem", "greater", "greater_equal", "increment", "layer_norm", "less", "less_equal", "linear", "log", "logical_and",
    "logical_not", "logical_or", "matmul", "max", "max_pool2d", "maximum", "mean", "min", "minimum", "momentum_update", "mse",
    "mul", "neg", "not_equal", "op", "power", "relu", "reshape", "rms_norm", "sgd_update", "sigmoid", "sign", "sin", "softmax",
    "softmax_cross_entropy", "sqrt", "square", "sub", "sum", "sum_squared_error", "sum_squares", "sum_to", "tanh", "to_global",
    "transpose", "where",
]  # fmt: skip
