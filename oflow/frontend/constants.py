"""Constants for users: NumPy's names inside a traced function. They run, and are split, where their first reader wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oflow.frontend.capture import active
from oflow.ops import constant as made
from oflow.ops.tensor import Tensor


def full(shape: int | Sequence[int], fill_value: float, dtype: object = "float32") -> Tensor:
    """A tensor of this shape with one value everywhere."""
    return made.full(active("of.full").builder, shape, fill_value, dtype)


def zeros(shape: int | Sequence[int], dtype: object = "float32") -> Tensor:
    """Zeros."""
    return made.full(active("of.zeros").builder, shape, 0, dtype)


def ones(shape: int | Sequence[int], dtype: object = "float32") -> Tensor:
    """Ones."""
    return made.full(active("of.ones").builder, shape, 1, dtype)


def constant(values: Any, dtype: object = None) -> Tensor:
    """The values (a number, nested sequences, an array) written down in the graph, at most 65536 of them.

    dtype: that of the array by default. Larger arrays are inputs or parameters.
    """
    return made.constant(active("of.constant").builder, values, dtype)


def arange(start: float, stop: float | None = None, step: float = 1, dtype: object = None) -> Tensor:
    """start, start + step, ... below stop (one number: from 0 below it); dtype int64 if all are whole numbers, else float32."""
    return made.arange(active("of.arange").builder, start, stop, step, dtype)


def linspace(start: float, stop: float, num: int = 50, endpoint: bool = True, dtype: object = "float32") -> Tensor:
    """`num` numbers at equal distances from start to stop, the last of them stop itself (endpoint=False: stop left out)."""
    return made.linspace(active("of.linspace").builder, start, stop, num, endpoint, dtype)


def eye(n: int, m: int | None = None, k: int = 0, dtype: object = "float32") -> Tensor:
    """(n, m), by default square: 1 on diagonal k, 0 elsewhere."""
    return made.eye(active("of.eye").builder, n, m, k, dtype)


def identity(n: int, dtype: object = "float32") -> Tensor:
    """(n, n): 1 on the diagonal, 0 elsewhere."""
    return eye(n, dtype=dtype)


def tri(n: int, m: int | None = None, k: int = 0, dtype: object = "float32") -> Tensor:
    """(n, m), by default square: 1 on and below diagonal k, 0 above."""
    return made.tri(active("of.tri").builder, n, n if m is None else m, k, dtype)
