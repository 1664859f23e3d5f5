"""Compiled forms of the reductions. The kernels: `kernels/reduce.py`."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from oflow.backends.compiled.form import OpCall, Step, Steps, form, kernel

NUMBERS = ("float32", "float64", "int64", "int32", "uint8")
MOST_ROWS, MOST_COLUMNS = 4, 5
"""Groups of axes that the kernels walk."""


def groups_of(shape: Sequence[int], reduced: Collection[int]) -> list[tuple[bool, int]]:
    """(reduced?, size) of neighbouring axes of one kind, joined; axes of size 1 are left out."""
    found: list[tuple[bool, int]] = []
    for i, n in enumerate(shape):
        gone = i in reduced
        if n == 1:
            continue
        if found and found[-1][0] == gone:
            found[-1] = gone, found[-1][1] * n
        else:
            found.append((gone, n))
    return found


@form("sum", "max", "min")
def reduce(call: OpCall) -> Steps | None:
    x, out = call.ins[0], call.outs[0]
    groups = groups_of(x.shape, call.attrs["axes"])
    by_rows = bool(groups) and groups[-1][0]
    most = MOST_ROWS if by_rows else MOST_COLUMNS
    if x.dtype not in NUMBERS or len(groups) > most or (call.accumulate and call.op != "sum"):
        return None
    if not out.size:
        return ()
    sizes = [1] * (most - len(groups)) + [n for _, n in groups]
    routine = kernel("reduce", "rows" if by_rows else "columns", call.op, x.dtype)
    return (Step(routine, (call.out(0), call.operand(0), *sizes, int(call.accumulate))),)


@form("argmax")
def argmax(call: OpCall) -> Steps | None:
    x, axis = call.ins[0], call.attrs["axis"]
    dtype = "uint8" if x.dtype == "bool" else x.dtype
    n = x.shape[axis]
    if dtype not in NUMBERS or not n or call.accumulate:
        return None
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    if inner == 1:
        return (Step(kernel("reduce", "argmax_rows", dtype), (call.out(0), call.operand(0), outer, n)),)
    return (Step(kernel("reduce", "argmax_columns", dtype), (call.out(0), call.operand(0), outer, n, inner)),)
