"""Slices and what puts them back: slice, pad, roll, flip, and indexing with ``t[...]``.

An axis that is taken whole, from first to last, can be split; one that is cut, reversed, filled up or turned stays whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.move import Move, Shape, axes_list, axes_rule, cost_of_moves, examples_of, local_shape
from oflow.ops.op import Attributes, Example, Shards, Types
from oflow.ops.shape import ravel, reshape
from oflow.ops.tensor import Tensor, user_line
from oflow.types import TensorType


def spans(attrs: Attributes) -> list[range]:
    """For each axis the positions that are taken, from the attributes starts, stops and steps (absent: 1)."""
    steps = attrs.get("steps") or (1,) * len(attrs["starts"])
    return [range(*span) for span in zip(attrs["starts"], attrs["stops"], steps, strict=True)]


def region(taken: Sequence[range]) -> tuple[slice, ...]:
    """The index that takes these positions."""
    return tuple(slice(r.start, None if r.stop < 0 else r.stop, r.step) for r in taken)


def _attrs(taken: Sequence[range]) -> dict[str, Shape]:
    found = {"starts": tuple(r.start for r in taken), "stops": tuple(r.stop for r in taken)}
    steps = tuple(r.step for r in taken)
    return {**found, "steps": steps} if set(steps) - {1} else found


# ---------------------------------------------------------------- slice


def _cut(shape: Shape, taken: Sequence[range]) -> list[int]:
    """The axes that are not taken whole."""
    return [i for i, (n, r) in enumerate(zip(shape, taken, strict=True)) if r != range(n)]


def _slice_infer(ins: Types, attrs: Attributes) -> list[TensorType]:
    return [TensorType(tuple(map(len, spans(attrs))), ins[0].dtype)]


slice_op = Move(
    "slice", rule=lambda ins, attrs: axes_rule(len(ins[0].shape), _cut(ins[0].shape, spans(attrs))), infer=_slice_infer, exact=True,
    example=lambda: [
        Example((examples_of(5, 6),), {"starts": (0, 2), "stops": (5, 5)}),
        Example((examples_of(7, 5),), {"starts": (0, 1), "stops": (7, 5), "steps": (1, 2)}),
        Example((examples_of(6, 7),), {"starts": (5, 0), "stops": (-1, 7), "steps": (-1, 1)}),
        Example((examples_of(2, 7, 3),), {"starts": (0, 6, 1), "stops": (2, 0, 1), "steps": (1, -3, 1)}),
    ],
)  # fmt: skip
"""starts, stops, steps (absent: 1) of each axis, as of `range`: a stop of -1 lies before the first element."""
slice_op.cost(cost_of_moves)


@slice_op.local
def _(attrs: Attributes, shards: Shards) -> Attributes:
    """Along an axis that is taken whole a rank takes all it has."""
    found = []
    for (low, high), (first, last), taken in zip(shards.ins[0], shards.outs[0], spans(attrs), strict=True):
        whole = (taken.start, taken.step) == (0, 1) and high - low == last - first
        found.append(range(high - low) if whole else taken)
    return _attrs(found)


@slice_op.kernel
def _(out: np.ndarray, x: np.ndarray, **attrs: Shape) -> None:
    np.copyto(out, x[region(spans(attrs))])


@slice_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, **attrs: Shape) -> list[Tensor]:
    steps = {"steps": attrs["steps"]} if "steps" in attrs else {}
    return [pad_op(g, starts=attrs["starts"], shape=x.shape, **steps)]


# ---------------------------------------------------------------- pad


def _placed(attrs: Attributes, shape: Shape) -> list[range]:
    """For each axis where the elements of an operand of this shape are put."""
    steps = attrs.get("steps") or (1,) * len(shape)
    return [range(a, a + n * step, step) for a, n, step in zip(attrs["starts"], shape, steps, strict=True)]


def _pad_rule(ins: Types, attrs: Attributes) -> str:
    steps = attrs.get("steps") or (1,) * len(ins[0].shape)
    kept = [n == m and step == 1 for n, m, step in zip(ins[0].shape, attrs["shape"], steps, strict=True)]
    return axes_rule(len(kept), [i for i, whole in enumerate(kept) if not whole])


def _pad_infer(ins: Types, attrs: Attributes) -> list[TensorType]:
    if attrs.get("value", 0) != int(attrs.get("value", 0)) and not ins[0].is_float:
        raise ShapeError(f"{attrs['value']} is not a whole number; convert the tensor with of.cast(t, 'float32')")
    return [TensorType(tuple(attrs["shape"]), ins[0].dtype)]


pad_op = Move(
    "pad", rule=_pad_rule, infer=_pad_infer, exact=True,
    example=lambda: [
        Example((examples_of(5, 3),), {"starts": (0, 2), "shape": (5, 7)}),
        Example((examples_of(5, 3),), {"starts": (0, 2), "shape": (5, 7), "value": 2.0}),
        Example((examples_of(3, 6),), {"starts": (1, 0), "shape": (7, 6), "steps": (2, 1)}),
        Example((examples_of(3, 2, 4),), {"starts": (2, 0, 6), "shape": (3, 2, 7), "steps": (-1, 1, -2), "value": -1.0}),
    ],
)  # fmt: skip
"""starts, steps (absent: 1): where the operand's elements are put along each axis; shape of the result; value of the rest (absent: 0)."""
pad_op.cost(cost_of_moves)


