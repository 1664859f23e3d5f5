"""The form of `matmul`: any spec as loops around one product of matrices, on strided views of the operands, without copies.

Every factor is an axis with steps (elements; 0 where absent) in left operand, right operand and result. Neighbouring axes of one
kind that lie one behind the other in all of them are joined; then one row, one summed and one column axis make the matrices, and
the others are loops: a loop over a summed axis adds to the result. BLAS needs step 1 in the rows or columns of each matrix; where
no choice of axes gives it matrices worth a call, plain loops multiply.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from oflow.backends.compiled.form import Address, OpCall, Step, Steps, Symbol, Word, form, kernel
from oflow.backends.compiled.moves import fill, strides
from oflow.ops.matmul import Piece, pieces_of, split_spec

BATCH, ROW, COLUMN, SUMMED = "batch", "row", "column", "summed"
ROUTINES = ("vector", "matrices", "plain")
TINY = 64
"""Products of two numbers below which plain loops are faster than a call of BLAS."""
Places = tuple[Address, Address, Address]
"""Where left operand, right operand and result begin."""
LARGEST = 2**31 - 1
"""The largest size or row length that every BLAS takes."""


class Axis(NamedTuple):
    """A factor: its size and its steps in left operand, right operand and result, in elements (0: not there)."""

    size: int
    left: int
    right: int
    result: int


NO_AXIS = Axis(1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Matrices:
    """C (rows x columns) = A (rows x summed) B (summed x columns) for each place of the loops, by a routine of kernels/matmul.py.

    A and B are the left and the right operand, or the other way round where `swapped`: the transposed product.
    """

    routine: str
    rows: Axis
    columns: Axis
    summed: Axis
    loops: tuple[Axis, ...]
    swapped: bool = False

    @property
    def volume(self) -> int:
        """Products of two numbers in one call."""
        return self.rows.size * self.columns.size * self.summed.size


@form("matmul")
def matmul(call: OpCall) -> Steps | None:
    dtype = call.outs[0].dtype
    if dtype not in ("float32", "float64"):
        return None
    spec, shapes = call.attrs["spec"], [t.shape for t in call.ins]
    if len(shapes) > 2:
        pieces = pieces_of(spec, call.attrs["pieces"], shapes)
        steps = [_piece(call, spec, piece, adds=piece.result < 0 and i > 0) for i, piece in enumerate(pieces)]
        return tuple(step for part in steps for step in part)
    axes = axes_of(spec, _sizes(spec, *shapes), (strides(shapes[0]), strides(shapes[1]), strides(call.outs[0].shape)))
    return _steps(call, axes, (call.operand(0), call.operand(1), call.out(0)), call.accumulate)


def _steps(call: OpCall, axes: dict[str, list[Axis]], where: Places, accumulate: bool) -> Steps:
    if any(a.size == 0 for kind in (BATCH, ROW, COLUMN) for a in axes[kind]):
        return ()
    if any(a.size == 0 for a in axes[SUMMED]):
        return () if accumulate else fill(call, 0)
    return _step(call, best(joined(axes)), where, accumulate)


def _piece(call: OpCall, spec: str, piece: Piece, *, adds: bool) -> Steps:
    """The product of one piece: what is not cut is read and written where its slice lies."""
    names = [part.split() for part in split_spec(spec)]
    places = [(*piece.left, call.operand), (*piece.right, call.operand), (0, piece.result, call.out)]
    types = [call.ins[piece.left[0]], call.ins[piece.right[0]], call.outs[0]]
    steps = [strides(t.shape) for t in types]
    factor = next((n[axis] for n, (_, axis, _) in zip(names, places, strict=True) if axis >= 0), "")
    sizes = _sizes(spec, types[0].shape, types[1].shape) | ({factor: piece.stop - piece.start} if factor else {})
    offsets = [piece.start * step[axis] * t.itemsize if axis >= 0 else 0
               for step, (_, axis, _), t in zip(steps, places, types, strict=True)]  # fmt: skip
    left, right, out = (at(index, offset) for (index, _, at), offset in zip(places, offsets, strict=True))
    return _steps(call, axes_of(spec, sizes, (steps[0], steps[1], steps[2])), (left, right, out), call.accumulate or adds)


def _sizes(spec: str, a: Sequence[int], b: Sequence[int]) -> dict[str, int]:
    left, right, _ = (part.split() for part in split_spec(spec))
    return {**dict(zip(left, a, strict=True)), **dict(zip(right, b, strict=True))}


# ---------------------------------------------------------------- axes


def axes_of(spec: str, sizes: Mapping[str, int], steps: tuple[Sequence[int], Sequence[int], Sequence[int]]) -> dict[str, list[Axis]]:
    """The axes of each kind, those of size 1 left out; in the order of the result, summed ones in that of the left operand.

    sizes: of each factor; steps: of each axis of left operand, right operand and result, in elements.
    """
    left, right, result = (part.split() for part in split_spec(spec))
    of_side = [dict(zip(names, side, strict=True)) for names, side in zip((left, right, result), steps, strict=True)]
    found: dict[str, list[Axis]] = {BATCH: [], ROW: [], COLUMN: [], SUMMED: []}
    for f in dict.fromkeys([*result, *left]):
        axis = Axis(sizes[f], *(side.get(f, 0) for side in of_side))
        kind = (SUMMED if f in left else COLUMN) if f not in result else BATCH if f in left and f in right else ROW if f in left else COLUMN
        if axis.size != 1:
            found[kind].append(axis)
    return found


def joined(axes: dict[str, list[Axis]]) -> dict[str, list[Axis]]:
    """Neighbours of one kind as one axis where each step of the outer is that of the inner times its size."""
    found: dict[str, list[Axis]] = {}
    for kind, members in axes.items():
        found[kind] = []
        for axis in members:
            last = found[kind][-1] if found[kind] else None
            if last and last[1:] == tuple(axis.size * step for step in axis[1:]):
                found[kind][-1] = Axis(last.size * axis.size, *axis[1:])
            else:
                found[kind].append(axis)
    return found


# ---------------------------------------------------------------- which axes make the matrices


def best(axes: dict[str, list[Axis]]) -> Matrices:
    """The arrangement with the most work in a call; a product by a vector is its own routine, and tiny ones are plain loops."""
    found = {routine: [m for m in arrangements(axes) if m.routine == routine] for routine in ROUTINES}
    by_blas = max((*found["vector"], *found["matrices"]), key=lambda m: m.volume, default=None)
    return by_blas if by_blas and by_blas.volume >= TINY else max(found["plain"], key=lambda m: m.volume)


def arrangements(axes: dict[str, list[Axis]]) -> Iterable[Matrices]:
    """Every choice of axes and routine. Loops over summed axes come last: they add to one result in turn."""
    for rows, columns, summed in product(*([*axes[kind], NO_AXIS] for kind in (ROW, COLUMN, SUMMED))):
        chosen = (rows, columns, summed)
        loops = tuple(a for kind in (BATCH, ROW, COLUMN, SUMMED) for a in axes[kind] if kind == BATCH or a not in chosen)
        yield Matrices("plain", *chosen, loops)
        if any(max(axis) > LARGEST for axis in chosen):
            continue
        for swapped, outer, inner, where in ((False, rows, columns, "left"), (True, columns, rows, "right")):
            stored = _stored(outer, summed, where)
            if stored and inner.size == 1 and summed.size > 1:
                yield Matrices("vector", *chosen, loops, swapped)
            if stored and _stored(summed, inner, "left" if swapped else "right") and (inner.size == 1 or inner.result == 1):
                yield Matrices("matrices", *chosen, loops, swapped)


def _stored(rows: Axis, columns: Axis, where: str) -> tuple[int, int] | None:
    """(whether it is stored transposed, elements from one stored row to the next) of a matrix; None if BLAS cannot read it."""
    (m, step_m), (n, step_n) = ((axis.size, getattr(axis, where)) for axis in (rows, columns))
    if n == 1 or step_n == 1:
        return 0, (step_m if m > 1 else n)
    if m == 1 or step_m == 1:
        return 1, step_n
    return None


# ---------------------------------------------------------------- the step


def _step(call: OpCall, m: Matrices, where: Places, accumulate: bool) -> Steps:
    item = call.outs[0].itemsize
    sides = [(where[0], "left"), (where[1], "right")]
    (a, in_a), (b, in_b) = reversed(sides) if m.swapped else sides
    symbol, shape = LOOKS[m.routine](m, in_a, in_b)
    words: list[Word] = [
        Symbol(f"{symbol}.{call.outs[0].dtype}") if symbol else 0, where[2], a, b, int(accumulate),
        len(m.loops), math.prod(axis.size for axis in m.loops), *shape, *[0] * (SHAPE_WORDS - len(shape)),
    ]  # fmt: skip
    for axis in m.loops:
        words += [axis.size, *(step * item for step in (getattr(axis, in_a), getattr(axis, in_b), axis.result)), int(axis.result == 0)]
    return (Step(kernel("matmul", m.routine, call.outs[0].dtype), tuple(words)),)


def _plain(m: Matrices, in_a: str, in_b: str) -> tuple[str, list[int]]:
    r, c, s = m.rows, m.columns, m.summed
    return "", [r.size, c.size, s.size, r.result, c.result, r.left, s.left, s.right, c.right]


def _vector(m: Matrices, in_a: str, in_b: str) -> tuple[str, list[int]]:
    outer = m.columns if m.swapped else m.rows
    trans, ld = _stored(outer, m.summed, in_a) or (0, 0)
    sizes = [m.summed.size, outer.size] if trans else [outer.size, m.summed.size]
    return "gemv", [*sizes, 0, trans, ld, getattr(m.summed, in_b), max(outer.result, 1)]


def _matrices(m: Matrices, in_a: str, in_b: str) -> tuple[str, list[int]]:
    outer, inner = (m.columns, m.rows) if m.swapped else (m.rows, m.columns)
    of_a, of_b = (_stored(outer, m.summed, in_a) or (0, 0)), (_stored(m.summed, inner, in_b) or (0, 0))
    ldc = outer.result if outer.size > 1 else inner.size
    return "gemm", [outer.size, inner.size, m.summed.size, of_a[0], of_b[0], of_a[1], of_b[1], ldc]


LOOKS = {"vector": _vector, "matrices": _matrices, "plain": _plain}
"""routine -> (BLAS function, words M to the last before AXES)."""
SHAPE_WORDS = 9
