"""Softmax of rows and its gradient, plain and under a causal mask.

Everywhere `ahead` is the distance in bytes to the row to fetch meanwhile, 0 for none (see `rowparts.fetch`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from oflow.backends.compiled.kernels.rowparts import ITEMSIZE, OPTIONS, REAL, dot, fetch, fill, largest, parts_of
from oflow.backends.compiled.kernels.scalar import exp as exp_of
from oflow.native.intrinsics import POINTERS, float64_of_bits, words

Kernel = Callable[[int], int]


Row = Callable[..., Any]


def _normalise(dtype: str) -> Row:
    """``(out, x, n, ahead, scale)``, the first two addresses: out = the softmax of scale x."""
    pointer, itemsize = POINTERS[dtype], ITEMSIZE[dtype]
    exp, greatest, one, zero = exp_of(dtype), largest(dtype), REAL[dtype](1), REAL[dtype](0)

    @njit(**OPTIONS)
    def part(y, x, n, scale, shift):  # type: ignore[no-untyped-def]
        total = zero
        for j in range(n):
            e = exp(scale * x[j] - shift)
            y[j] = e
            total += e
        return total

    @njit(**OPTIONS)
    def row(out, x, n, ahead, scale):  # type: ignore[no-untyped-def]
        shift, total, step = greatest(pointer(x), n, scale), zero, parts_of(n, ahead)
        for start in range(0, n, step):
            at, m = start * itemsize, min(n - start, step)
            if ahead:
                fetch(x + ahead + at, m * itemsize)
            total += part(pointer(out + at), pointer(x + at), m, scale, shift)
        factor, y = one / total, pointer(out)
        for j in range(n):
            y[j] *= factor

    return row


def _pull_back(dtype: str) -> Row:
    """``(out, g, y, n, ahead, scale)``, the first three addresses: out = scale y (g - sum(g y))."""
    pointer, itemsize, product = POINTERS[dtype], ITEMSIZE[dtype], dot(dtype)

    @njit(**OPTIONS)
    def part(out, g, y, n, scale, along):  # type: ignore[no-untyped-def]
        for j in range(n):
            out[j] = scale * y[j] * (g[j] - along)

    @njit(**OPTIONS)
    def row(out, g, y, n, ahead, scale):  # type: ignore[no-untyped-def]
        along, step = product(pointer(g), pointer(y), n), parts_of(n, ahead)
        for start in range(0, n, step):
            at, m = start * itemsize, min(n - start, step)
            if ahead:
                fetch(g + ahead + at, m * itemsize)
                fetch(y + ahead + at, m * itemsize)
            part(pointer(out + at), pointer(g + at), pointer(y + at), m, scale, along)

    return row


def softmax(dtype: str) -> Kernel:
    """Words: out, x, rows, width, ahead."""
    row, itemsize, one = _normalise(dtype), ITEMSIZE[dtype], REAL[dtype](1)

    def kernel(block: int) -> int:
        q = words(block)
        out, x, rows, width, ahead = q[0], q[1], q[2], q[3], q[4]
        for i in range(rows):
            at = i * width * itemsize
            row(out + at, x + at, width, ahead, one)
        return 0

    return kernel


def softmax_grad(dtype: str) -> Kernel:
    """Words: out, g, y, rows, width, ahead."""
    row, itemsize, one = _pull_back(dtype), ITEMSIZE[dtype], REAL[dtype](1)

    def kernel(block: int) -> int:
        q = words(block)
        out, g, y, rows, width, ahead = q[0], q[1], q[2], q[3], q[4], q[5]
        for i in range(rows):
            at = i * width * itemsize
            row(out + at, g + at, y + at, width, ahead, one)
        return 0

    return kernel


def causal_softmax(dtype: str) -> Kernel:
    """Words: out, scores, matrices, t, s, ahead, scale (bits of a float64). Row i of a matrix sees its first i + 1 + s - t columns."""
    pointer, row, clear, itemsize, real = POINTERS[dtype], _normalise(dtype), fill(dtype), ITEMSIZE[dtype], REAL[dtype]

    def kernel(block: int) -> int:
        q = words(block)
        out, x, matrices, t, s, ahead, scale = q[0], q[1], q[2], q[3], q[4], q[5], real(float64_of_bits(q[6]))
        for i in range(matrices * t):
            at, seen = i * s * itemsize, max(i % t + 1 + s - t, 0)
            if seen:
                row(out + at, x + at, seen, ahead, scale)
            clear(pointer(out + at), seen, s, real(0))
        return 0

    return kernel


def causal_softmax_grad(dtype: str) -> Kernel:
    """Words: out, g, y, matrices, t, s, ahead, scale (bits of a float64)."""
    pointer, row, clear, itemsize, real = POINTERS[dtype], _pull_back(dtype), fill(dtype), ITEMSIZE[dtype], REAL[dtype]

    def kernel(block: int) -> int:
        q = words(block)
        out, g, y, matrices, t, s, ahead, scale = q[0], q[1], q[2], q[3], q[4], q[5], q[6], real(float64_of_bits(q[7]))
        for i in range(matrices * t):
            at, seen = i * s * itemsize, max(i % t + 1 + s - t, 0)
            if seen:
                row(out + at, g + at, y + at, seen, ahead, scale)
            clear(pointer(out + at), seen, s, real(0))
        return 0

    return kernel
