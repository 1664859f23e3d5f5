"""Half precision: numbers are kept in 16 bits, kernels compute in float32 and round each result once.

So every operator has a meaning in float16 and bfloat16, products and sums are accumulated in float32 (as on tensor cores: Micikevicius
et al. 2018), and no kernel is written twice. Operators that only move elements work on 16 bits as they are. The float32 copies lie in the
operator's workspace, so they are planned like any other bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from oflow.types import HALF, TensorType

Types = tuple[TensorType, ...]
Kernel = Callable[..., Callable[[], Any]]
"""(results and operands, attributes) -> a function that runs the kernel on them."""
WIDE = "float32"
ALIGNMENT = 64


def any_half(types: Iterable[TensorType]) -> bool:
    return any(t.dtype in HALF for t in types)


def wide(types: Types) -> Types:
    """The types in which a kernel computes."""
    return tuple(replace(t, dtype=WIDE) if t.dtype in HALF else t for t in types)


def narrow(dtypes: Sequence[str], ins: Types) -> tuple[str, ...]:
    """The dtypes of results that were computed as these, from operands of 16 bits: theirs where it was float32."""
    half = next((t.dtype for t in ins if t.dtype in HALF), WIDE)
    return tuple(half if dtype == WIDE else dtype for dtype in dtypes)


def copies_nbytes(types: Iterable[TensorType]) -> int:
    """Bytes of the float32 copies of what has 16 bits."""
    return sum(_aligned(4 * t.size) for t in types if t.dtype in HALF)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def bind_wide(
    kernel: Kernel, outs: Sequence[np.ndarray], ins: Sequence[np.ndarray], rewritten: Iterable[int], attrs: Mapping[str, Any]
) -> Callable[[], None]:
    """The kernel bound to float32 copies, which are filled before and rounded into the results after each run.

    rewritten: results whose memory holds the operand that the kernel reads. attrs has the workspace, copies first.
    """
    kept: np.ndarray = attrs["workspace"]
    made: list[np.ndarray] = []
    start = 0
    for array in (*outs, *ins):
        if array.dtype.name in HALF:
            made.append(kept[start : start + 4 * array.size].view(WIDE).reshape(array.shape))
            start += _aligned(4 * array.size)
        else:
            made.append(array)
    count = len(outs)
    for result, operand in attrs.get("inplace", ()):
        made[result] = made[count + operand]
    inner = {name: value for name, value in attrs.items() if name != "workspace"}
    rest = kept[start:]
    run = kernel(tuple(made), {**inner, "workspace": rest} if rest.size else inner)
    loads = [(copy, array) for copy, array in zip(made[count:], ins, strict=True) if copy is not array]
    loads += [(made[i], outs[i]) for i in rewritten if made[i] is not outs[i]]
    stores = [(array, copy) for copy, array in zip(made[:count], outs, strict=True) if copy is not array]

    def run_wide() -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large for 16 bits is infinite
            for copy, array in loads:
                copy[...] = array
            run()
            for array, copy in stores:
                array[...] = copy

    return run_wide


def growth(function: Callable[..., Any], operands: int) -> float:
    """The largest result at a few points between 1e-7 and 30 in magnitude, infinity where it is no number."""
    points = np.array([s * x for x in (1e-7, 1.0, 30.0) for s in (1, -1)])
    with np.errstate(all="ignore"):
        found = np.asarray(function(*np.meshgrid(*[points] * operands)), np.float64)
    return float(np.abs(found).max()) if np.isfinite(found).all() else math.inf
