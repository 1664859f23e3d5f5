"""Copies and joins between strided regions, and casts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import int32, njit, types, uint8
from numba.extending import intrinsic

from oflow.native.intrinsics import POINTERS, words

TO, SOURCE, VALUE, OUTER, ROWS, COLUMNS, LEAD, AXES = 0, 1, 2, 3, 4, 7, 10, 11
"""Words of the block of `move`: addresses of target and source (0: the source is the word VALUE itself), number of outer places;
rows and columns as (size, step in the target, step in the source); number of outer axes, and as much for each of them. Steps are
in bytes."""
TILE = 16
"""Elements in a side of a tile of a transposition: a cache line of float32."""
LONG = 1024
"""Bytes from which a run is worth a call of memcpy."""


@intrinsic
def copy_bytes(typing: Any, to: Any, source: Any, nbytes: Any) -> Any:
    """memcpy: the regions must not overlap."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        pointers = [builder.inttoptr(a, byte) for a in args[:2]]
        function = builder.module.declare_intrinsic("llvm.memcpy", [byte, byte, ir.IntType(64)])
        builder.call(function, [*pointers, args[2], ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


# ---------------------------------------------------------------- what is done with one element


def _copy(old: Any, new: Any) -> Any:
    return new


def _add(old: Any, new: Any) -> Any:
    return old + new


def _maximum(old: Any, new: Any) -> Any:
    """NaN where either is, as np.maximum."""
    return old if old >= new or old != old else new


def _minimum(old: Any, new: Any) -> Any:
    return old if old <= new or old != old else new


def _either(old: Any, new: Any) -> Any:
    return old | new


def _both(old: Any, new: Any) -> Any:
    return old & new


ELEMENT = {"copy": _copy, "sum": _add, "max": _maximum, "min": _minimum}
ELEMENT_OF_BOOL = {"copy": _copy, "sum": _either, "max": _either, "min": _both}


# ---------------------------------------------------------------- strided regions


def move(dtype: str, how: str) -> Callable[[int], int]:
    """``block -> 0``: target = source, or target = join(target, source), over a region of any number of axes.

    how: copy, sum, max or min. The two regions share no memory.
    """
    pointer = POINTERS[dtype]
    item = {"float32": 4, "int32": 4, "float64": 8, "int64": 8}.get(dtype, 1)
    element = njit(inline="always")((ELEMENT_OF_BOOL if dtype == "bool" else ELEMENT)[how])
    by_memcpy = how == "copy"

    def kernel(block: int) -> int:
        q, axes = words(block), words(block + 8 * AXES)
        start = q[SOURCE] if q[SOURCE] != 0 else block + 8 * VALUE
        rows, t_row, s_row, columns, t_column, s_column = q[ROWS], q[ROWS + 1], q[ROWS + 2], q[COLUMNS], q[COLUMNS + 1], q[COLUMNS + 2]
        contiguous, repeated = t_column == item and s_column == item, t_column == item and s_column == 0
        tall, tile = (rows, columns) if contiguous or repeated else (TILE, TILE)
        for index in range(q[OUTER]):
            to, source, rest = q[TO], start, index
            for axis in range(q[LEAD] - 1, -1, -1):
                place = rest % axes[3 * axis]
                rest //= axes[3 * axis]
                to += place * axes[3 * axis + 1]
                source += place * axes[3 * axis + 2]
            for i0 in range(0, rows, tall):
                for j0 in range(0, columns, tile):
                    count = min(tile, columns - j0)
                    for i in range(i0, min(i0 + tall, rows)):
                        to_row, source_row = to + i * t_row + j0 * t_column, source + i * s_row + j0 * s_column
                        t, s = pointer(to_row), pointer(source_row)
                        if by_memcpy and contiguous and count * item >= LONG:
                            copy_bytes(to_row, source_row, count * item)
                        elif contiguous:
                            for j in range(count):
                                t[j] = element(t[j], s[j])
                        elif repeated:
                            value = s[0]
                            for j in range(count):
                                t[j] = element(t[j], value)
                        else:
                            for j in range(count):
                                t = pointer(to_row + j * t_column)
                                t[0] = element(t[0], pointer(source_row + j * s_column)[0])
        return 0

    return kernel


# ---------------------------------------------------------------- casts


def _same(x: Any) -> Any:
    return x


def _is_not_zero(x: Any) -> Any:
    return uint8(1) if x != 0 else uint8(0)


def _byte(x: Any) -> Any:
    """Through 32 bits, as compiled C does: a negative number wraps."""
    return uint8(int32(x))


def cast(source: str, target: str) -> Callable[[int], int]:
    """``block (target, source, count) -> 0``: NumPy's unsafe cast of contiguous elements."""
    sources, targets = POINTERS[source], POINTERS[target]
    chosen = _is_not_zero if target == "bool" else _byte if source.startswith("float") and target == "uint8" else _same
    convert = njit(inline="always")(chosen)

    def kernel(block: int) -> int:
        q = words(block)
        to, x = targets(q[0]), sources(q[1])
        for i in range(q[2]):
            to[i] = convert(x[i])
        return 0

    return kernel
