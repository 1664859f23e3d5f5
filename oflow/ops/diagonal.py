"""Diagonals of matrices and matrices with a diagonal. A device that has some rows or columns has some of the diagonal."""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.move import axes_list, examples_of
from oflow.ops.op import Attributes, Example, Shards, Types, op
from oflow.ops.shape import moveaxis
from oflow.ops.tensor import Tensor, user_line
from oflow.sbp import Box
from oflow.types import TensorType


def _length(rows: int, columns: int, offset: int) -> int:
    """Elements on diagonal `offset` = column - row."""
    return max(0, min(rows + min(offset, 0), columns - max(offset, 0)))


def _words(rows: int, columns: int, offset: int) -> tuple[str, str, str]:
    """Factors of rows, columns and diagonal: it goes with the rows, or else with the columns, if it has an element in each.

    The diagonal of a square matrix could go with both, but not with the rows on one mesh axis and the columns on another.
    """
    length = _length(rows, columns, offset)
    return "r", "c", "r" if length == rows and offset >= 0 else "c" if length == columns and offset <= 0 else "d"


def _lead(count: int) -> str:
    return " ".join(f"a{i}" for i in range(count))


def _take_infer(ins: Types, attrs: Attributes) -> list[TensorType]:
    if len(ins[0].shape) < 2:
        raise ShapeError("a diagonal needs two axes")
    *lead, rows, columns = ins[0].shape
    return [TensorType((*lead, _length(rows, columns, attrs["offset"])), ins[0].dtype)]


def _take_rule(ins: Types, attrs: Attributes) -> str:
    *lead, rows, columns = ins[0].shape
    r, c, line = _words(rows, columns, attrs["offset"])
    return f"{_lead(len(lead))} {r} {c} -> {_lead(len(lead))} {line}"


def _put_rule(ins: Types, attrs: Attributes) -> str:
    *lead, _ = ins[0].shape
    r, c, line = _words(attrs["rows"], attrs["columns"], attrs["offset"])
    return f"{_lead(len(lead))} {line} -> {_lead(len(lead))} {r} {c}"


def _put_infer(ins: Types, attrs: Attributes) -> list[TensorType]:
    rows, columns, offset = attrs["rows"], attrs["columns"], attrs["offset"]
    if not ins[0].shape or ins[0].shape[-1] != _length(rows, columns, offset):
        raise ShapeError(f"diagonal {offset} of a matrix ({rows}, {columns}) has {_length(rows, columns, offset)} elements")
    return [TensorType((*ins[0].shape[:-1], rows, columns), ins[0].dtype)]


_MATRICES = [(5, 6, 0), (6, 6, 0), (7, 5, -1), (5, 7, 2), (2, 3, 0), (6, 5, 1), (3, 3, -4)]


def _take_examples() -> list[Example]:
    found = [Example((examples_of(rows, columns),), {"offset": k}) for rows, columns, k in _MATRICES]
    return [*found, Example((examples_of(3, 5, 5),), {"offset": 0})]


def _put_examples() -> list[Example]:
    found = [
        Example((examples_of(_length(m, n, k)),), {"offset": k, "rows": m, "columns": n}) for m, n, k in _MATRICES
    ]
    return [*found, Example((examples_of(3, 5),), {"offset": 0, "rows": 5, "columns": 5})]


take = op(
    "diagonal", rule=_take_rule, infer=_take_infer, linear=[{0}], monotone=[{0}], exact=True, moves=True, example=_take_examples
)
"""x (..., rows, columns); offset = column - row -> the elements of that diagonal (..., length); 0 for those that a rank does not have."""
put = op(
    "diagonal_matrix", rule=_put_rule, infer=_put_infer, linear=[{0}], monotone=[{0}], exact=True, moves=True, example=_put_examples
)
"""x (..., length); offset, rows, columns -> (..., rows, columns) with x on the diagonal, 0 elsewhere."""


def _start(matrix: Box, line: Box, offset: int) -> tuple[int, int, int]:
    """The rank's first row, first column and first element of the diagonal, counted from the matrix element that it starts at."""
    return matrix[-2][0] - max(0, -offset), matrix[-1][0] - max(0, offset), line[-1][0]


@take.local
def _(attrs: Attributes, shards: Shards) -> Attributes:
    return {**attrs, "start": _start(shards.ins[0], shards.outs[0], attrs["offset"])}


@put.local
def _(attrs: Attributes, shards: Shards) -> Attributes:
    rows, columns = (stop - start for start, stop in shards.outs[0][-2:])
    return {**attrs, "rows": rows, "columns": columns, "start": _start(shards.outs[0], shards.ins[0], attrs["offset"])}


def _pieces(matrix: np.ndarray, line: np.ndarray, offset: int, start: tuple[int, int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Views of the elements that a rank has of both, from a matrix (..., rows, columns) and a diagonal (..., length)."""
    row, column, first = start or (-max(0, -offset), -max(0, offset), 0)
    rows, columns = matrix.shape[-2:]
    low = max(first, row, column)
    high = max(low, min(first + line.shape[-1], row + rows, column + columns))
    part = matrix[..., low - row : high - row, low - column : high - column]
    return np.diagonal(part, 0, -2, -1), line[..., low - first : high - first]


@take.kernel
def _(out: np.ndarray, x: np.ndarray, *, offset: int, start: tuple[int, int, int] | None = None) -> None:
    source, target = _pieces(x, out, offset, start)
    if target.size < out.size:
        out[...] = 0
    np.copyto(target, source)


@put.kernel
def _(
    out: np.ndarray, x: np.ndarray, *, offset: int, rows: int, columns: int, start: tuple[int, int, int] | None = None
) -> None:
    out[...] = 0
    target, source = _pieces(out, x, offset, start)
    target.setflags(write=True)  # NumPy hands out diagonals read-only
    np.copyto(target, source)


@take.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return Cost(nbytes=2.0 * outs[0].nbytes, calls=1)


@put.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return Cost(nbytes=float(ins[0].nbytes + outs[0].nbytes), calls=1)


@take.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, offset: int, **_: Any) -> list[Tensor]:
    return [put(g, offset=offset, rows=x.shape[-2], columns=x.shape[-1])]


@put.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, offset: int, **_: Any) -> list[Tensor]:
    return [take(g, offset=offset)]


# ---------------------------------------------------------------- what users call


def diagonal(t: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The elements of the matrices of two axes whose index along axis2 less that along axis1 is `offset`, as a new last axis."""
    axes = axes_list(t, (axis1, axis2))
    return take(moveaxis(t, axes, (t.ndim - 2, t.ndim - 1)), offset=int(offset))  # type: ignore[no-any-return]


def diag(v: Tensor, k: int = 0) -> Tensor:
    """Diagonal k of a matrix (rows, columns), or a square matrix with the vector v (n,) on diagonal k."""
    if v.ndim not in (1, 2):
        raise ShapeError(f"diag takes a vector or a matrix, got {v.type}; use of.diagonal", line=user_line())
    if v.ndim == 2:
        return diagonal(v, k)
    n = v.shape[0] + abs(k)
    return put(v, offset=int(k), rows=n, columns=n)  # type: ignore[no-any-return]


def trace(t: Tensor, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum of a diagonal."""
    from oflow.ops.reduce import sum

    return sum(diagonal(t, offset, axis1, axis2), -1)
