"""One number for each element: `take_along_axis` and `scatter_sum`, each the other's gradient.

As with `take`, the axis that is chosen from may be split (partial sums), and so may the one that is summed into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.gather import as_numbers, axes_around, check, matrix, numbers, offset_of_operand, offset_of_result, own, parts
from oflow.ops.move import Shape, axis_of, examples_of
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.shape import broadcast_to
from oflow.ops.tensor import Tensor, user_line
from oflow.types import TensorType


def _along_type(ins: Types, attrs: Attributes) -> list[TensorType]:
    x, indices = ins
    check(indices)
    axis = attrs["axis"]
    rests = {(*t.shape[:axis], *t.shape[axis + 1 :]) for t in ins}
    if len(rests) > 1 or len(x.shape) != len(indices.shape):
        raise ShapeError(f"all sizes but axis {axis} must be equal")
    return [TensorType(indices.shape, x.dtype)]


def _along_rule(ins: Types, attrs: Attributes) -> str:
    before, after = axes_around(ins[0], attrs["axis"])
    return f"{before} v {after}, {before} i {after} -> {before} i {after}"


_ALONG: list[tuple[Shape, int, int]] = [((7, 4), 5, 0), ((5, 6), 2, 1), ((2, 3, 7), 6, 2), ((3, 5, 2), 1, 1)]


def _along_shape(shape: Shape, n: int, axis: int) -> Shape:
    return (*shape[:axis], n, *shape[axis + 1 :])


along_op = op(
    "take_along_axis", rule=_along_rule, infer=_along_type, linear=[{0}], monotone=[{0}], exact=True, moves=True,
    example=lambda: [
        Example((examples_of(*shape), numbers(*_along_shape(shape, n, axis), below=shape[axis])), {"axis": axis, "count": shape[axis]})
        for shape, n, axis in _ALONG
    ],
)  # fmt: skip
"""x (..., v, ...), numbers (..., i, ...); axis, count = v, offset -> (..., i, ...): x at the numbers' positions along the axis."""
along_op.local(offset_of_operand)
along_op.cost(lambda ins, outs, attrs: Cost(nbytes=float(ins[1].nbytes + 2 * outs[0].nbytes), calls=1))


@along_op.kernel
def _(out: np.ndarray, x: np.ndarray, indices: np.ndarray, *, axis: int, count: int, offset: int = 0) -> None:
    source, places, result = (matrix(t, axis) for t in (x, indices, out))
    if not source.shape[1]:
        out[...] = 0
        return
    for at, (a, _, b) in parts(places.shape):
        local = own(places[at], count, offset)
        found = source[a, np.clip(local, 0, source.shape[1] - 1), b]
        result[at] = np.where((local >= 0) & (local < source.shape[1]), found, 0)


@along_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, indices: Tensor, *, axis: int, count: int, **_: Any) -> list[Tensor | None]:
    return [scatter_op(g, indices, axis=axis, count=count), None]


def _scatter_type(ins: Types, attrs: Attributes) -> list[TensorType]:
    source, indices = ins
    check(indices)
    if source.shape != indices.shape:
        raise ShapeError("there must be one number for each element")
    return [TensorType(_along_shape(source.shape, attrs["count"], attrs["axis"]), source.dtype)]


def _scatter_rule(ins: Types, attrs: Attributes) -> str:
    before, after = axes_around(ins[0], attrs["axis"])
    return f"{before} i {after}, {before} i {after} -> {before} v {after}"


scatter_op = op(
    "scatter_sum", rule=_scatter_rule, infer=_scatter_type, linear=[{0}], exact=True,
    example=lambda: [
        Example((examples_of(*along), numbers(*along, below=shape[axis])), {"axis": axis, "count": shape[axis]})
        for along, shape, axis in ((_along_shape(shape, n, axis), shape, axis) for shape, n, axis in _ALONG)
    ],
)  # fmt: skip
"""source (..., i, ...), numbers of the same shape; axis, count = v, offset -> (..., v, ...): what `take_along_axis` took, put back."""
scatter_op.local(offset_of_result)
scatter_op.cost(
    lambda ins, outs, attrs: Cost(flops=float(ins[0].size), nbytes=float(ins[1].nbytes + 3 * ins[0].nbytes + outs[0].nbytes), calls=1)
)


@scatter_op.kernel
def _(out: np.ndarray, source: np.ndarray, indices: np.ndarray, *, axis: int, count: int, offset: int = 0) -> None:
    out[...] = 0
    given, places, result = (matrix(t, axis) for t in (source, indices, out))
    _, rows, width = result.shape
    for at, (a, _, b) in parts(places.shape):
        local = own(places[at], count, offset)
        mine = (local >= 0) & (local < rows)
        np.add.at(result.reshape(-1), ((a * rows + local) * width + b)[mine], given[at][mine])


@scatter_op.grad
def _(g: Tensor, y: Tensor, source: Tensor, indices: Tensor, *, axis: int, count: int, **_: Any) -> list[Tensor | None]:
    return [along_op(g, indices, axis=axis, count=count), None]


# ---------------------------------------------------------------- what users call


def take_along_axis(t: Tensor, indices: Tensor | Sequence[Any], axis: int = -1) -> Tensor:
    """t at the positions `indices` along `axis`, one for each element of the result; the other axes broadcast.

    Numbers out of range raise IndexError in the kernel.
    """
    places, axis = as_numbers(t, indices), axis_of(t, axis)
    if places.ndim != t.ndim:
        raise ShapeError(f"the numbers must have the {t.ndim} axes of {t.type}, got {places.type}", line=user_line())
    try:
        rest = np.broadcast_shapes(*(_along_shape(s, 1, axis) for s in (t.shape, places.shape)))
    except ValueError:
        raise ShapeError(f"numbers {places.type} do not broadcast with {t.type} beside axis {axis}", line=user_line()) from None
    whole = (broadcast_to(x, _along_shape(rest, x.shape[axis], axis)) for x in (t, places))
    return along_op(*whole, axis=axis, count=t.shape[axis])  # type: ignore[no-any-return]


def scatter_add(t: Tensor, axis: int, indices: Tensor | Sequence[Any], source: Tensor) -> Tensor:
    """t with each element of `source` added at its number along `axis` and its own place along the others; PyTorch's scatter_add.

    indices has the shape of source, which is t's but along `axis`. Numbers may occur several times.
    """
    from oflow.ops.arithmetic import add

    axis = axis_of(t, axis)
    return add(t, scatter_op(source, as_numbers(t, indices), axis=axis, count=t.shape[axis]))  # type: ignore[no-any-return]
