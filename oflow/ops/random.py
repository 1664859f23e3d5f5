"""Random operators: what they draw depends on (seed, step, name, global number of the element), so it is the same on any layout.

Operands are a tensor, two kept scalars (the seed and the number of steps done) and, for every axis of the tensor, the global
numbers along it (see `positions`). The numbers are split as the tensor is, by devices and by micro-batches, and tell a rank which
elements it holds. The counter goes up once a step where there is an optimizer; programs without one draw the same every time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from oflow.errors import ShapeError, TraceError
from oflow.graph import Builder, Parameter
from oflow.machine import Cost
from oflow.ops import philox
from oflow.ops.blocks import axis_names
from oflow.ops.op import ANY, Attributes, Example, Op, Types, op
from oflow.ops.positions import positions
from oflow.ops.tensor import Tensor, user_line
from oflow.types import TensorType

SEED, STEP = "random.seed", "random.step"
"""Names of the kept scalars: what the init rule "seed" gives, and the steps done."""


def _rule(ins: Types, attrs: Attributes) -> str:
    names = axis_names(len(ins[0].shape))
    return f"{', '.join([names, '', '', *names.split()])} -> {names}"


def _infer(ins: Types, attrs: Attributes) -> Types:
    if not ins[0].is_float:
        raise ShapeError(f"random numbers are floats, {ins[0]} holds none")
    return ins[:1]


def _cost(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    """Ten rounds of two products and six other operations make 32 bytes."""
    return Cost(flops=10.0 * outs[0].size, nbytes=float(ins[0].nbytes + outs[0].nbytes), calls=1)


def _example(*shape: int, **attrs: Any) -> Example:
    values = np.random.default_rng(23).integers(1, 9, shape).astype("float32")
    ranges = [np.arange(n) for n in shape]
    return Example((values, np.asarray(5), np.asarray(3), *ranges), {"name": "example", "shape": shape, **attrs})


def _random(name: str, linear: list[set[int]], *attrs: dict[str, Any]) -> Op:
    shapes = [(5, 7), (6,), (3, 4, 5), ()]
    return op(
        name, rule=_rule, infer=_infer, linear=linear, half=ANY,
        example=lambda: [_example(*shape, **some) for shape, some in zip(shapes, attrs * len(shapes), strict=False)],
    )  # fmt: skip


# ------------------------------------------------------------ the operators

dropout_op = _random("dropout", [{0}], {"p": 0.5}, {"p": 0.25})
"""x, seed, step, numbers along each axis; p, name, shape (of the logical tensor) -> x / (1 - p), or 0 with probability p.

An element is kept where its 32 bits are at least p 2^32. The operator is linear in x, and its own gradient.
"""
rand_op = _random("rand_like", [], {})
"""As dropout, x gives type and layout alone -> uniform in [0, 1): the leading bits of an element's 64."""
randn_op = _random("randn_like", [], {})
"""As dropout, x gives type and layout alone -> standard normal, of an element's 128 bits (Box and Muller 1958)."""
RANDOM = (dropout_op, rand_op, randn_op)
for _op in RANDOM:
    _op.cost(_cost)


@dropout_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, *where: Tensor, **attrs: Any) -> list[Tensor | None]:
    return [dropout_op(g, *where, **attrs), *[None] * len(where)]


@dropout_op.kernel
def _dropout(
    out: np.ndarray, x: np.ndarray, seed: np.ndarray, step: np.ndarray, *numbers: np.ndarray, p: float, name: str, shape: tuple[int, ...]
) -> None:
    values, result = x.reshape(-1), out.reshape(-1)
    limit, factor = np.uint32(round(p * 2.0**32)), 1.0 / (1.0 - p)
    bits = philox.stream(int(seed), name, int(step), 4)
    for at, found in philox.parts(bits, numbers, shape, 4):
        np.multiply(values[at], factor, out=result[at])
        np.copyto(result[at], 0, where=found < limit)


