"""Two-dimensional convolution (cross-correlation, as in PyTorch): im2col and one matrix product for each image.

The image axes stay whole; the batch, the input and the output channels may be split.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.blocks import carve
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.tensor import Tensor
from oflow.types import TensorType

Pair = tuple[int, int]
Shape = tuple[int, ...]


def pair(value: int | tuple[int, int]) -> Pair:
    """(rows, columns) from one number for both, or from two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def windows(n: int, size: int, stride: int, padding: int = 0) -> int:
    """How many windows of `size` fit into n elements with `padding` at both ends. Raises ShapeError where none does."""
    if n + 2 * padding < size or stride < 1 or padding < 0:
        raise ShapeError(f"a window of {size}, stride {stride}, padding {padding} does not fit into {n} elements")
    return (n + 2 * padding - size) // stride + 1


def _result(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    x, w = ins
    if len(x.shape) != 4 or len(w.shape) != 4 or x.shape[1] != w.shape[1]:
        raise ShapeError(f"wants images (n, ci, h, w) and weights (co, ci, kh, kw), got {x} and {w}")
    if x.dtype != w.dtype:
        raise ShapeError(f"dtypes {x.dtype} and {w.dtype} differ; convert one with of.cast(t, dtype)")
    stride, padding = pair(attrs.get("stride", 1)), pair(attrs.get("padding", 0))
    high, wide = (windows(x.shape[2 + i], w.shape[2 + i], stride[i], padding[i]) for i in (0, 1))
    return (TensorType((x.shape[0], w.shape[0], high, wide), x.dtype),)


def _examples() -> list[tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]]:
    """(x, w, cotangent, attributes) with integer values."""
    random = np.random.default_rng(23)

    def array(*shape: int) -> np.ndarray:
        return random.integers(-4, 5, shape).astype("float32")

    made = []
    shapes: list[tuple[Shape, Shape, dict[str, Any]]] = [
        ((3, 2, 5, 4), (5, 2, 3, 2), {}),
        ((2, 3, 7, 6), (2, 3, 3, 3), {"stride": 2, "padding": 1}),
        ((1, 1, 4, 5), (3, 1, 1, 2), {"stride": (1, 2), "padding": (2, 0)}),
    ]
    for x, w, attrs in shapes:
        images, weights = array(*x), array(*w)
        (y,) = _result((TensorType(x), TensorType(w)), attrs)
        made.append((images, weights, array(*y.shape), attrs))
    return made


# ------------------------------------------------------------ im2col


def _padded_shape(image: tuple[int, ...], padding: Pair) -> tuple[int, int, int]:
    return image[0], image[1] + 2 * padding[0], image[2] + 2 * padding[1]


class _Columns:
    """The workspace of one image (ci, h, w): the padded image and its columns (ci, kh, kw, ho, wo)."""

    def __init__(
        self, workspace: np.ndarray, image: Shape, kernel: Shape, result: Shape,
        stride: int | Pair, padding: int | Pair, dtype: np.dtype,
    ) -> None:  # fmt: skip
        stride, padding = pair(stride), pair(padding)
        shape = _padded_shape(image, padding)
        self.padded = carve(workspace, 0, shape, dtype)
        self.columns = carve(workspace[self.padded.nbytes :], 0, (image[0], *kernel, *result), dtype)
        self.matrix = self.columns.reshape(image[0] * math.prod(kernel), math.prod(result))
        self.rest = workspace[self.padded.nbytes + self.columns.nbytes :]
        self.inner = self.padded[:, padding[0] : padding[0] + image[1], padding[1] : padding[1] + image[2]]
        self.kernel, self.result, self.stride = kernel, result, stride
        self.padded[...] = 0

    def _window(self, i: int, j: int) -> np.ndarray:
        (high, wide), (down, right) = self.result, self.stride
        return self.padded[:, i : i + down * high : down, j : j + right * wide : right]

    def gather(self, image: np.ndarray) -> np.ndarray:
        """im2col: columns (ci kh kw, ho wo) of the image."""
        np.copyto(self.inner, image)
        for i, j in np.ndindex(self.kernel):
            np.copyto(self.columns[:, i, j], self._window(i, j))
        return self.matrix

    def scatter(self, image: np.ndarray) -> None:
        """The transpose of `gather`: adds the columns up into the image."""
        self.padded[...] = 0
        for i, j in np.ndindex(self.kernel):
            window = self._window(i, j)
            np.add(window, self.columns[:, i, j], out=window)
        np.copyto(image, self.inner)


def _columns_nbytes(image: Shape, kernel: Shape, result: Shape, padding: Pair, itemsize: int) -> int:
    columns = image[0] * math.prod(kernel) * math.prod(result)
    return (math.prod(_padded_shape(image, padding)) + columns) * itemsize


# ------------------------------------------------------------ convolution

conv2d = op(
    "conv2d",
    rule="n ci h! w!, co ci kh! kw! -> n co ho! wo!",
    infer=_result,
    linear=[{0}, {1}],
    exact=True,
    example=lambda: [Example((x, w), attrs) for x, w, _, attrs in _examples()],
)
"""x (n, ci, h, w), w (co, ci, kh, kw); stride=1, padding=0 (a number or (rows, columns)) -> (n, co, ho, wo).

ho = (h + 2 padding - kh) // stride + 1. A bias is added by the caller: ``y + of.reshape(bias, (co, 1, 1))``.
"""


