"""Where the largest and smallest elements are. The axis that is searched stays whole, unless the user says that it is split:
then the position is made of two reductions that each have a partial form."""

from __future__ import annotations

import numpy as np

from oflow.ops.axes import axes_of
from oflow.ops.blocks import cost_of_passes
from oflow.ops.op import Attributes, Example, Shards, Types, op
from oflow.ops.reduce import reduce_max, reduce_min
from oflow.ops.shape import reshape
from oflow.ops.tensor import Tensor

NOWHERE = np.iinfo(np.int64).max
"""The position of what a rank does not have: what a minimum leaves out."""


def _rule(ins: Types, attrs: Attributes) -> str:
    """The axis that is searched stays whole."""
    letters = [f"a{i}" for i in range(len(ins[0].shape))]
    searched = [name + "!" if i == attrs["axis"] else name for i, name in enumerate(letters)]
    return f"{' '.join(searched)} -> " + " ".join(name for i, name in enumerate(letters) if i != attrs["axis"])


def _examples() -> list[Example]:
    data = np.arange(30.0).reshape(5, 6) * 7 % 11
    return [Example((data,), {"axis": axis}) for axis in (0, 1)]


argmax_op = op("argmax", rule=_rule, dtype="int64", exact=True, example=_examples)
argmin_op = op("argmin", rule=_rule, dtype="int64", exact=True, example=_examples)


@argmax_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, axis: int) -> None:
    np.argmax(x, axis=axis, out=out)


@argmin_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, axis: int) -> None:
    np.argmin(x, axis=axis, out=out)


def _position_rule(ins: Types, attrs: Attributes) -> str:
    letters = [f"a{i}" for i in range(len(ins[0].shape))]
    kept = " ".join(name for i, name in enumerate(letters) if i != attrs["axis"])
    return f"{' '.join(letters)}, {kept} -> {kept}"


position_of = op(
    "position_of", rule=_position_rule, dtype="int64", reduce="min", exact=True,
    example=lambda: [
        Example((e.operands[0], e.operands[0].max(e.attrs["axis"])), {**e.attrs, "start": 0}) for e in _examples()
    ] + [Example((np.arange(4.0)[:, None] % 2, np.array([7.0])), {"axis": 0, "start": 0})],
)  # fmt: skip
"""The first position along `axis` where x equals y, or NOWHERE; `start` is the position of the rank's first element."""
position_of.cost(cost_of_passes(2.0))


@position_of.local
def _(attrs: Attributes, shards: Shards) -> Attributes:
    return {**attrs, "start": attrs["start"] + shards.ins[0][attrs["axis"]][0]}


@position_of.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    return ins[0].size


@position_of.kernel
def _(out: np.ndarray, x: np.ndarray, y: np.ndarray, *, axis: int, start: int, workspace: np.ndarray) -> None:
    """A NaN is equal to a NaN here, because it is the maximum where there is one."""
    if not x.size:
        out[...] = NOWHERE
        return
    hit = workspace[: x.size].view(bool).reshape(x.shape)
    wanted = np.expand_dims(y, axis)
    np.equal(x, wanted, out=hit)
    if y.dtype.kind == "f" and np.isnan(y).any():
        hit |= np.isnan(x) & np.isnan(wanted)
    np.argmax(hit, axis=axis, out=out)
    found = np.take_along_axis(hit, np.expand_dims(out, axis), axis)
    np.copyto(out, np.where(found.squeeze(axis), out + start, NOWHERE))


def argmax(t: Tensor, axis: int | None = None, keepdims: bool = False, *, split: bool = False) -> Tensor:
    """Position (int64) of the first largest element along `axis`, of the flattened tensor by default. Not differentiable.

    split: work with `axis` split over devices, where only each device's candidate travels: the maximum, then the smallest
    position that has it. On an axis that is whole this takes about three times as long.
    """
    return _search(t, axis, keepdims, split, largest=True)


def argmin(t: Tensor, axis: int | None = None, keepdims: bool = False, *, split: bool = False) -> Tensor:
    """Position (int64) of the first smallest element along `axis`; see `argmax`."""
    return _search(t, axis, keepdims, split, largest=False)


def _search(t: Tensor, axis: int | None, keepdims: bool, split: bool, largest: bool) -> Tensor:
    x = reshape(t, -1) if axis is None else t
    at = axes_of(x, 0 if axis is None else axis)[0]
    if split:
        extreme = (reduce_max if largest else reduce_min)(x, axes=(at,), keepdims=False)
        found: Tensor = position_of(x, extreme, axis=at, start=0)
    else:
        found = (argmax_op if largest else argmin_op)(x, axis=at)
    if not keepdims:
        return found
    return reshape(found, (1,) * t.ndim if axis is None else tuple(1 if i == at else n for i, n in enumerate(t.shape)))
