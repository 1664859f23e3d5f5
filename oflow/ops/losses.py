"""Losses: cross-entropy with whole-number labels, squared errors."""

from __future__ import annotations

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.arithmetic import square, sub
from oflow.ops.blocks import as_rows, axis_names, block_nbytes, carve, row_blocks, row_sums
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.reduce import mean
from oflow.ops.reduce import sum as reduce_sum
from oflow.ops.tensor import Tensor
from oflow.types import TensorType


def _names(ins: Types) -> str:
    return axis_names(len(ins[0].shape) - 1)


def _checked(ins: Types) -> TensorType:
    """The logits' type. Raises ShapeError where labels are not int64, one for each row of float logits."""
    logits, labels = ins[0], ins[1]
    if not logits.is_float or labels.dtype != "int64":
        raise ShapeError(f"logits must be floats and labels int64 class numbers, got {logits.dtype} and {labels.dtype}")
    if labels.shape != logits.shape[:-1]:
        raise ShapeError(f"labels must have the logits' shape without its last axis, got {logits} and {labels}")
    return logits


def _one_per_row(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    logits = _checked(ins)
    return (TensorType(logits.shape[:-1], logits.dtype),)


def _examples(with_cotangent: bool) -> list[Example]:
    random = np.random.default_rng(17)
    made = []
    for shape in [(7, 5), (3, 2, 4), (1, 1), (6,)]:
        logits = random.standard_normal(shape).astype("float32")
        labels = random.integers(0, shape[-1], shape[:-1], dtype="int64")
        g = (np.asarray(random.standard_normal(shape[:-1]), dtype="float32"),) if with_cotangent else ()
        made.append(Example((logits, np.asarray(labels), *g)))
    return made


softmax_cross_entropy = op(
    "softmax_cross_entropy",
    rule=lambda ins, attrs: f"{_names(ins)} c!, {_names(ins)} -> {_names(ins)}",
    infer=_one_per_row,
    example=lambda: _examples(False),
)
"""logits (..., c), labels (...) int64 below c -> -log softmax(logits)[label] of each sample (...). The classes stay whole.

Raises IndexError in the kernel where a label is not in range(c).
"""


@softmax_cross_entropy.cost
def _cost(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return Cost(flops=8.0 * ins[0].size, nbytes=float(sum(t.nbytes for t in (*ins, *outs))), calls=1)


@softmax_cross_entropy.workspace
def _workspace(ins: Types, outs: Types, attrs: Attributes) -> int:
    return block_nbytes(ins[0].shape, ins[0].itemsize)


def _check_labels(labels: np.ndarray, classes: int) -> None:
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise IndexError(f"labels must be class numbers in range({classes}), got {labels.min()} to {labels.max()}")


@softmax_cross_entropy.kernel
def _cross_entropy(out: np.ndarray, logits: np.ndarray, labels: np.ndarray, *, workspace: np.ndarray) -> None:
    rows, flat, result = as_rows(logits), labels.reshape(-1), out.reshape(-1)
    _check_labels(flat, rows.shape[1])
    for at in row_blocks(rows):
        x = rows[at]
        block = carve(workspace, 0, x.shape, x.dtype)
        largest = x.max(axis=1, keepdims=True)
        np.subtract(x, largest, out=block)
        chosen = block[np.arange(len(x)), flat[at]]
        np.exp(block, out=block)
        np.log(row_sums(block)[:, 0], out=result[at])
        result[at] -= chosen


softmax_cross_entropy_grad = op(
    "softmax_cross_entropy_grad",
    rule=lambda ins, attrs: f"{_names(ins)} c!, {_names(ins)}, {_names(ins)} -> {_names(ins)} c!",
    infer=lambda ins, attrs: (_checked(ins),),
    linear=[{2}],
    example=lambda: _examples(True),
)
"""(logits (..., c), labels (...), g (...)) -> the cotangent of the logits: g (softmax(logits) - one_hot(label))."""

softmax_cross_entropy_grad.cost(_cost)


@softmax_cross_entropy.grad
def _(g: Tensor, y: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, None]:
    return softmax_cross_entropy_grad(logits, labels, g), None


@softmax_cross_entropy_grad.kernel
def _cross_entropy_grad(out: np.ndarray, logits: np.ndarray, labels: np.ndarray, g: np.ndarray) -> None:
    rows, flat, result, cotangents = as_rows(logits), labels.reshape(-1), as_rows(out), g.reshape(-1)
    _check_labels(flat, rows.shape[1])
    for at in row_blocks(rows):
        x, block = rows[at], result[at]
        np.subtract(x, x.max(axis=1, keepdims=True), out=block)
        np.exp(block, out=block)
        scale = cotangents[at, None] / row_sums(block)
        block *= scale
        block[np.arange(len(x)), flat[at]] -= cotangents[at]


# ------------------------------------------------------------ losses made of other operators


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """logits (..., c), labels (...) int64 -> the mean of -log softmax(logits)[label] over the whole (global) batch."""
    made: Tensor = mean(softmax_cross_entropy(logits, labels))
    return made


def sum_squared_error(a: Tensor, b: Tensor) -> Tensor:
    """The sum of (a - b)^2 over all elements."""
    made: Tensor = reduce_sum(square(sub(a, b)))
    return made


def mse(a: Tensor, b: Tensor) -> Tensor:
    """The mean of (a - b)^2 over all elements of the global tensors."""
    made: Tensor = mean(square(sub(a, b)))
    return made
