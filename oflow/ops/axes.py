"""The axes that users name: numbers from either end, several, or None for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from oflow.errors import ShapeError
from oflow.ops.tensor import Tensor, user_line

Axes = int | Sequence[int] | None


def axes_of(t: Tensor, axis: Axes) -> tuple[int, ...]:
    """The axes as sorted positions; None are all. Raises ShapeError at the user's line."""
    wanted = range(t.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    if any(not -t.ndim <= a < t.ndim for a in wanted):
        raise ShapeError(f"axis {axis} is not an axis of {t.type}", line=user_line())
    return tuple(sorted({a % t.ndim for a in wanted}))


def count_of(t: Tensor, axis: Axes, ddof: int = 0) -> int:
    """Elements along `axis`, less `ddof`; ShapeError at the user's line unless there are any."""
    count = math.prod(t.shape[a] for a in axes_of(t, axis)) - ddof
    if count <= 0:
        raise ShapeError(f"axis {axis} of {t.type} has too few elements", line=user_line())
    return count
