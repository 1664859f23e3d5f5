"""Optimizer updates and other rewriting of kept state, over flat memory.

Constants of a step (rates, bias corrections) are worked out in float64 and rounded once to the elements' dtype, as the NumPy
kernels do. Gradients of several ranks are summed in their order, in registers, before anything else is done with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types

from oflow.backends.compiled.kernels.kinds import SCALARS
from oflow.native.intrinsics import POINTERS, float32s, float64_of_bits, float64s, int64s, root, words

Kernel = Callable[[int], int]
REAL = {"float32": types.float32, "float64": types.float64}
FLOAT32, FLOAT64 = SCALARS["float32"], SCALARS["float64"]
INLINE = {"error_model": "numpy", "nogil": True}


@njit(**INLINE)
def scalar(q: Any, at: int, absent: float) -> float:
    """The scalar operand whose kind and address are words `at` and `at + 1`; `absent` where there is none (kind 0)."""
    kind = q[at]
    if kind == FLOAT32:
        return types.float64(float32s(q[at + 1])[0])
    if kind == FLOAT64:
        return float64s(q[at + 1])[0]
    return types.float64(int64s(q[at + 1])[0]) if kind else absent


def gradients(dtype: str, count: int, at: int) -> tuple[Any, Any]:
    """Two functions: (words) -> the pointers to `count` gradients, from word `at`; (pointers, i) -> their sum, first to last.

    They are made for a fixed count, one call inside the other, so that the sum is straight-line code in the caller's loop.
    """
    pointer, last = POINTERS[dtype], count - 1

    if count == 1:

        @njit(**INLINE)
        def only(q: Any) -> Any:
            return (pointer(q[at]),)

        @njit(**INLINE)
        def element(g: Any, i: int) -> Any:
            return g[0][i]

        return only, element

    before, summed = gradients(dtype, last, at)

    @njit(**INLINE)
    def pointers(q: Any) -> Any:
        return before(q) + (pointer(q[at + last]),)  # noqa: RUF005 (numba has no unpacking)

    @njit(**INLINE)
    def total(g: Any, i: int) -> Any:
        return summed(g, i) + g[last][i]

    return pointers, total


def sgd(dtype: str, count: str) -> Kernel:
    """Words: elements, param, lr, scale (kind, address each), weight decay (float64 bits), gradients."""
    pointer, real = POINTERS[dtype], REAL[dtype]
    pointers, total = gradients(dtype, int(count), 7)

    def kernel(block: int) -> int:
        q = words(block)
        n, p, g = q[0], pointer(q[1]), pointers(q)
        rate, scale = scalar(q, 2, 0.0), scalar(q, 4, 1.0)
        if scale < 0.0:  # the step is skipped
            return 0
        size, kept = real(rate * scale), real(1.0 - rate * float64_of_bits(q[6]))
        for i in range(n):
            p[i] = kept * p[i] - size * total(g, i)
        return 0

    return kernel


def momentum(dtype: str, count: str, nesterov: str) -> Kernel:
    """Words: elements, param, velocity, lr, scale (kind, address each), momentum, weight decay (float64 bits), gradients."""
    pointer, real, ahead = POINTERS[dtype], REAL[dtype], nesterov == "nesterov"
    pointers, total = gradients(dtype, int(count), 9)

    def kernel(block: int) -> int:
        q = words(block)
        n, p, v, g = q[0], pointer(q[1]), pointer(q[2]), pointers(q)
        rate, scale = real(scalar(q, 3, 0.0)), real(scalar(q, 5, 1.0))
        keep, decay = real(float64_of_bits(q[7])), real(float64_of_bits(q[8]))
        if scale < 0.0:
            return 0
        for i in range(n):
            d = scale * total(g, i) + decay * p[i]
            velocity = keep * v[i] + d
            v[i] = velocity
            p[i] -= rate * (d + keep * velocity if ahead else velocity)
        return 0

    return kernel


def adamw(dtype: str, count: str) -> Kernel:
    """Words: elements, param, m, v, lr, step, scale (kind, address each), beta1, beta2, eps, decay (float64 bits), gradients."""
    pointer, real = POINTERS[dtype], REAL[dtype]
    pointers, total = gradients(dtype, int(count), 14)

    def kernel(block: int) -> int:
        q = words(block)
        n, p, m, v, g = q[0], pointer(q[1]), pointer(q[2]), pointer(q[3]), pointers(q)
        rate, steps, scale = scalar(q, 4, 0.0), scalar(q, 6, 0.0) + 1.0, scalar(q, 8, 1.0)
        if scale < 0.0:
            return 0
        beta1, beta2 = float64_of_bits(q[10]), float64_of_bits(q[11])
        correction = root(1.0 - beta2**steps)
        size, floor = real(-rate * correction / (1.0 - beta1**steps)), real(float64_of_bits(q[12]) * correction)
        kept = real(1.0 - rate * float64_of_bits(q[13]))
        keep1, keep2 = real(beta1), real(beta2)
        add1, add2 = real(scale * (1.0 - beta1)), real(scale * scale * (1.0 - beta2))
        for i in range(n):
            x = total(g, i)
            mean, square = keep1 * m[i] + add1 * x, keep2 * v[i] + add2 * (x * x)
            m[i], v[i] = mean, square
            p[i] = kept * p[i] + size * mean / (root(square) + floor)
        return 0

    return kernel


def sum_squares(dtype: str, count: str) -> Kernel:
    """Words: elements, result, operands. Squares of the operands' sum are added in float64."""
    pointer, real = POINTERS[dtype], REAL[dtype]
    pointers, total = gradients(dtype, int(count), 2)

    def kernel(block: int) -> int:
        q = words(block)
        g, result = pointers(q), 0.0
        for i in range(q[0]):
            x = types.float64(total(g, i))
            result += x * x
        pointer(q[1])[0] = real(result)
        return 0

    return kernel


def increment(dtype: str) -> Kernel:
    """Words: elements, counter."""
    pointer = POINTERS[dtype]

    def kernel(block: int) -> int:
        q = words(block)
        x = pointer(q[1])
        for i in range(q[0]):
            x[i] += 1
        return 0

    return kernel
