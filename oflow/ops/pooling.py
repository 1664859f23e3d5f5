"""Maximum and average of windows of images (n, c, h, w). The image axes stay whole; batch and channels may be split.

Padding is not stored: for each place in a window, only the windows whose element there lies inside the image are visited.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.arithmetic import mul
from oflow.ops.blocks import carve
from oflow.ops.columns import Pair, pair, windows
from oflow.ops.constant import constant
from oflow.ops.index import getitem
from oflow.ops.joining import concat_op
from oflow.ops.op import ANY, Attributes, Example, Types, op
from oflow.ops.reduce import mean
from oflow.ops.tensor import Tensor, user_line
from oflow.types import TensorType

_FORWARD = "n c h! w! -> n c ho! wo!"


@dataclass(frozen=True, slots=True)
class Windows:
    """Size, distance and padding of the windows, each (rows, columns); the stride is the size unless given."""

    size: Pair
    stride: Pair
    padding: Pair

    @classmethod
    def of(cls, attrs: Attributes) -> Windows:
        size, stride = pair(attrs["size"]), attrs.get("stride")
        return cls(size, size if stride is None else pair(stride), pair(attrs.get("padding", 0)))

    def results(self, image: tuple[int, ...]) -> Pair:
        """(ho, wo) for an image (h, w). Raises ShapeError where a window could lie in the padding alone."""
        if any(2 * p > n for p, n in zip(self.padding, self.size, strict=True)):
            raise ShapeError(f"padding {self.padding} is more than half of a window of {self.size}")
        high, wide = (windows(image[i], self.size[i], self.stride[i], self.padding[i]) for i in (0, 1))
        return high, wide

    def inside(self, axis: int, place: int, n: int, count: int) -> tuple[slice, slice]:
        """Elements of an image axis of size n, and the windows whose element `place` they are: of `count`, those that have it inside."""
        first, step = place - self.padding[axis], self.stride[axis]
        start = max(0, -(first // step)) if first < 0 else 0
        stop = max(start, min(count, (n - 1 - first) // step + 1))
        low = first + step * start
        return slice(low, max(low, first + step * (stop - 1) + 1), step), slice(start, stop)

    def shifts(self, image: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, tuple[Any, ...]]]:
        """For each place in the window, the elements that are there (a view of images (..., h, w)), and the index of their windows."""
        (h, w), (high, wide) = image.shape[-2:], shape[-2:]
        for i, j in np.ndindex(self.size):
            (rows, of_rows), (columns, of_columns) = self.inside(0, i, h, high), self.inside(1, j, w, wide)
            yield image[..., rows, columns], (..., of_rows, of_columns)


def _result(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    (x,) = ins
    if len(x.shape) != 4:
        raise ShapeError(f"wants images (n, c, h, w), got {x}")
    return (TensorType((*x.shape[:2], *Windows.of(attrs).results(x.shape[2:])), x.dtype),)


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
        ((2, 6, 5, 7), {"size": 3, "stride": 2, "padding": 1}),
        ((1, 2, 6, 3), {"size": (4, 3), "stride": (1, 4), "padding": (2, 0)}),
    ]
    for shape, attrs in shapes:
        (y,) = _result((TensorType(shape),), attrs)
        x, g = (random.integers(-9, 10, s).astype("float32") for s in (shape, y.shape))
        made.append((x, g, attrs))
    return made


# ------------------------------------------------------------ maximum

max_pool = op(
    "max_pool2d",
    rule=_FORWARD,
    infer=_result,
    also=["P(max) -> P(max)"],
    exact=True,
    half=ANY,
    example=lambda: [Example((x,), attrs) for x, _, attrs in _examples()],
)
"""x (n, c, h, w); size, stride=size, padding=0 (numbers or (rows, columns)) -> the maximum of each window (n, c, ho, wo)."""

max_pool.cost(_cost)


@max_pool.kernel
def _max_pool(out: np.ndarray, x: np.ndarray, **attrs: Any) -> None:
    where = Windows.of(attrs)
    out[...] = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    for images, result in zip(x, out, strict=True):
        for elements, at in where.shifts(images, out.shape):
            np.maximum(result[at], elements, out=result[at])


@max_pool.grad
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
"""(g, x, y = max_pool2d(x); size, stride, padding) -> the cotangent of x: g goes to the first largest element of each window."""

max_pool2d_grad.cost(_cost)


@max_pool2d_grad.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    """For one image: a product, and two masks of the windows."""
    return math.prod(ins[0].shape[1:]) * (ins[0].itemsize + 2)


@max_pool2d_grad.kernel
def _max_pool_grad(out: np.ndarray, g: np.ndarray, x: np.ndarray, y: np.ndarray, *, workspace: np.ndarray, **attrs: Any) -> None:
    where, shape = Windows.of(attrs), g.shape[1:]
    product = carve(workspace, 0, shape, g.dtype)
    here = carve(workspace[product.nbytes :], 0, shape, np.dtype(bool))
    waiting = carve(workspace[product.nbytes + here.nbytes :], 0, shape, np.dtype(bool))
    out[...] = 0
    for target, cotangents, images, largest in zip(out, g, x, y, strict=True):
        waiting[...] = True
        for (source, at), (added, _) in zip(where.shifts(images, shape), where.shifts(target, shape), strict=True):
            np.equal(source, largest[at], out=here[at])
            here[at] &= waiting[at]
            np.multiply(cotangents[at], here[at], out=product[at])
            added += product[at]
            waiting[at] ^= here[at]


# ------------------------------------------------------------ average

avg_pool = op(
    "avg_pool2d",
    rule=_FORWARD,
    infer=_result,
    linear=[{0}],
    half=ANY,
    example=lambda: [Example((x,), attrs, tolerance=1e-6) for x, _, attrs in _examples()],
)
"""x (n, c, h, w); size, stride=size, padding=0 (numbers or (rows, columns)) -> the mean of each window (n, c, ho, wo); padding
counts as zeros."""

avg_pool.cost(_cost)


@avg_pool.kernel
def _avg_pool(out: np.ndarray, x: np.ndarray, **attrs: Any) -> None:
    where = Windows.of(attrs)
    out[...] = 0
    for images, result in zip(x, out, strict=True):
        for elements, at in where.shifts(images, out.shape):
            result[at] += elements
        result *= 1.0 / math.prod(where.size)


@avg_pool.grad
def _(g: Tensor, y: Tensor, x: Tensor, **attrs: Any) -> tuple[Tensor]:
    return (avg_pool2d_grad(g, image=x.shape[2:], **attrs),)


avg_pool2d_grad = op(
    "avg_pool2d_grad",
    rule="n c ho! wo! -> n c h! w!",
    infer=lambda ins, attrs: (TensorType((*ins[0].shape[:2], *attrs["image"]), ins[0].dtype),),
    linear=[{0}],
    example=lambda: [Example((g,), {**attrs, "image": x.shape[2:]}, tolerance=1e-6) for x, g, attrs in _examples()],
)
"""(g; image=(h, w), size, stride, padding) -> the cotangent of the images (n, c, h, w): g is shared equally by each window."""

avg_pool2d_grad.cost(_cost)


@avg_pool2d_grad.grad
def _(h: Tensor, y: Tensor, g: Tensor, **attrs: Any) -> tuple[Tensor]:
    return (avg_pool(h, **{key: value for key, value in attrs.items() if key != "image"}),)


@avg_pool2d_grad.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    """The shares of one image."""
    return math.prod(ins[0].shape[1:]) * ins[0].itemsize


@avg_pool2d_grad.kernel
def _avg_pool_grad(out: np.ndarray, g: np.ndarray, *, workspace: np.ndarray, **attrs: Any) -> None:
    where = Windows.of(attrs)
    share = carve(workspace, 0, g.shape[1:], g.dtype)
    out[...] = 0
    for target, cotangents in zip(out, g, strict=True):
        np.multiply(cotangents, 1.0 / math.prod(where.size), out=share)
        for added, at in where.shifts(target, g.shape):
            added += share[at]


# ------------------------------------------------------------ what users call


def _attributes(size: int | Pair, stride: int | Pair | None, padding: int | Pair) -> dict[str, Any]:
    return {"size": size} | ({} if stride is None else {"stride": stride}) | ({} if pair(padding) == (0, 0) else {"padding": padding})


def max_pool2d(x: Tensor, size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> Tensor:
    """x (n, c, h, w) -> the maximum of each window of `size`, `stride` (default: size) apart: (n, c, ho, wo).

    ho = (h + 2 padding - size) // stride + 1; a number or (rows, columns) each. Padding never wins a maximum; it is at most half a
    window. The first largest element of a window gets its cotangent. Raises ShapeError where no window fits.
    """
    return max_pool(x, **_attributes(size, stride, padding))  # type: ignore[no-any-return]


def avg_pool2d(
    x: Tensor, size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0, count_include_pad: bool = True
) -> Tensor:
    """x (n, c, h, w) -> the mean of each window, laid as by `max_pool2d`: (n, c, ho, wo).

    count_include_pad: whether the zeros of the padding count in the mean, as in PyTorch; without, it is over what lies in the image.
    """
    attrs = _attributes(size, stride, padding)
    y: Tensor = avg_pool(x, **attrs)
    if count_include_pad or "padding" not in attrs:
        return y
    return mul(mul(y, _shares(x, Windows.of(attrs), 0)), _shares(x, Windows.of(attrs), 1))  # type: ignore[no-any-return]


def _shares(x: Tensor, where: Windows, axis: int) -> Tensor:
    """Along one image axis, the size of each window over how much of it lies in the image: (ho, 1) or (wo,)."""
    n, size, count = x.shape[2 + axis], where.size[axis], where.results(x.shape[2:])[axis]
    starts = np.arange(count) * where.stride[axis] - where.padding[axis]
    shares = size / (np.minimum(starts + size, n) - np.maximum(starts, 0))
    return constant(x.builder, shares[:, None] if axis == 0 else shares, x.dtype)


def adaptive_avg_pool2d(x: Tensor, output_size: int | Pair) -> Tensor:
    """x (n, c, h, w) -> (n, c, *output_size): the mean over windows from floor(i h / ho) to ceil((i + 1) h / ho), as in PyTorch."""
    high, wide = pair(output_size)
    if x.ndim != 4 or not (1 <= high <= x.shape[2] and 1 <= wide <= x.shape[3]):
        raise ShapeError(f"cannot pool {x.type} to images of {(high, wide)}", line=user_line())
    h, w = x.shape[2:]
    if (high, wide) == (1, 1):
        return global_avg_pool2d(x)
    if h % high == 0 and w % wide == 0:
        return avg_pool2d(x, (h // high, w // wide))
    return _means(_means(x, 2, high), 3, wide)


def _means(x: Tensor, axis: int, count: int) -> Tensor:
    """The means of `count` slices that cover an axis."""
    n = x.shape[axis]
    spans = [slice(i * n // count, -(-(i + 1) * n // count)) for i in range(count)]
    parts = [mean(getitem(x, (slice(None),) * axis + (span,)), axis, keepdims=True) for span in spans]
    return concat_op(*parts, axis=axis)  # type: ignore[no-any-return]


def global_avg_pool2d(x: Tensor) -> Tensor:
    """x (n, c, h, w) -> the mean of each channel of each image (n, c, 1, 1)."""
    return mean(x, (2, 3), keepdims=True)
