"""Softmax and its logarithm over an axis that stays whole: plain, under a mask, under a causal mask. All other axes may be split.

The operators work on the last axis. With ``fused=False`` the functions are composed from a maximum and a sum instead, so that the axis
itself can be split: S(axis) gives P(max) and P(sum) of one number a row, and nothing larger moves.

Causal: position i sees positions j <= i, counted from the end where there are more keys than queries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.arithmetic import div, sub
from oflow.ops.blocks import BLOCK_NBYTES, as_rows, axis_names, cost_of_passes, row_blocks, row_sums
from oflow.ops.op import ANY, Attributes, Example, Types, op
from oflow.ops.reduce import max as greatest
from oflow.ops.reduce import sum as total
from oflow.ops.shape import reshape, transpose
from oflow.ops.statistics import finite_or_zero
from oflow.ops.tensor import Tensor, user_line
from oflow.ops.transcendental import exp, log


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


softmax_op = op(
    "softmax", rule=_same(1), example=lambda: [Example(_normal((5, 7))), Example(_normal((3, 2, 5))), Example(_normal((4,)))]
)
"""x (..., c) -> exp(x) / sum(exp(x)) over the last axis, without overflow."""

softmax_op.cost(cost_of_passes(8.0))


@softmax_op.kernel
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


@softmax_op.grad
def _(g: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor]:
    return (softmax_grad(g, y),)


@softmax_grad.kernel
def _softmax_grad(out: np.ndarray, g: np.ndarray, y: np.ndarray) -> None:
    cotangents, rows, result = as_rows(g), as_rows(y), as_rows(out)
    for at in row_blocks(rows):
        np.subtract(cotangents[at], np.vecdot(cotangents[at], rows[at])[:, None], out=result[at])
        result[at] *= rows[at]


# ------------------------------------------------------------ its logarithm

log_softmax_op = op(
    "log_softmax", rule=_same(1),
    example=lambda: [Example(_normal((5, 7))), Example(_normal((3, 2, 5))), Example(_normal((4,)))],
)  # fmt: skip
"""x (..., c) -> x - log(sum(exp(x))) over the last axis, without overflow."""

log_softmax_op.cost(cost_of_passes(8.0))


@log_softmax_op.kernel
def _log_softmax(out: np.ndarray, x: np.ndarray) -> None:
    rows, result = as_rows(x), as_rows(out)
    for at in row_blocks(rows):
        block, largest = result[at], rows[at].max(axis=1, keepdims=True)
        np.subtract(rows[at], largest, out=block)
        np.exp(block, out=block)
        largest += np.log(row_sums(block))
        np.subtract(rows[at], largest, out=block)


log_softmax_grad = op(
    "log_softmax_grad",
    rule=_same(2),
    linear=[{0}],
    example=lambda: [
        Example((*_normal((5, 7)), np.log(_probabilities(5, 7)))),
        Example((*_normal((2, 3, 5)), np.log(_probabilities(2, 3, 5)))),
    ],
)
"""(g, y = log_softmax(x)) -> the cotangent of x: g - exp(y) sum(g)."""

log_softmax_grad.cost(cost_of_passes(8.0))


@log_softmax_op.grad
def _(g: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor]:
    return (log_softmax_grad(g, y),)


@log_softmax_grad.kernel
def _log_softmax_grad(out: np.ndarray, g: np.ndarray, y: np.ndarray) -> None:
    cotangents, rows, result = as_rows(g), as_rows(y), as_rows(out)
    for at in row_blocks(rows):
        block = result[at]
        np.exp(rows[at], out=block)
        block *= -row_sums(cotangents[at])
        block += cotangents[at]


# ------------------------------------------------------------ under a mask


def _masked_rule(ins: Types, attrs: Attributes) -> str:
    x, where = (t.shape for t in ins)
    names = (axis_names(len(x) - 1) + " c!").split()
    if len(where) != len(x) or any(n not in (1, m) for n, m in zip(where, x, strict=True)) or ins[1].dtype != "bool":
        raise ShapeError(f"where must be bools that repeat to {x}, got {ins[1]}")
    repeated = (name if n == m else "1" for name, n, m in zip(names, where, x, strict=True))
    return f"{' '.join(names)}, {' '.join(repeated)} -> {' '.join(names)}"


def _masked_examples() -> list[Example]:
    random = np.random.default_rng(13)
    shapes = [((5, 7), (5, 7)), ((3, 4, 5), (3, 1, 5)), ((3, 4, 6), (3, 4, 1)), ((4,), (4,))]
    return [Example((*_normal(x), random.random(where) < 0.5)) for x, where in shapes]


masked_softmax = op(
    "masked_softmax", rule=_masked_rule, dtype=lambda ins, attrs: (ins[0].dtype,), example=_masked_examples
)
"""x (..., c), where: bools of as many axes that repeat to x -> softmax of x over the last axis where `where` holds, zero elsewhere.

