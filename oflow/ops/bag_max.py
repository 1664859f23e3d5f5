"""Maxima of the rows of a table that each bag of numbers names, without making all of those rows.

The table may be split by vocabulary (a device takes the maximum of the rows it has: P(max)) or by column, ids by bag or inside bags.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.ops.bags import (
    bag_examples,
    bag_rule,
    block_nbytes,
    block_of,
    cost_of_rows,
    offset_of_operand,
    row_type,
    rows_by_place,
)
from oflow.ops.blocks import as_rows
from oflow.ops.embedding import check_ids
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.runs import rows_of, runs, runs_nbytes
from oflow.ops.tensor import Tensor
from oflow.types import TensorType

FEW = 32
"""Rows that are added to scattered places at a time: NumPy copies them."""


bag_max = op(
    "embedding_bag_max", rule=bag_rule("x l, v d -> x d"), infer=row_type, reduce="max", also=["B,P(max) -> P(max)"], exact=True,
    example=lambda: [Example(tuple(operands), attrs) for operands, attrs in bag_examples(2)],
)  # fmt: skip
"""(ids (..., l), table (v, d); as `embedding_bag`) -> the maxima over the rows of each bag (..., d); the dtype's lowest number where it
is empty."""

bag_max.cost(cost_of_rows(1))
bag_max.local(offset_of_operand(1))
bag_max.workspace(block_nbytes(1))


def lowest(dtype: object) -> float:
    """The smallest (finite) number of a dtype: the maximum of nothing."""
    kind = np.dtype(dtype)  # type: ignore[call-overload]
    return float(np.finfo(kind).min) if kind.kind == "f" else int(np.iinfo(kind).min)


@bag_max.kernel
def _bag_max(out: np.ndarray, ids: np.ndarray, table: np.ndarray, *, workspace: np.ndarray, **attrs: Any) -> None:
    bags, result = as_rows(ids), as_rows(out)
    check_ids(bags, attrs["rows"])
    result[...] = lowest(out.dtype)
    for at, _, rows, here in rows_by_place(bags, table, attrs, workspace):
        if not here.all():
            rows[~here] = lowest(out.dtype)
        np.maximum(result[at], rows, out=result[at])


@bag_max.grad
def _(g: Tensor, y: Tensor, ids: Tensor, table: Tensor, **attrs: Any) -> tuple[None, Tensor]:
    return None, bag_max_grad(ids, g, y, table, **attrs)


def _max_grad_examples() -> list[Example]:
    made = []
    for (ids, table, _, g), attrs in bag_examples(4):
        y = np.empty(g.shape, g.dtype)
        _bag_max(y, ids, table, workspace=np.empty(g.nbytes + 8, "uint8"), **attrs)
        made.append(Example((ids, g, y, table), attrs))
    return made


bag_max_grad = op(
    "embedding_bag_max_grad", rule=bag_rule("x l!, x d, x d, v d -> v d"),
    infer=lambda ins, attrs: (TensorType((attrs["rows"], ins[3].shape[1]), ins[3].dtype),), linear=[{1}], exact=True,
    example=_max_grad_examples,
)  # fmt: skip
"""(ids (..., l), g, y = embedding_bag_max (..., d), table (v, d); as there) -> the cotangent of the table: g goes to every row of the
bag that has the maximum, once (as in `of.max`)."""

bag_max_grad.cost(cost_of_rows(3))
bag_max_grad.local(offset_of_operand(3))


@bag_max_grad.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    """One block of rows, and what adding them to the table needs."""
    d, itemsize = ins[3].shape[1], ins[3].itemsize
    bags, _ = block_of(ins[0], d, itemsize)
    return _aligned(bags * d * itemsize) + runs_nbytes(bags, d, itemsize)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // 8) * 8


@bag_max_grad.kernel
def _bag_max_grad(
    out: np.ndarray, ids: np.ndarray, g: np.ndarray, y: np.ndarray, table: np.ndarray, *, workspace: np.ndarray, **attrs: Any
) -> None:
    bags, cotangents, largest = as_rows(ids), as_rows(g), as_rows(y)
    check_ids(bags, attrs["rows"])
    out[...] = 0
    span = (attrs.get("offset", 0), len(out))
    for at, place, rows, here in rows_by_place(bags, table, attrs, workspace):
        again = (bags[at, :place] == bags[at, place, None]).any(axis=1)
        hit = rows == largest[at]
        hit &= (here & ~again)[:, None]
        np.multiply(cotangents[at], hit, out=rows)
        rest = workspace[_aligned(rows.nbytes) :]
        for places, sums in runs(np.add, bags[at, place], rows_of(rows), rows.shape[1], rows.dtype, span, rest):
            for start in range(0, len(places), FEW):
                out[places[start : start + FEW]] += sums[start : start + FEW]
