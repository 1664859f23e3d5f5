"""Losses: cross-entropy with whole-number labels, squared errors."""

from __future__ import annotations

import numpy as np

from oflow.errors import ShapeError, TraceError
from oflow.ops.arithmetic import square, sub
from oflow.ops.blocks import as_rows, axis_names, block_nbytes, carve, cost_of_passes, row_blocks, row_sums
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.reduce import mean
from oflow.ops.reduce import sum as reduce_sum
from oflow.ops.tensor import Tensor, user_line
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


def _one_per_row(ins: Types, attrs: Attributes) -> tuple[TensorType, TensorType]:
    logits = _checked(ins)
    return TensorType(logits.shape[:-1], logits.dtype), TensorType((*logits.shape[:-1], 2), logits.dtype)


def _examples() -> list[Example]:
    random = np.random.default_rng(17)
    made = []
    for shape in [(7, 5), (3, 2, 4), (1, 1), (6,)]:
        logits = random.standard_normal(shape).astype("float32")
        labels = random.integers(0, shape[-1], shape[:-1], dtype="int64")
        made.append(Example((logits, np.asarray(labels))))
    return made


def _grad_examples() -> list[Example]:
    random = np.random.default_rng(18)
    made = []
    for example in _examples():
        logits, labels = example.operands
        largest = logits.max(-1)
        statistics = np.stack([largest, np.exp(logits - largest[..., None]).sum(-1)], -1)
        g = np.asarray(random.standard_normal(labels.shape), dtype="float32")
        made.append(Example((logits, labels, statistics, g)))
    return made


cross_entropy_op = op(
    "softmax_cross_entropy",
    rule=lambda ins, attrs: f"{_names(ins)} c!, {_names(ins)} -> {_names(ins)}, {_names(ins)} two!",
    infer=_one_per_row,
    example=_examples,
)
"""logits (..., c), labels (...) int64 below c -> -log softmax(logits)[label] of each sample (...), and what the gradient needs of
each row (..., 2): the largest logit, and the sum of exp(logits - largest). The classes stay whole.

Raises IndexError in the kernel where a label is not in range(c).
"""


cross_entropy_op.cost(cost_of_passes(8.0))


@cross_entropy_op.workspace
def _workspace(ins: Types, outs: Types, attrs: Attributes) -> int:
    return block_nbytes(ins[0].shape, ins[0].itemsize)


def _check_labels(labels: np.ndarray, classes: int) -> None:
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise IndexError(f"labels must be class numbers in range({classes}), got {labels.min()} to {labels.max()}")


@cross_entropy_op.kernel
def _cross_entropy(
    out: np.ndarray, statistics: np.ndarray, logits: np.ndarray, labels: np.ndarray, *, workspace: np.ndarray
) -> None:
    rows, flat, result, of_row = as_rows(logits), labels.reshape(-1), out.reshape(-1), as_rows(statistics)
    _check_labels(flat, rows.shape[1])
    for at in row_blocks(rows):
        x = rows[at]
        block = carve(workspace, 0, x.shape, x.dtype)
        x.max(axis=1, out=of_row[at, 0])
        np.subtract(x, of_row[at, :1], out=block)
        chosen = block[np.arange(len(x)), flat[at]]
        np.exp(block, out=block)
        of_row[at, 1:] = row_sums(block)
        np.log(of_row[at, 1], out=result[at])
        result[at] -= chosen


softmax_cross_entropy_grad = op(
    "softmax_cross_entropy_grad",
    rule=lambda ins, attrs: "{0} c!, {0}, {0} two!, {0} -> {0} c!".format(_names(ins)),
    infer=lambda ins, attrs: (_checked(ins),),
    linear=[{3}],
    example=_grad_examples,
)
"""(logits (..., c), labels (...), statistics (..., 2), g (...)) -> the cotangent of the logits: g (softmax(logits) - one_hot(label)).

The statistics are the forward's second result, so that exp(logits - largest) is all that is computed of a row.
"""

softmax_cross_entropy_grad.cost(cost_of_passes(6.0))


@cross_entropy_op.grad
def _(g: tuple[Tensor, Tensor | None], y: tuple[Tensor, Tensor], logits: Tensor, labels: Tensor) -> tuple[Tensor, None]:
    if g[1] is not None:
        raise TraceError("the row statistics of softmax_cross_entropy have no gradient", line=user_line())
    return softmax_cross_entropy_grad(logits, labels, y[1], g[0]), None


@softmax_cross_entropy_grad.kernel
def _cross_entropy_grad(
    out: np.ndarray, logits: np.ndarray, labels: np.ndarray, statistics: np.ndarray, g: np.ndarray
) -> None:
    rows, flat, result, of_row, cotangents = as_rows(logits), labels.reshape(-1), as_rows(out), as_rows(statistics), g.reshape(-1)
    _check_labels(flat, rows.shape[1])
    for at in row_blocks(rows):
        block = result[at]
        np.subtract(rows[at], of_row[at, :1], out=block)
        np.exp(block, out=block)
        block *= cotangents[at, None] / of_row[at, 1:]
        block[np.arange(len(block)), flat[at]] -= cotangents[at]


# ------------------------------------------------------------ what users call


def softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """logits (..., c), labels (...) int64 below c -> -log softmax(logits)[label] of each sample (...)."""
    loss: Tensor = cross_entropy_op(logits, labels)[0]
    return loss


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
