"""Softmax over the last axis, which stays whole, plain and under a causal mask; leading axes may be split.

Causal: position i sees positions j <= i, counted from the end where there are more keys than queries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from oflow.ops.blocks import BLOCK_NBYTES, as_rows, axis_names, cost_of_passes, row_blocks, row_sums
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.tensor import Tensor


def _normal(*shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(11)
    return tuple(random.standard_normal(shape).astype("float32") for shape in shapes)


def _probabilities(*shape: int) -> np.ndarray:
    (x,) = _normal(shape)
    y = np.exp(x)
    return np.asarray(y / y.sum(-1, keepdims=True))


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


# ------------------------------------------------------------ under a causal mask

ROWS = 32
"""Query positions worked on at a time: the masked part right of the block is skipped."""


def _matrix_names(ins: Types) -> str:
    return axis_names(len(ins[0].shape) - 2) + " t! s!"


def _causal_probabilities(*shape: int) -> np.ndarray:
    (x,) = _normal(shape)
    y = np.exp(x) * np.tri(shape[-2], shape[-1], shape[-1] - shape[-2], dtype="float32")
    return np.asarray(y / np.maximum(y.sum(-1, keepdims=True), 1e-9))


def _blocks(out: np.ndarray, *others: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Zero the masked part of out (matrices, t, s), and give (block, *blocks of others) of the seen columns.

    A block is (some matrices, up to ROWS queries, the keys that the last of them sees).
    """
    matrices, t, s = out.shape
    out[:, : max(0, t - s)] = 0
    many = max(1, BLOCK_NBYTES // max(1, ROWS * s * out.itemsize))
    for first in range(0, matrices, many):
        for start in range(max(0, t - s), t, ROWS):
            stop = min(start + ROWS, t)
            seen = stop + s - t
            out[first : first + many, start:stop, seen:] = 0
            yield tuple(a[first : first + many, start:stop, :seen] for a in (out, *others))


def _matrices(x: np.ndarray) -> np.ndarray:
    return x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


causal_softmax = op(
    "causal_softmax",
    rule=lambda ins, attrs: f"{_matrix_names(ins)} -> {_matrix_names(ins)}",
    example=lambda: [
        Example(_normal((3, 2, 5, 5)), {"scale": 0.5}),
        Example(_normal((3, 4, 7))),
        Example(_normal((2, 5, 3))),
        Example(_normal((35, 35))),
    ],
)
"""scores (..., t, s); scale=1 -> softmax of scale * scores over the positions j <= i + s - t of row i, zero elsewhere.

Rows that see no position (t > s) are zero.
"""

causal_softmax.cost(cost_of_passes(5.0))


@causal_softmax.kernel
def _causal_softmax(out: np.ndarray, scores: np.ndarray, scale: float = 1.0) -> None:
    hidden = ~np.tri(ROWS, dtype=bool)
    for block, x in _blocks(_matrices(out), _matrices(scores)):
        rows = block.shape[1]
        np.multiply(x, scale, out=block)
        np.copyto(block[:, :, -rows:], -np.inf, where=hidden[:rows, :rows])
        block -= block.max(axis=2, keepdims=True)
        np.exp(block, out=block)
        block /= row_sums(block)


causal_softmax_grad = op(
    "causal_softmax_grad",
    rule=lambda ins, attrs: f"{_matrix_names(ins)}, {_matrix_names(ins)} -> {_matrix_names(ins)}",
    linear=[{0}],
    example=lambda: [
        Example((*_normal((3, 2, 5, 5)), _causal_probabilities(3, 2, 5, 5)), {"scale": 0.5}),
        Example((*_normal((3, 4, 7)), _causal_probabilities(3, 4, 7))),
        Example((*_normal((2, 5, 3)), _causal_probabilities(2, 5, 3))),
    ],
)
"""(g, y = causal_softmax(scores); scale) -> the cotangent of scores: scale y (g - sum(g y))."""

causal_softmax_grad.cost(cost_of_passes(3.0))


@causal_softmax.grad
def _(g: Tensor, y: Tensor, scores: Tensor, **attrs: float) -> tuple[Tensor]:
    return (causal_softmax_grad(g, y, **attrs),)


@causal_softmax_grad.kernel
def _causal_softmax_grad(out: np.ndarray, g: np.ndarray, y: np.ndarray, scale: float = 1.0) -> None:
    for block, cotangent, probabilities in _blocks(_matrices(out), _matrices(g), _matrices(y)):
        np.subtract(cotangent, np.vecdot(cotangent, probabilities)[..., None], out=block)
        block *= probabilities
        if scale != 1.0:
            block *= scale
