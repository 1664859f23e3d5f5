"""`of.data`: arrays in, batches of one fixed shape out (a program's shapes are fixed)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.tensor import user_line


def _length(arrays: Sequence[np.ndarray]) -> int:
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1:
        raise ShapeError(f"the arrays of a batch need one length, got {[len(a) for a in arrays]}", line=user_line())
    return lengths.pop()


def pad(arrays: Sequence[np.ndarray], size: int) -> tuple[np.ndarray, ...]:
    """Fill a short batch up to `size` rows with copies of its first row, and add a mask (size,) bool of the rows that count.

    arrays: each (n, ...), 1 <= n <= size. Returns one (size, ...) array for each and the mask. Raises ShapeError otherwise.
    """
    n = _length(arrays)
    if not 1 <= n <= size:
        raise ShapeError(f"a batch of {n} rows cannot be filled up to {size}", line=user_line())
    rows = np.where(np.arange(size) < n, np.arange(size), 0)
    return (*(array[rows] for array in arrays), np.arange(size) < n)


def batches(
    arrays: Sequence[np.ndarray], size: int, *, last: Literal["drop", "pad"] = "drop", order: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, ...]]:
    """Cut arrays (n, ...) into batches of exactly `size` rows, in `order` (row numbers; None: as they are).

    A short rest is dropped, or with ``last="pad"`` every batch gets a mask as its last array (see `pad`).
    """
    if last not in ("drop", "pad"):
        raise ShapeError(f"last={last!r}; a short last batch can be dropped ('drop') or filled up ('pad')", line=user_line())
    order = np.arange(_length(arrays)) if order is None else order
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        if last == "pad":
            yield pad([array[rows] for array in arrays], size)
        elif len(rows) == size:
            yield tuple(array[rows] for array in arrays)


def shuffled(
    arrays: Sequence[np.ndarray], size: int, *, seed: int = 0, epochs: int | None = None
) -> Iterator[tuple[np.ndarray, ...]]:
    """Batches of `size` rows, in a new order each epoch that (seed, epoch) fixes; without end where `epochs` is None."""
    n = _length(arrays)
    if n < size:
        raise ShapeError(f"{n} rows do not fill one batch of {size}", line=user_line())
    epoch = 0
    while epochs is None or epoch < epochs:
        yield from batches(arrays, size, order=np.random.default_rng((seed, epoch)).permutation(n))
        epoch += 1
