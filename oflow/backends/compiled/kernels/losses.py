"""Softmax cross-entropy of rows with whole-number labels, and its gradient from the row statistics that the forward keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from oflow.backends.compiled.form import OUT_OF_RANGE
from oflow.backends.compiled.kernels.rowparts import ITEMSIZE, OPTIONS, REAL, fetch, largest, parts_of
from oflow.backends.compiled.kernels.scalar import exp as exp_of
from oflow.backends.compiled.kernels.scalar import log as log_of
from oflow.native.intrinsics import POINTERS, int64s, words

Kernel = Callable[[int], int]


@njit(**OPTIONS)
def _in_range(labels, rows, classes):  # type: ignore[no-untyped-def]
    """Whether all labels are in range(classes)."""
    wrong = 0
    for i in range(rows):
        wrong += 1 if labels[i] < 0 or labels[i] >= classes else 0
    return wrong == 0


def _sum_exp(dtype: str) -> Callable[..., Any]:
    """``(x, n, ahead, shift)``, x an address: the sum of exp(x - shift)."""
    pointer, itemsize, exp, zero = POINTERS[dtype], ITEMSIZE[dtype], exp_of(dtype), REAL[dtype](0)

    @njit(**OPTIONS)
    def part(x, n, shift):  # type: ignore[no-untyped-def]
        total = zero
        for j in range(n):
            total += exp(x[j] - shift)
        return total

    @njit(**OPTIONS)
    def row(x, n, ahead, shift):  # type: ignore[no-untyped-def]
        total, step = zero, parts_of(n, ahead)
        for start in range(0, n, step):
            at, m = start * itemsize, min(n - start, step)
            if ahead:
                fetch(x + ahead + at, m * itemsize)
            total += part(pointer(x + at), m, shift)
        return total

    return row


def softmax_cross_entropy(dtype: str) -> Kernel:
    """Words: loss, statistics (largest, sum of exp a row), logits, labels, rows, classes, ahead (see `rowparts.fetch`)."""
    pointer, itemsize, one = POINTERS[dtype], ITEMSIZE[dtype], REAL[dtype](1)
    greatest, total_of, log = largest(dtype), _sum_exp(dtype), log_of(dtype)

    def kernel(block: int) -> int:
        q = words(block)
        loss, statistics, logits, labels, rows, classes = pointer(q[0]), pointer(q[1]), q[2], int64s(q[3]), q[4], q[5]
        ahead = q[6]
        if not _in_range(labels, rows, classes):
            return OUT_OF_RANGE
        for i in range(rows):
            at = logits + i * classes * itemsize
            x = pointer(at)
            shift = greatest(x, classes, one)
            total = total_of(at, classes, ahead, shift)
            statistics[2 * i] = shift if total == total else total  # NaN: the maximum did not see it
            statistics[2 * i + 1] = total
            loss[i] = log(total) - (x[labels[i]] - shift)
        return 0

    return kernel


def softmax_cross_entropy_grad(dtype: str) -> Kernel:
    """Words: out, logits, labels, statistics, g, rows, classes."""
    pointer, itemsize, row = POINTERS[dtype], ITEMSIZE[dtype], _scaled_exp(dtype)

    def kernel(block: int) -> int:
        q = words(block)
        out, logits, labels, statistics, g, rows, classes = (
            q[0], q[1], int64s(q[2]), pointer(q[3]), pointer(q[4]), q[5], q[6],
        )  # fmt: skip
        if not _in_range(labels, rows, classes):
            return OUT_OF_RANGE
        for i in range(rows):
            at = i * classes * itemsize
            y = pointer(out + at)
            row(y, pointer(logits + at), classes, statistics[2 * i], g[i] / statistics[2 * i + 1])
            y[labels[i]] -= g[i]
        return 0

    return kernel


def _scaled_exp(dtype: str) -> Callable[..., Any]:
    """``(y, x, n, shift, factor)``: y = factor exp(x - shift)."""
    exp = exp_of(dtype)

    @njit(**OPTIONS)
    def row(y, x, n, shift, factor):  # type: ignore[no-untyped-def]
        for j in range(n):
            y[j] = factor * exp(x[j] - shift)

    return row
