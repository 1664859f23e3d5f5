"""Embedding: rows of a table chosen by number. A vocabulary split gives partial sums: a device has zero rows for the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.blocks import axis_names
from oflow.ops.comparison import not_equal, where
from oflow.ops.op import Attributes, Example, Shards, Types, op
from oflow.ops.runs import IDS, rows_of, runs, runs_nbytes
from oflow.ops.shape import reshape
from oflow.ops.tensor import Tensor, user_line
from oflow.types import TensorType


def _names(ins: Types) -> str:
    return axis_names(len(ins[0].shape))


def _check(ids: TensorType) -> None:
    if ids.dtype != "int64":
        raise ShapeError(f"row numbers must be int64, got {ids.dtype}")


def _rows_of_table(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    ids, table = ins
    _check(ids)
    if len(table.shape) != 2:
        raise ShapeError(f"the table must be (rows, d), got {table}")
    return (TensorType((*ids.shape, table.shape[1]), table.dtype),)


def check_ids(ids: np.ndarray, rows: int) -> None:
    if ids.size and not 0 <= ids.min() <= ids.max() < rows:
        raise IndexError(f"row numbers must be in range({rows}), got {ids.min()} to {ids.max()}")


def _examples() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(ids, table, cotangent) with integer values; ids repeat."""
    random = np.random.default_rng(19)
    made = []
    for shape, rows, d in [((5, 3), 7, 4), ((9,), 2, 5), ((2, 2, 2), 11, 3)]:
        ids = random.integers(0, rows, shape, dtype="int64")
        table = random.integers(-9, 10, (rows, d)).astype("float32")
        made.append((ids, table, random.integers(-9, 10, (*shape, d)).astype("float32")))
    return made


# ------------------------------------------------------------ lookup

lookup = op(
    "embedding",
    rule=lambda ins, attrs: f"{_names(ins)}, v d -> {_names(ins)} d",
    infer=_rows_of_table,
    linear=[{1}],
    monotone=[{1}],
    exact=True,
    moves=True,
    example=lambda: [Example((ids, table), {"rows": len(table)}) for ids, table, _ in _examples()],
)
"""(ids (...), table (v, d); rows = v of the whole table, offset = number of the table's first row) -> (..., d).

sparse, padding_idx: what `embedding` says; they concern the gradient alone.
"""


def embedding(ids: Tensor, table: Tensor, *, padding_idx: int | None = None, sparse: bool = False) -> Tensor:
    """ids (...) int64 below v, table (v, d) -> the rows of the table (..., d).

    padding_idx: a row that gets no gradient. sparse: the optimizer changes only the rows that were looked up in the step, and the
    gradient (v, d) is never made; see `of.nn.Embedding`. Raises IndexError in the kernel where a number is not in range(v).
    """
    made: Tensor = lookup(ids, table, rows=table.shape[0], **settings(table, padding_idx, sparse))
    return made


def settings(table: Tensor, padding_idx: int | None, sparse: bool) -> dict[str, Any]:
    """The attributes of a lookup; those that have their default value are left out."""
    found: dict[str, Any] = {"sparse": True} if sparse else {}
    if padding_idx is not None:
        count = table.shape[0]
        if not -count <= padding_idx < count:
            raise ShapeError(f"padding_idx {padding_idx} is no row of {table.type}", line=user_line())
        found["padding_idx"] = padding_idx % count
    return found


@lookup.local
def _local(attrs: Attributes, shards: Shards) -> Attributes:
    return {**attrs, "offset": shards.ins[1][0][0]}


@lookup.cost
def _cost(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return Cost(nbytes=float(ins[0].nbytes + 2 * outs[0].nbytes), calls=1)


@lookup.kernel
def _lookup(out: np.ndarray, ids: np.ndarray, table: np.ndarray, rows: int, offset: int = 0, **_: Any) -> None:
    flat, result = ids.reshape(-1), out.reshape(ids.size, table.shape[1])
    check_ids(flat, rows)
    if not len(table):
        out[...] = 0
        return
    for start in range(0, flat.size, IDS):
        at = slice(start, start + IDS)
        mine = flat[at] - offset if offset else flat[at]
        np.take(table, mine, axis=0, out=result[at], mode="clip")
        if len(table) < rows:
            result[at][(mine < 0) | (mine >= len(table))] = 0


@lookup.grad
def _(
    g: Tensor, y: Tensor, ids: Tensor, table: Tensor, rows: int, padding_idx: int | None = None, sparse: bool = False, **_: Any
) -> tuple[None, Tensor]:
    if padding_idx is not None:
        g = where(reshape(not_equal(ids, padding_idx), (*ids.shape, 1)), g, 0.0)
    return None, embedding_grad(ids, g, rows=rows, **({"sparse": True} if sparse else {}))


# ------------------------------------------------------------ gradient: sums of rows


def _table(ins: Types, attrs: Attributes) -> tuple[TensorType]:
    ids, g = ins
    _check(ids)
    if g.shape[:-1] != ids.shape:
        raise ShapeError(f"the cotangent of ids {ids} must have its shape and one more axis, got {g}")
    return (TensorType((attrs["rows"], g.shape[-1]), g.dtype),)


embedding_grad = op(
    "embedding_grad",
    rule=lambda ins, attrs: f"{_names(ins)}, {_names(ins)} d -> v d",
    infer=_table,
    linear=[{1}],
    exact=True,
    adds=True,
    row_sparse=lambda attrs: (0, 1) if attrs.get("sparse") else None,
    example=lambda: [Example((ids, g), {"rows": len(table)}) for ids, table, g in _examples()],
)
"""(ids (...), g (..., d); rows = v of the whole table, offset) -> (v, d): row i is the sum of g where ids == i.

Sums are in the order of the positions, whatever the numbers: the result is deterministic. With sparse=True the optimizer takes the
operands in the place of the result.
"""


@embedding_grad.local
def _local_grad(attrs: Attributes, shards: Shards) -> Attributes:
    return {**attrs, "offset": shards.outs[0][0][0]}


embedding_grad.cost(_cost)


@embedding_grad.workspace
def _workspace(ins: Types, outs: Types, attrs: Attributes) -> int:
    return runs_nbytes(ins[0].size, ins[1].shape[-1], ins[1].itemsize)


@embedding_grad.kernel
def _embedding_grad(
    out: np.ndarray, ids: np.ndarray, g: np.ndarray, rows: int, offset: int = 0, *, workspace: np.ndarray, **_: Any
) -> None:
    out[...] = 0
    flat = ids.reshape(-1)
    check_ids(flat, rows)
    source = rows_of(g.reshape(flat.size, out.shape[1]))
    for targets, sums in runs(np.add, flat, source, out.shape[1], out.dtype, (offset, len(out)), workspace):
        out[targets] = sums


@embedding_grad.grad
def _(h: Tensor, y: Tensor, ids: Tensor, g: Tensor, rows: int, **_: Any) -> tuple[None, Tensor]:
    return None, lookup(ids, h, rows=rows)
