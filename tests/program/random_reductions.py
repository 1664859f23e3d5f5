"""Random steps of reductions, scans, sorting, and functions of rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.program.random_generators import axial, axis_of, filled, floating, generator, logical, numeric, signed, some_axes, wide

if TYPE_CHECKING:
    from tests.program.random_draft import Draft, Known


def reduced(draft: Draft, names: tuple[str, ...], bound: Callable[[Known, int], float], fits: Callable[[Known], bool]) -> None:
    x = draft.pick(lambda v: filled(v) and fits(v))
    if x:
        axes = some_axes(draft, x)
        count = math.prod(x.shape[a] for a in axes)
        axis = axes[0] if len(axes) == 1 else axes
        draft.step(draft.choose(*names), x, bound=bound(x, count), axis=axis, keepdims=draft.draw(st.booleans()))


@generator()
def total(draft: Draft) -> None:
    reduced(draft, ("sum",), lambda x, n: n * x.bound, wide)


@generator()
def empty_total(draft: Draft) -> None:
    x = draft.pick(lambda v: wide(v) and 0 in v.shape)
    if x:
        draft.step("sum", x, axis=x.shape.index(0), keepdims=draft.draw(st.booleans()))


@generator(gradient="rough", smooth=False)
def largest(draft: Draft) -> None:
    reduced(draft, ("max", "min"), lambda x, n: x.bound, numeric)


@generator(gradient="cut", smooth=False, steady=False)
def place_of_largest(draft: Draft) -> None:
    x = draft.pick(lambda v: filled(v) and signed(v))
    if x:
        draft.step(draft.choose("argmax", "argmin"), x, bound=36, axis=axis_of(draft, x), keepdims=draft.draw(st.booleans()))


@generator(gradient="cut")
def quantifier(draft: Draft) -> None:
    reduced(draft, ("any", "all", "count_nonzero"), lambda x, n: n, logical)


@generator(exact=False, gradient="rough")
def average(draft: Draft) -> None:
    reduced(draft, ("mean", "var", "logsumexp"), lambda x, n: x.bound**2 + 4, floating)


@generator(gradient="rough", smooth=False)
def product(draft: Draft) -> None:
    x = draft.pick(lambda v: filled(v) and signed(v) and v.exact)
    if x:
        draft.step(draft.choose("prod", "cumprod"), draft.tamed(x, 1), bound=1, axis=axis_of(draft, x))


@generator()
def running_total(draft: Draft) -> None:
    x = draft.pick(lambda v: axial(v) and wide(v))
    if x:
        axis = axis_of(draft, x)
        draft.step("cumsum", x, bound=max(1, x.shape[axis]) * x.bound, axis=axis, reverse=draft.draw(st.booleans()))


@generator(gradient="rough", smooth=False)
def running_largest(draft: Draft) -> None:
    x = draft.pick(lambda v: filled(v) and signed(v))
    if x:
        draft.step(draft.choose("cummax", "cummin"), x, axis=axis_of(draft, x), reverse=draft.draw(st.booleans()))


@generator(smooth=False)
def ordered(draft: Draft) -> None:
    x = draft.pick(lambda v: filled(v) and signed(v) and v.exact)
    if x:
        axis = axis_of(draft, x)
        if draft.draw(st.booleans()):
            draft.step("sort", x, axis=axis, descending=draft.draw(st.booleans()))
        else:
            k = draft.draw(st.integers(1, x.shape[axis]))
            draft.step("topk", x, k=k, axis=axis, largest=draft.draw(st.booleans()), pick=0)


@generator(gradient="cut", smooth=False, steady=False)
def ranks(draft: Draft) -> None:
    x = draft.pick(lambda v: filled(v) and signed(v) and v.exact)
    if x:
        draft.step("argsort", x, bound=36, axis=axis_of(draft, x))


# ------------------------------------------------------------ rows


@generator(exact=False, gradient="rough")
def normalised(draft: Draft) -> None:
    x = draft.pick(lambda v: filled(v) and floating(v))
    if x:
        draft.step(draft.choose("softmax", "log_softmax"), x, bound=2 * x.bound + 4, axis=axis_of(draft, x))


@generator(exact=False, gradient="rough")
def standardised(draft: Draft) -> None:
    x = draft.pick(lambda v: filled(v) and floating(v) and v.exact)
    if x:
        draft.step(draft.choose("layer_norm", "rms_norm"), x, bound=6, eps=1e-2)


@generator(exact=False, gradient="rough")
def class_loss(draft: Draft) -> None:
    x = draft.pick(lambda v: len(v.shape) == 2 and filled(v) and floating(v))
    if x:
        ids = draft.pick(lambda v: v.shape == x.shape[:1] and signed(v) and v.exact)
        if ids:
            labels = draft.step("numbers", ids, bound=x.shape[1], count=x.shape[1])
            draft.step("cross_entropy", x, draft.beside(labels, x), bound=2 * x.bound + 4)