pad_op.local(local_shape)


@pad_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, value: float = 0, **attrs: Shape) -> None:
    if out.size > x.size:
        out[...] = value
    np.copyto(out[region(_placed(attrs, x.shape))], x)


@pad_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, value: float = 0, **attrs: Shape) -> list[Tensor]:
    return [slice_op(g, **_attrs(_placed(attrs, x.shape)))]


def _pairs(t: Tensor, pad_width: int | Sequence[int] | Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Elements before and after each axis, in all the forms that NumPy takes."""
    try:
        found = np.broadcast_to(np.asarray(pad_width, dtype="int64"), (t.ndim, 2))
    except ValueError:
        raise ShapeError(f"pad_width {pad_width!r} is no pair of numbers for each axis of {t.type}", line=user_line()) from None
    if found.size and found.min() < 0:
        raise ShapeError(f"pad_width {pad_width!r} has a negative number", line=user_line())
    return [(int(before), int(after)) for before, after in found]


def pad(
    t: Tensor, pad_width: int | Sequence[int] | Sequence[Sequence[int]], mode: str = "constant", constant_values: float = 0
) -> Tensor:
    """With `pad_width` elements more before and after each axis: a number, one pair, or a pair for each axis.

    mode "constant" fills with the number `constant_values`, "edge" with the outermost elements, "reflect" and "symmetric" with the
    mirror image (without and with the outermost element), "wrap" with what lies at the other end. Raises ShapeError where an image
    needs more elements than there are.
    """
    pairs = _pairs(t, pad_width)
    if mode == "constant":
        return _constant_pad(t, pairs, constant_values)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ShapeError(f"mode {mode!r} is not one of constant, edge, reflect, symmetric, wrap", line=user_line())
    for axis, (before, after) in enumerate(pairs):
        t = _image_pad(t, axis, before, after, mode)
    return t


def _constant_pad(t: Tensor, pairs: Sequence[tuple[int, int]], value: float) -> Tensor:
    if not any(before or after for before, after in pairs):
        return t
    shape = tuple(before + n + after for (before, after), n in zip(pairs, t.shape, strict=True))
    filled = {"value": value} if value else {}
    return pad_op(t, starts=tuple(before for before, _ in pairs), shape=shape, **filled)  # type: ignore[no-any-return]


def _image_pad(t: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    """The parts before and after are slices of the axis, or repeat its ends."""
    from oflow.ops.joining import concat, repeat

    n = t.shape[axis]
    if n < (1 if mode == "edge" else max(before, after) + (mode == "reflect")) and max(before, after):
        raise ShapeError(f"mode {mode!r} takes {before} and {after} elements of axis {axis} of {t.type}", line=user_line())
    if mode == "edge":
        parts = [repeat(_along(t, axis, range(1)), before, axis), t, repeat(_along(t, axis, range(n - 1, n)), after, axis)]
    else:
        skip = int(mode == "reflect")
        head = range(n - before, n) if mode == "wrap" else range(before - 1 + skip, skip - 1, -1)
        tail = range(after) if mode == "wrap" else range(n - 1 - skip, n - 1 - skip - after, -1)
        parts = [_along(t, axis, head), t, _along(t, axis, tail)]
    kept = [part for part in parts if part.shape[axis]]
    return concat(kept, axis) if len(kept) > 1 else t


# ---------------------------------------------------------------- roll, flip


def _turned(shape: Shape, shifts: Shape) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """(target, source) regions of a roll: along each turned axis the end goes to the front."""
    pairs: list[tuple[tuple[slice, ...], tuple[slice, ...]]] = [((), ())]
    for n, shift in zip(shape, shifts, strict=True):
        k = shift % n if n else 0
        parts = [(slice(k, n), slice(0, n - k)), (slice(0, k), slice(n - k, n))] if k else [(slice(0, n), slice(0, n))]
        pairs = [((*to, a), (*of, b)) for to, of in pairs for a, b in parts]
    return pairs


roll_op = Move(
    "roll", rule=lambda ins, attrs: axes_rule(len(ins[0].shape), [i for i, k in enumerate(attrs["shifts"]) if k]),
    infer=lambda ins, attrs: ins, exact=True,
    example=lambda: [
        Example((examples_of(5, 6),), {"shifts": (0, 2)}), Example((examples_of(7, 5),), {"shifts": (-3, 0)}),
        Example((examples_of(3, 5, 2),), {"shifts": (1, 0, -1)}), Example((examples_of(6),), {"shifts": (13,)}),
    ],
)  # fmt: skip
"""shifts: how far the elements go along each axis; those that leave come in again at the other end."""
roll_op.cost(cost_of_moves)


@roll_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, shifts: Shape) -> None:
    for to, source in _turned(x.shape, shifts):
        np.copyto(out[to], x[source])


@roll_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, shifts: Shape) -> list[Tensor]:
    return [roll_op(g, shifts=tuple(-k for k in shifts))]


def roll(t: Tensor, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """Elements go `shift` places along `axis` (several: one shift each, or one for all; None: along the flattened tensor).

    Those that leave at one end come in at the other.
    """
    if axis is None:
        return reshape(roll(ravel(t), int(np.sum(shift)), 0), t.shape)
    axes = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    given = (shift,) * len(axes) if isinstance(shift, int | np.integer) else tuple(shift)
    if len(given) not in (1, len(axes)):
        raise ShapeError(f"{len(given)} shifts for {len(axes)} axes", line=user_line())
    shifts = [0] * t.ndim
    for a, k in zip(axes, given * (len(axes) if len(given) == 1 else 1), strict=False):
        shifts[axes_list(t, a)[0]] += int(k)
    left = tuple(k % n if n else 0 for k, n in zip(shifts, t.shape, strict=True))
    return roll_op(t, shifts=left) if any(left) else t


def flip(t: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    """In reverse order along `axis` (all axes by default)."""
    turned = range(t.ndim) if axis is None else axes_list(t, axis)
    return sliced(t, [range(n - 1, -1, -1) if i in turned and n > 1 else range(n) for i, n in enumerate(t.shape)])


def sliced(t: Tensor, taken: Sequence[range]) -> Tensor:
    """The positions `taken` along each axis; t itself where that is all of it."""
    plain = [range(n) if r == range(n) else r or range(0) for n, r in zip(t.shape, taken, strict=True)]
    return slice_op(t, **_attrs(plain)) if _cut(t.shape, plain) else t


def _along(t: Tensor, axis: int, positions: range) -> Tensor:
    return sliced(t, [positions if i == axis else range(n) for i, n in enumerate(t.shape)])
