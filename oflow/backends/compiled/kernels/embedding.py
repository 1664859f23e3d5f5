"""Rows of a table chosen by number, and the sums of rows that are its gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from oflow.backends.compiled.form import OUT_OF_RANGE
from oflow.native.build import FASTMATH
from oflow.native.intrinsics import POINTERS, words

Kernel = Callable[[int], int]


@njit(fastmath=FASTMATH, error_model="numpy")
def strays(ids, n, rows):  # type: ignore[no-untyped-def]
    """How many of n numbers are not in range(rows)."""
    count = 0
    for i in range(n):
        count += 1 if (ids[i] < 0) | (ids[i] >= rows) else 0
    return count


@njit(fastmath=FASTMATH, error_model="numpy")
def add(target, source, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        target[j] += source[j]


@njit(fastmath=FASTMATH, error_model="numpy")
def copy(target, source, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        target[j] = source[j]


def lookup(dtype: str, how: str) -> Kernel:
    """Words: result, numbers, table, how many numbers, elements of a row, rows of the whole table, first row here, rows here.

    Rows that are not here are zero; `how` "sum" adds to the result instead of overwriting it. Returns OUT_OF_RANGE, the result
    untouched, where a number is not in range(rows of the whole table).
    """
    pointer, itemsize, adds = POINTERS[dtype], np.dtype(dtype).itemsize, how == "sum"

    def kernel(block: int) -> int:
        q = words(block)
        ids, n, d = words(q[1]), q[3], q[4]
        if strays(ids, n, q[5]):
            return OUT_OF_RANGE
        for i in range(n):
            row, target = ids[i] - q[6], pointer(q[0] + itemsize * d * i)
            if 0 <= row < q[7]:
                source = pointer(q[2] + itemsize * d * row)
                if adds:
                    add(target, source, d)
                else:
                    copy(target, source, d)
            elif not adds:
                for j in range(d):
                    target[j] = 0
        return 0

    return kernel


def gradient(dtype: str) -> Kernel:
    """Words: result, numbers, cotangents, how many numbers, elements of a row, rows of the whole table, first row here, rows here.

    Adds each cotangent to its row of the result, in the order of the positions. Returns OUT_OF_RANGE as `lookup` does.
    """
    pointer, itemsize = POINTERS[dtype], np.dtype(dtype).itemsize

    def kernel(block: int) -> int:
        q = words(block)
        ids, n, d = words(q[1]), q[3], q[4]
        if strays(ids, n, q[5]):
            return OUT_OF_RANGE
        for i in range(n):
            row = ids[i] - q[6]
            if 0 <= row < q[7]:
                add(pointer(q[0] + itemsize * d * row), pointer(q[2] + itemsize * d * i), d)
        return 0

    return kernel
