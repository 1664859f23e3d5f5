"""Sorting, the k largest, positions in sorted numbers. The sorted axis stays whole. Equal elements keep their order; NaN counts
as the largest number, so it stands last, and first in descending order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.along import scatter_op
from oflow.ops.axes import axes_of
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.shape import reshape
from oflow.ops.tensor import Tensor, user_line
from oflow.types import TensorType

COMPARE_FLOPS = 4.0
"""About what one comparison of a sort costs, in additions."""


def _letters(t: TensorType, axis: int, name: str = "a") -> str:
    """A factor an axis; the one at `axis` is whole."""
    return " ".join(f"{name}{axis}!" if i == axis else f"a{i}" for i in range(len(t.shape)))


def _same_rule(ins: Types, attrs: Attributes) -> str:
    return f"{_letters(ins[0], attrs['axis'])} -> {_letters(ins[0], attrs['axis'])}"


def _sort_cost(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    n = ins[0].shape[attrs["axis"]]
    return Cost(COMPARE_FLOPS * ins[0].size * n.bit_length(), float(sum(t.nbytes for t in (*ins, *outs))), 1)


def _data(*shape: int) -> np.ndarray:
    """Whole numbers with ties."""
    return (np.arange(np.prod(shape)) * 7 % 11 - 4).reshape(shape).astype("float64")


def _examples() -> list[Example]:
    ways: list[tuple[tuple[int, ...], int, bool]] = [((5, 6), 0, False), ((5, 7), 1, True), ((2, 5, 3), 1, False), ((6,), 0, True)]
    return [Example((_data(*shape),), {"axis": axis, "descending": down}) for shape, axis, down in ways]


# ---------------------------------------------------------------- sort and argsort

sort_op = op("sort", rule=_same_rule, exact=True, example=_examples)
argsort_op = op("argsort", rule=_same_rule, dtype="int64", exact=True, example=_examples)
sort_op.cost(_sort_cost)
argsort_op.cost(_sort_cost)


@sort_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, axis: int, descending: bool) -> None:
    np.copyto(out, x)
    out.sort(axis=axis)
    if descending:
        out[...] = np.flip(out, axis).copy()


@argsort_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, axis: int, descending: bool) -> None:
    out[...] = _order(x, axis, descending)


def _order(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    """Positions in stable order: what comes later in a flipped array comes first when the order is flipped back."""
    if not descending:
        return np.argsort(x, axis=axis, stable=True)
    found = np.argsort(np.flip(x, axis), axis=axis, stable=True)
    return np.asarray(x.shape[axis] - 1 - np.flip(found, axis))


@sort_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, axis: int, descending: bool) -> list[Tensor]:
    return [scatter_op(g, argsort_op(x, axis=axis, descending=descending), axis=axis, count=x.shape[axis])]


# ---------------------------------------------------------------- the k largest


def _top_rule(ins: Types, attrs: Attributes) -> str:
    made = _letters(ins[0], attrs["axis"], "k")
    return f"{_letters(ins[0], attrs['axis'])} -> {made}, {made}"


def _top_infer(ins: Types, attrs: Attributes) -> Sequence[TensorType]:
    shape = list(ins[0].shape)
    if not 0 <= attrs["k"] <= shape[attrs["axis"]]:
        raise ShapeError(f"k is {attrs['k']}, and axis {attrs['axis']} has {shape[attrs['axis']]} elements")
    shape[attrs["axis"]] = attrs["k"]
    return [TensorType(tuple(shape), ins[0].dtype), TensorType(tuple(shape), "int64")]


topk_op = op(
    "topk", rule=_top_rule, infer=_top_infer, exact=True,
    example=lambda: [
        Example(e.operands, {"axis": e.attrs["axis"], "k": k, "largest": e.attrs["descending"]})
        for e, k in zip(_examples(), (2, 3, 5, 1), strict=True)
    ],
)  # fmt: skip


@topk_op.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    chosen = COMPARE_FLOPS * outs[0].size * max(1, attrs["k"]).bit_length()
    return Cost(6.0 * ins[0].size + chosen, float(sum(t.nbytes for t in (*ins, *outs))), 1)


@topk_op.kernel
def _(values: np.ndarray, positions: np.ndarray, x: np.ndarray, *, axis: int, k: int, largest: bool) -> None:
    """Choose k elements a row, the first ones among equals, then sort only those."""
    if not values.size:
        return
    moved = np.moveaxis(x, axis, -1)
    n = moved.shape[-1]
    rows = np.ascontiguousarray(moved).reshape(-1, n)
    at = np.nonzero(_chosen(rows, k, largest))[1].reshape(-1, k) if k < n else np.broadcast_to(np.arange(n), rows.shape)
    at = np.take_along_axis(at, _order(np.take_along_axis(rows, at, 1), 1, largest), 1)
    shape = (*moved.shape[:-1], k)
    np.copyto(np.moveaxis(positions, axis, -1), at.reshape(shape))
    np.copyto(np.moveaxis(values, axis, -1), np.take_along_axis(rows, at, 1).reshape(shape))


def _chosen(rows: np.ndarray, k: int, largest: bool) -> np.ndarray:
    """Mask of exactly k elements in each row: all beyond the k-th in order, and the first ones equal to it."""
    at = rows.shape[1] - k if largest else k - 1
    last = np.partition(rows, at, axis=1)[:, at : at + 1]
    beyond, equal = (rows > last if largest else rows < last), rows == last
    if rows.dtype.kind == "f" and np.isnan(rows).any():
        strange, bound = np.isnan(rows), np.isnan(last)
        beyond |= (strange & ~bound) if largest else (~strange & bound)
        equal |= strange & bound
    room = k - np.count_nonzero(beyond, axis=1, keepdims=True)
    return np.asarray(beyond | (equal & (np.cumsum(equal, axis=1) <= room)))


@topk_op.grad
def _(g: Any, y: Any, x: Tensor, *, axis: int, k: int, largest: bool) -> list[Tensor | None]:
    return [None if g[0] is None else scatter_op(g[0], y[1], axis=axis, count=x.shape[axis])]


# ---------------------------------------------------------------- searchsorted


def _search_rule(ins: Types, attrs: Attributes) -> str:
    if len(ins[0].shape) != 1 or ins[0].dtype != ins[1].dtype:
        raise ShapeError("the sorted numbers have one axis and the dtype of the values")
    letters = " ".join(f"a{i}" for i in range(len(ins[1].shape)))
    return f"n, {letters} -> {letters}"


search_op = op(
    "searchsorted", rule=_search_rule, dtype="int64", monotone=[{1}], exact=True,
    example=lambda: [Example((np.array([-4.0, -1, -1, 0, 2, 2, 5]), _data(5, 6)), {"side": side}) for side in ("left", "right")],
)  # fmt: skip
"""How many sorted numbers are less than (right: at most) each value: a count, so ranks with parts of them add up."""


@search_op.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    flops = COMPARE_FLOPS * ins[1].size * max(1, ins[0].size).bit_length()
    return Cost(flops, float(sum(t.nbytes for t in (*ins, *outs))), 1)


@search_op.kernel
def _(out: np.ndarray, a: np.ndarray, v: np.ndarray, *, side: str) -> None:
    out[...] = np.searchsorted(a, v, side="left" if side == "left" else "right")


# ---------------------------------------------------------------- what users call


def _flat(t: Tensor, axis: int | None) -> tuple[Tensor, int]:
    return (reshape(t, -1), 0) if axis is None else (t, axes_of(t, axis)[0])


def sort(t: Tensor, axis: int | None = -1, descending: bool = False) -> Tensor:
    """Elements in order along `axis` (None: flattened). NaN stands last, in descending order first."""
    x, at = _flat(t, axis)
    return sort_op(x, axis=at, descending=descending)  # type: ignore[no-any-return]


def argsort(t: Tensor, axis: int | None = -1, descending: bool = False) -> Tensor:
    """Positions (int64) that sort along `axis` (None: flattened); equal elements keep their order. Not differentiable."""
    x, at = _flat(t, axis)
    return argsort_op(x, axis=at, descending=descending)  # type: ignore[no-any-return]


def topk(t: Tensor, k: int, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """(values, positions int64) of the k largest (or smallest) elements along `axis`, in order, the first of equals first.

    Raises ShapeError where the axis has fewer than k.
    """
    return topk_op(t, axis=axes_of(t, axis)[0], k=k, largest=largest)  # type: ignore[no-any-return]


def searchsorted(a: Tensor, v: Tensor, side: str = "left") -> Tensor:
    """Where each v would be put into the ascending numbers a (n,), before equal ones or (side="right") behind them; int64."""
    if side not in ("left", "right"):
        raise ShapeError(f'side is "left" or "right", not {side!r}', line=user_line())
    return search_op(a, v, side=side)  # type: ignore[no-any-return]