def _cost_of(ins: Types, outs: Types, n: int, weights: Shape, result: Shape) -> Cost:
    """Two flops for each product of the direct sum: n (co ci kh kw) (ho wo) products."""
    flops = 2.0 * n * math.prod(weights) * math.prod(result)
    return Cost(flops=flops, nbytes=float(sum(t.nbytes for t in (*ins, *outs))), calls=1)


@conv2d.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return _cost_of(ins, outs, ins[0].shape[0], ins[1].shape, outs[0].shape[2:])


@conv2d.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    x, w = ins
    return _columns_nbytes(x.shape[1:], w.shape[2:], outs[0].shape[2:], pair(attrs.get("padding", 0)), x.itemsize)


@conv2d.kernel
def _conv2d(
    out: np.ndarray, x: np.ndarray, w: np.ndarray, stride: int | Pair = 1, padding: int | Pair = 0, *, workspace: np.ndarray
) -> None:
    columns = _Columns(workspace, x.shape[1:], w.shape[2:], out.shape[2:], stride, padding, x.dtype)
    weights = w.reshape(w.shape[0], len(columns.matrix))
    result = out.reshape(*out.shape[:2], columns.matrix.shape[1])
    for i in range(len(x)):
        np.matmul(weights, columns.gather(x[i]), out=result[i])


@conv2d.grad
def _(g: Tensor, y: Tensor, x: Tensor, w: Tensor, stride: int | Pair = 1, padding: int | Pair = 0) -> tuple[Tensor, Tensor]:
    attrs = {"stride": stride, "padding": padding}
    return conv2d_grad_input(g, w, image=x.shape[2:], **attrs), conv2d_grad_weight(x, g, kernel=w.shape[2:], **attrs)


# ------------------------------------------------------------ gradient of the images


def _image(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    g, w = ins
    return (TensorType((g.shape[0], w.shape[1], *attrs["image"]), g.dtype),)


conv2d_grad_input = op(
    "conv2d_grad_input",
    rule="n co ho! wo!, co ci kh! kw! -> n ci h! w!",
    infer=_image,
    linear=[{0}, {1}],
    exact=True,
    example=lambda: [Example((g, w), {**attrs, "image": x.shape[2:]}) for x, w, g, attrs in _examples()],
)
"""(g (n, co, ho, wo), w (co, ci, kh, kw); image=(h, w), stride, padding) -> the cotangent of the images (n, ci, h, w)."""


@conv2d_grad_input.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return _cost_of(ins, outs, ins[0].shape[0], ins[1].shape, ins[0].shape[2:])


@conv2d_grad_input.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    g, w = ins
    return _columns_nbytes(outs[0].shape[1:], w.shape[2:], g.shape[2:], pair(attrs.get("padding", 0)), g.itemsize)


@conv2d_grad_input.kernel
def _conv2d_grad_input(
    out: np.ndarray, g: np.ndarray, w: np.ndarray, image: Pair, stride: int | Pair = 1, padding: int | Pair = 0,
    *, workspace: np.ndarray,
) -> None:  # fmt: skip
    columns = _Columns(workspace, out.shape[1:], w.shape[2:], g.shape[2:], stride, padding, g.dtype)
    weights = w.reshape(w.shape[0], len(columns.matrix)).T
    cotangents = g.reshape(*g.shape[:2], columns.matrix.shape[1])
    for i in range(len(g)):
        np.matmul(weights, cotangents[i], out=columns.matrix)
        columns.scatter(out[i])


# ------------------------------------------------------------ gradient of the weights


def _weights(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    x, g = ins
    return (TensorType((g.shape[1], x.shape[1], *attrs["kernel"]), x.dtype),)


conv2d_grad_weight = op(
    "conv2d_grad_weight",
    rule="n ci h! w!, n co ho! wo! -> co ci kh! kw!",
    infer=_weights,
    linear=[{0}, {1}],
    exact=True,
    example=lambda: [Example((x, g), {**attrs, "kernel": w.shape[2:]}) for x, w, g, attrs in _examples()],
)
"""(x (n, ci, h, w), g (n, co, ho, wo); kernel=(kh, kw), stride, padding) -> the cotangent of the weights (co, ci, kh, kw)."""


@conv2d_grad_weight.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return _cost_of(ins, outs, ins[0].shape[0], outs[0].shape, ins[1].shape[2:])


@conv2d_grad_weight.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    """Columns of one image, and the product of one image before it is added to the sum."""
    x, g = ins
    columns = _columns_nbytes(x.shape[1:], attrs["kernel"], g.shape[2:], pair(attrs.get("padding", 0)), x.itemsize)
    return columns + outs[0].nbytes


@conv2d_grad_weight.kernel
def _conv2d_grad_weight(
    out: np.ndarray, x: np.ndarray, g: np.ndarray, kernel: Pair, stride: int | Pair = 1, padding: int | Pair = 0,
    *, workspace: np.ndarray,
) -> None:  # fmt: skip
    columns = _Columns(workspace, x.shape[1:], kernel, g.shape[2:], stride, padding, x.dtype)
    total = out.reshape(out.shape[0], len(columns.matrix))
    product = carve(columns.rest, 0, total.shape, out.dtype)
    cotangents = g.reshape(*g.shape[:2], columns.matrix.shape[1])
    total[...] = 0
    for i in range(len(x)):
        np.matmul(cotangents[i], columns.gather(x[i]).T, out=product)
        total += product
