"""Conversion of dtypes.

A sum may be converted summand by summand where no rounding or wrapping comes between: from float to a float that holds as much,
and from whole numbers to whole numbers that hold no more (both wrap alike). A conversion passes maxima and minima where it is
monotone also on what stands for "no candidate": infinities have no whole number, and narrower whole numbers wrap.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.ops.move import axes_rule, cost_of_moves, examples_of
from oflow.ops.op import Attributes, Example, Op, Types
from oflow.ops.tensor import Tensor
from oflow.sbp import Partials
from oflow.types import DTYPES, FLOATS, dtype_name

ONE = (frozenset({0}),)


class Cast(Op):
    """The operator that converts; attribute dtype: the name of the new dtype."""

    def partials_on(self, ins: Types, attrs: Attributes) -> Partials:
        before, after = np.dtype(ins[0].dtype), np.dtype(attrs["dtype"])
        return Partials(ONE if _additive(before, after) else (), ONE if _monotone(before, after) else ())


def _additive(before: np.dtype, after: np.dtype) -> bool:
    if before.name in FLOATS:
        return after.name in FLOATS and (after == before or after.itemsize > before.itemsize)
    return before.kind in "iu" and after.kind in "iu" and after.itemsize <= before.itemsize


def _monotone(before: np.dtype, after: np.dtype) -> bool:
    return after.name in FLOATS or np.can_cast(before, after, "safe")


cast_op = Cast(
    "cast", rule=lambda ins, attrs: axes_rule(len(ins[0].shape), ()), dtype=lambda ins, attrs: (attrs["dtype"],), exact=True, moves=True,
    example=lambda: [
        Example((np.abs(examples_of(5, 6)).astype(source),), {"dtype": target}) for source in DTYPES for target in DTYPES
    ] + [Example((examples_of(7),), {"dtype": "int64"})],
)  # fmt: skip
cast_op.cost(cost_of_moves)


@cast_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, dtype: str) -> None:
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        np.copyto(out, x, casting="unsafe")


@cast_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, **_: Any) -> list[Tensor | None]:
    return [cast(g, x.dtype) if x.type.is_float and y.type.is_float else None]


def cast(t: Tensor, dtype: object) -> Tensor:
    """The same values in another dtype; floats become whole numbers toward 0, and what is not 0 becomes True.

    Raises ShapeError for dtypes that oflow has no kernels for.
    """
    return t if t.dtype == dtype_name(dtype) else cast_op(t, dtype=dtype_name(dtype))


def astype(t: Tensor, dtype: object) -> Tensor:
    """`cast` under NumPy's name."""
    return cast(t, dtype)
