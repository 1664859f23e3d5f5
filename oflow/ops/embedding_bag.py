"""What users call for bags of embeddings, and the maximum of segments, which bags of unequal sizes need."""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.errors import ShapeError, TraceError
from oflow.machine import Cost
from oflow.ops.arithmetic import div, maximum, mul, sub
from oflow.ops.bag import bag_sum, weighted_bag_sum
from oflow.ops.bag_max import bag_max, lowest
from oflow.ops.cast import cast
from oflow.ops.comparison import equal, greater, not_equal, where
from oflow.ops.constant import ones_like
from oflow.ops.embedding import check_ids, embedding, embedding_grad, lookup, settings
from oflow.ops.op import Attributes, Example, Shards, Types, op
from oflow.ops.positions import positions
from oflow.ops.reduce import sum as reduce_sum
from oflow.ops.runs import rows_of, runs, runs_nbytes
from oflow.ops.shape import reshape
from oflow.ops.sort import searchsorted
from oflow.ops.tensor import Tensor, user_line
from oflow.types import TensorType

# ------------------------------------------------------------ maxima of segments


def _segment_types(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    numbers, x = ins
    if numbers.dtype != "int64" or len(x.shape) != 2 or numbers.shape != x.shape[:1]:
        raise ShapeError(f"wants numbers (t,) int64 and rows (t, d), got {numbers} and {x}")
    return (TensorType((attrs["rows"], x.shape[1]), x.dtype),)


def _segment_examples() -> list[Example]:
    random, made = np.random.default_rng(41), []
    for count, rows, d in ((9, 5, 3), (7, 2, 6), (5, 7, 4)):
        x = random.permutation(np.arange(count * d) - 7).reshape(count, d).astype("float32")
        made.append(Example((random.integers(0, rows, count), x), {"rows": rows}))
    return made


segment_max_op = op(
    "segment_max", rule="t, t d -> n d", infer=_segment_types, reduce="max", also=["B,P(max) -> P(max)"], exact=True,
    example=_segment_examples,
)  # fmt: skip
"""(numbers (t,), x (t, d); rows = n of the whole, offset = number of the first row) -> (n, d): row i is the maximum of x where
numbers == i, the dtype's lowest number where there is none. Equal maxima share the cotangent."""


@segment_max_op.local
def _(attrs: Attributes, shards: Shards) -> Attributes:
    return {**attrs, "offset": shards.outs[0][0][0]}


@segment_max_op.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return Cost(flops=float(ins[1].size), nbytes=float(ins[0].nbytes + 3 * ins[1].nbytes + outs[0].nbytes), calls=1)


@segment_max_op.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    return runs_nbytes(ins[0].size, ins[1].shape[1], ins[1].itemsize)


@segment_max_op.kernel
def _segment_max(out: np.ndarray, numbers: np.ndarray, x: np.ndarray, rows: int, offset: int = 0, *, workspace: np.ndarray) -> None:
    check_ids(numbers, rows)
    out[...] = lowest(out.dtype)
    for places, largest in runs(np.maximum, numbers, rows_of(x), x.shape[1], x.dtype, (offset, len(out)), workspace):
        out[places] = largest


@segment_max_op.grad
def _(g: Tensor, y: Tensor, numbers: Tensor, x: Tensor, rows: int, **_: Any) -> tuple[None, Tensor]:
    hit = equal(x, lookup(numbers, y, rows=rows))
    share = div(g, maximum(embedding_grad(numbers, cast(hit, x.dtype), rows=rows), 1.0))
    return None, where(hit, lookup(numbers, share, rows=rows), 0.0)


# ------------------------------------------------------------ bags


def embedding_bag(
    ids: Tensor, table: Tensor, offsets: Tensor | None = None, *, mode: str = "mean", weights: Tensor | None = None,
    padding_idx: int | None = None, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """The sum, mean or maximum of the rows of table (v, d) that each bag of numbers names: PyTorch's embedding_bag.

    ids (..., l) int64: bags of l numbers -> (..., d). Or ids (t,) with offsets (n,) int64, where each bag begins, the first at 0, ascending
    -> (n, d). weights, of the shape of ids: what rows are multiplied with (mode "sum" only). padding_idx: a number that stands
    for nothing, neither in sums nor in counts. An empty bag gives 0. The gradient of a maximum goes to every row of the bag that has it
    (with offsets, rows that have it share it).
    sparse: see `of.embedding`. The table may be split by vocabulary (P(sum), P(max)) or by column.
    """
    if mode not in ("sum", "mean", "max"):
        raise TraceError(f'mode is "sum", "mean" or "max", not {mode!r}', line=user_line())
    if weights is not None and mode != "sum":
        raise TraceError(f'weights go with mode="sum", not {mode!r}', line=user_line())
    if weights is not None and weights.shape != ids.shape:
        raise ShapeError(f"weights must have the shape of the ids {ids.type}, got {weights.type}", line=user_line())
    if sparse and mode == "max" and offsets is None:
        raise TraceError('row-sparse gradients go with mode "sum" and "mean", or with offsets', line=user_line())
    attrs = settings(table, padding_idx, sparse)
    if offsets is None:
        return _equal_bags(ids, table, weights, mode, attrs)
    if ids.ndim != 1 or offsets.ndim != 1:
        raise ShapeError(f"with offsets both are (t,) and (n,), got {ids.type} and {offsets.type}", line=user_line())
    return _unequal_bags(ids, table, offsets, weights, mode, attrs)


def _equal_bags(ids: Tensor, table: Tensor, weights: Tensor | None, mode: str, attrs: dict[str, Any]) -> Tensor:
    chosen = bag_max if mode == "max" else bag_sum if weights is None else weighted_bag_sum
    operands = [ids, table] if weights is None else [ids, table, weights]
    made: Tensor = chosen(*operands, rows=table.shape[0], **attrs)
    if mode == "sum":
        return made
    if "padding_idx" not in attrs:
        return made if mode == "max" else mul(made, 1.0 / max(1, ids.shape[-1]))
    counted = reduce_sum(cast(not_equal(ids, attrs["padding_idx"]), table.dtype), -1, keepdims=True)
    return _finished(made, counted, mode)


def _finished(made: Tensor, counted: Tensor, mode: str) -> Tensor:
    """The mean from a sum, or a maximum with 0 for empty bags; counted (..., 1)."""
    if mode == "max":
        return where(greater(counted, 0.0), made, 0.0)  # type: ignore[no-any-return]
    return div(made, maximum(counted, 1.0))  # type: ignore[no-any-return]


def _unequal_bags(
    ids: Tensor, table: Tensor, offsets: Tensor, weights: Tensor | None, mode: str, attrs: dict[str, Any]
) -> Tensor:
    """Rows (t, d), then sums or maxima of segments: all rows are made, as their number is the only size that is fixed."""
    bags, count = sub(searchsorted(offsets, positions(ids), side="right"), 1), offsets.shape[0]
    rows: Any = embedding(ids, table, **attrs)
    present: Any = ones_like(ids, table.dtype)
    if "padding_idx" in attrs:
        present = cast(not_equal(ids, attrs["padding_idx"]), table.dtype)
    present = reshape(present, (-1, 1))
    if weights is not None:
        rows = mul(rows, reshape(weights, (-1, 1)))
    if mode == "max":
        rows = where(greater(present, 0.0), rows, lowest(table.dtype))
        made: Tensor = segment_max_op(bags, rows, rows=count)
    else:
        made = embedding_grad(bags, mul(rows, present), rows=count)
    return made if mode == "sum" else _finished(made, embedding_grad(bags, present, rows=count), mode)
