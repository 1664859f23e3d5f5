"""Slices chosen by number, and sums of slices by number: `take` and `segment_sum`, each the other's gradient.

The axis that is chosen from may be split: a device gives 0 for what it does not have, so results are partial sums. The axis that is
summed into may be split too: a device adds up its own positions. Split numbers give partial sums there. Numbers count from the end
where they are negative, and IndexError says where one is out of range.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import Cost
from oflow.ops.blocks import blocks
from oflow.ops.cast import cast
from oflow.ops.move import Shape, axis_of, examples_of
from oflow.ops.op import Attributes, Example, Shards, Types, op
from oflow.ops.shape import ravel, reshape
from oflow.ops.tensor import Tensor, user_line
from oflow.types import TensorType

MANY = 8192
"""Elements that are addressed one by one at a time."""
LONG = 512
"""Elements of a row from which it is added in one call."""


def axes_around(x: TensorType, axis: int) -> tuple[str, str]:
    """Factor names of the axes before and after `axis`."""
    before, after = (" ".join(f"a{i}" for i in part) for part in (range(axis), range(axis + 1, len(x.shape))))
    return before, after


def check(indices: TensorType) -> None:
    """Raises ShapeError unless they are int64."""
    if indices.dtype != "int64":
        raise ShapeError(f"numbers of positions must be int64, got {indices.dtype}; convert them with of.cast(t, 'int64')")


def own(indices: np.ndarray, count: int, offset: int) -> np.ndarray:
    """Local numbers, counted from the rank's first position; those of other ranks are out of range."""
    if indices.size and not -count <= indices.min() <= indices.max() < count:
        raise IndexError(f"numbers must be in range({-count}, {count}), got {indices.min()} to {indices.max()}")
    return np.asarray(np.where(indices < 0, indices + (count - offset), indices - offset))


def matrix(x: np.ndarray, axis: int, more: int = 1) -> np.ndarray:
    """View with `more` axes from `axis` on as one: (before, n, after)."""
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis : axis + more]), math.prod(x.shape[axis + more :]))


def parts(shape: Shape) -> Iterator[tuple[tuple[slice, ...], tuple[np.ndarray, ...]]]:
    """Regions of at most MANY elements that make up an array of this shape, and the indices in each, which broadcast to it."""
    for at in blocks(shape, MANY):
        spans = [range(n)[part] if isinstance(part, slice) else range(part, part + 1) for part, n in zip(at, shape, strict=False)]
        spans += map(range, shape[len(at) :])
        yield tuple(slice(r.start, r.stop) for r in spans), np.ix_(*[np.arange(r.start, r.stop) for r in spans])


def numbers(*shape: int, below: int) -> np.ndarray:
    """Numbers in range(-below, below); some occur twice."""
    found = np.arange(math.prod(shape)) * 5 % 7 % below
    return np.where(np.arange(found.size) % 3 == 2, found - below, found).reshape(shape)


# ---------------------------------------------------------------- take


def _taken(ins: Types, attrs: Attributes) -> list[TensorType]:
    x, indices = ins
    check(indices)
    axis = attrs["axis"]
    return [TensorType((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)]


def _take_rule(ins: Types, attrs: Attributes) -> str:
    before, after = axes_around(ins[0], attrs["axis"])
    places = " ".join(f"i{j}" for j in range(len(ins[1].shape)))
    return f"{before} v {after}, {places} -> {before} {places} {after}"


def offset_of_operand(attrs: Attributes, shards: Shards) -> Attributes:
    """The position of the rank's first element along the axis that is chosen from."""
    return {**attrs, "offset": shards.ins[0][attrs["axis"]][0]}


def offset_of_result(attrs: Attributes, shards: Shards) -> Attributes:
    """The position of the rank's first element along the axis that is summed into."""
    return {**attrs, "offset": shards.outs[0][attrs["axis"]][0]}


_TAKEN: list[tuple[Shape, Shape, int]] = [((7, 4), (5,), 0), ((3, 6), (2, 3), 1), ((2, 5, 3), (), 1), ((6,), (7, 2), 0)]
take_op = op(
    "take", rule=_take_rule, infer=_taken, linear=[{0}], monotone=[{0}], exact=True, moves=True,
    example=lambda: [
        Example((examples_of(*shape), numbers(*some, below=shape[axis])), {"axis": axis, "count": shape[axis]})
        for shape, some, axis in _TAKEN
    ],
)  # fmt: skip
"""x (..., v, ...), numbers (i...); axis, count = v of the whole tensor, offset = position of the rank's first -> (..., i..., ...)."""
take_op.local(offset_of_operand)


@take_op.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return Cost(nbytes=float(ins[1].nbytes + 2 * outs[0].nbytes), calls=1)


@take_op.kernel
def _(out: np.ndarray, x: np.ndarray, indices: np.ndarray, *, axis: int, count: int, offset: int = 0) -> None:
    local: np.ndarray = own(indices.reshape(-1), count, offset)
    source, result = matrix(x, axis), matrix(out, axis, indices.ndim)
    if not source.shape[1]:
        out[...] = 0
        return
    np.take(source, local, axis=1, out=result, mode="clip")
    if source.shape[1] < count:
        result[:, (local < 0) | (local >= source.shape[1])] = 0


@take_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, indices: Tensor, *, axis: int, count: int, **_: Any) -> list[Tensor | None]:
    return [segment_op(g, indices, axis=axis, count=count), None]


# ---------------------------------------------------------------- sums by number


