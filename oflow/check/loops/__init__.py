"""The loops of the proofs: plain functions over columns of whole numbers, run as they stand or compiled.

There is one source for both: `run` hands small work, and all work where numba is missing, to the function itself with lists (exact
for numbers of any size, and quicker to index than arrays), and the rest to its machine code over the same columns. So a
loop takes one-dimensional int64 arrays only, indexes them by numbers from 0, and returns a number.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, MutableSequence, Sequence
from functools import cache

import numpy as np

from oflow.native import addresses, available

SMALL = 5_000
"""Entries of the longest column up to which a loop is not worth its machine code (which may have to be made first)."""

Column = Sequence[int]
Changing = MutableSequence[int]
"""A column that the loop writes."""
Loop = Callable[..., int]


def run(loop: Loop, *columns: np.ndarray, compiled: bool | None = None, kernels: str = f"{__name__}.compiled") -> int:
    """Call `loop` on the columns, which it may change; compiled: None chooses by size and by what there is. kernels: the
    module whose ``kernel(name)`` is the loop's machine code."""
    if compiled is None:
        compiled = max(map(len, columns)) > SMALL and available()
    if compiled:
        kept = [np.ascontiguousarray(column, np.int64) for column in columns]
        block = np.array([column.ctypes.data for column in kept], np.int64)
        status = int(_routine(kernels, loop.__name__)(block.ctypes.data))
    else:
        kept = [column.tolist() for column in columns]
        status = loop(*kept)
    for column, found in zip(columns, kept, strict=True):
        if found is not column and column.flags.writeable:
            column[:] = found
    return status


@cache
def _routine(kernels: str, name: str) -> Callable[[int], int]:
    routine = f"{kernels}:kernel:{name}"
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(addresses([routine])[routine])


def fixed(column: np.ndarray) -> np.ndarray:
    """The column as one that no loop writes: nothing is copied back."""
    made = np.ascontiguousarray(column, np.int64).view()
    made.flags.writeable = False
    return made
