"""Rows that go to the same place, joined: what gradients of lookups, sums and maxima of segments, and row-sparse updates share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from oflow.ops.blocks import block_rows, carve

IDS = 4096
"""Row numbers that are worked on at a time."""

Run = tuple[np.ndarray, np.ndarray]
"""(places (u,), joined rows (u, d)); the rows are scratch memory, valid until the next one is taken."""


Gather = Callable[[np.ndarray, np.ndarray], object]
"""(positions (k,), out (k, d)): writes the rows at these positions."""


def rows_of(source: np.ndarray) -> Gather:
    """The rows of an array (n, d)."""

    def gather(positions: np.ndarray, out: np.ndarray) -> None:
        np.take(source, positions, axis=0, out=out, mode="clip")

    return gather


def _gathered_rows(n: int, d: int, itemsize: int) -> int:
    return max(1, min(block_rows(d, itemsize), IDS, n))


def runs_nbytes(n: int, d: int, itemsize: int) -> int:
    """Bytes of workspace for `runs` of n rows: one sort key each; a block of rows, and what they are joined to; a row kept back."""
    return n * 8 + (2 * _gathered_rows(n, d, itemsize) + 1) * d * itemsize


def sorted_keys(numbers: np.ndarray, span: tuple[int, int], workspace: np.ndarray) -> np.ndarray:
    """number * n + position of each of the n numbers in span = (first, count), in order; so are the positions of each number."""
    n = numbers.size
    keys = carve(workspace, 0, (n,), np.dtype("int64"))
    np.multiply(numbers, n, out=keys)
    for start in range(0, n, IDS):
        keys[start : start + IDS] += np.arange(start, min(start + IDS, n))
    keys.sort()
    first, count = span
    kept: np.ndarray = keys[np.searchsorted(keys, first * n) : np.searchsorted(keys, (first + count) * n)]
    return kept


def runs(
    join: np.ufunc, numbers: np.ndarray, gather: Gather, width: int, dtype: np.dtype, span: tuple[int, int], workspace: np.ndarray
) -> Iterator[Run]:
    """For each of the numbers (n,) in span = (first, count): its place (number - first), and the rows (width,) that carry it, joined.

    Every place comes once, in rising order; rows are joined in the order of their positions.
    """
    keys = sorted_keys(numbers, span, workspace)
    n = numbers.size
    step = _gathered_rows(n, width, dtype.itemsize)
    scratch = carve(workspace, n * 8, (2 * step + 1, width), dtype)
    held, place = scratch[2 * step :], -1
    for start in range(0, len(keys), step):
        numbers_here, positions = np.divmod(keys[start : start + step], n)
        gathered = scratch[: len(positions)]
        gather(positions, gathered)
        first = np.flatnonzero(np.diff(numbers_here, prepend=-1))
        places, joined = numbers_here[first] - span[0], scratch[step : step + len(first)]
        join.reduceat(gathered, first, axis=0, out=joined)
        if places[0] == place:  # the block before ended inside this run
            join(held[0], joined[0], out=joined[0])
        elif place >= 0:
            yield np.array([place]), held
        if len(first) > 1:
            yield places[:-1], joined[:-1]
        np.copyto(held, joined[-1:])
        place = int(places[-1])
    if place >= 0:
        yield np.array([place]), held
