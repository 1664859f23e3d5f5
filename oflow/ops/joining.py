"""Several tensors as one, one as several, and one several times: concatenate, stack, split, tile, repeat.

The axis along which tensors are joined stays whole; the others can be split alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.move import Move, axes_rule, axis_of, cost_of_moves, examples_of
from oflow.ops.op import Attributes, Example, Types
from oflow.ops.shape import broadcast_to, expand_dims, ravel, reshape
from oflow.ops.slicing import sliced
from oflow.ops.tensor import Tensor, user_line
from oflow.types import TensorType


def _concat_infer(ins: Types, attrs: Attributes) -> list[TensorType]:
    axis = attrs["axis"]
    rests = {(t.dtype, t.shape[:axis], t.shape[axis + 1 :]) for t in ins}
    if len(rests) > 1:
        raise ShapeError(f"all sizes but axis {axis}, and all dtypes, must be equal")
    shape = (*ins[0].shape[:axis], sum(t.shape[axis] for t in ins), *ins[0].shape[axis + 1 :])
    return [TensorType(shape, ins[0].dtype)]


def _concat_rule(ins: Types, attrs: Attributes) -> str:
    _concat_infer(ins, attrs)
    return axes_rule(len(ins[0].shape), [attrs["axis"]], len(ins))


concat_op = Move(
    "concat", rule=_concat_rule, infer=_concat_infer, exact=True,
    example=lambda: [
        Example((examples_of(4, 5), examples_of(4, 3)), {"axis": 1}),
        Example((examples_of(2, 6), examples_of(1, 6), examples_of(0, 6)), {"axis": 0}),
        Example((examples_of(5, 1, 3),) * 2, {"axis": 1}), Example((examples_of(7, 2),), {"axis": 0}),
        Example(tuple(examples_of(n, 5) for n in (1, 2, 1, 3, 1)), {"axis": 0}),
    ],
)  # fmt: skip
concat_op.cost(cost_of_moves)


@concat_op.kernel
def _(out: np.ndarray, *ins: np.ndarray, axis: int) -> None:
    np.concatenate(ins, axis=axis, out=out)


@concat_op.grad
def _(g: Tensor, y: Tensor, *ins: Tensor, axis: int) -> list[Tensor]:
    found, at = [], 0
    for t in ins:
        stop = at + t.shape[axis]
        found.append(sliced(g, [range(at, stop) if i == axis else range(n) for i, n in enumerate(g.shape)]))
        at = stop
    return found


def _several(arrays: Sequence[Tensor]) -> list[Tensor]:
    found = list(arrays)
    if not found or not all(isinstance(t, Tensor) for t in found):
        raise ShapeError("give a sequence of at least one tensor", line=user_line())
    return found


def concat(arrays: Sequence[Tensor], axis: int | None = 0) -> Tensor:
    """The tensors one after the other along `axis` (None: all of them flattened), as NumPy's concatenate.

    Raises ShapeError where sizes of the other axes, or dtypes, differ.
    """
    found = _several(arrays)
    if axis is None:
        found, axis = [ravel(t) for t in found], 0
    return concat_op(*found, axis=axis_of(found[0], axis)) if len(found) > 1 else found[0]


def concatenate(arrays: Sequence[Tensor], axis: int | None = 0) -> Tensor:
    """`concat` under its other name."""
    return concat(arrays, axis)


def stack(arrays: Sequence[Tensor], axis: int = 0) -> Tensor:
    """The tensors, of one shape and dtype, along a new axis at place `axis` of the result."""
    found = _several(arrays)
    different = next((t for t in found if t.type != found[0].type), None)
    if different is not None:
        raise ShapeError(f"stack of {found[0].type} and {different.type}: shapes and dtypes must be equal", line=user_line())
    return concat([expand_dims(t, axis) for t in found], axis_of(found[0], axis, more=1))


def array_split(t: Tensor, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Parts along `axis`: so many, the first ones longer by one where they are not equal; or cut at these positions."""
    axis = axis_of(t, axis)
    n = t.shape[axis]
    if isinstance(indices_or_sections, int | np.integer):
        if indices_or_sections < 1:
            raise ShapeError(f"{indices_or_sections} parts: the number must be positive", line=user_line())
        small, extra = divmod(n, int(indices_or_sections))
        cuts = [i * small + min(i, extra) for i in range(int(indices_or_sections) + 1)]
        parts = [range(a, b) for a, b in pairwise(cuts)]
    else:
        ends = [None, *map(int, indices_or_sections), None]
        parts = [range(n)[a:b] for a, b in pairwise(ends)]
    return [sliced(t, [part if i == axis else range(m) for i, m in enumerate(t.shape)]) for part in parts]


def split(t: Tensor, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """As `array_split`; a number of parts must divide the axis, else ShapeError."""
    if isinstance(indices_or_sections, int | np.integer) and t.shape[axis_of(t, axis)] % max(1, indices_or_sections):
        raise ShapeError(f"axis {axis} of {t.type} has no {indices_or_sections} equal parts; use of.array_split", line=user_line())
    return array_split(t, indices_or_sections, axis)


# ---------------------------------------------------------------- several times


def tile(t: Tensor, reps: int | Sequence[int]) -> Tensor:
    """The whole tensor so many times along each axis; `reps` are counted from the last axis, missing axes are new."""
    counts = (reps,) if isinstance(reps, int | np.integer) else tuple(reps)
    ndim = max(t.ndim, len(counts))
    sizes, counts = (1,) * (ndim - t.ndim) + t.shape, (1,) * (ndim - len(counts)) + counts
    lone = reshape(t, tuple(m for r, n in zip(counts, sizes, strict=True) for m in ((1, n) if r != 1 else (n,))))
    many = broadcast_to(lone, tuple(m for r, n in zip(counts, sizes, strict=True) for m in ((int(r), n) if r != 1 else (n,))))
    return reshape(many, tuple(int(r) * n for r, n in zip(counts, sizes, strict=True)))


def repeat(t: Tensor, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    """Each element so many times in a row along `axis` (None: of the flattened tensor); a sequence has a number for each position."""
    if axis is None:
        return repeat(ravel(t), repeats, 0)
    axis = axis_of(t, axis)
    n = t.shape[axis]
    if isinstance(repeats, int | np.integer) or len(repeats) == 1:
        count = int(repeats if isinstance(repeats, int | np.integer) else repeats[0])
        lead, rest = t.shape[: axis + 1], t.shape[axis + 1 :]
        many = broadcast_to(reshape(t, (*lead, 1, *rest)), (*lead, count, *rest))
        return reshape(many, (*lead[:-1], n * count, *rest))
    if len(repeats) != n or any(r < 0 for r in repeats):
        raise ShapeError(f"repeats must be {n} numbers >= 0 for axis {axis} of {t.type}, got {list(repeats)}", line=user_line())
    from oflow.ops.gather import take

    return take(t, [i for i, r in enumerate(repeats) for _ in range(r)], axis)
