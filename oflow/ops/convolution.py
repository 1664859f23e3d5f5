"""Two-dimensional convolution (cross-correlation, as in PyTorch): im2col and one matrix product for each image and group.

The batch, the input and the output channels may be split; with groups, whole groups. The image axes stay whole: a split image
would need its neighbours' border rows (a halo), which no boxing step moves. The gradient of the images is the transposed
convolution, and each of the three operators' gradients is made of the other two.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.blocks import carve
from oflow.ops.columns import Columns, Geometry, Pair, Shape, columns_nbytes
from oflow.ops.op import PRODUCT, Attributes, Example, RuleMaker, Types, op
from oflow.ops.tensor import Tensor
from oflow.types import TensorType


def local_groups(attrs: Attributes, channels: int, each: int) -> int:
    """The groups of a rank that holds `channels` channels, `each` a group."""
    return channels // each if attrs.get("groups", 1) > 1 else 1


# ------------------------------------------------------------ types and rules


def _result(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    x, w = ins
    groups = attrs.get("groups", 1)
    if len(x.shape) != 4 or len(w.shape) != 4 or groups < 1 or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise ShapeError(f"wants images (n, groups ci, h, w) and weights (groups co, ci, kh, kw), got {x}, {w} and {groups} groups")
    if x.dtype != w.dtype:
        raise ShapeError(f"dtypes {x.dtype} and {w.dtype} differ; convert one with of.cast(t, dtype)")
    return (TensorType((x.shape[0], w.shape[0], *Geometry.of(attrs).results(x.shape[2:], w.shape[2:])), x.dtype),)


_X, _W, _Y = 0, 1, 2
"""Images (n, ci, h, w), weights (co, ci, kh, kw), results (n, co, ho, wo): the roles of operands and results."""


def _rule(*roles: int) -> RuleMaker:
    """Rule maker of the operator whose operands and result have these roles.

    With groups each channel axis is (g channels of a group), and only g can be split; where a group has one channel, g stands alone.
    """

    def rule(ins: Types, attrs: Attributes) -> str:
        groups = attrs.get("groups", 1)
        ci, co, each = "ci", "co", "ci"
        if groups > 1:
            of_group = _channels(ins, attrs, roles)
            ci, co = ("g" if n == 1 else f"(g {name})" for name, n in zip(("ci", "co"), of_group, strict=True))
            each = "1" if of_group[0] == 1 else "ci"
        texts = {_X: f"n {ci} h! w!", _W: f"{co} {each} kh! kw!", _Y: f"n {co} ho! wo!"}
        return f"{texts[roles[0]]}, {texts[roles[1]]} -> {texts[roles[2]]}"

    return rule


def _channels(ins: Types, attrs: Attributes, roles: tuple[int, ...]) -> Pair:
    """(input, output) channels of one group."""
    shapes = dict(zip(roles, (t.shape for t in ins), strict=False))
    groups = attrs["groups"]
    return (
        shapes[_X][1] // groups if _X in shapes else shapes[_W][1],
        (shapes[_Y][1] if _Y in shapes else shapes[_W][0]) // groups,
    )


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
        ((2, 5, 6, 7), (6, 5, 2, 3), {"dilation": (3, 2), "padding": ((0, 1), (2, 1))}),
        ((2, 12, 5, 4), (24, 2, 3, 3), {"groups": 6, "padding": 1}),
        ((3, 8, 4, 5), (4, 2, 2, 2), {"groups": 4, "stride": 2, "dilation": 2, "padding": 1}),
        ((2, 7, 4, 4), (7, 1, 3, 3), {"groups": 7, "padding": 1}),
        ((1, 6, 4, 3), (12, 1, 2, 2), {"groups": 6}),
    ]
    for x, w, attrs in shapes:
        images, weights = array(*x), array(*w)
        (y,) = _result((TensorType(x), TensorType(w)), attrs)
        made.append((images, weights, array(*y.shape), attrs))
    return made


# ------------------------------------------------------------ convolution

convolve = op(
    "conv2d",
    rule=_rule(_X, _W, _Y),
    infer=_result,
    linear=[{0}, {1}],
    exact=True,
    half=PRODUCT,
    example=lambda: [Example((x, w), attrs) for x, w, _, attrs in _examples()],
)
"""x (n, groups ci, h, w), w (groups co, ci, kh, kw); stride=1, padding=0, dilation=1 (a number or (rows, columns); padding also
((above, below), (left, right))), groups=1 -> (n, groups co, ho, wo).

