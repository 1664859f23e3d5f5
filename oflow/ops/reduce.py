"""Reductions. `mean` is sum times 1/n, so a mean over a split axis is an honest P(sum); there is no partial product, so `prod`
keeps its axes whole. The gradient of `max` and `min` is shared evenly by the elements that tie, as in PyTorch and JAX."""

from __future__ import annotations

import math

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.arithmetic import div, mul
from oflow.ops.axes import Axes, axes_of, count_of
from oflow.ops.blocks import carve, cost_of_passes
from oflow.ops.boxing import identity_of
from oflow.ops.cast import cast
from oflow.ops.comparison import equal, not_equal, where
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.shape import broadcast_to, reshape
from oflow.ops.tensor import Tensor


def _rule(ins: Types, attrs: Attributes) -> str:
    letters = [f"a{i}" for i in range(len(ins[0].shape))]
    gone = set(attrs["axes"])
    kept = [("1" if i in gone else name) for i, name in enumerate(letters) if i not in gone or attrs["keepdims"]]
    return f"{' '.join(letters)} -> {' '.join(kept)}"


def _condition(ins: Types, attrs: Attributes) -> tuple[str]:
    if ins[0].dtype != "bool":
        raise ShapeError(f"the operand is a condition, of dtype bool, and got {ins[0].dtype}; compare it, as in t != 0")
    return ("bool",)


def _examples(dtype: str = "float64") -> list[Example]:
    numbers = np.arange(5 * 6 * 3).reshape(5, 6, 3) % 17 - 8
    data = numbers > 5 if dtype == "bool" else numbers.astype(dtype)
    return [
        Example((data,), {"axes": (0,), "keepdims": False}),
        Example((data,), {"axes": (1, 2), "keepdims": True}),
        Example((data,), {"axes": (0, 1, 2), "keepdims": False}),
        Example((data[:1, :, :2],), {"axes": (0, 2), "keepdims": False}),
    ]


def _leading(attrs: Attributes) -> int:
    axes = tuple(attrs["axes"])
    return len(axes) if axes == tuple(range(len(axes))) and not attrs["keepdims"] else 0


reduce_sum = op("sum", rule=_rule, linear=[{0}], exact=True, leading=_leading, adds=True, example=_examples)
reduce_max = op("max", rule=_rule, reduce="max", also=["P(max) -> P(max)"], exact=True, example=_examples)
reduce_min = op("min", rule=_rule, reduce="min", also=["P(min) -> P(min)"], exact=True, example=_examples)
reduce_any = op(
    "any", rule=_rule, dtype=_condition, reduce="max", also=["P(max) -> P(max)"], exact=True, example=lambda: _examples("bool")
)
reduce_all = op(
    "all", rule=_rule, dtype=_condition, reduce="min", also=["P(min) -> P(min)"], exact=True, example=lambda: _examples("bool")
)
reduce_prod = op(
    "prod", rule=_rule, reduce=None, exact=True,
    example=lambda: [Example((np.sign(e.operands[0] - 4) * (1 + e.operands[0] % 2),), e.attrs) for e in _examples()],
)  # fmt: skip


@reduce_sum.kernel
def _(out: np.ndarray, x: np.ndarray, *, axes: tuple[int, ...], keepdims: bool) -> None:
    np.add.reduce(x, axis=axes, out=out, keepdims=keepdims)


@reduce_max.kernel
@reduce_any.kernel
def _(out: np.ndarray, x: np.ndarray, *, axes: tuple[int, ...], keepdims: bool) -> None:
    np.maximum.reduce(x, axis=axes, out=out, keepdims=keepdims, initial=identity_of("max", x.dtype))


@reduce_min.kernel
@reduce_all.kernel
def _(out: np.ndarray, x: np.ndarray, *, axes: tuple[int, ...], keepdims: bool) -> None:
    np.minimum.reduce(x, axis=axes, out=out, keepdims=keepdims, initial=identity_of("min", x.dtype))


@reduce_prod.kernel
def _(out: np.ndarray, x: np.ndarray, *, axes: tuple[int, ...], keepdims: bool) -> None:
    np.multiply.reduce(x, axis=axes, out=out, keepdims=keepdims)


@reduce_sum.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, axes: tuple[int, ...], keepdims: bool) -> list[Tensor]:
    return [spread(g, x, axes)]


