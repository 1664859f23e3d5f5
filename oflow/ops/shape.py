"""Operators that move elements and compute nothing: reshape, transpose, broadcast, slice, concatenate, cast, constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.op import Attributes, Example, Shards, Types, op
from oflow.ops.tensor import Tensor, user_line
from oflow.types import TensorType, dtype_name

Shape = tuple[int, ...]


def _whole(*shape: int) -> np.ndarray:
    return (np.arange(math.prod(shape)) % 13 - 6).reshape(shape).astype("float64")


def _shape_of(attrs: Attributes, shards: Shards) -> Attributes:
    """A rank's result shape is the size of its region."""
    return {**attrs, "shape": tuple(stop - start for start, stop in shards.outs[0])}


# ---------------------------------------------------------------- reshape


def reshape_groups(before: Shape, after: Shape) -> list[tuple[Shape, Shape]]:
    """Runs of neighbouring axes (positions before, positions after) that hold the same number of elements."""
    groups = []
    i = j = 0
    while i < len(before) or j < len(after):
        left: list[int] = []
        right: list[int] = []
        m = n = 1
        while not left or not right or m != n:
            if (m <= n and i < len(before)) or j == len(after):
                left.append(i)
                m *= before[i]
                i += 1
            else:
                right.append(j)
                n *= after[j]
                j += 1
            if i == len(before) and j == len(after):
                break
        groups.append((tuple(left), tuple(right)))
    return groups


def _reshape_rule(ins: Types, attrs: Attributes) -> str:
    before, after = ins[0].shape, tuple(attrs["shape"])
    old, new = ["1"] * len(before), ["1"] * len(after)
    if 0 in before:
        return f"{' '.join(old)} -> {' '.join(new)}"
    for number, (left, right) in enumerate(reshape_groups(before, after)):
        big_left, big_right = [a for a in left if before[a] != 1], [b for b in right if after[b] != 1]
        outer = f"a{number}"
        if len(big_left) == 1 and len(big_right) == 1:
            old[big_left[0]] = new[big_right[0]] = outer
        elif len(big_left) == 1 and big_right:
            parts = [outer, *(f"{outer}x{k}" for k in range(1, len(big_right)))]
            old[big_left[0]] = f"({' '.join(parts)})"
            for name, b in zip(parts, big_right, strict=True):
                new[b] = name
        elif len(big_right) == 1 and big_left:
            parts = [outer, *(f"{outer}x{k}" for k in range(1, len(big_left)))]
            new[big_right[0]] = f"({' '.join(parts)})"
            for name, a in zip(parts, big_left, strict=True):
                old[a] = name
        elif big_left and before[big_left[0]] == after[big_right[0]]:
            old[big_left[0]] = new[big_right[0]] = outer
    return f"{' '.join(old)} -> {' '.join(new)}"


def _reshape_infer(ins: Types, attrs: Attributes) -> list[TensorType]:
    shape = tuple(attrs["shape"])
    if math.prod(shape) != ins[0].size:
        raise ShapeError(f"{ins[0].size} elements do not fit shape {shape}")
    return [TensorType(shape, ins[0].dtype)]


reshape_op = op(
    "reshape", rule=_reshape_rule, infer=_reshape_infer, linear=[{0}], monotone=[{0}], exact=True, view=True,
    example=lambda: [
        Example((_whole(6, 4, 5),), {"shape": (24, 5)}), Example((_whole(12, 5),), {"shape": (6, 2, 5)}),
        Example((_whole(4, 6),), {"shape": (4, 1, 6)}), Example((_whole(5, 6),), {"shape": (30,)}),
    ],
)  # fmt: skip
reshape_op.local(_shape_of)


@reshape_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, shape: Shape) -> None:
    if x.flags.c_contiguous:
        np.copyto(out, x.reshape(out.shape))
    else:
        np.copyto(out.reshape(x.shape), x)


@reshape_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, shape: Shape) -> list[Tensor]:
    return [reshape(g, x.shape)]


def reshape(t: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """The same elements in row-major order in another shape; one size may be -1."""
    sizes = [int(n) for part in shape for n in ([part] if isinstance(part, int | np.integer) else part)]
    if sizes.count(-1) == 1:
        rest = -math.prod(sizes)
        if rest == 0 or t.type.size % rest:
            raise ShapeError(f"{t.type.size} elements do not fit shape {tuple(sizes)}", line=user_line())
        sizes[sizes.index(-1)] = t.type.size // rest
    return t if tuple(sizes) == t.shape else reshape_op(t, shape=tuple(sizes))


# ---------------------------------------------------------------- transpose

transpose_op = op(
    "transpose", rule=lambda ins, attrs: _permuted(len(ins[0].shape), attrs["axes"]), linear=[{0}], monotone=[{0}], exact=True,
    example=lambda: [Example((_whole(4, 5),), {"axes": (1, 0)}), Example((_whole(3, 4, 5),), {"axes": (2, 0, 1)})],
)  # fmt: skip


def _permuted(rank: int, axes: Shape) -> str:
    return f"{' '.join(f'a{i}' for i in range(rank))} -> {' '.join(f'a{i}' for i in axes)}"


@transpose_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, axes: Shape) -> None:
    np.copyto(out, x.transpose(axes))