def _fill(nbytes: int, make: Callable[[np.ndarray, np.dtype], np.ndarray]) -> Callable[..., None]:
    """A kernel that makes elements from `nbytes` of random bits each."""

    def kernel(
        out: np.ndarray, x: np.ndarray, seed: np.ndarray, step: np.ndarray, *numbers: np.ndarray, name: str, shape: tuple[int, ...]
    ) -> None:
        bits, result = philox.stream(int(seed), name, int(step), nbytes), out.reshape(-1)
        for at, found in philox.parts(bits, numbers, shape, nbytes):
            result[at] = make(found, out.dtype)

    return kernel


def _uniform(words: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Uniform in [0, 1) from as many leading bits as the dtype holds exactly."""
    held = int(np.finfo(dtype).nmant) + 1
    return np.asarray((words >> np.uint64(64 - held)) * 2.0**-held)


def _normal(words: np.ndarray, dtype: np.dtype) -> np.ndarray:
    first, second = ((words[:, i] >> np.uint64(11)) for i in (0, 1))
    return np.asarray(np.sqrt(-2.0 * np.log((first + np.uint64(1)) * 2.0**-53)) * np.cos(2.0 * np.pi * 2.0**-53 * second))


rand_op.kernel(_fill(8, _uniform))
randn_op.kernel(_fill(16, _normal))


# ------------------------------------------------------------ what users call


def _kept(builder: Builder, name: str, init: str) -> Tensor:
    """The kept int64 scalar of this name; declared at its first use."""
    for p in builder.parameters:
        if p.name == name:
            return Tensor(builder, p.value)
    value = builder.value(TensorType((), "int64"), name=name)
    builder.parameters.append(Parameter(name, value.id, init, trainable=False))
    return Tensor(builder, value.id)


def _draw(operator: Op, x: Tensor, name: str | None, **attrs: Any) -> Tensor:
    """A node of a random operator; without a name it is called after its operator and the random nodes before it."""
    kinds = {one.name for one in RANDOM}
    if name is None:
        name = f"{operator.name}.{sum(node.op in kinds for node in x.builder.nodes)}"
    seed, step = _kept(x.builder, SEED, "seed"), _kept(x.builder, STEP, "zeros")
    numbers = map(partial(positions, x), range(x.ndim))
    made: Tensor = operator(x, seed, step, *numbers, name=name, shape=x.shape, **attrs)
    return made


def dropout(x: Tensor, p: float = 0.5, training: bool = True, name: str | None = None) -> Tensor:
    """x with each element set to 0 with probability p, the others divided by 1 - p (Srivastava et al. 2014); x where not training.

    Which elements are dropped depends on the program's seed, the step, `name` and the element's place in the logical tensor: it is
    the same on every layout, for any number of micro-batches and in every schedule. Without `name` each call draws its own; calls of
    one name and shape draw the same. Raises TraceError unless 0 <= p <= 1.
    """
    if not 0.0 <= p <= 1.0:
        raise TraceError(f"dropout takes a probability, got p={p}", line=user_line())
    if not training or p == 0.0:
        return x
    if p == 1.0:
        from oflow.ops.arithmetic import mul

        zero: Tensor = mul(x, 0.0)
        return zero
    return _draw(dropout_op, x, name, p=float(p))


def rand_like(x: Tensor, name: str | None = None) -> Tensor:
    """Random numbers, uniform in [0, 1), of the (float) type of `x`; new ones every step. x's values are not read; no gradient.

    See `dropout` for what they depend on.
    """
    return _draw(rand_op, x, name)


def randn_like(x: Tensor, name: str | None = None) -> Tensor:
    """Standard normal random numbers of the (float) type of `x`; new ones every step. x's values are not read; no gradient."""
    return _draw(randn_op, x, name)


def bernoulli(p: Tensor, name: str | None = None) -> Tensor:
    """1 with the probability that `p` (floats) gives for each element, else 0, in the type of `p`; no gradient."""
    from oflow.ops.cast import cast
    from oflow.ops.comparison import less

    return cast(less(rand_like(p, name), p), p.dtype)
