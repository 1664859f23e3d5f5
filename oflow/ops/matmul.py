"""Products: one operator, `matmul`, whose attribute `spec` is its factor rule.

    "m k, k n -> m n"                       a plain product; S(0),B -> S(0) · B,S(1) -> S(1) · S(1),S(0) -> P follow from the rule
    "b t k, n k -> b t n"                   a linear layer on (batch, time, features), its weight stored (out, in)
    "b t h d, b s h d -> b h t s"           attention scores of all heads

The gradient of "A, B -> C" is the same operator: contract("C, B -> A") and contract("C, A -> B").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from oflow.errors import ShapeError
from oflow.machine import PRODUCTS, Cost, Work
from oflow.ops.op import PRODUCT, Attributes, Example, Types, op
from oflow.ops.shape import reshape
from oflow.ops.tensor import Tensor, user_line

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _examples() -> list[Example]:
    def whole(*shape: int) -> np.ndarray:
        return (np.arange(math.prod(shape)) * 7 % 11 - 5).reshape(shape).astype("float64")

    return [
        Example((whole(5, 6), whole(6, 7)), {"spec": "m k, k n -> m n"}),
        Example((whole(2, 5, 6), whole(7, 6)), {"spec": "b t k, n k -> b t n"}),
        Example((whole(2, 5, 6), whole(2, 5, 7)), {"spec": "b t k, b t n -> n k"}),
        Example((whole(2, 5, 3, 4), whole(2, 6, 3, 4)), {"spec": "b t h d, b s h d -> b h t s"}),
        Example((whole(2, 3, 5, 6), whole(2, 6, 3, 4)), {"spec": "b h t s, b s h d -> b t h d"}),
    ]


matmul_op = op(
    "matmul", rule=lambda ins, attrs: attrs["spec"], linear=[{0}, {1}], exact=True, adds=True, gathers=(0, 1), half=PRODUCT,
    example=_examples,
)


@matmul_op.grad
def _(g: Tensor, y: Tensor, a: Tensor, b: Tensor, *, spec: str) -> list[Tensor]:
    left, right, result = split_spec(spec)
    return [contract(f"{result}, {right} -> {left}", g, b), contract(f"{result}, {left} -> {right}", g, a)]


@matmul_op.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    sizes, form = matmul_op.rule(ins, attrs).sizes(t.shape for t in ins), canonical(attrs["spec"])
    left, right = ([t.shape[axis] for axis in order] for t, order in zip(ins, (form.left, form.right), strict=True))
    rows = form.batch + form.rows
    shape = tuple(map(math.prod, (left[: form.batch], left[form.batch : rows], right[form.batch + form.summed :], left[rows:])))
    nbytes = float(sum(t.nbytes for t in (*ins, *outs)))
    left_first, right_first = form.left[-1:] != (len(left) - 1,), form.right[-1:] != (len(right) - 1,)
    work = Work(PRODUCTS[2 if left_first else int(right_first)], touched=((0.0, nbytes),), shape=shape, itemsize=outs[0].itemsize)
    return Cost(2.0 * math.prod(sizes.values()), nbytes, 1, works=(work,))


@matmul_op.kernel
def _(out: np.ndarray, *operands: np.ndarray, spec: str, pieces: Pieces = ()) -> None:
    _link(out, *operands, spec=spec, pieces=pieces)()


@matmul_op.linked
def _link(out: np.ndarray, *operands: np.ndarray, spec: str, pieces: Pieces = ()) -> Callable[[], object]:
    """The views that make it one batched product are found once."""
    if len(operands) == 2:
        return _product(out, *operands, spec)
    calls: list[Callable[[], object]] = []
    for piece in pieces_of(spec, pieces, [x.shape for x in operands]):
        a, b = (operands[i][_slices(operands[i].ndim, axis, piece)] for i, axis in (piece.left, piece.right))
        target = out[_slices(out.ndim, piece.result, piece)]
        adds = piece.result < 0 and bool(calls)
        calls.append(partial(_add_product, target, a, b, spec) if adds else _product(target, a, b, spec))
    return partial(_run_all, calls)


def _product(out: np.ndarray, a: np.ndarray, b: np.ndarray, spec: str) -> Callable[[], object]:
    form = canonical(spec)
    left = _merged(a.transpose(form.left), form.batch, form.rows, form.summed)
    right = _merged(b.transpose(form.right), form.batch, form.summed, form.columns)
    target = _merged(out.transpose(form.result), form.batch, form.rows, form.columns)
    if left is None or right is None or target is None:
        return partial(np.einsum, _einsum(spec), a, b, out=out)
    if left.shape[-1] == 0:
        return partial(np.copyto, out, 0)
    return partial(np.matmul, left, right, out=target)


def _add_product(out: np.ndarray, a: np.ndarray, b: np.ndarray, spec: str) -> None:
    made = np.empty_like(out)
    _product(made, a, b, spec)()
    out += made


def _run_all(calls: Sequence[Callable[[], object]]) -> None:
    for call in calls:
        call()


def _slices(ndim: int, axis: int, piece: Piece) -> tuple[Any, ...]:
    return (*(slice(piece.start, piece.stop) if i == axis else slice(None) for i in range(ndim)), ...)


# ---------------------------------------------------------------- an operand in pieces

Pieces = tuple[tuple[int, int], ...]
"""((operand, axis),): the operand arrives as consecutive pieces along the axis, in order; whole where there are two operands."""


class Piece(NamedTuple):
    """One product of several: elements start to stop of the factor that is cut.

    left, right: (operand, the axis that is sliced, -1: none) of the product; result: the axis of the result that is sliced; -1 where
    the factor is summed away, so that the products of all pieces add up.
    """

    start: int
    stop: int
    left: tuple[int, int]
    right: tuple[int, int]
    result: int


def pieces_of(spec: str, pieces: Pieces, shapes: Sequence[tuple[int, ...]]) -> list[Piece]:
    """The products that a call with an operand in pieces is made of; shapes of all operands as they arrive."""
    ((operand, axis),) = pieces
    names = [part.split() for part in split_spec(spec)]
    factor = names[operand][axis]
    other, result = (n.index(factor) if factor in n else -1 for n in (names[1 - operand], names[2]))
    count = len(shapes) - 1
    found, start = [], 0
    for i in range(count):
        stop = start + shapes[operand + i][axis]
        sides = (operand + i, -1), (count if operand == 0 else 0, other)
        left, right = sides if operand == 0 else (sides[1], sides[0])
        if stop > start:
            found.append(Piece(start, stop, left, right, result))
        start = stop
    return found or [Piece(0, 0, (0, -1), (len(shapes) - 1, -1), -1)]


# ---------------------------------------------------------------- a product as batched matrices


class Form(NamedTuple):
    """A spec as (batch, rows, summed) x (batch, summed, columns): axis orders, and how many axes each group has."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    result: tuple[int, ...]
    batch: int
    rows: int
    summed: int
    columns: int


