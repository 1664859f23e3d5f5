"""Maximum and average of windows of images, and their gradients: direct loops over the rows of results.

All blocks: result, operands (one, or g, x, y), planes (images times channels), h, w, ho, wo, rows and columns of the window, rows
to the next window, share (float64 bits). Columns to the next window are an argument of the kernel, so that reads with gaps become
vectors. NaN wins a maximum, as in NumPy; in the gradient a window whose maximum is NaN passes nothing on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import types

from oflow.backends.compiled.kernels.reduce import inline_join
from oflow.native.intrinsics import POINTERS, float64_of_bits, words

Kernel = Callable[[int], int]
SCALAR = {"float32": types.float32, "float64": types.float64}


def _forward(dtype: str, stride: str, how: str) -> Kernel:
    pointer, scalar, itemsize, gap = POINTERS[dtype], SCALAR[dtype], np.dtype(dtype).itemsize, int(stride)
    join, averages = inline_join(how, dtype), how == "sum"

    def kernel(block: int) -> int:
        q = words(block)
        h, w, high, wide, size_h, size_w, down = q[3], q[4], q[5], q[6], q[7], q[8], q[9]
        share = scalar(float64_of_bits(q[10]))
        for place in range(q[2] * high):
            plane, r = place // high, place % high
            out = pointer(q[0] + itemsize * wide * place)
            first = q[1] + itemsize * w * (plane * h + r * down)
            for at in range(size_h * size_w):
                x = pointer(first + itemsize * (at // size_w * w + at % size_w))
                if at:
                    for c in range(wide):
                        out[c] = join(out[c], x[gap * c])
                else:
                    for c in range(wide):
                        out[c] = x[gap * c]
            if averages:
                for c in range(wide):
                    out[c] *= share
        return 0

    return kernel


def largest(dtype: str, stride: str) -> Kernel:
    """The maximum of each window."""
    return _forward(dtype, stride, "max")


def average(dtype: str, stride: str) -> Kernel:
    """The sum of each window times `share`."""
    return _forward(dtype, stride, "sum")


def largest_gradient(dtype: str, size_h: str, size_w: str, stride: str) -> Kernel:
    """Adds g to the first largest element of each window, in the order of the windows."""
    pointer, itemsize = POINTERS[dtype], np.dtype(dtype).itemsize
    rows, columns, gap = int(size_h), int(size_w), int(stride)

    def kernel(block: int) -> int:
        q = words(block)
        h, w, high, wide, down = q[5], q[6], q[7], q[8], q[11]
        for place in range(q[4] * high):
            plane, r = place // high, place % high
            first = itemsize * w * (plane * h + r * down)
            out, x = pointer(q[0] + first), pointer(q[2] + first)
            g, y = pointer(q[1] + itemsize * wide * place), pointer(q[3] + itemsize * wide * place)
            for c in range(wide):
                largest, target = y[c], -1
                for i in range(rows - 1, -1, -1):
                    for j in range(columns - 1, -1, -1):
                        at = i * w + gap * c + j
                        target = at if x[at] == largest else target
                if target >= 0:
                    out[target] += g[c]
        return 0

    return kernel


def average_gradient(dtype: str, stride: str) -> Kernel:
    """Adds g times `share` to every element of each window, one place in the windows after the other."""
    pointer, scalar, itemsize, gap = POINTERS[dtype], SCALAR[dtype], np.dtype(dtype).itemsize, int(stride)

    def kernel(block: int) -> int:
        q = words(block)
        h, w, high, wide, size_h, size_w, down = q[3], q[4], q[5], q[6], q[7], q[8], q[9]
        share = scalar(float64_of_bits(q[10]))
        for place in range(q[2] * high):
            plane, r = place // high, place % high
            g, first = pointer(q[1] + itemsize * wide * place), q[0] + itemsize * w * (plane * h + r * down)
            for at in range(size_h * size_w):
                out = pointer(first + itemsize * (at // size_w * w + at % size_w))
                for c in range(wide):
                    out[gap * c] += share * g[c]
        return 0

    return kernel