def _summed(ins: Types, attrs: Attributes) -> list[TensorType]:
    source, indices = ins
    check(indices)
    axis, stop = attrs["axis"], attrs["axis"] + len(indices.shape)
    if source.shape[axis:stop] != indices.shape:
        raise ShapeError(f"numbers {indices} do not stand at axis {axis} of {source}")
    return [TensorType((*source.shape[:axis], attrs["count"], *source.shape[stop:]), source.dtype)]


def _segment_rule(ins: Types, attrs: Attributes) -> str:
    axis, places = attrs["axis"], " ".join(f"i{j}" for j in range(len(ins[1].shape)))
    before = " ".join(f"a{i}" for i in range(axis))
    after = " ".join(f"b{i}" for i in range(len(ins[0].shape) - axis - len(ins[1].shape)))
    return f"{before} {places} {after}, {places} -> {before} v {after}"


segment_op = op(
    "segment_sum", rule=_segment_rule, infer=_summed, linear=[{0}], exact=True,
    example=lambda: [
        Example((examples_of(*shape[:axis], *some, *shape[axis + 1 :]), numbers(*some, below=shape[axis])),
                {"axis": axis, "count": shape[axis]})
        for shape, some, axis in _TAKEN
    ],
)  # fmt: skip
"""source (..., i..., ...), numbers (i...); axis, count = v, offset -> (..., v, ...): position j is the sum of source where numbers == j.

Sums are in the order of the positions of the source.
"""
segment_op.local(offset_of_result)


@segment_op.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return Cost(flops=float(ins[0].size), nbytes=float(ins[1].nbytes + 3 * ins[0].nbytes + outs[0].nbytes), calls=1)


@segment_op.kernel
def _(out: np.ndarray, source: np.ndarray, indices: np.ndarray, *, axis: int, count: int, offset: int = 0) -> None:
    out[...] = 0
    local: np.ndarray = own(indices.reshape(-1), count, offset)
    given, result = matrix(source, axis, indices.ndim), matrix(out, axis)
    mine = np.flatnonzero((local >= 0) & (local < result.shape[1]))
    lead, _, width = given.shape
    if width >= LONG:
        for at in mine:
            np.add(result[:, local[at]], given[:, at], out=result[:, local[at]])
        return
    for _, (a, i, b) in parts((lead, len(mine), width)):
        places = (a * result.shape[1] + local[mine[i]]) * width + b
        np.add.at(result.reshape(-1), places.reshape(-1), given[a, mine[i], b].reshape(-1))


@segment_op.grad
def _(g: Tensor, y: Tensor, source: Tensor, indices: Tensor, *, axis: int, count: int, **_: Any) -> list[Tensor | None]:
    return [take_op(g, indices, axis=axis, count=count), None]


# ---------------------------------------------------------------- what users call


def as_numbers(t: Tensor, indices: Any) -> Tensor:
    """Numbers as an int64 tensor; lists and arrays become constants of the graph."""
    from oflow.ops.constant import constant

    found = indices if isinstance(indices, Tensor) else constant(t.builder, indices, None if np.size(indices) else "int64")
    if found.dtype not in ("int64", "int32", "uint8"):
        raise ShapeError(f"numbers of positions are whole numbers, got {found.type}", line=user_line())
    return cast(found, "int64")


def take(t: Tensor, indices: Tensor | Sequence[int] | int, axis: int | None = None, mode: str = "raise") -> Tensor:
    """The elements at `indices` (any shape) along `axis`, in place of that axis; axis=None: of the flattened tensor.

    Numbers out of range raise IndexError in the kernel; mode "wrap" counts around, "clip" takes the nearest.
    """
    if axis is None:
        return take(ravel(t), indices, 0, mode)
    axis = axis_of(t, axis)
    places, count = as_numbers(t, indices), t.shape[axis]
    if mode not in ("raise", "wrap", "clip"):
        raise ShapeError(f"mode {mode!r} is not one of raise, wrap, clip", line=user_line())
    if mode != "raise":
        from oflow.ops.arithmetic import clip, remainder

        places = remainder(places, count) if mode == "wrap" else clip(places, 0, count - 1)
    return take_op(t, places, axis=axis, count=count)  # type: ignore[no-any-return]


def segment_sum(t: Tensor, segment_ids: Tensor | Sequence[int], num_segments: int, axis: int = 0) -> Tensor:
    """Along `axis` the sums of the elements with number 0, 1, ... num_segments - 1, as JAX's segment_sum.

    segment_ids: one number for each position of the axis (more axes: of as many axes of t from `axis` on). Numbers out of range
    raise IndexError in the kernel.
    """
    axis = axis_of(t, axis)
    return segment_op(t, as_numbers(t, segment_ids), axis=axis, count=int(num_segments))  # type: ignore[no-any-return]


def index_add(t: Tensor, axis: int, indices: Tensor | Sequence[int], source: Tensor) -> Tensor:
    """t with the slices of `source` added at the positions `indices` (n,) along `axis`; numbers may occur several times.

    source has t's shape with n for that axis. PyTorch's index_add.
    """
    from oflow.ops.arithmetic import add

    axis = axis_of(t, axis)
    return add(t, segment_op(source, as_numbers(t, indices), axis=axis, count=t.shape[axis]))  # type: ignore[no-any-return]


def one_hot(indices: Tensor, num_classes: int, dtype: object = "float32") -> Tensor:
    """(...) whole numbers -> (..., num_classes): 1 at the number, 0 elsewhere; a number out of range gives zeros (as in JAX)."""
    from oflow.ops.comparison import equal
    from oflow.ops.constant import numbers as count_up

    classes = cast(count_up(indices.builder, num_classes), indices.dtype)
    return cast(equal(reshape(indices, (*indices.shape, 1)), classes), dtype)
