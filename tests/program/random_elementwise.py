"""Random steps of elementwise functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.program.random_generators import floating, generator, logical, numeric, signed, wide

if TYPE_CHECKING:
    from tests.program.random_draft import Draft


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
    kinds = (*draft.floats, "int64", "int32", "bool")
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
        positive = draft.step("positive", draft.tamed(x, 3), bound=4)
        draft.step(draft.choose("sqrt", "log", "rsqrt", "log2", "log10", "reciprocal", "log1p"), positive)


@generator(exact=False, gradient="rough", smooth=False)
def quotient(draft: Draft) -> None:
    x, y = draft.pair(floating)
    if x and y:
        draft.step("div", x, draft.step("positive", draft.tamed(y, 3), bound=4))


@generator(exact=False, gradient="rough")
def smooth_binary(draft: Draft) -> None:
    x, y = draft.pair(floating)
    if x and y:
        draft.step(draft.choose("logaddexp", "swiglu", "geglu"), x, y, bound=x.bound * y.bound + 1)