Rows in which it holds nowhere are zero.
"""

masked_softmax.cost(cost_of_passes(9.0))


@masked_softmax.kernel
def _masked_softmax(out: np.ndarray, x: np.ndarray, where: np.ndarray) -> None:
    out[...] = -np.inf
    np.copyto(out, x, where=where)
    rows = as_rows(out)
    for at in row_blocks(rows):
        block = rows[at]
        largest = block.max(axis=1, keepdims=True)
        np.copyto(largest, 0, where=np.isneginf(largest))
        block -= largest
        np.exp(block, out=block)
        sums = row_sums(block)
        np.divide(block, sums, out=block, where=sums > 0)


@masked_softmax.grad
def _(g: Tensor, y: Tensor, x: Tensor, where: Tensor) -> tuple[Tensor, None]:
    return softmax_grad(g, y), None


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
    half=ANY,
    example=lambda: [
        Example(_normal((3, 2, 5, 5)), {"scale": 0.5}),
        Example(_normal((3, 4, 7))),
        Example(_normal((2, 5, 3))),
        Example(_normal((35, 35))),
    ],
)
"""scores (..., t, s); scale=1 -> softmax of scale * scores over the positions j <= i + s - t of row i, zero elsewhere.

Rows that see no position (t > s) are zero. Scores are a product's and shares go into one: 16 bits stay 16 bits, computed in float32.
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
    half=ANY,
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


# ------------------------------------------------------------ what users call


def _check(x: Tensor, axis: int) -> None:
    if not x.type.is_float or not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"softmax needs floats that have the axis, got {x.type} and axis {axis}", line=user_line())


def _exchanged(x: Tensor, axis: int) -> Tensor:
    """x with `axis` and the last one exchanged."""
    order = list(range(x.ndim))
    order[axis], order[-1] = order[-1], order[axis]
    return x if order[-1] == x.ndim - 1 else transpose(x, order)


def _shifted(x: Tensor, axis: int) -> Tensor:
    """x minus the largest along `axis`, which is a constant to the gradient: softmax is the same for any."""
    return sub(x, finite_or_zero(greatest(x, axis, keepdims=True)))  # type: ignore[no-any-return]


def softmax(x: Tensor, axis: int = -1, where: Tensor | None = None, fused: bool = True) -> Tensor:
    """exp(x) / sum(exp(x)) over `axis`, without overflow: floats of x's shape.

    where: bools that broadcast to x (NumPy): the softmax of the elements where it holds, 0 elsewhere; all 0 where it holds nowhere along
    the axis. fused: one operator, whose axis stays whole. fused=False: composed from a maximum and a sum, and the axis can be split
    (class-split logits); not with `where`. Raises ShapeError where shapes do not fit.
    """
    _check(x, axis)
    if where is not None:
        if not fused:
            raise ShapeError("softmax under a mask is one operator; leave out fused=False", line=user_line())
        mask = reshape(where, (1,) * (x.ndim - where.ndim) + where.shape)
        return _exchanged(masked_softmax(_exchanged(x, axis), _exchanged(mask, axis)), axis)
    if fused:
        return _exchanged(softmax_op(_exchanged(x, axis)), axis)
    raised = exp(_shifted(x, axis))
    return div(raised, total(raised, axis, keepdims=True))  # type: ignore[no-any-return]


def log_softmax(x: Tensor, axis: int = -1, fused: bool = True) -> Tensor:
    """x - log(sum(exp(x))) over `axis`, without overflow: floats of x's shape. fused: see `softmax`."""
    _check(x, axis)
    if fused:
        return _exchanged(log_softmax_op(_exchanged(x, axis)), axis)
    shifted = _shifted(x, axis)
    return sub(shifted, log(total(exp(shifted), axis, keepdims=True)))  # type: ignore[no-any-return]
