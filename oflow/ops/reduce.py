"""Reductions. `mean` is sum times 1/n, so a mean over a split axis is an honest P(sum)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.tensor import Tensor, user_line

Axes = int | Sequence[int] | None


def _rule(ins: Types, attrs: Attributes) -> str:
    letters = [f"a{i}" for i in range(len(ins[0].shape))]
    gone = set(attrs["axes"])
    kept = [("1" if i in gone else name) for i, name in enumerate(letters) if i not in gone or attrs["keepdims"]]
    return f"{' '.join(letters)} -> {' '.join(kept)}"


def _examples(exact: bool = True) -> list[Example]:
    data = np.arange(5 * 6 * 3, dtype="float64").reshape(5, 6, 3) % 17 - 8
    return [
        Example((data,), {"axes": (0,), "keepdims": False}),
        Example((data,), {"axes": (1, 2), "keepdims": True}),
        Example((data,), {"axes": (0, 1, 2), "keepdims": False}),
    ]


def _leading(attrs: Attributes) -> int:
    axes = tuple(attrs["axes"])
    return len(axes) if axes == tuple(range(len(axes))) and not attrs["keepdims"] else 0


reduce_sum = op("sum", rule=_rule, linear=[{0}], exact=True, leading=_leading, adds=True, example=_examples)
reduce_max = op("max", rule=_rule, reduce="max", also=["P(max) -> P(max)"], exact=True, example=_examples)
reduce_min = op("min", rule=_rule, reduce="min", also=["P(min) -> P(min)"], exact=True, example=_examples)


@reduce_sum.kernel
def _(out: np.ndarray, x: np.ndarray, *, axes: tuple[int, ...], keepdims: bool) -> None:
    np.add.reduce(x, axis=axes, out=out, keepdims=keepdims)


@reduce_max.kernel
def _(out: np.ndarray, x: np.ndarray, *, axes: tuple[int, ...], keepdims: bool) -> None:
    np.maximum.reduce(x, axis=axes, out=out, keepdims=keepdims, initial=-np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min)


@reduce_min.kernel
def _(out: np.ndarray, x: np.ndarray, *, axes: tuple[int, ...], keepdims: bool) -> None:
    np.minimum.reduce(x, axis=axes, out=out, keepdims=keepdims, initial=np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).max)


@reduce_sum.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, axes: tuple[int, ...], keepdims: bool) -> list[Tensor]:
    return [_spread(g, x, axes)]


@reduce_max.grad
@reduce_min.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, axes: tuple[int, ...], keepdims: bool) -> list[Tensor]:
    from oflow.ops.arithmetic import equal, where

    return [where(equal(x, _spread(y, x, axes)), _spread(g, x, axes), 0.0)]


arg = op(
    "argmax", rule=lambda ins, attrs: _whole_axis(len(ins[0].shape), attrs["axis"]), dtype="int64", exact=True,
    example=lambda: [Example((np.arange(30.0).reshape(5, 6) * 7 % 11,), {"axis": axis}) for axis in (0, 1)],
)  # fmt: skip


def _whole_axis(rank: int, axis: int) -> str:
    """The axis that is searched stays whole."""
    letters = [f"a{i}" for i in range(rank)]
    return f"{' '.join(name + '!' if i == axis else name for i, name in enumerate(letters))} -> " + " ".join(
        name for i, name in enumerate(letters) if i != axis
    )


@arg.kernel
def _(out: np.ndarray, x: np.ndarray, *, axis: int) -> None:
    np.argmax(x, axis=axis, out=out)


def _spread(t: Tensor, like: Tensor, axes: tuple[int, ...]) -> Tensor:
    """A reduced tensor repeated along the axes that were reduced."""
    from oflow.ops.shape import broadcast_to, reshape

    return broadcast_to(reshape(t, tuple(1 if i in axes else n for i, n in enumerate(like.shape))), like.shape)


def _axes(t: Tensor, axis: Axes) -> tuple[int, ...]:
    wanted = range(t.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    if any(not -t.ndim <= a < t.ndim for a in wanted):
        raise ShapeError(f"axis {axis} is not an axis of {t.type}", line=user_line())
    return tuple(sorted({a % t.ndim for a in wanted}))


def sum(t: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Sum over `axis` (all axes by default)."""
    return reduce_sum(t, axes=_axes(t, axis), keepdims=keepdims)  # type: ignore[no-any-return]


def max(t: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Maximum over `axis` (all axes by default)."""
    return reduce_max(t, axes=_axes(t, axis), keepdims=keepdims)  # type: ignore[no-any-return]


def min(t: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Minimum over `axis` (all axes by default)."""
    return reduce_min(t, axes=_axes(t, axis), keepdims=keepdims)  # type: ignore[no-any-return]


def argmax(t: Tensor, axis: int = -1) -> Tensor:
    """Position (int64) of the first largest element along `axis`. Not differentiable."""
    return arg(t, axis=_axes(t, axis)[0])  # type: ignore[no-any-return]


def mean(t: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Mean over `axis` (all axes by default) of the whole, logical tensor."""
    count = math.prod(t.shape[a] for a in _axes(t, axis))
    from oflow.ops.arithmetic import mul

    return mul(sum(t, axis, keepdims), 1.0 / count)  # type: ignore[no-any-return]


__all__ = ["argmax", "max", "mean", "min", "sum"]
