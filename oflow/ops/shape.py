"""The same elements in another shape or order: reshape, transpose, broadcast, and what is made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.move import Shape, axes_list, axis_of, cost_of_moves, examples_of, local_shape
from oflow.ops.op import Attributes, Example, Op, Types, op
from oflow.ops.tensor import Tensor, user_line
from oflow.sbp import Rule
from oflow.types import TensorType

# ---------------------------------------------------------------- reshape


def reshape_groups(before: Shape, after: Shape) -> list[tuple[Shape, Shape]]:
    """Shortest runs of neighbouring axes (positions before, positions after) that hold the same number of elements."""
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


def _words(before: Shape, after: Shape) -> tuple[list[str], list[str], dict[str, int]]:
    """The factors of each axis before and after, and the sizes of those that no axis has alone.

    Elements stay in row-major order, so a run of axes can be split where its outermost axes are split into equal parts on both
    sides: by their common divisors. Axes of size 1 go together in order: one device has everything.
    """
    old, new = ["1"] * len(before), ["1"] * len(after)
    if 0 in before:
        return old, new, {}
    sizes: dict[str, int] = {}
    for number, (left, right) in enumerate(reshape_groups(before, after)):
        outer = f"a{number}"
        many_left, many_right = [a for a in left if before[a] != 1], [b for b in right if after[b] != 1]
        if not many_left:
            continue
        if len(many_left) == 1 or len(many_right) == 1:
            parts = [outer, *(f"{outer}x{k}" for k in range(1, max(len(many_left), len(many_right))))]
            _assign(old, many_left, parts)
            _assign(new, many_right, parts)
            continue
        first, last = many_left[0], many_right[0]
        common = math.gcd(before[first], after[last])
        if common > 1:
            sizes[outer] = common
            old[first] = outer if before[first] == common else f"({outer} {outer}x1)"
            new[last] = outer if after[last] == common else f"({outer} {outer}x2)"
    ones = zip([i for i, n in enumerate(before) if n == 1], [j for j, n in enumerate(after) if n == 1], strict=False)
    for number, (i, j) in enumerate(ones):
        old[i] = new[j] = f"one{number}"
    return old, new, sizes


def _assign(words: list[str], axes: Sequence[int], parts: Sequence[str]) -> None:
    """One factor an axis, or all of them on the only one."""
    if len(axes) == len(parts):
        for axis, part in zip(axes, parts, strict=True):
            words[axis] = part
    else:
        words[axes[0]] = f"({' '.join(parts)})"


class Reshape(Op):
    """The operator that changes the shape; attribute shape: the new one."""

    def _factors(self, ins: Types, attrs: Attributes) -> tuple[Rule, tuple[tuple[str, int], ...]]:
        rule, sizes = super()._factors(ins, attrs)
        return rule, tuple(sorted({**dict(sizes), **_words(ins[0].shape, tuple(attrs["shape"]))[2]}.items()))


def _reshape_rule(ins: Types, attrs: Attributes) -> str:
    old, new, _ = _words(ins[0].shape, tuple(attrs["shape"]))
    return f"{' '.join(old)} -> {' '.join(new)}"


def _reshape_infer(ins: Types, attrs: Attributes) -> list[TensorType]:
    shape = tuple(attrs["shape"])
    if math.prod(shape) != ins[0].size:
        raise ShapeError(f"{ins[0].size} elements do not fit shape {shape}")
    return [TensorType(shape, ins[0].dtype)]


_RESHAPED = [
    ((6, 4, 5), (24, 5)), ((12, 5), (6, 2, 5)), ((4, 6), (4, 1, 6)), ((5, 6), (30,)), ((6, 4), (4, 6)), ((3, 12, 2), (3, 2, 3, 4)),
    ((1, 6, 1), (6, 1)), ((8, 6, 5), (2, 4, 6, 5)), ((), (1, 1)), ((0, 3), (3, 0)), ((4, 6, 5), (2, 12, 5)),
]  # fmt: skip
reshape_op = Reshape(
    "reshape", rule=_reshape_rule, infer=_reshape_infer, linear=[{0}], monotone=[{0}], exact=True, view=True,
    example=lambda: [Example((examples_of(*before),), {"shape": after}) for before, after in _RESHAPED],
)  # fmt: skip
reshape_op.local(local_shape)
reshape_op.cost(cost_of_moves)


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
    if any(n < -1 for n in sizes) or sizes.count(-1) > 1:
        raise ShapeError(f"a shape has sizes >= 0, one may be -1, got {tuple(sizes)}", line=user_line())
    if -1 in sizes:
        rest = -math.prod(sizes)
        if rest == 0 or t.type.size % rest:
            raise ShapeError(f"{t.type.size} elements do not fit shape {tuple(sizes)}", line=user_line())
        sizes[sizes.index(-1)] = t.type.size // rest
    return t if tuple(sizes) == t.shape else reshape_op(t, shape=tuple(sizes))


def ravel(t: Tensor) -> Tensor:
    """All elements in row-major order (t.size,)."""
    return reshape(t, -1) if t.type.size else reshape(t, 0)


def expand_dims(t: Tensor, axis: int | Sequence[int]) -> Tensor:
    """New axes of size 1 at these places of the result."""
    count = 1 if isinstance(axis, int | np.integer) else len(axis)
    places, sizes = axes_list(t, axis, more=count), iter(t.shape)
    return reshape(t, tuple(1 if i in places else next(sizes) for i in range(t.ndim + count)))


def squeeze(t: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    """Without these axes, which must have size 1; by default without all axes of size 1."""
    gone = tuple(i for i, n in enumerate(t.shape) if n == 1) if axis is None else axes_list(t, axis)
    wrong = [i for i in gone if t.shape[i] != 1]
    if wrong:
        raise ShapeError(f"axis {wrong[0]} of {t.type} has size {t.shape[wrong[0]]}, not 1", line=user_line())
    return reshape(t, tuple(n for i, n in enumerate(t.shape) if i not in gone))


# ---------------------------------------------------------------- transpose

transpose_op = op(
    "transpose", rule=lambda ins, attrs: _permuted(len(ins[0].shape), attrs["axes"]), linear=[{0}], monotone=[{0}], exact=True, moves=True,
    example=lambda: [
        Example((examples_of(4, 5),), {"axes": (1, 0)}), Example((examples_of(3, 4, 5),), {"axes": (2, 0, 1)}),
        Example((examples_of(1, 2, 6),), {"axes": (1, 0, 2)}), Example((examples_of(7),), {"axes": (0,)}),
    ],
)  # fmt: skip
transpose_op.cost(cost_of_moves)


def _permuted(rank: int, axes: Shape) -> str:
    return f"{' '.join(f'a{i}' for i in range(rank))} -> {' '.join(f'a{i}' for i in axes)}"


@transpose_op.kernel
def _(out: np.ndarray, x: np.ndarray, *, axes: Shape) -> None:
    np.copyto(out, x.transpose(axes))


@transpose_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *, axes: Shape) -> list[Tensor]:
    return [transpose(g, tuple(int(i) for i in np.argsort(axes)))]


def transpose(t: Tensor, *order: int | Sequence[int] | None, axes: Sequence[int] | None = None) -> Tensor:
    """Axes in another order (reversed by default): a sequence, or one number each."""
    given = order if order and isinstance(order[0], int | np.integer) else order[0] if order else axes
    wanted = tuple(reversed(range(t.ndim))) if given is None else tuple(axis_of(t, a) for a in given)  # type: ignore[union-attr, arg-type]
    if sorted(wanted) != list(range(t.ndim)):
        raise ShapeError(f"{given} is not an order of the {t.ndim} axes of {t.type}", line=user_line())
    return t if wanted == tuple(range(t.ndim)) else transpose_op(t, axes=wanted)


def moveaxis(t: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """The axes `source` at the places `destination`, the others in their order."""
    taken, places = axes_list(t, source), axes_list(t, destination)
    if len(taken) != len(places):
        raise ShapeError(f"{len(taken)} axes cannot go to {len(places)} places", line=user_line())
    at, rest = dict(zip(places, taken, strict=True)), iter(i for i in range(t.ndim) if i not in taken)
    return transpose(t, tuple(at[i] if i in at else next(rest) for i in range(t.ndim)))


def swapaxes(t: Tensor, axis1: int, axis2: int) -> Tensor:
    """With two axes exchanged."""
    order = list(range(t.ndim))
    first, second = axis_of(t, axis1), axis_of(t, axis2)
    order[first], order[second] = second, first
    return transpose(t, order)


# ---------------------------------------------------------------- broadcast


def _broadcast_rule(ins: Types, attrs: Attributes) -> str:
    """Axes that are new or repeated are factors of the result alone: a rank makes its part from all of the operand."""
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
    moves=True,
    example=lambda: [
        Example((examples_of(*small),), {"shape": big})
        for small, big in [((5,), (4, 5)), ((4, 1), (4, 6)), ((), (5,)), ((1, 7), (2, 5, 7)), ((1,), (1, 3))]
    ],
)  # fmt: skip
broadcast_op.local(local_shape)
broadcast_op.cost(cost_of_moves)


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
