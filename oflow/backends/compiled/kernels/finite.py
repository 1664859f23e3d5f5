"""A test for NaN and infinity."""

from __future__ import annotations

from collections.abc import Callable

from oflow.backends.compiled.form import NOT_FINITE
from oflow.native.intrinsics import POINTERS, words


def finite(dtype: str) -> Callable[[int], int]:
    """Words: an array, its size. NOT_FINITE where an element is NaN or infinite: x - x is 0 for all others."""
    pointer = POINTERS[dtype]

    def kernel(block: int) -> int:
        q = words(block)
        x, size = pointer(q[0]), q[1]
        bad = 0
        for i in range(size):
            bad += (x[i] - x[i]) != 0
        return NOT_FINITE if bad else 0

    return kernel
