"""Indexing: ``t[1:3, ::-1, None, 0, ..., [2, 0]]`` as in NumPy, with at most one index of several numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.shape import moveaxis, reshape
from oflow.ops.slicing import sliced
from oflow.ops.tensor import Tensor, user_line

WANTED = "use integers, slices, None, ... and one integer tensor or list"


def getitem(t: Tensor, index: Any) -> Tensor:
    """``t[index]``: integers, slices with steps, None, ``...``, and one tensor or list of whole numbers.

    Raises ShapeError at the user's line for an index out of range or of another kind; numbers in a tensor are checked in the kernel.
    """
    parts = _complete(t, index if isinstance(index, tuple) else (index,))
    spans, sizes, chosen, axis = [], [], [], 0
    for part in parts:
        if part is None:
            sizes.append(1)
            continue
        span, kind = _span(t, axis, part)
        spans.append(span)
        axis += 1
        if kind == "many":
            chosen.append((len(sizes), part))
        if kind != "one":
            sizes.append(len(span))
    found = reshape(sliced(t, spans), tuple(sizes))
    if not chosen:
        return found
    if len(chosen) > 1:
        raise ShapeError(f"{len(chosen)} indices of several numbers; {WANTED}", line=user_line())
    return _taken(found, *chosen[0], parts)


def _complete(t: Tensor, index: tuple[Any, ...]) -> list[Any]:
    """With as many full slices in place of ``...`` (or at the end) as there are axes left."""
    used = sum(part is not None and part is not Ellipsis for part in index)
    places = [i for i, part in enumerate(index) if part is Ellipsis] or [len(index)]
    if used > t.ndim or len(places) > 1:
        raise ShapeError(f"index {index!r} does not fit {t.type}, which has {t.ndim} axes", line=user_line())
    at = places[0]
    return [*index[:at], *[slice(None)] * (t.ndim - used), *index[at + 1 :]]


def _span(t: Tensor, axis: int, part: Any) -> tuple[range, str]:
    """The positions along the axis, and whether they are "one", a "slice", or all of them because "many" are chosen afterwards."""
    n = t.shape[axis]
    if isinstance(part, int | np.integer) and not isinstance(part, bool) and -n <= part < n:
        return range(int(part) % n, int(part) % n + 1), "one"
    if isinstance(part, slice):
        return range(n)[part], "slice"
    if isinstance(part, Tensor | list | np.ndarray):
        return range(n), "many"
    raise ShapeError(f"index {part!r} on axis {axis} of {t.type}; {WANTED}", line=user_line())


def _taken(t: Tensor, axis: int, numbers: Any, parts: list[Any]) -> Tensor:
    """The chosen positions; integers beside them are indices of several numbers to NumPy, which puts those apart in front."""
    from oflow.ops.gather import take

    found = take(t, numbers, axis)
    advanced = [i for i, part in enumerate(parts) if part is not None and not isinstance(part, slice)]
    count = found.ndim - t.ndim + 1
    if advanced[-1] - advanced[0] + 1 > len(advanced) and axis:
        return moveaxis(found, tuple(range(axis, axis + count)), tuple(range(count)))
    return found
