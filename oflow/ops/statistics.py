"""Variance, norms, log-sum-exp: made of sums and maxima, so their axes may be split and gradients follow."""

from __future__ import annotations

import math

from oflow.ops.arithmetic import absolute, add, mul, power, square, sub
from oflow.ops.axes import Axes, axes_of, count_of
from oflow.ops.cast import cast
from oflow.ops.comparison import not_equal
from oflow.ops.elementwise import elementwise
from oflow.ops.reduce import max, mean, min, sum
from oflow.ops.shape import reshape
from oflow.ops.tensor import Tensor
from oflow.ops.transcendental import exp, log

root = elementwise("root", "sqrt(a)", grad={"a": "where(y > 0, 0.5 * g / y, 0)"}, also=["P(min) -> P(min)"], floats=True, domain=(0.5, 4))
"""sqrt, with 0 for its gradient at 0: what a norm needs there (any vector of norm up to 1 is a subgradient)."""
finite_or_zero = elementwise("finite_or_zero", "where(isfinite(a), a, 0)", floats=True)
"""What is subtracted before exp. No gradient passes through it: the result does not depend on it."""


def var(t: Tensor, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """Variance over `axis` (all axes by default): squared differences from the mean, over n - ddof; two passes, so it is stable.

    Raises ShapeError where n - ddof is not positive.
    """
    count = count_of(t, axis, ddof)
    squares = square(sub(t, mean(t, axis, keepdims=True)))
    return mul(sum(squares, axis, keepdims), 1.0 / count)  # type: ignore[no-any-return]


def std(t: Tensor, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """Standard deviation over `axis` (all axes by default): the root of `var`; its gradient is 0 where it is 0."""
    return root(var(t, axis, ddof, keepdims))  # type: ignore[no-any-return]


def logsumexp(t: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(t))) over `axis` (all axes by default), without overflow; -inf where all elements are."""
    largest = finite_or_zero(max(t, axis, keepdims=True))
    found = add(log(sum(exp(sub(t, largest)), axis, keepdims=True)), largest)
    return found if keepdims else reshape(found, _without(t, axis))


def norm(t: Tensor, ord: float | None = None, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The vector norm of order `ord` (2 by default) over `axis` (all axes by default): (sum |t|^ord)^(1/ord).

    inf and -inf are the largest and smallest magnitude, 0 counts elements that are not 0. Matrix norms have no name here.
    """
    if ord is None or ord == 2:
        return root(sum(square(t), axis, keepdims))  # type: ignore[no-any-return]
    if ord == 0:
        return cast(sum(not_equal(t, 0), axis, keepdims), t.dtype)
    size = absolute(t)
    if math.isinf(ord):
        return (max if ord > 0 else min)(size, axis, keepdims)
    if ord == 1:
        return sum(size, axis, keepdims)
    return power(sum(power(size, ord), axis, keepdims), 1.0 / ord)  # type: ignore[no-any-return]


def _without(t: Tensor, axis: Axes) -> tuple[int, ...]:
    gone = axes_of(t, axis)
    return tuple(n for i, n in enumerate(t.shape) if i not in gone)