@reduce_max.grad
@reduce_min.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, axes: tuple[int, ...], keepdims: bool) -> list[Tensor]:
    hit = equal(x, spread(y, x, axes))
    ties = reduce_sum(cast(hit, g.dtype), axes=axes, keepdims=keepdims)
    return [where(hit, spread(div(g, ties), x, axes), 0.0)]


@reduce_prod.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, axes: tuple[int, ...], keepdims: bool) -> list[Tensor]:
    return [mul(spread(g, x, axes), prod_of_others(x, axes=axes))]


# ---------------------------------------------------------------- the product of all other elements


def _whole_rule(ins: Types, attrs: Attributes) -> str:
    letters = [f"a{i}!" if i in attrs["axes"] else f"a{i}" for i in range(len(ins[0].shape))]
    return f"{' '.join(letters)} -> {' '.join(letters)}"


prod_of_others = op(
    "prod_of_others", rule=_whole_rule, exact=True,
    example=lambda: [Example(e.operands, {"axes": e.attrs["axes"]}) for e in reduce_prod.example()],
)  # fmt: skip
prod_of_others.cost(cost_of_passes(3.0))


@prod_of_others.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    return 2 * ins[0].nbytes


@prod_of_others.kernel
def _(out: np.ndarray, x: np.ndarray, *, axes: tuple[int, ...], workspace: np.ndarray) -> None:
    """The product of those before times the product of those behind: right with zeros too, without a division."""
    last = tuple(range(x.ndim - len(axes), x.ndim))
    moved = np.moveaxis(x, axes, last)
    width = math.prod(x.shape[a] for a in axes)
    rows = (x.size // (width or 1), width)
    before, behind = carve(workspace, 0, rows, x.dtype), carve(workspace, x.nbytes, rows, x.dtype)
    np.copyto(behind.reshape(moved.shape), moved)
    before[:, :1] = 1
    np.multiply.accumulate(behind[:, :-1], axis=1, out=before[:, 1:])
    behind[:, :-1] = np.multiply.accumulate(behind[:, :0:-1], axis=1)[:, ::-1]
    behind[:, -1:] = 1
    np.multiply(before, behind, out=before)
    np.copyto(np.moveaxis(out, axes, last), before.reshape(moved.shape))


# ---------------------------------------------------------------- what users call


def spread(t: Tensor, like: Tensor, axes: tuple[int, ...]) -> Tensor:
    """A reduced tensor repeated along the axes that were reduced."""
    return broadcast_to(reshape(t, tuple(1 if i in axes else n for i, n in enumerate(like.shape))), like.shape)


def sum(t: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Sum over `axis` (all axes by default), in the tensor's dtype; of conditions it is their number, int64."""
    t = cast(t, "int64") if t.dtype == "bool" else t
    return reduce_sum(t, axes=axes_of(t, axis), keepdims=keepdims)  # type: ignore[no-any-return]


def prod(t: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Product over `axis` (all axes by default), in the tensor's dtype (conditions: int64)."""
    t = cast(t, "int64") if t.dtype == "bool" else t
    return reduce_prod(t, axes=axes_of(t, axis), keepdims=keepdims)  # type: ignore[no-any-return]


def max(t: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Maximum over `axis` (all axes by default)."""
    return reduce_max(t, axes=axes_of(t, axis), keepdims=keepdims)  # type: ignore[no-any-return]


def min(t: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Minimum over `axis` (all axes by default)."""
    return reduce_min(t, axes=axes_of(t, axis), keepdims=keepdims)  # type: ignore[no-any-return]


def _as_condition(t: Tensor) -> Tensor:
    return t if t.dtype == "bool" else not_equal(t, 0)


def any(t: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether one element along `axis` (all axes by default) is true, or not 0."""
    return reduce_any(_as_condition(t), axes=axes_of(t, axis), keepdims=keepdims)  # type: ignore[no-any-return]


def all(t: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether every element along `axis` (all axes by default) is true, or not 0."""
    return reduce_all(_as_condition(t), axes=axes_of(t, axis), keepdims=keepdims)  # type: ignore[no-any-return]


def count_nonzero(t: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """How many elements along `axis` (all axes by default) are true, or not 0; int64."""
    return sum(_as_condition(t), axis, keepdims)


def mean(t: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Mean over `axis` (all axes by default) of the whole, logical tensor. Raises ShapeError where there is nothing to take it of."""
    return mul(sum(t, axis, keepdims), 1.0 / count_of(t, axis))  # type: ignore[no-any-return]
