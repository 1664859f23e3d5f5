"""Constants: tensors without operands. A rank makes the part that it holds; they run where their first reader runs.

The functions here take the builder of the graph; `oflow.frontend.constants` has those for users, which know it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.graph import Builder
from oflow.ops.move import Shape, local_shape
from oflow.ops.op import Attributes, Example, Shards, Types, op
from oflow.ops.tensor import Tensor, user_line
from oflow.types import TensorType, dtype_name

LARGEST = 1 << 16
"""Elements of a constant whose values are written down in the graph."""


def _letters(ins: Types, attrs: Attributes) -> str:
    return "-> " + " ".join(f"a{i}" for i in range(len(attrs["shape"])))


def _type(ins: Types, attrs: Attributes) -> list[TensorType]:
    return [TensorType(tuple(attrs["shape"]), attrs["dtype"])]


full_op = op(
    "full", rule=_letters, infer=_type, exact=True,
    example=lambda: [
        Example((), {"shape": (5, 4), "dtype": "float64", "value": 3.0}), Example((), {"shape": (), "dtype": "int64", "value": 2}),
        Example((), {"shape": (1, 7), "dtype": "bool", "value": True}),
    ],
)  # fmt: skip
full_op.local(local_shape)


@full_op.kernel
def _(out: np.ndarray, *, shape: Shape, dtype: str, value: float) -> None:
    out[...] = value


constant_op = op(
    "constant", rule=_letters, infer=_type, exact=True,
    example=lambda: [
        Example((), {"shape": (5, 3), "dtype": "float64", "values": tuple(float(i * i) for i in range(15))}),
        Example((), {"shape": (6,), "dtype": "int64", "values": (5, -1, 3, 0, 2, 2)}),
        Example((), {"shape": (), "dtype": "bool", "values": (True,)}),
    ],
)  # fmt: skip
"""values: all elements in row-major order."""


@constant_op.local
def _(attrs: Attributes, shards: Shards) -> Attributes:
    whole = np.asarray(attrs["values"], attrs["dtype"]).reshape(attrs["shape"])
    mine = whole[tuple(slice(*span) for span in shards.outs[0])]
    return {**attrs, "shape": mine.shape, "values": tuple(mine.reshape(-1).tolist())}


@constant_op.kernel
def _(out: np.ndarray, *, shape: Shape, dtype: str, values: tuple[float, ...]) -> None:
    out.reshape(-1)[...] = values


# ---------------------------------------------------------------- the same for all elements, or written down


def full(builder: Builder, shape: int | Sequence[int], value: float, dtype: object) -> Tensor:
    """A tensor of this shape and dtype with one value everywhere."""
    sizes = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes):
        raise ShapeError(f"a shape has sizes >= 0, got {sizes}", line=user_line())
    made: Tensor = full_op.append((), {"shape": sizes, "dtype": dtype_name(dtype), "value": value}, builder)
    return made


def constant(builder: Builder, values: Any, dtype: object = None) -> Tensor:
    """Values that are written down in the graph (numbers, nested sequences, an array). Raises ShapeError where they are many."""
    found = np.asarray(values, None if dtype is None else dtype_name(dtype))
    if found.size > LARGEST:
        raise ShapeError(f"a constant has at most {LARGEST} elements, got {found.size}; pass it as an input", line=user_line())
    attrs = {"shape": found.shape, "dtype": dtype_name(found.dtype), "values": tuple(found.reshape(-1).tolist())}
    made: Tensor = constant_op.append((), attrs, builder)
    return made


def full_like(t: Tensor, fill_value: float, dtype: object = None) -> Tensor:
    """A constant tensor of the shape of `t`, and of its dtype unless another is given."""
    return full(t.builder, t.shape, fill_value, t.dtype if dtype is None else dtype)


def zeros_like(t: Tensor, dtype: object = None) -> Tensor:
    """Zeros of the shape of `t`, and of its dtype unless another is given."""
    return full_like(t, 0, dtype)


def ones_like(t: Tensor, dtype: object = None) -> Tensor:
    """Ones of the shape of `t`, and of its dtype unless another is given."""
    return full_like(t, 1, dtype)


# ---------------------------------------------------------------- by position


def numbers(builder: Builder, count: int) -> Tensor:
    """0, 1, ... count - 1 as int64 (count,)."""
    from oflow.ops.positions import positions_op

    made: Tensor = positions_op.append((), {"start": 0, "count": count}, builder)
    return made


def arange(builder: Builder, start: float, stop: float | None = None, step: float = 1, dtype: object = None) -> Tensor:
    """start, start + step, ... below stop, as NumPy's arange; dtype int64 if all numbers are whole, else float32."""
    from oflow.ops.arithmetic import add, mul
    from oflow.ops.cast import cast

    first, last = (0, start) if stop is None else (start, stop)
    if step == 0:
        raise ShapeError("arange needs a step that is not 0", line=user_line())
    whole = all(isinstance(n, int | np.integer) for n in (first, last, step))
    made = numbers(builder, max(0, math.ceil((last - first) / step)))
    if not whole:
        made = cast(made, "float64")
    made = made if step == 1 else mul(made, step)
    made = made if first == 0 else add(made, first)
    return cast(made, dtype_name(dtype) if dtype is not None else "int64" if whole else "float32")


