"""`of.data`: arrays in, batches of one fixed shape out (a program's shapes are fixed).

A `Batches` is a sequence: it knows its length, and batch i depends on i alone, so a run that stopped after step i goes on with
``feed[i:]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, overload

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.tensor import user_line

Batch = tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class Batches(Sequence[Batch]):
    """`steps` batches, made when they are asked for: batch i is ``make(i)``, and nothing but i may decide what is in it."""

    steps: int
    make: Callable[[int], Batch]

    def __len__(self) -> int:
        return self.steps

    @overload
    def __getitem__(self, i: int) -> Batch: ...
    @overload
    def __getitem__(self, i: slice) -> Batches: ...
    def __getitem__(self, i: int | slice) -> Batch | Batches:
        if isinstance(i, slice):
            chosen = range(self.steps)[i]
            return Batches(len(chosen), lambda k: self.make(chosen[k]))
        if not -self.steps <= i < self.steps:
            raise IndexError(f"batch {i} of {self.steps}")
        return self.make(i % self.steps)


def _length(arrays: Sequence[np.ndarray]) -> int:
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1:
        raise ShapeError(f"the arrays of a batch need one length, got {[len(a) for a in arrays]}", line=user_line())
    return lengths.pop()


def pad(arrays: Sequence[np.ndarray], size: int) -> Batch:
    """Fill a short batch up to `size` rows with copies of its first row, and add a mask (size,) bool of the rows that count.

    arrays: each (n, ...), 1 <= n <= size. Returns one (size, ...) array for each and the mask. Raises ShapeError otherwise.
    """
    n = _length(arrays)
    if not 1 <= n <= size:
        raise ShapeError(f"a batch of {n} rows cannot be filled up to {size}", line=user_line())
    rows = np.where(np.arange(size) < n, np.arange(size), 0)
    return (*(array[rows] for array in arrays), np.arange(size) < n)


def batches(arrays: Sequence[np.ndarray], size: int, *, last: Literal["drop", "pad"] = "drop") -> Batches:
    """Cut arrays (n, ...) into batches of exactly `size` rows, in order.

    A short rest is dropped, or with ``last="pad"`` every batch gets a mask as its last array (see `pad`).
    """
    if last not in ("drop", "pad"):
        raise ShapeError(f"last={last!r}; a short last batch can be dropped ('drop') or filled up ('pad')", line=user_line())
    n = _length(arrays)

    def make(i: int) -> Batch:
        cut = tuple(array[i * size : (i + 1) * size] for array in arrays)
        return pad(cut, size) if last == "pad" else cut

    return Batches(n // size if last == "drop" else -(-n // size), make)


def shuffled(arrays: Sequence[np.ndarray], size: int, *, epochs: int = 1, seed: int = 0) -> Batches:
    """Batches of `size` rows for some epochs, each in a new order that (seed, epoch) fixes; what is left of one is dropped.

    Raises ShapeError where there are fewer than `size` rows.
    """
    n = _length(arrays)
    if n < size:
        raise ShapeError(f"{n} rows do not fill one batch of {size}", line=user_line())
    each = n // size

    @lru_cache(maxsize=1)
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng((seed, epoch)).permutation(n)

    def make(i: int) -> Batch:
        epoch, at = divmod(i, each)
        rows = order(epoch)[at * size : (at + 1) * size]
        return tuple(array[rows] for array in arrays)

    return Batches(epochs * each, make)
