"""Layer norm and RMS norm over the last axis, which stays whole; all other axes may be split.

Layer norm: Ba, Kiros, Hinton 2016; RMS norm: Zhang, Sennrich 2019. Their statistics are recomputed in the gradients, which read
every row anyway: cheaper than keeping them as results.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.blocks import as_rows, axis_names, block_nbytes, carve, cost_of_passes, row_blocks, row_sums
from oflow.ops.constant import full
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.tensor import Tensor, user_line


def _normal(*shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(11)
    return tuple(random.standard_normal(shape).astype("float32") for shape in shapes)


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


layer_norm_op = op(
    "layer_norm",
    rule=_layer_norm_rule,
    linear=[{1, 2}],
    example=lambda: [
        Example(_normal((5, 8), (8,), (8,)), {"eps": 1e-5}, tolerance=1e-4),
        Example(_normal((3, 2, 7), (7,), (7,)), {"eps": 1e-3}, tolerance=1e-4),
    ],
)
"""x (..., d), gamma (d), beta (d); eps=1e-5 -> (x - mean) / sqrt(variance + eps) gamma + beta over the last axis."""

layer_norm_op.cost(cost_of_passes(8.0))


@layer_norm_op.kernel
def _layer_norm(out: np.ndarray, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float = 1e-5) -> None:
    rows, result = as_rows(x), as_rows(out)
    for at in row_blocks(rows):
        block = result[at]
        block *= _center(rows[at], eps, out=block)
        block *= gamma
        block += beta


@layer_norm_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    made: tuple[Tensor, Tensor, Tensor] = layer_norm_grad(g, x, gamma, eps=eps)
    return made


def _grad_rule(sums: int) -> Any:
    """Rule maker of a norm's gradient: (g, x, gamma) -> the cotangent of x and `sums` sums over all rows."""

    def rule(ins: Types, attrs: Attributes) -> str:
        names = axis_names(len(ins[0].shape) - 1) + " c!"
        return f"{names}, {names}, c -> {names}" + ", c" * sums

    return rule


def _block_workspace(ins: Types, outs: Types, attrs: Attributes) -> int:
    """One row block, and one row for the sums over rows."""
    return block_nbytes(ins[0].shape, ins[0].itemsize) + ins[0].shape[-1] * ins[0].itemsize


def _add_rows(total: np.ndarray, rows: np.ndarray, workspace: np.ndarray) -> None:
    """total (d) += the sum of rows (n, d), by way of the last d elements of the workspace."""
    part = carve(workspace[workspace.size - total.nbytes :], 0, total.shape, total.dtype)
    total += np.matmul(np.ones(len(rows), rows.dtype), rows, out=part)


def _pull_back(block: np.ndarray, normalised: np.ndarray, inverse: np.ndarray) -> None:
    """block = (block - normalised mean(block normalised)) inverse; `normalised` is overwritten."""
    along = np.vecdot(block, normalised)[:, None]
    along *= 1.0 / block.shape[1]
    normalised *= along
    block -= normalised
    block *= inverse


layer_norm_grad = op(
    "layer_norm_grad",
    rule=_grad_rule(2),
    linear=[{0}],
    example=lambda: [
        Example(_normal((5, 8), (5, 8), (8,)), {"eps": 1e-5}, tolerance=1e-4),
        Example(_normal((2, 3, 7), (2, 3, 7), (7,)), {"eps": 1e-3}, tolerance=1e-4),
        Example(_normal((9,), (9,), (9,)), tolerance=1e-4),
    ],
)
"""(g, x (..., d), gamma (d); eps=1e-5) -> the cotangents of x (..., d), of gamma and of beta (d), summed over all rows."""

layer_norm_grad.cost(cost_of_passes(16.0))
layer_norm_grad.workspace(_block_workspace)


@layer_norm_grad.kernel
def _layer_norm_grad(
    out: np.ndarray, to_gamma: np.ndarray, to_beta: np.ndarray, g: np.ndarray, x: np.ndarray, gamma: np.ndarray,
    eps: float = 1e-5, *, workspace: np.ndarray,
) -> None:  # fmt: skip
    cotangents, rows, result = as_rows(g), as_rows(x), as_rows(out)
    to_gamma[...] = 0
    to_beta[...] = 0
    for at in row_blocks(rows):
        block, normalised = result[at], carve(workspace, 0, rows[at].shape, rows.dtype)
        inverse = _center(rows[at], eps, out=normalised)
        normalised *= inverse
        np.multiply(cotangents[at], normalised, out=block)
        _add_rows(to_gamma, block, workspace)
        _add_rows(to_beta, cotangents[at], workspace)
        np.multiply(cotangents[at], gamma, out=block)
        block -= row_sums(block) * (1.0 / rows.shape[1])
        _pull_back(block, normalised, inverse)


