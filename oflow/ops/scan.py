"""Scans: running sums, products, extremes and the linear recurrence h_i = x_i + a_i h_(i-1). The scanned axis stays whole.

Gradients of products and of log-sum-exp are recurrences themselves, without a division, so zeros are no special case:
with E_i the product before i, d/dx_i of sum_j g_j y_j is E_i R_i, R_i = g_i + x_(i+1) R_(i+1).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.arithmetic import minimum, mul, sub
from oflow.ops.axes import axes_of
from oflow.ops.blocks import cost_of_passes
from oflow.ops.cast import cast
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.shape import reshape
from oflow.ops.tensor import Tensor, user_line
from oflow.ops.transcendental import exp


def _rule(ins: Types, attrs: Attributes) -> str:
    letters = " ".join(f"a{i}!" if i == attrs["axis"] else f"a{i}" for i in range(len(ins[0].shape)))
    return f"{', '.join([letters] * len(ins))} -> {letters}"


def _data(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)) * 7 % 11 - 4).reshape(shape).astype("float64")


def _examples(**choices: bool) -> list[Example]:
    """Each attribute that can be chosen, off and on."""
    names = list(choices)
    ways = [dict(zip(names, (bool(n >> i & 1) for i in range(len(names))), strict=True)) for n in range(1 << len(names))]
    found = [Example((_data(5, 6),), {"axis": i % 2, **way}) for i, way in enumerate(ways)]
    return [*found, Example((_data(3, 5, 2),), {"axis": 1, **ways[0]}), Example((_data(2, 1),), {"axis": 1, **ways[-1]})]


def _along(x: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
    """View with the scanned axis first, in the direction of the scan."""
    moved = np.moveaxis(x, axis, 0)
    return moved[::-1] if reverse else moved


def _accumulate(function: np.ufunc, out: np.ndarray, x: np.ndarray, axis: int, reverse: bool, exclusive: bool = False) -> None:
    target, source = _along(out, axis, reverse), _along(x, axis, reverse)
    if exclusive:
        target[:1] = function.identity
        source, target = source[:-1], target[1:]
    if len(source):
        function.accumulate(source, axis=0, out=target)


# ---------------------------------------------------------------- sums and products

cumsum_op = op(
    "cumsum", rule=_rule, linear=[{0}], exact=True, example=lambda: _examples(reverse=False, exclusive=False)
)
cumprod_op = op(
    "cumprod", rule=_rule, exact=True,
    example=lambda: [Example((e.operands[0] % 3 - 1,), e.attrs) for e in _examples(reverse=False, exclusive=False)],
)  # fmt: skip


@cumsum_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, axis: int, reverse: bool, exclusive: bool) -> None:
    _accumulate(np.add, out, x, axis, reverse, exclusive)


@cumsum_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, axis: int, reverse: bool, exclusive: bool) -> list[Tensor]:
    return [cumsum_op(g, axis=axis, reverse=not reverse, exclusive=exclusive)]


@cumprod_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, axis: int, reverse: bool, exclusive: bool) -> None:
    _accumulate(np.multiply, out, x, axis, reverse, exclusive)


@cumprod_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, axis: int, reverse: bool, exclusive: bool) -> list[Tensor]:
    back = {"axis": axis, "reverse": not reverse}
    before = y if exclusive else cumprod_op(x, axis=axis, reverse=reverse, exclusive=True)
    behind = recurrence_op(previous(g, **back) if exclusive else g, previous(x, **back), **back)
    return [mul(behind, before)]


# ---------------------------------------------------------------- the linear recurrence

previous = op("previous", rule=_rule, linear=[{0}], monotone=[{0}], exact=True, example=lambda: _examples(reverse=False))
"""The element before along `axis`, 0 before the first; reverse: the element behind."""


@previous.kernel
def _(out: np.ndarray, x: np.ndarray, *, axis: int, reverse: bool) -> None:
    target, source = _along(out, axis, reverse), _along(x, axis, reverse)
    target[:1] = 0
    np.copyto(target[1:], source[:-1])


@previous.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, axis: int, reverse: bool) -> list[Tensor]:
    return [previous(g, axis=axis, reverse=not reverse)]


recurrence_op = op(
    "recurrence", rule=_rule, linear=[{0}], exact=True,
    example=lambda: [Example((*e.operands, _data(*e.operands[0].shape) % 3 - 1), e.attrs) for e in _examples(reverse=False)],
)  # fmt: skip
recurrence_op.cost(cost_of_passes(2.0))


@recurrence_op.kernel
def _(out: np.ndarray, x: np.ndarray, a: np.ndarray, *, axis: int, reverse: bool) -> None:
    target, source, factors = (_along(t, axis, reverse) for t in (out, x, a))
    target[:1] = source[:1]
    for i in range(1, len(target)):
        here = target[i : i + 1]  # a slice: a row of one axis would be a number, not a view
        np.multiply(factors[i : i + 1], target[i - 1 : i], out=here)
        np.add(here, source[i : i + 1], out=here)


@recurrence_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, a: Tensor, *, axis: int, reverse: bool) -> list[Tensor]:
    back = {"axis": axis, "reverse": not reverse}
    to_x = recurrence_op(g, previous(a, **back), **back)
    return [to_x, mul(to_x, previous(y, axis=axis, reverse=reverse))]


# ---------------------------------------------------------------- extremes

cummax_op = op("cummax", rule=_rule, also=["P(max) -> P(max)"], exact=True, example=lambda: _examples(reverse=False))
cummin_op = op("cummin", rule=_rule, also=["P(min) -> P(min)"], exact=True, example=lambda: _examples(reverse=False))


@cummax_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, axis: int, reverse: bool) -> None:
    _accumulate(np.maximum, out, x, axis, reverse)


@cummin_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, axis: int, reverse: bool) -> None:
    _accumulate(np.minimum, out, x, axis, reverse)


@cummax_op.grad
@cummin_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, axis: int, reverse: bool) -> list[Tensor]:
    return [to_sources(g, x, y, axis=axis, reverse=reverse)]


to_sources = op(
    "cumextreme_grad", rule=_rule, linear=[{0}], exact=True,
    example=lambda: [
        Example((_data(*e.operands[0].shape) % 5, e.operands[0], np.maximum.accumulate(e.operands[0], axis=e.attrs["axis"])), e.attrs)
        for e in _examples(reverse=False) if not e.attrs["reverse"]
    ],
)  # fmt: skip
"""(g, x, y): each g goes to the last element up to its own where x is the running extreme y, as in PyTorch."""
to_sources.cost(cost_of_passes(4.0))


@to_sources.kernel
def _(out: np.ndarray, g: np.ndarray, x: np.ndarray, y: np.ndarray, *, axis: int, reverse: bool) -> None:
    target, given, values, running = (_along(t, axis, reverse) for t in (out, g, x, y))
    target[...] = 0
    if not out.size:
        return
    hit = (values == running) | ((values != values) & (running != running))
    here = np.arange(len(target)).reshape(-1, *[1] * (target.ndim - 1))
    source = np.maximum.accumulate(np.where(hit, here, 0), axis=0)
    rest = np.indices(target.shape[1:], sparse=True)
    np.add.at(target, (source, *rest), given)


# ---------------------------------------------------------------- log-sum-exp

logcumsumexp_op = op(
    "logcumsumexp", rule=_rule, example=lambda: [Example((e.operands[0] / 2,), e.attrs) for e in _examples(reverse=False)]
)
logcumsumexp_op.cost(cost_of_passes(48.0))


@logcumsumexp_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, axis: int, reverse: bool) -> None:
    _accumulate(np.logaddexp, out, x, axis, reverse)


@logcumsumexp_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, axis: int, reverse: bool) -> list[Tensor]:
    """sum_(j >= i) g_j e^(x_i - y_j), with factors e^(y_i - y_(i+1)) of at most 1."""
    back = {"axis": axis, "reverse": not reverse}
    fading = exp(minimum(sub(y, previous(y, **back)), 0.0))
    return [mul(recurrence_op(g, fading, **back), exp(sub(x, y)))]


# ---------------------------------------------------------------- what users call


def _flat(t: Tensor, axis: int | None) -> tuple[Tensor, int]:
    """The tensor and the position of its axis; None flattens, as in NumPy."""
    return (reshape(t, -1), 0) if axis is None else (t, axes_of(t, axis)[0])


def _counted(t: Tensor) -> Tensor:
    return cast(t, "int64") if t.dtype == "bool" else t


def cumsum(t: Tensor, axis: int | None = None, *, reverse: bool = False, exclusive: bool = False) -> Tensor:
    """Running sums along `axis` (flattened by default), in the tensor's dtype; of conditions int64.

    reverse: from the end. exclusive: without the element itself, so the first is 0.
    """
    x, at = _flat(_counted(t), axis)
    return cumsum_op(x, axis=at, reverse=reverse, exclusive=exclusive)  # type: ignore[no-any-return]


def cumprod(t: Tensor, axis: int | None = None, *, reverse: bool = False, exclusive: bool = False) -> Tensor:
    """Running products along `axis` (flattened by default); `reverse` and `exclusive` as in `cumsum`."""
    x, at = _flat(_counted(t), axis)
    return cumprod_op(x, axis=at, reverse=reverse, exclusive=exclusive)  # type: ignore[no-any-return]


def cummax(t: Tensor, axis: int | None = None, *, reverse: bool = False) -> Tensor:
    """Largest element so far along `axis` (flattened by default); its gradient goes to the last of equal ones."""
    x, at = _flat(t, axis)
    return cummax_op(x, axis=at, reverse=reverse)  # type: ignore[no-any-return]


def cummin(t: Tensor, axis: int | None = None, *, reverse: bool = False) -> Tensor:
    """Smallest element so far along `axis` (flattened by default); its gradient goes to the last of equal ones."""
    x, at = _flat(t, axis)
    return cummin_op(x, axis=at, reverse=reverse)  # type: ignore[no-any-return]


def logcumsumexp(t: Tensor, axis: int | None = None, *, reverse: bool = False) -> Tensor:
    """log of the running sum of e^t along `axis` (flattened by default), without overflow."""
    x, at = _flat(t, axis)
    return logcumsumexp_op(x, axis=at, reverse=reverse)  # type: ignore[no-any-return]


def recurrence(x: Tensor, a: Tensor, axis: int = -1, *, reverse: bool = False) -> Any:
    """h_i = x_i + a_i h_(i-1) along `axis`, h_(-1) = 0: the scan of gated linear recurrent networks. x and a have one shape.

    Raises ShapeError where they do not.
    """
    if x.shape != a.shape:
        raise ShapeError(f"x is {x.type} and a is {a.type}; they need one shape", line=user_line())
    return recurrence_op(x, a, axis=axes_of(x, axis)[0], reverse=reverse)