@transpose_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, axes: Shape) -> list[Tensor]:
    return [transpose(g, tuple(int(i) for i in np.argsort(axes)))]


def transpose(t: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """Axes in another order (reversed by default)."""
    order = tuple(reversed(range(t.ndim))) if axes is None else tuple(a % t.ndim for a in axes)
    if sorted(order) != list(range(t.ndim)):
        raise ShapeError(f"{axes} is not an order of the {t.ndim} axes of {t.type}", line=user_line())
    return transpose_op(t, axes=order)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- broadcast


def _broadcast_rule(ins: Types, attrs: Attributes) -> str:
    small, big = ins[0].shape, tuple(attrs["shape"])
    letters = [f"a{i}" for i in range(len(big))]
    lead = len(big) - len(small)
    old = ["1" if n == 1 and big[i + lead] != 1 else letters[i + lead] for i, n in enumerate(small)]
    return f"{' '.join(old)} -> {' '.join(letters)}"


def _broadcast_infer(ins: Types, attrs: Attributes) -> list[TensorType]:
    try:
        fits = np.broadcast_shapes(ins[0].shape, tuple(attrs["shape"])) == tuple(attrs["shape"])
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"shape {ins[0].shape} cannot be repeated to {tuple(attrs['shape'])}")
    return [TensorType(tuple(attrs["shape"]), ins[0].dtype)]


broadcast_op = op(
    "broadcast_to", rule=_broadcast_rule, infer=_broadcast_infer, linear=[{0}], monotone=[{0}], exact=True, repeats=True,
    example=lambda: [
        Example((_whole(5),), {"shape": (4, 5)}), Example((_whole(4, 1),), {"shape": (4, 6)}), Example((_whole(),), {"shape": (5,)}),
    ],
)  # fmt: skip
broadcast_op.local(_shape_of)


@broadcast_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, shape: Shape) -> None:
    np.copyto(out, x)


@broadcast_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, shape: Shape) -> list[Tensor]:
    from oflow.ops.elementwise import sum_to

    return [sum_to(g, x.shape)]


def broadcast_to(t: Tensor, shape: Sequence[int]) -> Tensor:
    """Repeat along new leading axes and axes of size 1, as NumPy does."""
    return t if tuple(shape) == t.shape else broadcast_op(t, shape=tuple(shape))


# ---------------------------------------------------------------- slice, pad, concatenate


def _slice_rule(ins: Types, attrs: Attributes) -> str:
    """Axes that are taken whole can be split."""
    parts = list(zip(ins[0].shape, attrs["starts"], attrs["stops"], strict=True))
    letters = [f"a{i}" if (start, stop) == (0, n) else "1" for i, (n, start, stop) in enumerate(parts)]
    return f"{' '.join(letters)} -> {' '.join(letters)}"


def _slice_infer(ins: Types, attrs: Attributes) -> list[TensorType]:
    return [TensorType(tuple(b - a for a, b in zip(attrs["starts"], attrs["stops"], strict=True)), ins[0].dtype)]


def _slice_local(attrs: Attributes, shards: Shards) -> Attributes:
    """Along an axis that is taken whole a rank takes all it has."""
    spans = []
    for (low, high), (first, last), start, stop in zip(shards.ins[0], shards.outs[0], attrs["starts"], attrs["stops"], strict=True):
        whole = start == 0 and high - low == last - first
        spans.append((0, high - low) if whole else (start, stop))
    return {"starts": tuple(a for a, _ in spans), "stops": tuple(b for _, b in spans)}


slice_op = op(
    "slice", rule=_slice_rule, infer=_slice_infer, linear=[{0}], monotone=[{0}], exact=True,
    example=lambda: [Example((_whole(5, 6),), {"starts": (0, 2), "stops": (5, 5)})],
)  # fmt: skip
slice_op.local(_slice_local)
pad_op = op(
    "pad", rule=lambda ins, attrs: _pad_rule(ins, attrs), infer=lambda ins, attrs: [TensorType(tuple(attrs["shape"]), ins[0].dtype)],
    linear=[{0}], exact=True, example=lambda: [Example((_whole(5, 3),), {"starts": (0, 2), "shape": (5, 7)})],
)  # fmt: skip


def _pad_rule(ins: Types, attrs: Attributes) -> str:
    letters = [f"a{i}" if n == m else "1" for i, (n, m) in enumerate(zip(ins[0].shape, attrs["shape"], strict=True))]
    return f"{' '.join(letters)} -> {' '.join(letters)}"


@pad_op.local
def _(attrs: Attributes, shards: Shards) -> Attributes:
    return {"starts": attrs["starts"], "shape": tuple(stop - start for start, stop in shards.outs[0])}


@slice_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, starts: Shape, stops: Shape) -> None:
    np.copyto(out, x[tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))])


@slice_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, starts: Shape, stops: Shape) -> list[Tensor]:
    return [pad_op(g, starts=starts, shape=x.shape)]


