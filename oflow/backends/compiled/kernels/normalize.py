"""Layer norm and RMS norm of rows, and their gradients in one visit of each row.

The gradients make a row's statistics again: the row is in the level-1 cache by then. Everywhere `ahead` is the distance in bytes
to the row to fetch meanwhile, 0 for none (see `rowparts.fetch`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from oflow.backends.compiled.kernels.rowparts import ITEMSIZE, OPTIONS, REAL, dot, fetch, fill, parts_of
from oflow.backends.compiled.kernels.rowparts import inverse_root as inverse_root_of
from oflow.native.intrinsics import POINTERS, float64_of_bits, words

Kernel = Callable[[int], int]
Row = Callable[..., Any]


def layer_norm(dtype: str) -> Kernel:
    """Words: out, x, gamma, beta, rows, width, ahead, eps (bits of a float64)."""
    real, itemsize, row = REAL[dtype], ITEMSIZE[dtype], _layer_norm_row(dtype)

    def kernel(block: int) -> int:
        q = words(block)
        out, x, gamma, beta, rows, width, ahead, eps = q[0], q[1], q[2], q[3], q[4], q[5], q[6], real(float64_of_bits(q[7]))
        for i in range(rows):
            at = i * width * itemsize
            row(out + at, x + at, gamma, beta, width, ahead, eps)
        return 0

    return kernel


def _layer_norm_row(dtype: str) -> Row:
    pointer, itemsize, zero, one, real = POINTERS[dtype], ITEMSIZE[dtype], REAL[dtype](0), REAL[dtype](1), REAL[dtype]
    inverse_root = inverse_root_of(dtype)

    @njit(**OPTIONS)
    def part(out, x, gamma, beta, n, mean, inverse):  # type: ignore[no-untyped-def]
        for j in range(n):
            out[j] = (x[j] - mean) * inverse * gamma[j] + beta[j]

    @njit(**OPTIONS)
    def row(out, x_row, gamma, beta, n, ahead, eps):  # type: ignore[no-untyped-def]
        x, total, squares, each = pointer(x_row), zero, zero, one / real(n)
        for j in range(n):
            total += x[j]
        mean = total * each
        for j in range(n):
            d = x[j] - mean
            squares += d * d
        inverse = inverse_root(squares * each + eps)
        step = parts_of(n, ahead)
        for start in range(0, n, step):
            at, m = start * itemsize, min(n - start, step)
            if ahead:
                fetch(x_row + ahead + at, m * itemsize)
            part(pointer(out + at), pointer(x_row + at), pointer(gamma + at), pointer(beta + at), m, mean, inverse)

    return row


def layer_norm_grad(dtype: str) -> Kernel:
    """Words: cotangents of x, gamma and beta, then g, x, gamma, rows, width, ahead, eps (bits of a float64).

    Rows are taken two by two where they are in a cache, so that what both add to the cotangents of gamma and beta is read and
    written once; one by one where they come from memory, which is faster then.
    """
    pointer, real, itemsize = POINTERS[dtype], REAL[dtype], ITEMSIZE[dtype]
    clear, measure, one, two = fill(dtype), _measured(dtype), *_layer_norm_grad_rows(dtype)

    def kernel(block: int) -> int:
        q = words(block)
        out, to_gamma, to_beta, g, x, gamma, rows, width, ahead = q[0], q[1], q[2], q[3], q[4], q[5], q[6], q[7], q[8]
        eps, nbytes = real(float64_of_bits(q[9])), width * itemsize
        clear(pointer(to_gamma), 0, width, real(0))
        clear(pointer(to_beta), 0, width, real(0))
        paired = 0 if ahead else rows - rows % 2
        for i in range(0, paired, 2):
            at, below = i * nbytes, (i + 1) * nbytes
            first, second = measure(g + at, x + at, gamma, width, eps), measure(g + below, x + below, gamma, width, eps)
            two(
                pointer(out + at), pointer(out + below), pointer(to_gamma), pointer(to_beta), pointer(g + at), pointer(g + below),
                pointer(x + at), pointer(x + below), pointer(gamma), width, first, second,
            )  # fmt: skip
        for i in range(paired, rows):
            at = i * nbytes
            row = measure(g + at, x + at, gamma, width, eps)
            one(out + at, to_gamma, to_beta, g + at, x + at, gamma, width, ahead, row)
        return 0

    return kernel


def _measured(dtype: str) -> Row:
    """``(g, x, gamma, n, eps)``, the first three addresses: mean of x, 1 / deviation, and the means of w = g gamma and of
    w (x - mean) / deviation."""
    pointer, zero, one, real = POINTERS[dtype], REAL[dtype](0), REAL[dtype](1), REAL[dtype]
    inverse_root = inverse_root_of(dtype)

    @njit(**OPTIONS)
    def row(g_row, x_row, gamma_row, n, eps):  # type: ignore[no-untyped-def]
        g, x, gamma, each = pointer(g_row), pointer(x_row), pointer(gamma_row), one / real(n)
        total, shift = zero, zero
        for j in range(n):
            total += x[j]
            shift += g[j] * gamma[j]
        mean = total * each
        squares, along = zero, zero
        for j in range(n):
            d = x[j] - mean
            squares += d * d
            along += d * (g[j] * gamma[j])
        inverse = inverse_root(squares * each + eps)
        return mean, inverse, shift * each, along * inverse * each

    return row


def _layer_norm_grad_rows(dtype: str) -> tuple[Row, Row]:
    """What one row (by addresses) and what two rows give (by pointers), by what was measured of them."""
    pointer, itemsize = POINTERS[dtype], ITEMSIZE[dtype]

    @njit(**OPTIONS)
    def part(out, to_gamma, to_beta, g, x, gamma, n, row):  # type: ignore[no-untyped-def]
        mean, inverse, shift, along = row
        for j in range(n):
            h = (x[j] - mean) * inverse
            out[j] = inverse * (g[j] * gamma[j] - shift - h * along)
            to_gamma[j] += g[j] * h
            to_beta[j] += g[j]

    @njit(**OPTIONS)
    def one(out, to_gamma, to_beta, g, x, gamma, n, ahead, row):  # type: ignore[no-untyped-def]
        step = parts_of(n, ahead)
        for start in range(0, n, step):
            at, m = start * itemsize, min(n - start, step)
            if ahead:
                fetch(g + ahead + at, m * itemsize)
                fetch(x + ahead + at, m * itemsize)
            part(
                pointer(out + at), pointer(to_gamma + at), pointer(to_beta + at), pointer(g + at), pointer(x + at),
                pointer(gamma + at), m, row,
            )  # fmt: skip

    @njit(**OPTIONS)
    def two(out, out2, to_gamma, to_beta, g, g2, x, x2, gamma, n, row, row2):  # type: ignore[no-untyped-def]
        mean, inverse, shift, along = row
        mean2, inverse2, shift2, along2 = row2
        for j in range(n):
            h, h2 = (x[j] - mean) * inverse, (x2[j] - mean2) * inverse2
            out[j] = inverse * (g[j] * gamma[j] - shift - h * along)
            out2[j] = inverse2 * (g2[j] * gamma[j] - shift2 - h2 * along2)
            to_gamma[j] += g[j] * h + g2[j] * h2
            to_beta[j] += g[j] + g2[j]

    return one, two


def rms_norm(dtype: str) -> Kernel:
    """Words: out, x, gamma, rows, width, ahead, eps (bits of a float64)."""
    real, itemsize, row = REAL[dtype], ITEMSIZE[dtype], _rms_norm_row(dtype)

    def kernel(block: int) -> int:
        q = words(block)
        out, x, gamma, rows, width, ahead, eps = q[0], q[1], q[2], q[3], q[4], q[5], real(float64_of_bits(q[6]))
        for i in range(rows):
            at = i * width * itemsize
            row(out + at, x + at, gamma, width, ahead, eps)
        return 0

    return kernel


def _rms_norm_row(dtype: str) -> Row:
    pointer, itemsize, one, real, product = POINTERS[dtype], ITEMSIZE[dtype], REAL[dtype](1), REAL[dtype], dot(dtype)
    inverse_root = inverse_root_of(dtype)

    @njit(**OPTIONS)
    def part(out, x, gamma, n, inverse):  # type: ignore[no-untyped-def]
        for j in range(n):
            out[j] = x[j] * inverse * gamma[j]

    @njit(**OPTIONS)
    def row(out, x, gamma, n, ahead, eps):  # type: ignore[no-untyped-def]
        inverse = inverse_root(product(pointer(x), pointer(x), n) * (one / real(n)) + eps)
        step = parts_of(n, ahead)
        for start in range(0, n, step):
            at, m = start * itemsize, min(n - start, step)
            if ahead:
                fetch(x + ahead + at, m * itemsize)
            part(pointer(out + at), pointer(x + at), pointer(gamma + at), m, inverse)

    return row


def rms_norm_grad(dtype: str) -> Kernel:
    """Words: cotangents of x and gamma, then g, x, gamma, rows, width, ahead, eps (bits of a float64)."""
    pointer, real, itemsize = POINTERS[dtype], REAL[dtype], ITEMSIZE[dtype]
    clear, row = fill(dtype), _rms_norm_grad_row(dtype)

    def kernel(block: int) -> int:
        q = words(block)
        out, to_gamma, g, x, gamma, rows, width, ahead = q[0], q[1], q[2], q[3], q[4], q[5], q[6], q[7]
        eps = real(float64_of_bits(q[8]))
        clear(pointer(to_gamma), 0, width, real(0))
        for i in range(rows):
            at = i * width * itemsize
            row(out + at, to_gamma, g + at, x + at, gamma, width, ahead, eps)
        return 0

    return kernel


def _rms_norm_grad_row(dtype: str) -> Row:
    pointer, itemsize, zero, one, real = POINTERS[dtype], ITEMSIZE[dtype], REAL[dtype](0), REAL[dtype](1), REAL[dtype]
    inverse_root = inverse_root_of(dtype)

    @njit(**OPTIONS)
    def part(out, to_gamma, g, x, gamma, n, inverse, along):  # type: ignore[no-untyped-def]
        for j in range(n):
            h = x[j] * inverse
            out[j] = inverse * (g[j] * gamma[j] - h * along)
            to_gamma[j] += g[j] * h

    @njit(**OPTIONS)
    def row(out, to_gamma, g_row, x_row, gamma_row, n, ahead, eps):  # type: ignore[no-untyped-def]
        g, x, gamma, each = pointer(g_row), pointer(x_row), pointer(gamma_row), one / real(n)
        squares, along = zero, zero
        for j in range(n):
            squares += x[j] * x[j]
            along += x[j] * (g[j] * gamma[j])
        inverse = inverse_root(squares * each + eps)
        along *= inverse * each
        step = parts_of(n, ahead)
        for start in range(0, n, step):
            at, m = start * itemsize, min(n - start, step)
            if ahead:
                fetch(g_row + ahead + at, m * itemsize)
                fetch(x_row + ahead + at, m * itemsize)
            part(
                pointer(out + at), pointer(to_gamma + at), pointer(g_row + at), pointer(x_row + at), pointer(gamma_row + at),
                m, inverse, along,
            )  # fmt: skip

    return row
