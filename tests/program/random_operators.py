"""Generators of random steps, one for each user function (or group of functions) that random programs are made of.

A generator looks for operands among the values there are and appends a step, or nothing where none fit. To add a function, add a
generator. `bound` is the largest magnitude that the result can have; it keeps sums and products of whole numbers exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.program.random_draft import Draft, Known

Make = Callable[[Draft], None]


@dataclass(frozen=True)
class Generator:
    """exact: whole numbers in, whole numbers out. gradient: "exact" where that holds for cotangents too, "cut" where there is none.

    smooth: neither the result nor the gradient jumps. steady: the result does not jump (its gradient may).
    """

    make: Make
    exact: bool
    gradient: str
    smooth: bool
    steady: bool


GENERATORS: dict[str, Generator] = {}


def generator(exact: bool = True, gradient: str = "exact", smooth: bool = True, steady: bool = True) -> Callable[[Make], Make]:
    def add(make: Make) -> Make:
        GENERATORS[make.__name__] = Generator(make, exact, gradient, smooth, steady)
        return make

    return add


def axis_of(draft: Draft, x: Known, name: str = "axis") -> int:
    return draft.draw(st.integers(0, len(x.shape) - 1))


def some_axes(draft: Draft, x: Known) -> tuple[int, ...]:
    """One or more axes of a value, in order."""
    found = draft.draw(st.sets(st.integers(0, len(x.shape) - 1), min_size=1))
    return tuple(sorted(found))


def filled(x: Known) -> bool:
    return len(x.shape) > 0 and 0 not in x.shape


def axial(x: Known) -> bool:
    return len(x.shape) > 0


def floating(x: Known) -> bool:
    return x.dtype.startswith("float")


def signed(x: Known) -> bool:
    return floating(x) or x.dtype in ("int64", "int32")


def numeric(x: Known) -> bool:
    return x.dtype != "bool"


def logical(x: Known) -> bool:
    return x.dtype == "bool"


def wide(x: Known) -> bool:
    """Sums keep its dtype and cannot wrap around."""
    return x.dtype in ("float32", "float64", "int64", "int32")


# ------------------------------------------------------------ elementwise


@generator(smooth=True)
def linear_unary(draft: Draft) -> None:
    x = draft.pick(signed)
    if x:
        draft.step(draft.choose("neg", "square"), x, bound=x.bound**2 + 1)


@generator(smooth=False)
def bent_unary(draft: Draft) -> None:
    x = draft.pick(signed)
    if x:
        draft.step(draft.choose("relu", "absolute", "relu6"), x)


@generator(gradient="cut", smooth=False, steady=False)
def sign_like(draft: Draft) -> None:
    x = draft.pick(floating)
    if x:
        draft.step(draft.choose("sign", "floor", "ceil", "trunc", "rint"), x)


@generator()
def binary(draft: Draft) -> None:
    x, y = draft.pair(wide)
    if x and y:
        name = draft.choose("add", "sub", "mul")
        draft.step(name, x, y, bound=x.bound * y.bound if name == "mul" else x.bound + y.bound)


@generator(smooth=False)
def extreme(draft: Draft) -> None:
    x, y = draft.pair(signed)
    if x and y:
        draft.step(draft.choose("maximum", "minimum"), x, y, bound=max(x.bound, y.bound))


@generator()
def with_number(draft: Draft) -> None:
    x = draft.pick(wide)
    if x:
        number = draft.draw(st.integers(-2, 2))
        draft.step(draft.choose("add", "sub", "mul"), x, bound=2 * x.bound + 2, number=float(number) if floating(x) else number)


@generator(smooth=False, steady=False)
def modulo(draft: Draft) -> None:
    x = draft.pick(signed)
    if x:
        draft.step("remainder", x, bound=4, number=draft.draw(st.integers(2, 4)))


@generator(gradient="cut", smooth=False, steady=False)
def divided(draft: Draft) -> None:
    x = draft.pick(signed)
    if x:
        draft.step("floor_divide", x, number=draft.draw(st.integers(2, 4)))


@generator(gradient="cut", smooth=False, steady=False)
def comparison(draft: Draft) -> None:
    x, y = draft.pair(numeric)
    if x and y:
        draft.step(draft.choose("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"), x, y, bound=1)


@generator(gradient="cut")
def truth(draft: Draft) -> None:
    x, y = draft.pair(logical)
    if x and y:
        draft.step(draft.choose("logical_and", "logical_or", "logical_xor"), x, y)


@generator(gradient="cut")
def denied(draft: Draft) -> None:
    x = draft.pick(logical)
    if x:
        draft.step("logical_not", x)


@generator(gradient="cut")
def bits(draft: Draft) -> None:
    x, y = draft.pair(lambda v: v.dtype in ("int64", "int32"))
    if x and y:
        draft.step(draft.choose("bitwise_and", "bitwise_or", "bitwise_xor"), x, y, bound=2 * max(x.bound, y.bound) + 2)


@generator()
def chosen(draft: Draft) -> None:
    c = draft.pick(logical)
    x, y = draft.pair(wide, beside=c) if c else (None, None)
    if c and x and y:
        draft.step("where", c, x, y, bound=max(x.bound, y.bound))


@generator()
def converted(draft: Draft) -> None:
    x = draft.pick(lambda v: v.dtype != "uint8")
    kinds = ("float64", "float32", "int64", "int32", "bool")
    to = draft.choose(*kinds)
    # a conversion to whole numbers jumps
    if x and x.dtype != to and (x.exact or to.startswith("float")) and not (draft.trains and x.dtype.startswith("float")):
        draft.step("cast", x, dtype=to)


@generator(exact=False, gradient="rough")
def smooth_unary(draft: Draft) -> None:
    x = draft.pick(floating)
    if x:
        names = ("tanh", "sigmoid", "gelu", "silu", "sin", "cos", "softplus", "erf", "arctan", "log_sigmoid", "mish", "arcsinh")
        draft.step(draft.choose(*names), x, bound=x.bound + 1)


@generator(exact=False, gradient="rough", smooth=False)
def bent_inexact(draft: Draft) -> None:
    x = draft.pick(floating)
    if x:
        draft.step(draft.choose("leaky_relu", "elu", "hardswish", "hardsigmoid"), x)


@generator(exact=False, gradient="rough")
def growing(draft: Draft) -> None:
    x = draft.pick(floating)
    if x:
        tame = draft.tamed(x, 3)
        draft.step(draft.choose("exp", "exp2", "expm1", "sinh", "cosh"), tame, bound=21)


@generator(exact=False, gradient="rough", smooth=False)
def root_like(draft: Draft) -> None:
    x = draft.pick(floating)
    if x:
        positive = draft.step("positive", x, bound=x.bound + 1)
        draft.step(draft.choose("sqrt", "log", "rsqrt", "log2", "log10", "reciprocal", "log1p"), positive)


@generator(exact=False, gradient="rough", smooth=False)
def quotient(draft: Draft) -> None:
    x, y = draft.pair(floating)
    if x and y:
        draft.step("div", x, draft.step("positive", y, bound=y.bound + 1))


@generator(exact=False, gradient="rough")
def smooth_binary(draft: Draft) -> None:
    x, y = draft.pair(floating)
    if x and y:
        draft.step(draft.choose("logaddexp", "swiglu", "geglu"), x, y, bound=x.bound * y.bound + 1)


# ------------------------------------------------------------ reductions and scans


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


# ------------------------------------------------------------ shapes


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
        draft.step("one_hot", numbers, bound=1, num_classes=4, dtype=draft.choose("float64", "float32"))


@generator()
def by_segment(draft: Draft) -> None:
    numbers = row_numbers(draft, 3, (1,))
    if numbers:
        x = draft.pick(lambda v: axial(v) and floating(v) and v.shape[0] == numbers.shape[0])
        if x:
            draft.step("segment_sum", x, draft.beside(numbers, x), bound=max(1, x.shape[0]) * x.bound, num_segments=3)


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
