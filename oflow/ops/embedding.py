"""Embedding: rows of a table chosen by number. A vocabulary split gives partial sums: a device has zero rows for the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.blocks import axis_names, block_rows, carve
from oflow.ops.op import Attributes, Example, Shards, Types, op
from oflow.ops.tensor import Tensor
from oflow.types import TensorType

IDS = 4096
"""Numbers looked up at a time."""


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


def _check_ids(ids: np.ndarray, rows: int) -> None:
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
    exact=True,
    example=lambda: [Example((ids, table), {"rows": len(table)}) for ids, table, _ in _examples()],
)
"""(ids (...), table (v, d); rows = v of the whole table, offset = number of the table's first row) -> (..., d)."""


def embedding(ids: Tensor, table: Tensor) -> Tensor:
    """ids (...) int64 below v, table (v, d) -> the rows of the table (..., d).

    Raises IndexError in the kernel where a number is not in range(v).
    """
    made: Tensor = lookup(ids, table, rows=table.shape[0])
    return made


@lookup.local
def _local(attrs: Attributes, shards: Shards) -> Attributes:
    return {**attrs, "offset": shards.ins[1][0][0]}


@lookup.cost
def _cost(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return Cost(nbytes=float(ins[0].nbytes + 2 * outs[0].nbytes), calls=1)


@lookup.kernel
def _lookup(out: np.ndarray, ids: np.ndarray, table: np.ndarray, rows: int, offset: int = 0) -> None:
    flat, result = ids.reshape(-1), out.reshape(ids.size, table.shape[1])
    _check_ids(flat, rows)
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
def _(g: Tensor, y: Tensor, ids: Tensor, table: Tensor, rows: int, **_: Any) -> tuple[None, Tensor]:
    return None, embedding_grad(ids, g, rows=rows)


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
    example=lambda: [Example((ids, g), {"rows": len(table)}) for ids, table, g in _examples()],
)
"""(ids (...), g (..., d); rows = v of the whole table, offset) -> (v, d): row i is the sum of g where ids == i.

Sums are in the order of the positions, whatever the numbers: the result is deterministic.
"""


@embedding_grad.local
def _local_grad(attrs: Attributes, shards: Shards) -> Attributes:
    return {**attrs, "offset": shards.outs[0][0][0]}


embedding_grad.cost(_cost)


@embedding_grad.workspace
def _workspace(ins: Types, outs: Types, attrs: Attributes) -> int:
    """One sort key for each number; one block of rows gathered in sorted order, and one for their sums."""
    n, d, itemsize = ins[0].size, ins[1].shape[-1], ins[1].itemsize
    return n * 8 + 2 * _gathered_rows(n, d, itemsize) * d * itemsize


def _gathered_rows(n: int, d: int, itemsize: int) -> int:
    return max(1, min(block_rows(d, itemsize), IDS, n))


@embedding_grad.kernel
def _embedding_grad(
    out: np.ndarray, ids: np.ndarray, g: np.ndarray, rows: int, offset: int = 0, *, workspace: np.ndarray
) -> None:
    """Sort (number, position) pairs packed into one integer; then add runs of equal numbers, a block of rows at a time."""
    out[...] = 0
    flat = ids.reshape(-1)
    n, d = flat.size, out.shape[1]
    _check_ids(flat, rows)
    source = g.reshape(n, d)
    keys = carve(workspace, 0, (n,), np.dtype("int64"))
    np.multiply(flat, n, out=keys)
    for start in range(0, n, IDS):
        keys[start : start + IDS] += np.arange(start, min(start + IDS, n))
    keys.sort()
    keys = keys[np.searchsorted(keys, offset * n) : np.searchsorted(keys, (offset + len(out)) * n)]
    step = _gathered_rows(n, d, out.itemsize)
    for start in range(0, len(keys), step):
        chosen, position = np.divmod(keys[start : start + step], n)
        gathered, sums = carve(workspace, n * 8, (2, len(chosen), d), out.dtype)
        np.take(source, position, axis=0, out=gathered, mode="clip")
        first = np.flatnonzero(np.diff(chosen, prepend=-1))
        targets = chosen[first] - offset
        np.add.reduceat(gathered, first, axis=0, out=sums[: len(first)])
        sums[0] += out[targets[0]]  # the block before may have ended inside this run
        out[targets] = sums[: len(first)]
