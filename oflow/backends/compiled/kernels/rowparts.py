"""Parts of row-wise kernels: what is done to one row, x[0..n) at a pointer. Reductions are written so that LLVM uses vectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from oflow.backends.compiled.kernels.number import inline
from oflow.native.build import FASTMATH
from oflow.native.intrinsics import root

OPTIONS: dict[str, Any] = {"fastmath": FASTMATH, "error_model": "numpy", "forceinline": True}
REAL: dict[str, Any] = {"float32": np.float32, "float64": np.float64}
LINE = 64
"""Bytes of a cache line."""
PART = 256
"""Elements of a row between which the next row is fetched."""
ITEMSIZE = {"float32": 4, "float64": 8}
"""Bytes of one element."""


@intrinsic
def either_larger(typing: Any, x: Any, y: Any) -> Any:
    """The larger of two numbers, one of them or any other number where one is NaN: what LLVM reduces with one instruction."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real = context.get_value_type(signature.return_type)
        function = builder.module.declare_intrinsic("llvm.maxnum", [real], ir.FunctionType(real, [real] * 2))
        return builder.call(function, args, fastmath=("nnan", "nsz"))

    return x(x, x), code


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Start to bring the cache line at an address into the cache; any address will do."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i8, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [i8, i32, i32, i32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [i8], kind)
        read, near, data = (ir.Constant(i32, n) for n in (0, 3, 1))
        builder.call(function, [builder.inttoptr(args[0], i8), read, near, data])
        return context.get_dummy_value()

    return types.void(types.int64), code


@njit(**OPTIONS)
def fetch(address, nbytes):  # type: ignore[no-untyped-def]
    """Start to bring memory into the cache that will be read soon.

    A row is visited several times. While the later visits compute, memory would be idle; so the last visit goes part by part and
    fetches the next row meanwhile. Forms ask for it where the operands are too large to be in a cache of the core anyway.
    """
    for at in range(0, nbytes, LINE):
        prefetch(address + at)


@njit(**OPTIONS)
def parts_of(n, ahead):  # type: ignore[no-untyped-def]
    """Elements of one part of a row of n: all of it where nothing is fetched (ahead = 0)."""
    return PART if ahead else n


@cache
def largest(dtype: str) -> Callable[..., Any]:
    """``largest(x, n, scale)``: the maximum of scale x, -inf for n = 0.

    Any number where there is NaN: whoever uses it must meet the NaN elsewhere.
    """
    lowest = REAL[dtype](-np.inf)

    @njit(**OPTIONS)
    def reduce(x, n, scale):  # type: ignore[no-untyped-def]
        found = lowest
        for j in range(n):
            found = either_larger(found, scale * x[j])
        return found

    return reduce


@cache
def inverse_root(dtype: str) -> Callable[..., Any]:
    """``inverse_root(x)``: 1 / sqrt(x), both rounded: fast-math flags would make it an approximation that is NaN for infinity."""
    one = REAL[dtype](1)

    @inline
    def value(x):  # type: ignore[no-untyped-def]
        return one / root(x)

    return value


@cache
def dot(dtype: str) -> Callable[..., Any]:
    """``dot(x, y, n)``: the sum of products."""
    zero = REAL[dtype](0)

    @njit(**OPTIONS)
    def reduce(x, y, n):  # type: ignore[no-untyped-def]
        total = zero
        for j in range(n):
            total += x[j] * y[j]
        return total

    return reduce


@cache
def fill(dtype: str) -> Callable[..., Any]:
    """``fill(x, start, stop, value)``."""

    @njit(**OPTIONS)
    def run(x, start, stop, value):  # type: ignore[no-untyped-def]
        for j in range(start, stop):
            x[j] = value

    return run