def split_spec(spec: str) -> tuple[str, str, str]:
    """The factors of left operand, right operand and result."""
    operands, _, result = spec.partition("->")
    left, _, right = operands.partition(",")
    return left.strip(), right.strip(), result.strip()


@lru_cache(maxsize=4096)
def canonical(spec: str) -> Form:
    left, right, result = (part.split() for part in split_spec(spec))
    batch = [f for f in result if f in left and f in right]
    rows = [f for f in result if f in left and f not in right]
    columns = [f for f in result if f in right and f not in left]
    summed = [f for f in left if f in right and f not in result]
    if {*left, *right, *result} != {*batch, *rows, *columns, *summed}:
        raise ShapeError(f"spec {spec!r}: every factor must stand in two of the three places")
    return Form(
        tuple(left.index(f) for f in (*batch, *rows, *summed)),
        tuple(right.index(f) for f in (*batch, *summed, *columns)),
        tuple(result.index(f) for f in (*batch, *rows, *columns)),
        len(batch), len(rows), len(summed), len(columns),
    )  # fmt: skip


def _merged(x: np.ndarray, batch: int, first: int, second: int) -> np.ndarray | None:
    """View with each group of axes as one axis (none: an axis of size 1), or None where that would need a copy."""
    shape = x.shape
    matrix = (*shape[:batch], math.prod(shape[batch : batch + first]), math.prod(shape[batch + first :]))
    try:
        return np.reshape(x, matrix, copy=False)
    except ValueError:
        return None


def _einsum(spec: str) -> str:
    left, right, result = (part.split() for part in split_spec(spec))
    names = {f: LETTERS[i] for i, f in enumerate(dict.fromkeys([*left, *right]))}
    a, b, c = ("".join(names[f] for f in part) for part in (left, right, result))
    return f"{a},{b}->{c}"


# ---------------------------------------------------------------- what users call


def contract(spec: str, a: Tensor, b: Tensor) -> Tensor:
    """Sum of products over the factors that the result of `spec` lacks, e.g. "b t k, n k -> b t n"; see the module."""
    canonical(spec)
    return matmul_op(a, b, spec=spec)  # type: ignore[no-any-return]


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` as NumPy's matmul: the last two axes are matrices, leading axes are batch axes and broadcast.

    A vector on the left is a row, on the right a column, and that axis is not in the result. Raises ShapeError at the user's line.
    """
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(f"matmul needs at least one axis in {a.type} and {b.type}", line=user_line())
    rows, columns = ["m"] if a.ndim > 1 else [], ["n"] if b.ndim > 1 else []
    first, second = _batch(a), _batch(b)
    (left, x), (right, y) = _kept(a, first, second), _kept(b, second, first)
    batch = max(first, second, key=len)
    return contract(f"{' '.join([*left, *rows, 'k'])}, {' '.join([*right, 'k', *columns])} -> {' '.join([*batch, *rows, *columns])}", x, y)


def _batch(t: Tensor) -> dict[str, int]:
    """Names, counted from the matrix outward, and sizes of the leading axes."""
    count = max(t.ndim - 2, 0)
    return {f"b{count - i}": t.shape[i] for i in range(count)}


def _kept(t: Tensor, own: dict[str, int], other: dict[str, int]) -> tuple[list[str], Tensor]:
    """The batch axes that are left, and the tensor, without those of size 1 that are repeated along the other's."""
    names = [name for name, n in own.items() if n != 1 or other.get(name, 1) == 1]
    return names, reshape(t, (*(own[name] for name in names), *t.shape[len(own) :])) if len(names) < len(own) else t


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T``: x (..., in), weight (out, in) -> (..., out)."""
    lead = " ".join(f"b{i}" for i in range(x.ndim - 1))
    return contract(f"{lead} k, n k -> {lead} n", x, weight)
