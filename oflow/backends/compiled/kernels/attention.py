"""Causal attention on heads that lie strided in (batch, time, heads, d): products by BLAS, scores only in the workspace.

A head's positions are rows of a matrix whose stored rows are heads * d apart, so nothing is transposed or copied. Queries come in
blocks, the last one first; scores of a block are rows of padded length, whose masked tail is -inf (weight 0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from oflow.backends.compiled.kernels.matmul import GEMM
from oflow.backends.compiled.kernels.rowparts import ITEMSIZE, OPTIONS, REAL, dot, fill, largest
from oflow.backends.compiled.kernels.scalar import exp as exp_of
from oflow.backends.compiled.kernels.scalar import log as log_of
from oflow.native.intrinsics import POINTERS, float64_of_bits, words

Kernel = Callable[[int], int]
Row = Callable[..., Any]


def _weights(dtype: str) -> Row:
    """``(x, n)``: x = exp(x - largest); returns (largest, sum)."""
    exp, greatest, one, zero = exp_of(dtype), largest(dtype), REAL[dtype](1), REAL[dtype](0)

    @njit(**OPTIONS)
    def row(x, n):  # type: ignore[no-untyped-def]
        shift, total = greatest(x, n, one), zero
        for j in range(n):
            e = exp(x[j] - shift)
            x[j] = e
            total += e
        return shift, total

    return row


def _scale(dtype: str) -> Row:
    """``(x, n, factor)``: x *= factor."""

    @njit(**OPTIONS)
    def row(x, n, factor):  # type: ignore[no-untyped-def]
        for j in range(n):
            x[j] *= factor

    return row


def _slopes(dtype: str) -> Row:
    """``(weights, slopes, n, logsumexp, along, scale)``: weights = exp(weights - logsumexp), slopes = scale weights (slopes - along)."""
    exp = exp_of(dtype)

    @njit(**OPTIONS)
    def row(weights, slopes, n, logsumexp, along, scale):  # type: ignore[no-untyped-def]
        for j in range(n):
            p = exp(weights[j] - logsumexp)
            weights[j] = p
            slopes[j] = scale * p * (slopes[j] - along)

    return row


def causal_attention(dtype: str) -> Kernel:
    """Words: out, logsumexp, q, k, v, workspace, gemm, batch, heads, t, s, d, e, rows of a block, padding, scale (bits of a float64)."""
    head, itemsize = _attend(dtype), ITEMSIZE[dtype]

    def kernel(block: int) -> int:
        w = words(block)
        batch, heads, t, s, d, e = w[7], w[8], w[9], w[10], w[11], w[12]
        for i in range(batch * heads):
            b, h = i // heads, i % heads
            of_t, of_s = b * t * heads + h, b * s * heads + h
            head(
                w, w[0] + of_t * e * itemsize, w[1] + i * t * itemsize, w[2] + of_t * d * itemsize, w[3] + of_s * d * itemsize,
                w[4] + of_s * e * itemsize,
            )  # fmt: skip
        return 0

    return kernel


def _attend(dtype: str) -> Row:
    """``(words, out, logsumexp, q, k, v)``: one head, by the addresses of its first position."""
    pointer, itemsize, gemm, real = POINTERS[dtype], ITEMSIZE[dtype], GEMM[dtype], REAL[dtype]
    weigh, scaled, clear, log = _weights(dtype), _scale(dtype), fill(dtype), log_of(dtype)
    lowest, zero, one = real(-np.inf), real(0), real(1)

    @njit(**OPTIONS)
    def blind(w, out, logsumexp, first):  # type: ignore[no-untyped-def]
        for i in range(first):
            clear(pointer(out + i * w[8] * w[12] * itemsize), 0, w[12], zero)
        clear(pointer(logsumexp), 0, first, lowest)

    @njit(**OPTIONS)
    def head(w, out, logsumexp, q, k, v):  # type: ignore[no-untyped-def]
        scores, product, t, s, d, e, rows, padding = w[5], w[6], w[9], w[10], w[11], w[12], w[13], w[14]
        wide, narrow, sums, scale = w[8] * d, w[8] * e, pointer(logsumexp), real(float64_of_bits(w[15]))
        first, stop = max(t - s, 0), t
        blind(w, out, logsumexp, first)
        while stop > first:
            start = max(first, stop - rows)
            m, seen = stop - start, stop + s - t
            width = -(-seen // padding) * padding
            gemm(product, 0, 1, m, seen, d, scale, q + start * wide * itemsize, wide, k, wide, zero, scores, width)
            for i in range(m):
                row = pointer(scores + i * width * itemsize)
                clear(row, seen - m + i + 1, width, lowest)
                shift, total = weigh(row, width)
                sums[start + i] = shift + log(total)
                scaled(row, width, one / total)
            gemm(product, 0, 0, m, e, seen, one, scores, width, v, narrow, zero, out + start * narrow * itemsize, narrow)
            stop = start

    return head


def causal_attention_grad(dtype: str) -> Kernel:
    """Words: cotangents of q, k, v, then g, q, k, v, out, logsumexp, workspace, gemm, batch, heads, t, s, d, e, rows of a block,
    padding, scale (bits of a float64)."""
    head, itemsize = _pull_back(dtype), ITEMSIZE[dtype]

    def kernel(block: int) -> int:
        w = words(block)
        batch, heads, t, s, d, e = w[11], w[12], w[13], w[14], w[15], w[16]
        for i in range(batch * heads):
            b, h = i // heads, i % heads
            of_q, of_k = (b * t * heads + h) * d * itemsize, (b * s * heads + h) * d * itemsize
            of_g, of_v = (b * t * heads + h) * e * itemsize, (b * s * heads + h) * e * itemsize
            head(
                w, w[0] + of_q, w[1] + of_k, w[2] + of_v, w[3] + of_g, w[4] + of_q, w[5] + of_k, w[6] + of_v, w[7] + of_g,
                w[8] + i * t * itemsize,
            )  # fmt: skip
        return 0

    return kernel


def _pull_back(dtype: str) -> Row:
    """``(words, cotangents of q, k, v, g, q, k, v, out, logsumexp)``: one head, by the addresses of its first position."""
    pointer, itemsize, gemm, real = POINTERS[dtype], ITEMSIZE[dtype], GEMM[dtype], REAL[dtype]
    product, slope, clear, lowest, zero, one = dot(dtype), _slopes(dtype), fill(dtype), real(-np.inf), real(0), real(1)

    @njit(**OPTIONS)
    def clear_rows(address, count, width, stride):  # type: ignore[no-untyped-def]
        for i in range(count):
            clear(pointer(address + i * stride * itemsize), 0, width, zero)

    @njit(**OPTIONS)
    def head(w, to_q, to_k, to_v, g, q, k, v, out, logsumexp):  # type: ignore[no-untyped-def]
        call, t, s, d, e, rows, padding = w[10], w[13], w[14], w[15], w[16], w[17], w[18]
        wide, narrow, sums, scale = w[12] * d, w[12] * e, pointer(logsumexp), real(float64_of_bits(w[19]))
        first, stop, beta = max(t - s, 0), t, zero
        clear_rows(to_q, first, d, wide)
        if t == 0:
            clear_rows(to_k, s, d, wide)
            clear_rows(to_v, s, e, narrow)
        while stop > first:
            start = max(first, stop - rows)
            m, seen = stop - start, stop + s - t
            width = -(-seen // padding) * padding
            weights, slopes = w[9], w[9] + m * width * itemsize
            at_q, at_g = start * wide * itemsize, start * narrow * itemsize
            gemm(call, 0, 1, m, seen, d, scale, q + at_q, wide, k, wide, zero, weights, width)
            gemm(call, 0, 1, m, seen, e, one, g + at_g, narrow, v, narrow, zero, slopes, width)
            for i in range(m):
                at, mine = i * width * itemsize, at_g + i * narrow * itemsize
                clear(pointer(weights + at), seen - m + i + 1, width, lowest)
                clear(pointer(slopes + at), seen - m + i + 1, width, zero)
                along = product(pointer(g + mine), pointer(out + mine), e)
                slope(pointer(weights + at), pointer(slopes + at), width, sums[start + i], along, scale)
            gemm(call, 1, 0, seen, e, m, one, weights, width, g + at_g, narrow, beta, to_v, narrow)
            gemm(call, 0, 0, m, d, seen, one, slopes, width, k, wide, zero, to_q + at_q, wide)
            gemm(call, 1, 0, seen, d, m, one, slopes, width, q + at_q, wide, beta, to_k, wide)
            beta = one  # the last block sees every key: it overwrites, the others add
            stop = start

    return head
