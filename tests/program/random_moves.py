"""Random steps that move elements, and products."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.program.random_generators import axial, axis_of, filled, floating, generator, numeric, signed, wide

if TYPE_CHECKING:
    from tests.program.random_draft import Draft, Known


@generator()
def turned(draft: Draft) -> None:
    x = draft.pick(lambda v: len(v.shape) > 1)
    if x:
        draft.step("transpose", x, axes=tuple(draft.draw(st.permutations(range(len(x.shape))))))


@generator()
def reshaped(draft: Draft) -> None:
    x = draft.pick(lambda v: math.prod(v.shape) > 0)
    if not x:
        return
    sizes, left = [], math.prod(x.shape)
    while left > 1 and len(sizes) < 3:
        n = draft.draw(st.sampled_from([d for d in range(left, 0, -1) if left % d == 0]))
        sizes.append(n)
        left //= n
    sizes += [left] if left > 1 or not sizes else []
    draft.step("reshape", x, shape=tuple(sizes))


@generator()
def axes_added(draft: Draft) -> None:
    x = draft.pick(lambda v: len(v.shape) < 3)
    if x:
        draft.step("expand_dims", x, axis=draft.draw(st.integers(0, len(x.shape))))


@generator()
def axes_removed(draft: Draft) -> None:
    x = draft.pick(lambda v: 1 in v.shape)
    if x:
        draft.step("squeeze", x, axis=x.shape.index(1))


@generator()
def spread(draft: Draft) -> None:
    x = draft.pick(lambda v: len(v.shape) < 3)
    if x:
        front = draft.draw(st.lists(st.integers(1, 3), max_size=1))
        draft.step("broadcast_to", x, shape=(*front, *(draft.draw(st.integers(1, 5)) if n == 1 else n for n in x.shape)))


@generator()
def part(draft: Draft) -> None:
    x = draft.pick(axial)
    if x:
        starts = []
        for n in x.shape:
            low, high = sorted((draft.draw(st.integers(0, n)), draft.draw(st.integers(0, n))))
            step = draft.draw(st.sampled_from([1, 1, 2, -1]))
            starts.append((low, high, step) if step > 0 else (None, None, -1))
        draft.step("slices", x, starts=tuple(starts))


@generator()
def joined(draft: Draft) -> None:
    x = draft.pick(axial)
    if x:
        y = draft.pick(lambda v: v.shape == x.shape and v.dtype == x.dtype) or x
        draft.step("concat", x, y, bound=max(x.bound, y.bound), axis=axis_of(draft, x))


@generator()
def stacked(draft: Draft) -> None:
    x = draft.pick(lambda v: len(v.shape) < 3)
    if x:
        y = draft.pick(lambda v: v.shape == x.shape and v.dtype == x.dtype) or x
        draft.step("stack", x, y, bound=max(x.bound, y.bound), axis=draft.draw(st.integers(0, len(x.shape))))


@generator()
def padded(draft: Draft) -> None:
    x = draft.pick(lambda v: axial(v) and v.dtype != "bool")
    if x:
        widths = tuple((draft.draw(st.integers(0, 2)), draft.draw(st.integers(0, 2))) for _ in x.shape)
        draft.step("pad", x, bound=max(x.bound, 2), pad_width=widths, constant_values=draft.draw(st.integers(0, 2)))


@generator()
def rolled(draft: Draft) -> None:
    x = draft.pick(axial)
    if x:
        axis = axis_of(draft, x)
        if draft.draw(st.booleans()):
            draft.step("flip", x, axis=axis)
        else:
            draft.step("roll", x, shift=draft.draw(st.integers(-3, 3)), axis=axis)


@generator()
def repeated(draft: Draft) -> None:
    x = draft.pick(axial)
    if x:
        if draft.draw(st.booleans()):
            draft.step("repeat", x, repeats=2, axis=axis_of(draft, x))
        else:
            draft.step("tile", x, reps=tuple(draft.draw(st.integers(1, 2)) for _ in x.shape))


@generator()
def piece(draft: Draft) -> None:
    x = draft.pick(axial)
    if x:
        parts = draft.draw(st.integers(1, 3))
        draft.step("array_split", x, parts=parts, axis=axis_of(draft, x), pick=draft.draw(st.integers(0, parts - 1)))


@generator()
def triangle(draft: Draft) -> None:
    x = draft.pick(lambda v: len(v.shape) > 1 and numeric(v))
    if x:
        draft.step(draft.choose("tril", "triu"), x, k=draft.draw(st.integers(-1, 1)))


@generator()
def of_diagonal(draft: Draft) -> None:
    x = draft.pick(lambda v: len(v.shape) == 2 and filled(v) and wide(v))
    if x:
        draft.step(draft.choose("diagonal", "trace"), x, bound=min(x.shape) * x.bound, offset=0)


@generator()
def constant(draft: Draft) -> None:
    """What is made of nothing lives where its first reader is, so that is here."""
    x = draft.pick(wide)
    if x:
        made = draft.step("full_like", x, bound=2, fill_value=draft.draw(st.integers(-2, 2)))
        draft.step(draft.choose("add", "mul"), x, made, bound=2 * x.bound + 2)


@generator()
def counted(draft: Draft) -> None:
    x = draft.pick(lambda v: filled(v) and wide(v))
    if x:
        axis = axis_of(draft, x)
        made = draft.step("positions", x, bound=6, axis=axis)
        draft.step("take", x, made, bound=x.bound, axis=axis)


# ------------------------------------------------------------ products


@generator()
def matrix_product(draft: Draft) -> None:
    x = draft.pick(lambda v: axial(v) and floating(v))
    if x:
        n = x.shape[-1]
        y = draft.pick(lambda v: v.dtype == x.dtype and (v.shape == (n,) or (len(v.shape) == 2 and v.shape[0] == n)))
        if y and (len(y.shape) > 1 or len(x.shape) > 1):
            draft.step("matmul", x, y, bound=max(1, n) * x.bound * y.bound)


@generator()
def layer(draft: Draft) -> None:
    x = draft.pick(lambda v: axial(v) and floating(v))
    if x:
        y = draft.pick(lambda v: v.dtype == x.dtype and len(v.shape) == 2 and v.shape[1] == x.shape[-1])
        if y:
            draft.step("linear", x, y, bound=max(1, x.shape[-1]) * x.bound * y.bound)


@generator()
def sum_of_products(draft: Draft) -> None:
    x = draft.pick(lambda v: len(v.shape) == 2 and floating(v))
    if x:
        y = draft.pick(lambda v: v.shape == x.shape and v.dtype == x.dtype) or x
        spec = draft.choose("ij,ij->i", "ij,ij->j", "ij,ij->", "ij,kj->ik", "ij,ik->jk", "ij,ij->ij", "ij,ik->ijk")
        draft.step("einsum", x, y, bound=max(1, math.prod(x.shape)) * x.bound * y.bound, spec=spec)


# ------------------------------------------------------------ gathering


def row_numbers(draft: Draft, count: int, rank: tuple[int, ...] = (1, 2)) -> Known | None:
    x = draft.pick(lambda v: signed(v) and len(v.shape) in rank and math.prod(v.shape) <= 30 and v.exact)
    return draft.step("numbers", x, bound=count, count=count) if x and count else None


@generator()
def rows_of_table(draft: Draft) -> None:
    table = draft.pick(lambda v: len(v.shape) == 2 and filled(v) and floating(v))
    numbers = row_numbers(draft, table.shape[0]) if table else None
    if table and numbers:
        draft.step("embedding", numbers, draft.beside(table, numbers), bound=table.bound)


@generator()
def taken(draft: Draft) -> None:
    x = draft.pick(lambda v: filled(v) and wide(v))
    if x:
        axis = axis_of(draft, x)
        numbers = row_numbers(draft, x.shape[axis])
        if numbers:
            draft.step("take", x, draft.beside(numbers, x), bound=x.bound, axis=axis)


@generator()
def taken_by_list(draft: Draft) -> None:
    x = draft.pick(lambda v: filled(v) and wide(v))
    if x:
        axis = axis_of(draft, x)
        numbers = draft.draw(st.lists(st.integers(0, x.shape[axis] - 1), min_size=1, max_size=4))
        draft.step("take", x, indices=tuple(numbers), axis=axis)


@generator(gradient="cut")
def marked(draft: Draft) -> None:
    numbers = row_numbers(draft, 4)
    if numbers:
        draft.step("one_hot", numbers, bound=1, num_classes=4, dtype=draft.choose(*draft.floats))


@generator()
def by_segment(draft: Draft) -> None:
    numbers = row_numbers(draft, 3, (1,))
    if numbers:
        x = draft.pick(lambda v: axial(v) and floating(v) and v.shape[0] == numbers.shape[0])
        if x:
            draft.step("segment_sum", x, draft.beside(numbers, x), bound=max(1, x.shape[0]) * x.bound, num_segments=3)