@pad_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, starts: Shape, shape: Shape) -> None:
    out[...] = 0
    np.copyto(out[tuple(slice(a, a + n) for a, n in zip(starts, x.shape, strict=True))], x)


@pad_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, starts: Shape, shape: Shape) -> list[Tensor]:
    return [slice_op(g, starts=starts, stops=tuple(a + n for a, n in zip(starts, x.shape, strict=True)))]


def getitem(t: Tensor, index: Any) -> Tensor:
    """``t[1:3, 0]``: slices with step 1, integers and ``...``; the rest as in NumPy."""
    index = index if isinstance(index, tuple) else (index,)
    if Ellipsis in index:
        at = index.index(Ellipsis)
        index = (*index[:at], *[slice(None)] * (t.ndim - len(index) + 1), *index[at + 1 :])
    index = (*index, *[slice(None)] * (t.ndim - len(index)))
    spans, kept = [], []
    for axis, (part, n) in enumerate(zip(index, t.shape, strict=True)):
        if isinstance(part, int) and -n <= part < n:
            spans.append((part % n, part % n + 1))
        elif isinstance(part, slice) and part.step in (None, 1):
            start, stop, _ = part.indices(n)
            spans.append((start, max(start, stop)))
            kept.append(axis)
        else:
            raise ShapeError(f"index {part!r} on axis {axis} of {t.type}; use integers and slices with step 1", line=user_line())
    cut = slice_op(t, starts=tuple(a for a, _ in spans), stops=tuple(b for _, b in spans))
    return reshape(cut, tuple(cut.shape[a] for a in kept))


concat_op = op(
    "concat", rule=lambda ins, attrs: _concat_rule(ins, attrs), infer=lambda ins, attrs: _concat_infer(ins, attrs),
    linear=[{0, 1}], exact=True, example=lambda: [Example((_whole(4, 5), _whole(4, 3)), {"axis": 1})],
)  # fmt: skip


def _concat_rule(ins: Types, attrs: Attributes) -> str:
    letters = ["1" if i == attrs["axis"] else f"a{i}" for i in range(len(ins[0].shape))]
    return f"{', '.join([' '.join(letters)] * len(ins))} -> {' '.join(letters)}"


def _concat_infer(ins: Types, attrs: Attributes) -> list[TensorType]:
    axis = attrs["axis"]
    rests = {(t.dtype, t.shape[:axis], t.shape[axis + 1 :]) for t in ins}
    if len(rests) > 1:
        raise ShapeError(f"all sizes but axis {axis}, and all dtypes, must be equal")
    shape = (*ins[0].shape[:axis], sum(t.shape[axis] for t in ins), *ins[0].shape[axis + 1 :])
    return [TensorType(shape, ins[0].dtype)]


@concat_op.kernel
def _(out: np.ndarray, *ins: np.ndarray, axis: int) -> None:
    np.concatenate(ins, axis=axis, out=out)


@concat_op.grad
def _(g: Tensor, y: Tensor, *ins: Tensor, axis: int) -> list[Tensor]:
    found, at = [], 0
    for t in ins:
        found.append(getitem(g, (*[slice(None)] * axis, slice(at, at + t.shape[axis]))))
        at += t.shape[axis]
    return found


def concat(a: Tensor, b: Tensor, axis: int = 0) -> Tensor:
    """Two tensors joined along `axis`."""
    return concat_op(a, b, axis=axis % a.ndim)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- dtype and constants


def _same(ins: Types, attrs: Attributes) -> str:
    letters = " ".join(f"a{i}" for i in range(len(ins[0].shape)))
    return f"{letters} -> {letters}"


cast_op = op(
    "cast", rule=_same, dtype=lambda ins, attrs: (attrs["dtype"],), exact=True,
    example=lambda: [Example((_whole(5, 4),), {"dtype": "float32"}), Example((_whole(5, 4),), {"dtype": "int64"})],
)  # fmt: skip


@cast_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, dtype: str) -> None:
    np.copyto(out, x, casting="unsafe")


@cast_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, dtype: str) -> list[Tensor | None]:
    return [cast(g, x.dtype) if x.type.is_float and y.type.is_float else None]


def cast(t: Tensor, dtype: object) -> Tensor:
    """The same values in another dtype."""
    return t if t.dtype == dtype_name(dtype) else cast_op(t, dtype=dtype_name(dtype))


full_op = op(
    "full", rule=lambda ins, attrs: "-> " + " ".join(f"a{i}" for i in range(len(attrs["shape"]))),
    infer=lambda ins, attrs: [TensorType(tuple(attrs["shape"]), attrs["dtype"])], exact=True,
    example=lambda: [Example((), {"shape": (5, 4), "dtype": "float64", "value": 3.0})],
)  # fmt: skip
full_op.local(_shape_of)


@full_op.kernel
def _(out: np.ndarray, *, shape: Shape, dtype: str, value: float) -> None:
    out[...] = value


def full_like(t: Tensor, value: float) -> Tensor:
    """A constant tensor of the type of `t`."""
    return full_op.append((), {"shape": t.shape, "dtype": t.dtype, "value": value}, t.builder)  # type: ignore[no-any-return]
