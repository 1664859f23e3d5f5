"""Convolution and its gradients: columns of a few rows of results at a time (im2col), each multiplied by BLAS while in cache.

The columns of rows r0..r1 of the results are a matrix (ci kh kw, (r1 - r0) wo) in the workspace; where every window is one
element and none is left out (`DIRECT`), the image itself is that matrix and nothing is copied. A group of channels of an image
is an image of its own here: IMAGES counts them, CI and CO are the channels of one group, and the weights repeat every GROUPS images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from oflow.backends.compiled.kernels.matmul import GEMM
from oflow.native.build import FASTMATH
from oflow.native.intrinsics import POINTERS, words

Kernel = Callable[[int], int]
OPTIONS: dict[str, Any] = {"fastmath": FASTMATH, "error_model": "numpy", "forceinline": True}
(
    FUNCTION, RESULT, LEFT, RIGHT, COLUMNS, IMAGES, CO, CI, H, W, KH, KW, HO, WO, DOWN, ACROSS, TOP, SIDE, ROWS, DIRECT, KEEP,
    APART_H, APART_W, GROUPS,
) = range(24)  # fmt: skip
"""Words of a block: the address of gemm, result and operands, workspace; images, output and input channels, image, kernel and
result size, strides, padding above and left; rows of results that make one matrix; 1 where the image is the matrix; 1 to add to the
result; distance between the elements of a window; groups."""


@njit(**OPTIONS)
def whole_windows(offset, stride, n, count):  # type: ignore[no-untyped-def]
    """(start, stop) of the windows 0..count whose element at `offset` (of the first window) lies in 0..n."""
    start = (stride - 1 - offset) // stride if offset < 0 else 0
    stop = (n - 1 - offset) // stride + 1 if n > offset else 0
    stop = stop if stop < count else count
    return start if start < stop else stop, stop


def _walk(dtype: str, line: Callable[..., None]) -> Callable[..., None]:
    """``(q, image, r0, r1)``: `line` for each row of results in each row of the columns.

    line(row of columns, row of the image, whether it is inside, first and last window inside, column of window 0, stride, wo).
    """
    pointer, itemsize = POINTERS[dtype], np.dtype(dtype).itemsize

    @njit(**OPTIONS)
    def run(q, image, r0, r1):  # type: ignore[no-untyped-def]
        wide, window = q[WO], q[KH] * q[KW]
        target = q[COLUMNS]
        for row in range(q[CI] * window):
            channel, i, j = row // window, row % window // q[KW], row % q[KW]
            i, j = i * q[APART_H], j * q[APART_W]
            start, stop = whole_windows(j - q[SIDE], q[ACROSS], q[W], wide)
            for r in range(r0, r1):
                y = r * q[DOWN] + i - q[TOP]
                inside = 0 <= y < q[H]
                source = image + itemsize * q[W] * (channel * q[H] + y)
                line(pointer(target), pointer(source), inside, start, stop, j - q[SIDE], q[ACROSS], wide)
                target += itemsize * wide

    return run


@njit(**OPTIONS)
def _read(columns, image, inside, start, stop, offset, stride, wide):  # type: ignore[no-untyped-def]
    if not inside:
        start, stop = wide, wide
    for c in range(start):
        columns[c] = 0
    if stride == 1:
        for c in range(start, stop):
            columns[c] = image[c + offset]
    else:
        for c in range(start, stop):
            columns[c] = image[c * stride + offset]
    for c in range(stop, wide):
        columns[c] = 0


@njit(**OPTIONS)
def _add(columns, image, inside, start, stop, offset, stride, wide):  # type: ignore[no-untyped-def]
    if not inside:
        stop = start
    if stride == 1:
        for c in range(start, stop):
            image[c + offset] += columns[c]
    else:
        for c in range(start, stop):
            image[c * stride + offset] += columns[c]


def forward(dtype: str) -> Kernel:
    """Operands: images, weights. Result = weights (co, ci kh kw) times columns, an image and a few rows at a time."""
    gemm, gather, itemsize = GEMM[dtype], _walk(dtype, _read), np.dtype(dtype).itemsize

    def kernel(block: int) -> int:
        q = words(block)
        depth, area, image = q[CI] * q[KH] * q[KW], q[HO] * q[WO], q[CI] * q[H] * q[W] * itemsize
        beta = 1.0 if q[KEEP] else 0.0
        for n in range(q[IMAGES]):
            weights = q[RIGHT] + itemsize * (n % q[GROUPS]) * q[CO] * depth
            for r0 in range(0, q[HO], q[ROWS]):
                r1 = r0 + q[ROWS] if r0 + q[ROWS] < q[HO] else q[HO]
                count, first = (r1 - r0) * q[WO], itemsize * r0 * q[WO]
                columns, ldb = q[LEFT] + n * image + first, area
                if not q[DIRECT]:
                    gather(q, q[LEFT] + n * image, r0, r1)
                    columns, ldb = q[COLUMNS], count
                out = q[RESULT] + itemsize * n * q[CO] * area + first
                gemm(q[FUNCTION], 0, 0, q[CO], count, depth, 1.0, weights, depth, columns, ldb, beta, out, area)
        return 0

    return kernel


def image_gradient(dtype: str) -> Kernel:
    """Operands: cotangents, weights. Columns = transposed weights times cotangents, added up into the images."""
    gemm, scatter, itemsize, pointer = GEMM[dtype], _walk(dtype, _add), np.dtype(dtype).itemsize, POINTERS[dtype]

    def kernel(block: int) -> int:
        q = words(block)
        depth, area, size = q[CI] * q[KH] * q[KW], q[HO] * q[WO], q[CI] * q[H] * q[W]
        beta = 1.0 if q[KEEP] else 0.0
        for n in range(q[IMAGES]):
            image, g = q[RESULT] + itemsize * n * size, q[LEFT] + itemsize * n * q[CO] * area
            weights = q[RIGHT] + itemsize * (n % q[GROUPS]) * q[CO] * depth
            if not (q[KEEP] or q[DIRECT]):
                out = pointer(image)
                for i in range(size):
                    out[i] = 0
            for r0 in range(0, q[HO], q[ROWS]):
                r1 = r0 + q[ROWS] if r0 + q[ROWS] < q[HO] else q[HO]
                count, first = (r1 - r0) * q[WO], itemsize * r0 * q[WO]
                if q[DIRECT]:
                    gemm(q[FUNCTION], 1, 0, depth, count, q[CO], 1.0, weights, depth, g + first, area, beta, image + first, area)
                else:
                    gemm(q[FUNCTION], 1, 0, depth, count, q[CO], 1.0, weights, depth, g + first, area, 0.0, q[COLUMNS], count)
                    scatter(q, image, r0, r1)
        return 0

    return kernel


def weight_gradient(dtype: str) -> Kernel:
    """Operands: images, cotangents. Result = cotangents times transposed columns, summed over the images in order."""
    gemm, gather, itemsize = GEMM[dtype], _walk(dtype, _read), np.dtype(dtype).itemsize

    def kernel(block: int) -> int:
        q = words(block)
        depth, area, image = q[CI] * q[KH] * q[KW], q[HO] * q[WO], q[CI] * q[H] * q[W] * itemsize
        for n in range(q[IMAGES]):
            g, out = q[RIGHT] + itemsize * n * q[CO] * area, q[RESULT] + itemsize * (n % q[GROUPS]) * q[CO] * depth
            beta = 1.0 if q[KEEP] or n >= q[GROUPS] else 0.0
            for r0 in range(0, q[HO], q[ROWS]):
                r1 = r0 + q[ROWS] if r0 + q[ROWS] < q[HO] else q[HO]
                count, first = (r1 - r0) * q[WO], itemsize * r0 * q[WO]
                columns, ldb = q[LEFT] + n * image + first, area
                if not q[DIRECT]:
                    gather(q, q[LEFT] + n * image, r0, r1)
                    columns, ldb = q[COLUMNS], count
                gemm(q[FUNCTION], 0, 1, q[CO], depth, count, 1.0, g + first, area, columns, ldb, beta, out, depth)
                beta = 1.0
        return 0

    return kernel
