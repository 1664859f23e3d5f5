"""Maximum and average of windows of images (n, c, h, w). The image axes stay whole; batch and channels may be split."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.blocks import carve
from oflow.ops.convolution import Pair, pair, windows
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.tensor import Tensor
from oflow.types import TensorType

_FORWARD = "n c h! w! -> n c ho! wo!"


def _windows_of(attrs: Attributes) -> tuple[Pair, Pair]:
    """(size, stride) of the attributes; the stride is the size unless given."""
    size = pair(attrs["size"])
    return size, pair(attrs["stride"]) if attrs.get("stride") is not None else size


def _result(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    (x,) = ins
    if len(x.shape) != 4:
        raise ShapeError(f"wants images (n, c, h, w), got {x}")
    size, stride = _windows_of(attrs)
    high, wide = (windows(x.shape[2 + i], size[i], stride[i]) for i in (0, 1))
    return (TensorType((*x.shape[:2], high, wide), x.dtype),)


def _shifts(image: np.ndarray, size: Pair, stride: Pair, result: tuple[int, ...]) -> Iterator[np.ndarray]:
    """For each position in the window, the view (..., ho, wo) of the elements that are there."""
    (down, right), (high, wide) = stride, result[-2:]
    for i, j in np.ndindex(size):
        yield image[..., i : i + down * high : down, j : j + right * wide : right]


def _cost(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    """One operation for each element of each window."""
    smallest = min((*ins, *outs), key=lambda t: t.size)
    flops = float(smallest.size * math.prod(pair(attrs["size"])))
    return Cost(flops=flops, nbytes=float(sum(t.nbytes for t in (*ins, *outs))), calls=1)


def _examples() -> list[tuple[np.ndarray, np.ndarray, dict[str, Any]]]:
    """(images, cotangent, attributes) with integer values, windows with gaps, overlaps and left-over edges."""
    random = np.random.default_rng(29)
    made = []
    shapes: list[tuple[tuple[int, ...], dict[str, Any]]] = [
        ((3, 2, 6, 4), {"size": 2}),
        ((2, 5, 7, 5), {"size": 3, "stride": 2}),
        ((1, 1, 5, 6), {"size": (1, 2), "stride": (3, 1)}),
    ]
    for shape, attrs in shapes:
        (y,) = _result((TensorType(shape),), attrs)
        x, g = (random.integers(-9, 10, s).astype("float32") for s in (shape, y.shape))
        made.append((x, g, attrs))
    return made


# ------------------------------------------------------------ maximum

max_pool2d = op(
    "max_pool2d",
    rule=_FORWARD,
    infer=_result,
    exact=True,
    example=lambda: [Example((x,), attrs) for x, _, attrs in _examples()],
)
"""x (n, c, h, w); size, stride=size (numbers or (rows, columns)) -> the maximum of each window (n, c, ho, wo)."""

max_pool2d.cost(_cost)


@max_pool2d.kernel
def _max_pool(out: np.ndarray, x: np.ndarray, **attrs: Any) -> None:
    size, stride = _windows_of(attrs)
    for images, result in zip(x, out, strict=True):
        first, *others = _shifts(images, size, stride, out.shape)
        np.copyto(result, first)
        for shifted in others:
            np.maximum(result, shifted, out=result)


@max_pool2d.grad
def _(g: Tensor, y: Tensor, x: Tensor, **attrs: Any) -> tuple[Tensor]:
    return (max_pool2d_grad(g, x, y, **attrs),)


def _pooled(x: np.ndarray, attrs: dict[str, Any]) -> np.ndarray:
    (y,) = _result((TensorType(x.shape, x.dtype.name),), attrs)
    out = np.empty(y.shape, y.dtype)
    _max_pool(out, x, **attrs)
    return out


max_pool2d_grad = op(
    "max_pool2d_grad",
    rule="n c ho! wo!, n c h! w!, n c ho! wo! -> n c h! w!",
    linear=[{0}],
    exact=True,
    example=lambda: [Example((g, x, _pooled(x, attrs)), attrs) for x, g, attrs in _examples()],
)
"""(g, x, y = max_pool2d(x); size, stride) -> the cotangent of x: g goes to the first largest element of each window."""

max_pool2d_grad.cost(_cost)


@max_pool2d_grad.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    """For one image: a product, and two masks of the windows."""
    return math.prod(ins[0].shape[1:]) * (ins[0].itemsize + 2)


@max_pool2d_grad.kernel
def _max_pool_grad(out: np.ndarray, g: np.ndarray, x: np.ndarray, y: np.ndarray, *, workspace: np.ndarray, **attrs: Any) -> None:
    size, stride = _windows_of(attrs)
    shape = g.shape[1:]
    product = carve(workspace, 0, shape, g.dtype)
    here = carve(workspace[product.nbytes :], 0, shape, np.dtype(bool))
    waiting = carve(workspace[product.nbytes + here.nbytes :], 0, shape, np.dtype(bool))
    out[...] = 0
    for target, cotangents, images, largest in zip(out, g, x, y, strict=True):
        waiting[...] = True
        pairs = zip(_shifts(images, size, stride, shape), _shifts(target, size, stride, shape), strict=True)
        for source, added in pairs:
            np.equal(source, largest, out=here)
            here &= waiting
            np.multiply(cotangents, here, out=product)
            added += product
            waiting ^= here


# ------------------------------------------------------------ average

avg_pool2d = op(
    "avg_pool2d",
    rule=_FORWARD,
    infer=_result,
    linear=[{0}],
    example=lambda: [Example((x,), attrs, tolerance=1e-6) for x, _, attrs in _examples()],
)
"""x (n, c, h, w); size, stride=size (numbers or (rows, columns)) -> the mean of each window (n, c, ho, wo)."""

avg_pool2d.cost(_cost)


@avg_pool2d.kernel
def _avg_pool(out: np.ndarray, x: np.ndarray, **attrs: Any) -> None:
    size, stride = _windows_of(attrs)
    for images, result in zip(x, out, strict=True):
        first, *others = _shifts(images, size, stride, out.shape)
        np.copyto(result, first)
        for shifted in others:
            result += shifted
        result *= 1.0 / math.prod(size)


@avg_pool2d.grad
def _(g: Tensor, y: Tensor, x: Tensor, **attrs: Any) -> tuple[Tensor]:
    return (avg_pool2d_grad(g, image=x.shape[2:], **attrs),)


avg_pool2d_grad = op(
    "avg_pool2d_grad",
    rule="n c ho! wo! -> n c h! w!",
    infer=lambda ins, attrs: (TensorType((*ins[0].shape[:2], *attrs["image"]), ins[0].dtype),),
    linear=[{0}],
    example=lambda: [Example((g,), {**attrs, "image": x.shape[2:]}, tolerance=1e-6) for x, g, attrs in _examples()],
)
"""(g; image=(h, w), size, stride) -> the cotangent of the images (n, c, h, w): g is shared equally by each window."""

avg_pool2d_grad.cost(_cost)


@avg_pool2d_grad.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    """The shares of one image."""
    return math.prod(ins[0].shape[1:]) * ins[0].itemsize


@avg_pool2d_grad.kernel
def _avg_pool_grad(out: np.ndarray, g: np.ndarray, *, workspace: np.ndarray, **attrs: Any) -> None:
    size, stride = _windows_of(attrs)
    share = carve(workspace, 0, g.shape[1:], g.dtype)
    out[...] = 0
    for target, cotangents in zip(out, g, strict=True):
        np.multiply(cotangents, 1.0 / math.prod(size), out=share)
        for added in _shifts(target, size, stride, g.shape):
            added += share
