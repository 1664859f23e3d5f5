"""Reductions: sum, maximum, minimum, and the place of the first largest element.

Axes arrive joined into groups, kept and reduced ones in turn; what varies fastest decides between `rows` and `columns`. NaN wins
every maximum and minimum, as in NumPy. Sums of float32 rows are added in float32 a block at a time, the blocks in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from oflow.native.build import FASTMATH
from oflow.native.intrinsics import POINTERS, words

Kernel = Callable[[int], int]
OPTIONS: dict[str, Any] = {"fastmath": FASTMATH, "error_model": "numpy", "forceinline": True}
SCALAR = {name: getattr(types, name) for name in ("float32", "float64", "int64", "int32", "uint8")}
ROW_BLOCK = 4096
"""Elements of a row that are added before their sum goes into the row's."""
COLUMN_BLOCK = 4096
"""Columns reduced at a time: their results stay in the level-1 cache."""
SEARCH_BLOCK = 512
"""Elements looked at together in search of one."""


def _extreme(name: str) -> Any:
    @intrinsic
    def function(typing: Any, x: Any, y: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = context.get_value_type(signature.return_type)
            found = builder.module.declare_intrinsic(name, [kind], ir.FunctionType(kind, [kind] * 2))
            return builder.call(found, args, fastmath=("nsz",))

        return x(x, x), code

    return function


_maximum, _minimum = _extreme("llvm.maximum"), _extreme("llvm.minimum")
"""NaN where one operand is NaN."""


def inline_join(how: str, dtype: str) -> Callable[..., Any]:
    """The function of two elements that reduces; whole numbers are joined as int64."""
    real = dtype.startswith("float")

    @njit(**OPTIONS)
    def add(x, y):  # type: ignore[no-untyped-def]
        return x + y

    @njit(**OPTIONS)
    def larger_of(x, y):  # type: ignore[no-untyped-def]
        return x if x > y else y

    @njit(**OPTIONS)
    def smaller_of(x, y):  # type: ignore[no-untyped-def]
        return x if x < y else y

    return {"sum": add, "max": _maximum if real else larger_of, "min": _minimum if real else smaller_of}[how]


def _identity(how: str, dtype: str) -> Any:
    """What a reduction of no elements gives, as an element or (whole numbers) as int64."""
    if dtype.startswith("float"):
        return SCALAR[dtype]({"sum": 0, "max": -np.inf, "min": np.inf}[how])
    limits = np.iinfo(dtype)
    return int({"sum": 0, "max": limits.min, "min": limits.max}[how])


def _row(how: str, dtype: str) -> Callable[..., Any]:
    """``(x, n)`` -> the reduction of x[0..n)."""
    join, first, scalar = inline_join(how, dtype), _identity(how, dtype), SCALAR[dtype]
    wide = types.float64 if dtype.startswith("float") else types.int64
    part_of = scalar if dtype.startswith("float") else types.int64

    @njit(**OPTIONS)
    def reduce(x, n, total):  # type: ignore[no-untyped-def]
        for start in range(0, n, ROW_BLOCK):
            part = part_of(first)
            stop = n if n - start < ROW_BLOCK else start + ROW_BLOCK
            for j in range(start, stop):
                part = join(part, part_of(x[j]))
            total = join(total, wide(part))
        return total

    return reduce


def rows(how: str, dtype: str) -> Kernel:
    """Words: result, operand, sizes of (kept, reduced, kept, reduced), 1 to add to what is there. The last axis is reduced."""
    pointer, scalar, itemsize = POINTERS[dtype], SCALAR[dtype], np.dtype(dtype).itemsize
    reduce, join, first = _row(how, dtype), inline_join(how, dtype), _identity(how, dtype)
    wide = types.float64 if dtype.startswith("float") else types.int64

    def kernel(block: int) -> int:
        q = words(block)
        out, groups, inner, n = pointer(q[0]), q[3], q[4], q[5]
        for place in range(q[2] * inner):
            outer, c = place // inner, place % inner
            total = wide(first)
            for b in range(groups):
                total = reduce(pointer(q[1] + itemsize * n * ((outer * groups + b) * inner + c)), n, total)
            if q[6]:
                total = join(total, wide(out[place]))
            out[place] = scalar(total)
        return 0

    return kernel


def _into(how: str, dtype: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Two functions that join rows of n elements to those at `out`: ``(out, x, n)``, and ``(out, x0, x1, x2, x3, n)`` in this order."""
    join = inline_join(how, dtype)

    @njit(**OPTIONS)
    def one(out, x, n):  # type: ignore[no-untyped-def]
        for j in range(n):
            out[j] = join(out[j], x[j])

    @njit(**OPTIONS)
    def four(out, x0, x1, x2, x3, n):  # type: ignore[no-untyped-def]
        for j in range(n):
            out[j] = join(join(join(join(out[j], x0[j]), x1[j]), x2[j]), x3[j])

    return one, four


def columns(how: str, dtype: str) -> Kernel:
    """Words: result, operand, sizes of (kept, reduced, kept, reduced, kept), 1 to add to what is there. Rows are joined in order."""
    pointer, itemsize, first = POINTERS[dtype], np.dtype(dtype).itemsize, _identity(how, dtype)
    one, four = _into(how, dtype)

    @njit(**OPTIONS)
    def reduce(out, x, step, rows, n):  # type: ignore[no-untyped-def]
        whole = rows - rows % 4
        for r in range(0, whole, 4):
            at = x + r * step
            four(out, pointer(at), pointer(at + step), pointer(at + 2 * step), pointer(at + 3 * step), n)
        for r in range(whole, rows):
            one(out, pointer(x + r * step), n)

    @njit(**OPTIONS)
    def fill(out, n):  # type: ignore[no-untyped-def]
        for j in range(n):
            out[j] = first

    @njit(**OPTIONS)
    def copy(out, x, n):  # type: ignore[no-untyped-def]
        for j in range(n):
            out[j] = x[j]

    def kernel(block: int) -> int:
        q = words(block)
        groups, inner, count, width = q[3], q[4], q[5], q[6]
        step = itemsize * width
        for place in range(q[2] * inner):
            outer, c = place // inner, place % inner
            for start in range(0, width, COLUMN_BLOCK):
                n = width - start if width - start < COLUMN_BLOCK else COLUMN_BLOCK
                out = pointer(q[0] + step * place + itemsize * start)
                begun = q[7]
                if not groups * count:
                    fill(out, 0 if begun else n)
                for b in range(groups if count else 0):
                    x = q[1] + step * count * ((outer * groups + b) * inner + c) + itemsize * start
                    if not begun:
                        copy(out, pointer(x), n)
                    reduce(out, x if begun else x + step, step, count if begun else count - 1, n)
                    begun = 1
        return 0

    return kernel


# ---------------------------------------------------------------- the place of the largest


def _find(dtype: str) -> Callable[..., Any]:
    """``(x, n, value)`` -> the first place of `value`, or of a NaN where value is NaN."""

    @njit(**OPTIONS)
    def place(x, n, value):  # type: ignore[no-untyped-def]
        unordered = value != value
        for start in range(0, n, SEARCH_BLOCK):
            stop = n if n - start < SEARCH_BLOCK else start + SEARCH_BLOCK
            found = n
            if unordered:
                for j in range(start, stop):
                    here = j if x[j] != x[j] else n
                    found = here if here < found else found
            else:
                for j in range(start, stop):
                    here = j if x[j] == value else n
                    found = here if here < found else found
            if found < n:
                return found
        return n

    return place


def argmax_rows(dtype: str) -> Kernel:
    """Words: result (int64), operand, rows, elements of a row."""
    pointer, scalar, itemsize = POINTERS[dtype], SCALAR[dtype], np.dtype(dtype).itemsize
    join, first, find = inline_join("max", dtype), _identity("max", dtype), _find(dtype)

    def kernel(block: int) -> int:
        q = words(block)
        out, n = words(q[0]), q[3]
        for r in range(q[2]):
            x = pointer(q[1] + itemsize * n * r)
            best = scalar(first)
            for j in range(n):
                best = join(best, x[j])
            out[r] = find(x, n, best)
        return 0

    return kernel


def argmax_columns(dtype: str) -> Kernel:
    """Words: result (int64), operand, matrices, rows of a matrix, columns. The largest so far is read where it lies."""
    pointer, itemsize = POINTERS[dtype], np.dtype(dtype).itemsize

    @njit(**OPTIONS)
    def compare(out, x, row, r, n):  # type: ignore[no-untyped-def]
        for j in range(n):
            value, best = row[j], x[out[j] * n + j]
            better = (value > best) | ((value != value) & (best == best))
            out[j] = r if better else out[j]

    def kernel(block: int) -> int:
        q = words(block)
        height, n = q[3], q[4]
        for a in range(q[2]):
            out, x = words(q[0] + 8 * n * a), q[1] + itemsize * n * height * a
            for j in range(n):
                out[j] = 0
            for r in range(1, height):
                compare(out, pointer(x), pointer(x + itemsize * n * r), r, n)
        return 0

    return kernel
