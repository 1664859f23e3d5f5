"""Moves: boxing between layouts (pull), joining micro-batches (accumulate). On logical tensors both are the identity."""

from __future__ import annotations

from typing import Any

import numpy as np

from oflow.errors import SbpError
from oflow.ops.op import Attributes, Example, Types, op
from oflow.ops.tensor import Tensor, user_line
from oflow.sbp import Box, Placement, Sbps, layout
from oflow.types import FLOATS, HALF


def _same(ins: Types, attrs: Attributes) -> str:
    letters = " ".join(f"a{i}" for i in range(len(ins[0].shape)))
    return f"{letters} -> {letters}"


def _examples() -> list[Example]:
    return [Example((np.arange(30.0).reshape(5, 6),))]


boxing = op("boxing", rule=_same, linear=[{0}], exact=True, lowering="pull", adds=True, example=_examples)
accumulate = op("accumulate", rule=_same, linear=[{0}], exact=True, lowering="accumulate", example=_examples)

JOIN = {"sum": np.add, "max": np.maximum, "min": np.minimum}


def identity_of(op: str, dtype: np.dtype) -> Any:
    """The number that joining with `op` leaves everything as it is."""
    if op == "sum":
        return 0
    if dtype.name in FLOATS:
        return -np.inf if op == "max" else np.inf
    if dtype.kind == "b":
        return op == "min"
    return np.iinfo(dtype).min if op == "max" else np.iinfo(dtype).max


@boxing.grad
def _(g: Tensor, y: Tensor, x: Tensor, **attrs: Any) -> list[Tensor]:
    return [g]


@boxing.kernel
def _pull(out: np.ndarray, *sources: np.ndarray, pulls: tuple[tuple[int, Box, Box], ...], flat: bool, op: str) -> None:
    """Copy each region; where several sources give the same region, join them in rank order. Rest: the identity of `op`."""
    if out.dtype.name in HALF and len(pulls) > len({put for _, _, put in pulls}):
        whole = np.empty(out.shape, "float32")  # several contributions are added in float32 and rounded once
        _pull(whole, *sources, pulls=pulls, flat=flat, op=op)
        out[...] = whole
        return
    target = out.reshape(-1) if flat else out
    parts = [x.reshape(-1) if flat else x for x in sources]
    written: list[Box] = []
    if sum(_size(put) for put in dict.fromkeys(put for _, _, put in pulls)) < out.size:
        out[...] = identity_of(op, out.dtype)
    for source, take, put in pulls:
        part, room = parts[source][_region(take)], target[_region(put)]
        if put in written:
            JOIN[op](room, part, out=room)
        else:
            np.copyto(room, part)
            written.append(put)


def _region(box: Box) -> tuple[Any, ...]:
    return (*(slice(start, stop) for start, stop in box), ...)


def _size(box: Box) -> int:
    return int(np.prod([stop - start for start, stop in box], dtype=np.int64))


@accumulate.kernel
def _(out: np.ndarray, x: np.ndarray) -> None:
    np.copyto(out, x)


@accumulate.grad
def _(g: Tensor, y: Tensor, x: Tensor) -> list[Tensor]:
    return [g]


def to_global(t: Tensor, placement: Placement, sbp: Sbps) -> Tensor:
    """The tensor in the layout (placement, sbp). Raises SbpError at the user's line where sbp does not fit shape or mesh."""
    line = user_line()
    try:
        target = layout(placement, sbp)
    except SbpError as e:
        raise SbpError(str(e), line=line) from None
    target.check_shape(t.shape, line)
    return boxing.append((t,), {"to": str(target)})  # type: ignore[no-any-return]