def linspace(builder: Builder, start: float, stop: float, num: int = 50, endpoint: bool = True, dtype: object = "float32") -> Tensor:
    """`num` numbers at equal distances from start to stop, the last of them stop itself (endpoint=False: stop left out)."""
    from oflow.ops.arithmetic import add, mul
    from oflow.ops.cast import cast
    from oflow.ops.comparison import equal, where

    if num < 0:
        raise ShapeError(f"linspace of {num} numbers", line=user_line())
    places = numbers(builder, num)
    gaps = num - 1 if endpoint else num
    found = add(mul(cast(places, "float64"), (stop - start) / max(1, gaps)), float(start))
    if endpoint and num > 1:
        found = where(equal(places, num - 1), float(stop), found)
    return cast(found, dtype)


def tri(builder: Builder, rows: int, columns: int, k: int = 0, dtype: object = "float32") -> Tensor:
    """(rows, columns): 1 on and below diagonal k, 0 above."""
    from oflow.ops.cast import cast

    return cast(_by_diagonal(builder, rows, columns, k, "less_equal"), dtype)


def eye(builder: Builder, rows: int, columns: int | None = None, k: int = 0, dtype: object = "float32") -> Tensor:
    """(rows, columns; by default square): 1 on diagonal k, 0 elsewhere."""
    from oflow.ops.cast import cast

    return cast(_by_diagonal(builder, rows, rows if columns is None else columns, k, "equal"), dtype)


def _by_diagonal(builder: Builder, rows: int, columns: int, k: int, relation: str) -> Tensor:
    """(rows, columns): whether an element's diagonal, column - row, has this relation to k."""
    from oflow.ops import comparison
    from oflow.ops.arithmetic import add
    from oflow.ops.shape import reshape

    down = add(reshape(numbers(builder, rows), (rows, 1)), k) if k else reshape(numbers(builder, rows), (rows, 1))
    made: Tensor = getattr(comparison, relation)(numbers(builder, columns), down)
    return made


def tril(t: Tensor, k: int = 0) -> Tensor:
    """The last two axes as matrices, with 0 above diagonal k. A vector is repeated as rows first, as in NumPy."""
    from oflow.ops.comparison import where

    rows = t.shape[-2] if t.ndim > 1 else t.shape[-1]
    made: Tensor = where(_by_diagonal(t.builder, rows, t.shape[-1], k, "less_equal"), t, _zero(t))
    return made


def triu(t: Tensor, k: int = 0) -> Tensor:
    """The last two axes as matrices, with 0 below diagonal k. A vector is repeated as rows first, as in NumPy."""
    from oflow.ops.comparison import where

    rows = t.shape[-2] if t.ndim > 1 else t.shape[-1]
    made: Tensor = where(_by_diagonal(t.builder, rows, t.shape[-1], k, "greater_equal"), t, _zero(t))
    return made


def _zero(t: Tensor) -> float:
    return 0.0 if t.type.is_float else 0
