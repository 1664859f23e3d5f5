"""Compiled forms of pooling and convolution. The kernels: `kernels/pooling.py` and `kernels/convolution.py`."""

from __future__ import annotations

import math

from oflow.backends.compiled.form import WORKSPACE, Address, OpCall, Step, Steps, Symbol, Word, form, kernel, real
from oflow.backends.compiled.moves import fill
from oflow.ops.columns import Geometry, Pair, pair
from oflow.ops.convolution import local_groups
from oflow.types import TensorType

COLUMNS_NBYTES = 384 << 10
"""Bytes of columns that are made and multiplied at a time: with the weights they stay in a level-2 cache."""

# ---------------------------------------------------------------- pooling


def _windows(call: OpCall) -> tuple[Pair, Pair]:
    """(size, stride) of the windows. No kernel reads beyond the image: calls with padding are left to NumPy."""
    size, stride = pair(call.attrs["size"]), call.attrs.get("stride")
    return size, size if stride is None else pair(stride)


def _padded(call: OpCall) -> bool:
    return pair(call.attrs.get("padding", 0)) != (0, 0)


def _pooling_words(call: OpCall, image: TensorType, result: TensorType) -> tuple[Word, ...]:
    size, stride = _windows(call)
    addresses = (call.out(0), *(call.operand(i) for i in range(len(call.ins))))
    sizes = (math.prod(image.shape[:2]), *image.shape[2:], *result.shape[2:], *size, stride[0])
    return (*addresses, *sizes, real(1.0 / math.prod(size)))


@form("max_pool2d", "avg_pool2d")
def pool(call: OpCall) -> Steps | None:
    x, out = call.ins[0], call.outs[0]
    if not x.is_float or call.accumulate or _padded(call):
        return None
    name = "largest" if call.op == "max_pool2d" else "average"
    routine = kernel("pooling", name, x.dtype, str(_windows(call)[1][1]))
    return (Step(routine, _pooling_words(call, x, out)),)


@form("max_pool2d_grad")
def max_pool_gradient(call: OpCall) -> Steps | None:
    g, x, _ = call.ins
    if not x.is_float or _padded(call):
        return None
    size, stride = _windows(call)
    routine = kernel("pooling", "largest_gradient", x.dtype, *map(str, (*size, stride[1])))
    return _from_zero(call, Step(routine, _pooling_words(call, x, g)))


@form("avg_pool2d_grad")
def avg_pool_gradient(call: OpCall) -> Steps | None:
    g, out = call.ins[0], call.outs[0]
    if not g.is_float or _padded(call):
        return None
    routine = kernel("pooling", "average_gradient", g.dtype, str(_windows(call)[1][1]))
    return _from_zero(call, Step(routine, _pooling_words(call, out, g)))


def _from_zero(call: OpCall, adds: Step) -> Steps:
    return (adds,) if call.accumulate else (*fill(call, 0), adds)


# ---------------------------------------------------------------- convolution


def _convolution(call: OpCall, routine: str, image: TensorType, weight: TensorType, result: TensorType) -> Steps | None:
    dtype = image.dtype
    if not image.is_float or not all(t.size for t in (image, weight, result)):
        return None
    where, groups = Geometry.of(call.attrs), local_groups(call.attrs, image.shape[1], weight.shape[1])
    direct = weight.shape[2:] == (1, 1) and where.stride == (1, 1) and where.margins == ((0, 0), (0, 0))
    height, width = result.shape[2:]
    line = math.prod(weight.shape[1:]) * width * image.itemsize
    rows = min(height, max(1, COLUMNS_NBYTES // line))
    assert direct or rows * line <= call.workspace_nbytes
    words: tuple[Word, ...] = (
        Symbol(f"gemm.{dtype}"), call.out(0), call.operand(0), call.operand(1), Address(WORKSPACE),
        image.shape[0] * groups, weight.shape[0] // groups, weight.shape[1], *image.shape[2:], *weight.shape[2:], height, width,
        *where.stride, *(before for before, _ in where.margins), rows, int(direct), int(call.accumulate), *where.dilation, groups,
    )  # fmt: skip
    return (Step(kernel("convolution", routine, dtype), words),)


@form("conv2d")
def convolution(call: OpCall) -> Steps | None:
    x, w = call.ins
    return _convolution(call, "forward", x, w, call.outs[0])


@form("conv2d_grad_input")
def image_gradient(call: OpCall) -> Steps | None:
    g, w = call.ins
    return _convolution(call, "image_gradient", call.outs[0], w, g)


@form("conv2d_grad_weight")
def weight_gradient(call: OpCall) -> Steps | None:
    x, g = call.ins
    return _convolution(call, "weight_gradient", x, call.outs[0], g)
