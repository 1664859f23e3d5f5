"""Global numbers along an axis, as a tensor. Who reads them knows which elements it holds, on any layout and in any micro-batch.

They are split like every other tensor: by devices, in time by the micro-batch. So an operator whose result depends on where its
elements lie takes them as an operand, and needs no offset of its own.
"""

from __future__ import annotations

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.op import Attributes, Example, Shards, op
from oflow.ops.tensor import Tensor, user_line
from oflow.types import TensorType

positions_op = op(
    "positions",
    rule="-> n",
    infer=lambda ins, attrs: [TensorType((int(attrs["count"]),), "int64")],
    exact=True,
    example=lambda: [Example((), {"start": 0, "count": 5}), Example((), {"start": -3, "count": 7}), Example((), {"start": 2, "count": 6})],
)
"""; start, count -> the whole numbers start .. start + count - 1, int64."""


@positions_op.local
def _(attrs: Attributes, shards: Shards) -> Attributes:
    (first, last), = shards.outs[0]
    return {"start": attrs["start"] + first, "count": last - first}


@positions_op.kernel
def _positions(out: np.ndarray, *, start: int, count: int) -> None:
    out[...] = np.arange(start, start + count)


def positions(t: Tensor, axis: int = 0, start: int = 0) -> Tensor:
    """The global numbers start, start + 1, ... of the elements along `axis` of `t`: int64 (t.shape[axis],).

    Raises ShapeError where there is no such axis.
    """
    if not -t.ndim <= axis < t.ndim:
        raise ShapeError(f"axis {axis} is not an axis of {t.type}", line=user_line())
    made: Tensor = positions_op.append((), {"start": int(start), "count": t.shape[axis]}, t.builder)
    return made