# ------------------------------------------------------------ RMS norm


def _inverse_rms(rows: np.ndarray, eps: float) -> np.ndarray:
    """1 / sqrt(mean of squares + eps) of each row as (rows, 1)."""
    squares: np.ndarray = np.vecdot(rows, rows)[:, None]
    squares *= 1.0 / rows.shape[1]
    squares += eps
    np.sqrt(squares, out=squares)
    np.reciprocal(squares, out=squares)
    return squares


def _rms_norm_rule(ins: Types, attrs: Attributes) -> str:
    names = axis_names(len(ins[0].shape) - 1) + " c!"
    return f"{names}, c -> {names}"


rms_norm_op = op(
    "rms_norm",
    rule=_rms_norm_rule,
    linear=[{1}],
    example=lambda: [
        Example(_normal((5, 8), (8,)), {"eps": 1e-6}, tolerance=1e-4),
        Example(_normal((3, 2, 7), (7,)), {"eps": 1e-3}, tolerance=1e-4),
        Example(_normal((9,), (9,)), tolerance=1e-4),
    ],
)
"""x (..., d), gamma (d); eps=1e-6 -> x / sqrt(mean(x^2) + eps) gamma over the last axis."""

rms_norm_op.cost(cost_of_passes(5.0))


@rms_norm_op.kernel
def _rms_norm(out: np.ndarray, x: np.ndarray, gamma: np.ndarray, eps: float = 1e-6) -> None:
    rows, result = as_rows(x), as_rows(out)
    for at in row_blocks(rows):
        np.multiply(rows[at], _inverse_rms(rows[at], eps), out=result[at])
        result[at] *= gamma


rms_norm_grad = op(
    "rms_norm_grad",
    rule=_grad_rule(1),
    linear=[{0}],
    example=lambda: [
        Example(_normal((5, 8), (5, 8), (8,)), {"eps": 1e-6}, tolerance=1e-4),
        Example(_normal((2, 3, 7), (2, 3, 7), (7,)), {"eps": 1e-3}, tolerance=1e-4),
        Example(_normal((9,), (9,), (9,)), tolerance=1e-4),
    ],
)
"""(g, x (..., d), gamma (d); eps=1e-6) -> the cotangents of x (..., d) and of gamma (d), the latter summed over all rows."""

rms_norm_grad.cost(cost_of_passes(11.0))
rms_norm_grad.workspace(_block_workspace)


@rms_norm_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, gamma: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    made: tuple[Tensor, Tensor] = rms_norm_grad(g, x, gamma, eps=eps)
    return made


@rms_norm_grad.kernel
def _rms_norm_grad(
    out: np.ndarray, to_gamma: np.ndarray, g: np.ndarray, x: np.ndarray, gamma: np.ndarray, eps: float = 1e-6,
    *, workspace: np.ndarray,
) -> None:  # fmt: skip
    cotangents, rows, result = as_rows(g), as_rows(x), as_rows(out)
    to_gamma[...] = 0
    for at in row_blocks(rows):
        block, normalised = result[at], carve(workspace, 0, rows[at].shape, rows.dtype)
        inverse = _inverse_rms(rows[at], eps)
        np.multiply(rows[at], inverse, out=normalised)
        np.multiply(cotangents[at], normalised, out=block)
        _add_rows(to_gamma, block, workspace)
        np.multiply(cotangents[at], gamma, out=block)
        _pull_back(block, normalised, inverse)


# ------------------------------------------------------------ what users call


def _constant(x: Tensor, value: float) -> Tensor:
    """A row (d) of x (..., d) that is one number."""
    if not x.ndim:
        raise ShapeError(f"a norm needs an axis, got {x.type}", line=user_line())
    return full(x.builder, x.shape[-1:], value, x.dtype)


def layer_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """x (..., d) -> (x - mean) / sqrt(variance + eps) * gamma + beta over the last axis; gamma, beta (d), 1 and 0 unless given.

    The last axis stays whole, every other may be split (Ba, Kiros, Hinton 2016).
    """
    weight = _constant(x, 1.0) if gamma is None else gamma
    made: Tensor = layer_norm_op(x, weight, _constant(x, 0.0) if beta is None else beta, eps=eps)
    return made


def rms_norm(x: Tensor, gamma: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """x (..., d) -> x / sqrt(mean(x^2) + eps) * gamma over the last axis; gamma (d), 1 unless given (Zhang, Sennrich 2019).

    The last axis stays whole, every other may be split.
    """
    made: Tensor = rms_norm_op(x, _constant(x, 1.0) if gamma is None else gamma, eps=eps)
    return made
