"""Sums of the rows of a table that each bag of numbers names, without making all of those rows.

The table may be split by vocabulary (a device adds the rows it has: P(sum)) or by column, ids by bag or inside bags.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.ops.arithmetic import mul
from oflow.ops.bags import (
    NO_PADDING,
    bag_examples,
    bag_rule,
    block_nbytes,
    cost_of_rows,
    offset_of_operand,
    offset_of_result,
    row_type,
    rows_by_place,
    table_type,
)
from oflow.ops.blocks import as_rows
from oflow.ops.comparison import not_equal, where
from oflow.ops.embedding import check_ids, embedding_grad
from oflow.ops.op import Example, op
from oflow.ops.runs import Gather, rows_of, runs, runs_nbytes
from oflow.ops.shape import broadcast_to, reshape
from oflow.ops.tensor import Tensor
from oflow.types import TensorType


def _sum_kernel(out: np.ndarray, ids: np.ndarray, table: np.ndarray, *weights: np.ndarray, workspace: np.ndarray, **attrs: Any) -> None:
    bags, result = as_rows(ids), as_rows(out)
    factors = as_rows(weights[0]) if weights else None
    check_ids(bags, attrs["rows"])
    result[...] = 0
    for at, place, rows, here in rows_by_place(bags, table, attrs, workspace):
        if not here.all():
            rows[~here] = 0
        if factors is not None:
            rows *= factors[at, place, None]
        result[at] += rows


def _sum_gradient(g: Tensor, ids: Tensor, weights: Tensor | None, attrs: dict[str, Any]) -> Tensor:
    """The cotangent of the table; for a sparse one all rows are made, for the optimizer to take."""
    if not attrs.get("sparse"):
        chosen = bag_grad if weights is None else weighted_bag_grad
        return chosen(ids, g, *([] if weights is None else [weights]), **attrs)  # type: ignore[no-any-return]
    each: Any = broadcast_to(reshape(g, (*ids.shape[:-1], 1, g.shape[-1])), (*ids.shape, g.shape[-1]))
    if weights is not None:
        each = mul(each, reshape(weights, (*ids.shape, 1)))
    if "padding_idx" in attrs:
        each = where(reshape(not_equal(ids, attrs["padding_idx"]), (*ids.shape, 1)), each, 0.0)
    return embedding_grad(ids, each, rows=attrs["rows"], sparse=True)  # type: ignore[no-any-return]


bag_sum = op(
    "embedding_bag", rule=bag_rule("x l, v d -> x d"), infer=row_type, linear=[{1}], exact=True,
    example=lambda: [Example(tuple(operands), attrs) for operands, attrs in bag_examples(2)],
)  # fmt: skip
"""(ids (..., l), table (v, d); rows = v of the whole table, padding_idx, offset = number of the table's first row) -> sums (..., d).

sparse: see `of.embedding`; it concerns the gradient alone.
"""

weighted_bag_sum = op(
    "weighted_embedding_bag", rule=bag_rule("x l, v d, x l -> x d"), infer=row_type, linear=[{1}, {2}], exact=True,
    example=lambda: [Example(tuple(operands), attrs) for operands, attrs in bag_examples(3)],
)  # fmt: skip
"""(ids (..., l), table (v, d), weights (..., l); as `embedding_bag`) -> the sums of weight times row (..., d)."""

for _each in (bag_sum, weighted_bag_sum):
    _each.kernel(_sum_kernel)
    _each.cost(cost_of_rows(1))
    _each.local(offset_of_operand(1))
    _each.workspace(block_nbytes(1))


@bag_sum.grad
def _(g: Tensor, y: Tensor, ids: Tensor, table: Tensor, **attrs: Any) -> tuple[None, Tensor]:
    return None, _sum_gradient(g, ids, None, attrs)


@weighted_bag_sum.grad
def _(g: Tensor, y: Tensor, ids: Tensor, table: Tensor, weights: Tensor, **attrs: Any) -> tuple[None, Tensor, Tensor]:
    return None, _sum_gradient(g, ids, weights, attrs), bag_weight_grad(ids, g, table, **attrs)


def _bag_gather(g: np.ndarray, bag: int, weights: np.ndarray | None) -> Gather:
    """The row of g (n, d) that belongs to a position in bags of `bag` numbers, times the position's weight."""
    source = rows_of(g)

    def gather(positions: np.ndarray, out: np.ndarray) -> None:
        source(positions // bag, out)
        if weights is not None:
            out *= weights[positions, None]

    return gather


def _grad_kernel(out: np.ndarray, ids: np.ndarray, g: np.ndarray, *weights: np.ndarray, workspace: np.ndarray, **attrs: Any) -> None:
    flat, offset, padding = ids.reshape(-1), attrs.get("offset", 0), attrs.get("padding_idx", NO_PADDING)
    check_ids(flat, attrs["rows"])
    gather = _bag_gather(as_rows(g), ids.shape[-1], weights[0].reshape(-1) if weights else None)
    out[...] = 0
    for places, sums in runs(np.add, flat, gather, out.shape[1], out.dtype, (offset, len(out)), workspace):
        out[places] = sums
    if 0 <= padding - offset < len(out):
        out[padding - offset] = 0


def _grad_examples(weighted: bool) -> list[Example]:
    return [
        Example((ids, g, weights) if weighted else (ids, g), attrs) for (ids, _, weights, g), attrs in bag_examples(4)
    ]


bag_grad = op(
    "embedding_bag_grad", rule=bag_rule("x l, x d -> v d"), infer=table_type, linear=[{1}], exact=True,
    example=lambda: _grad_examples(weighted=False),
)  # fmt: skip
"""(ids (..., l), g (..., d); rows = v of the whole table, padding_idx, offset) -> (v, d): row i is the sum of g of the bags where i is."""

weighted_bag_grad = op(
    "weighted_embedding_bag_grad", rule=bag_rule("x l, x d, x l -> v d"), infer=table_type, linear=[{1}, {2}], exact=True,
    example=lambda: _grad_examples(weighted=True),
)  # fmt: skip
"""As `embedding_bag_grad`, with weights (..., l) that g is multiplied with."""

for _each in (bag_grad, weighted_bag_grad):
    _each.kernel(_grad_kernel)
    _each.cost(cost_of_rows(1))
    _each.local(offset_of_result)
    _each.workspace(lambda ins, outs, attrs: runs_nbytes(ins[0].size, ins[1].shape[-1], ins[1].itemsize))

bag_weight_grad = op(
    "embedding_bag_weight_grad", rule=bag_rule("x l, x d, v d -> x l"),
    infer=lambda ins, attrs: (TensorType(ins[0].shape, ins[1].dtype),), linear=[{1}, {2}], exact=True,
    example=lambda: [Example((ids, g, table), attrs) for (ids, table, _, g), attrs in bag_examples(4)],
)  # fmt: skip
"""(ids (..., l), g (..., d), table (v, d); as `embedding_bag`) -> the cotangent of the weights (..., l): g . row of each number."""

bag_weight_grad.cost(cost_of_rows(2))
bag_weight_grad.local(offset_of_operand(2))
bag_weight_grad.workspace(block_nbytes(2))


@bag_weight_grad.kernel
def _weight_grad(out: np.ndarray, ids: np.ndarray, g: np.ndarray, table: np.ndarray, *, workspace: np.ndarray, **attrs: Any) -> None:
    bags, cotangents, result = as_rows(ids), as_rows(g), as_rows(out)
    check_ids(bags, attrs["rows"])
    result[...] = 0
    for at, place, rows, here in rows_by_place(bags, table, attrs, workspace):
        result[at, place] = np.vecdot(rows, cotangents[at]) * here