ho = (h + above + below - dilation (kh - 1) - 1) // stride + 1. A bias is added by the caller.
"""


def _cost_of(ins: Types, outs: Types, n: int, weights: Shape, result: Shape) -> Cost:
    """Two flops for each product of the direct sum: n (co ci kh kw) (ho wo) products, ci the channels of a group."""
    flops = 2.0 * n * math.prod(weights) * math.prod(result)
    return Cost(flops=flops, nbytes=float(sum(t.nbytes for t in (*ins, *outs))), calls=1)


@convolve.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return _cost_of(ins, outs, ins[0].shape[0], ins[1].shape, outs[0].shape[2:])


@convolve.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    x, w = ins
    return columns_nbytes(x.shape[1:], w.shape[2:], outs[0].shape[2:], attrs, x.itemsize)


@convolve.kernel
def _convolve(out: np.ndarray, x: np.ndarray, w: np.ndarray, *, workspace: np.ndarray, **attrs: Any) -> None:
    groups = local_groups(attrs, x.shape[1], w.shape[1])
    columns = Columns(workspace, x.shape[1:], w.shape[2:], out.shape[2:], groups, attrs, x.dtype)
    weights, result = columns.of_weights(w), columns.of_results(out)
    for i in range(len(x)):
        np.matmul(weights, columns.gather(x[i]), out=result[i])


@convolve.grad
def _(g: Tensor, y: Tensor, x: Tensor, w: Tensor, **attrs: Any) -> tuple[Tensor, Tensor]:
    return conv2d_grad_input(g, w, image=x.shape[2:], **attrs), conv2d_grad_weight(x, g, kernel=w.shape[2:], **attrs)


def _without(attrs: Attributes, name: str) -> dict[str, Any]:
    return {key: value for key, value in attrs.items() if key != name}


# ------------------------------------------------------------ gradient of the images


def _image(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    g, w = ins
    image = TensorType((g.shape[0], w.shape[1] * attrs.get("groups", 1), *attrs["image"]), g.dtype)
    if _result((image, w), attrs) != (g,):
        raise ShapeError(f"images {image} convolved with {w} do not give {g}")
    return (image,)


conv2d_grad_input = op(
    "conv2d_grad_input",
    rule=_rule(_Y, _W, _X),
    infer=_image,
    linear=[{0}, {1}],
    exact=True,
    half=PRODUCT,
    example=lambda: [Example((g, w), {**attrs, "image": x.shape[2:]}) for x, w, g, attrs in _examples()],
)
"""(g (n, co, ho, wo), w (co, ci, kh, kw); image=(h, w) and the attributes of conv2d) -> the cotangent of the images (n, ci, h, w).

This is the transposed convolution of g.
"""


@conv2d_grad_input.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return _cost_of(ins, outs, ins[0].shape[0], ins[1].shape, ins[0].shape[2:])


@conv2d_grad_input.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    g, w = ins
    return columns_nbytes(outs[0].shape[1:], w.shape[2:], g.shape[2:], attrs, g.itemsize)


@conv2d_grad_input.kernel
def _conv2d_grad_input(out: np.ndarray, g: np.ndarray, w: np.ndarray, *, workspace: np.ndarray, **attrs: Any) -> None:
    groups = local_groups(attrs, out.shape[1], w.shape[1])
    columns = Columns(workspace, out.shape[1:], w.shape[2:], g.shape[2:], groups, attrs, g.dtype)
    weights, cotangents = columns.of_weights(w).swapaxes(1, 2), columns.of_results(g)
    for i in range(len(g)):
        np.matmul(weights, cotangents[i], out=columns.matrices)
        columns.scatter(out[i])


@conv2d_grad_input.grad
def _(h: Tensor, y: Tensor, g: Tensor, w: Tensor, **attrs: Any) -> tuple[Tensor, Tensor]:
    rest = _without(attrs, "image")
    return convolve(h, w, **rest), conv2d_grad_weight(h, g, kernel=w.shape[2:], **rest)


# ------------------------------------------------------------ gradient of the weights


def _weights(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    x, g = ins
    weight = TensorType((g.shape[1], x.shape[1] // attrs.get("groups", 1), *attrs["kernel"]), x.dtype)
    if _result((x, weight), attrs) != (g,):
        raise ShapeError(f"images {x} convolved with {weight} do not give {g}")
    return (weight,)


conv2d_grad_weight = op(
    "conv2d_grad_weight",
    rule=_rule(_X, _Y, _W),
    infer=_weights,
    linear=[{0}, {1}],
    exact=True,
    half=PRODUCT,
    example=lambda: [Example((x, g), {**attrs, "kernel": w.shape[2:]}) for x, w, g, attrs in _examples()],
)
"""(x (n, ci, h, w), g (n, co, ho, wo); kernel=(kh, kw) and the attributes of conv2d) -> the cotangent of the weights."""


@conv2d_grad_weight.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return _cost_of(ins, outs, ins[0].shape[0], outs[0].shape, ins[1].shape[2:])


@conv2d_grad_weight.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    """Columns of one image, and the product of one image before it is added to the sum."""
    x, g = ins
    return columns_nbytes(x.shape[1:], attrs["kernel"], g.shape[2:], attrs, x.itemsize) + outs[0].nbytes


@conv2d_grad_weight.kernel
def _conv2d_grad_weight(
    out: np.ndarray, x: np.ndarray, g: np.ndarray, kernel: Pair, *, workspace: np.ndarray, **attrs: Any
) -> None:
    groups = local_groups(attrs, x.shape[1], out.shape[1])
    columns = Columns(workspace, x.shape[1:], kernel, g.shape[2:], groups, attrs, x.dtype)
    total, cotangents = columns.of_weights(out), columns.of_results(g)
    product = carve(columns.rest, 0, total.shape, out.dtype)
    total[...] = 0
    for i in range(len(x)):
        np.matmul(cotangents[i], columns.gather(x[i]).swapaxes(1, 2), out=product)
        total += product


@conv2d_grad_weight.grad
def _(h: Tensor, y: Tensor, x: Tensor, g: Tensor, **attrs: Any) -> tuple[Tensor, Tensor]:
    rest = _without(attrs, "kernel")
    return conv2d_grad_input(g, h, image=x.shape[2:], **rest), convolve(x, h, **rest)
