"""Softmax and layer norm over the last axis, which stays whole; all other axes may be split.

Layer norm: Ba, Kiros, Hinton 2016. Its statistics are recomputed in the gradients: cheaper than keeping them as results.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.machine import Cost
from oflow.ops.blocks import as_rows, axis_names, block_nbytes, carve, row_blocks, row_sums
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.reduce import sum as reduce_sum
from oflow.ops.tensor import Tensor


def _normal(*shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(11)
    return tuple(random.standard_normal(shape).astype("float32") for shape in shapes)


def _probabilities(*shape: int) -> np.ndarray:
    (x,) = _normal(shape)
    y = np.exp(x)
    return np.asarray(y / y.sum(-1, keepdims=True))


def cost_of_passes(flops: float) -> Any:
    """Cost rule: so many flops for each element of the first operand, all operands and results touched once."""

    def rule(ins: Types, outs: Types, attrs: Attributes) -> Cost:
        return Cost(flops=flops * ins[0].size, nbytes=float(sum(t.nbytes for t in (*ins, *outs))), calls=1)

    return rule


# ------------------------------------------------------------ softmax


def _same(operands: int) -> Any:
    def rule(ins: Types, attrs: Attributes) -> str:
        names = axis_names(len(ins[0].shape) - 1) + " c!"
        return ", ".join([names] * operands) + f" -> {names}"

    return rule


softmax = op(
    "softmax", rule=_same(1), example=lambda: [Example(_normal((5, 7))), Example(_normal((3, 2, 5))), Example(_normal((4,)))]
)
"""x (..., c) -> exp(x) / sum(exp(x)) over the last axis, without overflow."""

softmax.cost(cost_of_passes(8.0))


@softmax.kernel
def _softmax(out: np.ndarray, x: np.ndarray) -> None:
    rows, result = as_rows(x), as_rows(out)
    for at in row_blocks(rows):
        block = result[at]
        np.subtract(rows[at], rows[at].max(axis=1, keepdims=True), out=block)
        np.exp(block, out=block)
        block /= row_sums(block)


softmax_grad = op(
    "softmax_grad",
    rule=_same(2),
    linear=[{0}],
    example=lambda: [
        Example((*_normal((5, 7)), _probabilities(5, 7))),
        Example((*_normal((2, 3, 5)), _probabilities(2, 3, 5))),
    ],
)
"""(g, y = softmax(x)) -> the cotangent of x: y (g - sum(g y))."""

softmax_grad.cost(cost_of_passes(4.0))


@softmax.grad
def _(g: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor]:
    return (softmax_grad(g, y),)


@softmax_grad.kernel
def _softmax_grad(out: np.ndarray, g: np.ndarray, y: np.ndarray) -> None:
    cotangents, rows, result = as_rows(g), as_rows(y), as_rows(out)
    for at in row_blocks(rows):
        np.subtract(cotangents[at], np.vecdot(cotangents[at], rows[at])[:, None], out=result[at])
        result[at] *= rows[at]


# ------------------------------------------------------------ layer norm


def _center(x: np.ndarray, eps: float, out: np.ndarray) -> np.ndarray:
    """out = x - mean over the last axis; returns 1 / sqrt(variance + eps) of each row as (rows, 1)."""
    factor = 1.0 / x.shape[1]
    np.subtract(x, row_sums(x) * factor, out=out)
    deviation: np.ndarray = np.vecdot(out, out)[:, None]
    deviation *= factor
    deviation += eps
    np.sqrt(deviation, out=deviation)
    np.reciprocal(deviation, out=deviation)
    return deviation


def _layer_norm_rule(ins: Types, attrs: Attributes) -> str:
    names = axis_names(len(ins[0].shape) - 1) + " c!"
    return f"{names}, c, c -> {names}"


layer_norm = op(
    "layer_norm",
    rule=_layer_norm_rule,
    linear=[{1, 2}],
    example=lambda: [
        Example(_normal((5, 8), (8,), (8,)), {"eps": 1e-5}, tolerance=1e-4),
        Example(_normal((3, 2, 7), (7,), (7,)), {"eps": 1e-3}, tolerance=1e-4),
    ],
)
"""x (..., d), gamma (d), beta (d); eps=1e-5 -> (x - mean) / sqrt(variance + eps) gamma + beta over the last axis."""

layer_norm.cost(cost_of_passes(8.0))


@layer_norm.kernel
def _layer_norm(out: np.ndarray, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float = 1e-5) -> None:
    rows, result = as_rows(x), as_rows(out)
    for at in row_blocks(rows):
        block = result[at]
        block *= _center(rows[at], eps, out=block)
        block *= gamma
        block += beta


@layer_norm.grad
def _(g: Tensor, y: Tensor, x: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    lead = tuple(range(x.ndim - 1))
    bias = reduce_sum(g, axis=lead) if lead else g
    return layer_norm_grad_x(g, x, gamma, eps=eps), layer_norm_grad_gamma(g, x, eps=eps), bias


def _block_workspace(ins: Types, outs: Types, attrs: Attributes) -> int:
    """One row block, and one row for the sums over rows."""
    return block_nbytes(ins[0].shape, ins[0].itemsize) + ins[0].shape[-1] * ins[0].itemsize


def _normalised(workspace: np.ndarray, rows: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """(rows - mean) / deviation in the workspace, and 1 / deviation (rows, 1)."""
    block = carve(workspace, 0, rows.shape, rows.dtype)
    inverse = _center(rows, eps, out=block)
    block *= inverse
    return block, inverse


layer_norm_grad_x = op(
    "layer_norm_grad_x",
    rule=lambda ins, attrs: "{0}, {0}, c -> {0}".format(axis_names(len(ins[0].shape) - 1) + " c!"),
    linear=[{0}],
    example=lambda: [
        Example(_normal((5, 8), (5, 8), (8,)), {"eps": 1e-5}, tolerance=1e-4),
        Example(_normal((2, 3, 7), (2, 3, 7), (7,)), {"eps": 1e-3}, tolerance=1e-4),
    ],
)
"""(g, x (..., d), gamma (d); eps) -> the cotangent of x."""

layer_norm_grad_x.cost(cost_of_passes(12.0))
layer_norm_grad_x.workspace(_block_workspace)


@layer_norm_grad_x.kernel
def _layer_norm_grad_x(
    out: np.ndarray, g: np.ndarray, x: np.ndarray, gamma: np.ndarray, eps: float = 1e-5, *, workspace: np.ndarray
) -> None:
    cotangents, rows, result = as_rows(g), as_rows(x), as_rows(out)
    for at in row_blocks(rows):
        block = result[at]
        normalised, inverse = _normalised(workspace, rows[at], eps)
        np.multiply(cotangents[at], gamma, out=block)
        along = np.vecdot(block, normalised)[:, None]
        along *= 1.0 / rows.shape[1]
        block -= row_sums(block) * (1.0 / rows.shape[1])
        normalised *= along
        block -= normalised
        block *= inverse


layer_norm_grad_gamma = op(
    "layer_norm_grad_gamma",
    rule=lambda ins, attrs: "{0}, {0} -> c".format(axis_names(len(ins[0].shape) - 1) + " c!"),
    linear=[{0}],
    example=lambda: [
        Example(_normal((5, 8), (5, 8)), {"eps": 1e-5}, tolerance=1e-4),
        Example(_normal((2, 3, 7), (2, 3, 7)), {"eps": 1e-3}, tolerance=1e-4),
    ],
)
"""(g, x (..., d); eps) -> the cotangent of gamma (d), summed over all rows."""

layer_norm_grad_gamma.cost(cost_of_passes(8.0))
layer_norm_grad_gamma.workspace(_block_workspace)


@layer_norm_grad_gamma.kernel
def _layer_norm_grad_gamma(
    out: np.ndarray, g: np.ndarray, x: np.ndarray, eps: float = 1e-5, *, workspace: np.ndarray
) -> None:
    cotangents, rows = as_rows(g), as_rows(x)
    total = carve(workspace[workspace.size - out.nbytes :], 0, out.shape, out.dtype)
    out[...] = 0
    for at in row_blocks(rows):
        normalised, _ = _normalised(workspace, rows[at], eps)
        normalised *= cotangents[at]
        out += np.matmul(np.ones(len(normalised), out.dtype), normalised, out=total)
