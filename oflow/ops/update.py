"""Rewriting kept state in place: optimizer updates, the step counter, assignment; and the squares that clipping sums.

Results are the memory of the operands they replace. Gradients must be whole (no partials): the step is not linear in them.
But an update may take a whole gradient in parts: with the attribute ``gradients=k`` the operand `grad` is k consecutive operands
of the state's type, and the gradient is their sum, added first to last, in that dtype, before the scale is applied. So where the
ranks' partial sums lie in one memory, boxing P(sum) -> B before an update can be left out: the parts, in rank order, are handed
to the update instead, and the result has the same bits. `sum_squares` takes its operand in parts in the same way.

A negative scale (SKIP) says that the step is to be skipped: nothing is rewritten.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.blocks import axis_names
from oflow.ops.op import Attributes, Example, RuleMaker, Types, op

SKIP = -1.0
BLOCK = 8192
"""Elements updated at a time: state, gradient and two temporaries of a block stay in cache."""


def _elementwise(states: int, tensors: int) -> RuleMaker:
    """Rule maker: `tensors` operands of one shape, the first `states` of them rewritten, then scalars.

    The last of the tensors is the gradient: it may come in parts (see above).
    """

    def rule(ins: Types, attrs: Attributes) -> str:
        names = axis_names(len(ins[0].shape))
        count = tensors + _further(attrs)
        return ", ".join([names] * count + [""] * (len(ins) - count)) + " -> " + ", ".join([names] * states)

    return rule


def _further(attrs: Attributes) -> int:
    """Operands that the gradient has beside the first."""
    return int(attrs.get("gradients", 1)) - 1


def _kept(states: int, tensors: int, scalars: int) -> Callable[[Types, Attributes], Types]:
    """Result types: those of the rewritten operands. Raises ShapeError where operands differ or are missing."""

    def infer(ins: Types, attrs: Attributes) -> Types:
        count = tensors + _further(attrs)
        if count < tensors or not scalars <= len(ins) - count <= scalars + 1:
            raise ShapeError(f"takes {count} tensors and {scalars} scalars, then optionally the gradient's scale")
        for t in ins[1:count]:
            if t != ins[0]:
                raise ShapeError(f"state and gradient must have one type, got {ins[0]} and {t}")
        if any(t.shape for t in ins[count:]):
            raise ShapeError("learning rate, step and scale must be scalars")
        return ins[:states]

    return infer


def _flat_blocks(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Matching flat blocks of arrays of one shape, as views."""
    flat = [a.reshape(-1) for a in arrays]
    for start in range(0, flat[0].size, BLOCK):
        yield tuple(a[start : start + BLOCK] for a in flat)


def _temporaries(like: np.ndarray, count: int) -> list[np.ndarray]:
    return [np.empty(min(BLOCK, like.size), like.dtype) for _ in range(count)]


def skipped(scale: Sequence[np.ndarray]) -> bool:
    """Whether the gradient's scale, if there is one, says that nothing is to be rewritten."""
    return bool(scale) and float(scale[0]) < 0


def _sum(parts: Sequence[np.ndarray], temporary: np.ndarray) -> np.ndarray:
    """The sum of the parts of a block of the gradient, first to last."""
    if len(parts) == 1:
        return parts[0]
    total: np.ndarray = np.add(parts[0], parts[1], out=temporary[: parts[0].size])
    for part in parts[2:]:
        total += part
    return total


# ------------------------------------------------------------ examples


def _state(shape: tuple[int, ...], count: int, dtype: str = "float32") -> list[np.ndarray]:
    random = np.random.default_rng(7)
    return [random.standard_normal(shape).astype(dtype) for _ in range(count)]


def _update_examples(states: int, positive: int = -1, step: bool = False, **attrs: float) -> list[Example]:
    """Examples over several shapes, with and without the scale and further gradients; operand `positive` is a second moment."""
    made = []
    for i, (shape, gradients) in enumerate([((5, 3), 1), ((7,), 2), ((2, 3, 5), 1), ((), 3)]):
        tensors = _state(shape, states + gradients)
        if positive >= 0:
            tensors[positive] = np.abs(tensors[positive])
        scalars = [np.float32(0.1)] + ([np.float32(i)] if step else []) + ([np.float32(0.5)] if i % 2 else [])
        parts = {"gradients": gradients} if gradients > 1 else {}
        made.append(Example((*tensors, *(np.asarray(s) for s in scalars)), {**attrs, **parts} if i else {}, tolerance=1e-5))
    return made


# ------------------------------------------------------------ the operators

sgd_update = op(
    "sgd_update",
    rule=_elementwise(1, 2),
    infer=_kept(1, 2, 1),
    inplace={0: 0},
    parts={1: "gradients"},
    example=lambda: _update_examples(1, weight_decay=0.1),
)
"""(param, grad, lr[, scale]; weight_decay=0, gradients=1) -> param - lr (scale grad + weight_decay param), in place."""


@sgd_update.kernel
def _sgd(param: np.ndarray, *others: np.ndarray, weight_decay: float = 0.0, gradients: int = 1) -> None:
    lr, *scale = others[gradients:]
    if skipped(scale):
        return
    rate, factor = float(lr), float(scale[0]) if scale else 1.0
    (temporary,) = _temporaries(param, 1)
    for p, *parts in _flat_blocks(param, *others[:gradients]):
        step = temporary[: p.size]
        np.multiply(_sum(parts, step), rate * factor, out=step)
        if weight_decay:
            p *= 1.0 - rate * weight_decay
        p -= step


momentum_update = op(
    "momentum_update",
    rule=_elementwise(2, 3),
    infer=_kept(2, 3, 1),
    inplace={0: 0, 1: 1},
    parts={2: "gradients"},
    example=lambda: [
        *_update_examples(2, momentum=0.9, weight_decay=0.1),
        *_update_examples(2, momentum=0.9, nesterov=True)[1:],
    ],
)
"""(param, velocity, grad, lr[, scale]; momentum=0.9, nesterov=False, weight_decay=0, gradients=1) -> param, velocity in place.

PyTorch's form: d = scale grad + weight_decay param; velocity = momentum velocity + d; param -= lr velocity, or with nesterov
param -= lr (d + momentum velocity). The velocity starts at zero.
"""


@momentum_update.kernel
def _momentum(
    param: np.ndarray, velocity: np.ndarray, *others: np.ndarray,
    momentum: float = 0.9, nesterov: bool = False, weight_decay: float = 0.0, gradients: int = 1,
) -> None:  # fmt: skip
    lr, *scale = others[gradients:]
    if skipped(scale):
        return
    rate, factor = float(lr), float(scale[0]) if scale else 1.0
    first, second = _temporaries(param, 2)
    for p, v, *parts in _flat_blocks(param, velocity, *others[:gradients]):
        d, step = first[: p.size], second[: p.size]
        np.multiply(_sum(parts, d), factor, out=d)
        if weight_decay:
            np.multiply(p, weight_decay, out=step)
            d += step
        v *= momentum
        v += d
        if nesterov:
            np.multiply(v, momentum, out=step)
            step += d
            step *= rate
        else:
            np.multiply(v, rate, out=step)
        p -= step


adamw_update = op(
    "adamw_update",
    rule=_elementwise(3, 4),
    infer=_kept(3, 4, 2),
    inplace={0: 0, 1: 1, 2: 2},
    parts={3: "gradients"},
    example=lambda: _update_examples(3, positive=2, step=True, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1),
)
"""(param, m, v, grad, lr, step[, scale]; beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0, gradients=1) -> param, m, v in place.

`step` is the number of updates done before. Decoupled weight decay (Loshchilov and Hutter 2019):
m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; both bias-corrected with step + 1;
param = (1 - lr weight_decay) param - lr m / (sqrt(v) + eps).
"""


@adamw_update.kernel
def _adamw(
    param: np.ndarray, m: np.ndarray, v: np.ndarray, *others: np.ndarray,
    beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0, gradients: int = 1,
) -> None:  # fmt: skip
    lr, step, *scale = others[gradients:]
    if skipped(scale):
        return
    change = adam_step(lr, step, scale, beta1, beta2, eps, weight_decay)
    first, second = _temporaries(param, 2)
    for p, a, b, *parts in _flat_blocks(param, m, v, *others[:gradients]):
        x, y = first[: p.size], second[: p.size]
        change(p, a, b, _sum(parts, y), x, y)


def adam_step(
    lr: np.ndarray, step: np.ndarray, scale: Sequence[np.ndarray], beta1: float, beta2: float, eps: float, weight_decay: float
) -> Callable[..., None]:
    """A function of (param, m, v, gradient, two temporaries, the second of which may be the gradient) that changes the first three."""
    rate, factor, count = float(lr), float(scale[0]) if scale else 1.0, float(step) + 1.0
    root = math.sqrt(1.0 - beta2**count)
    size = -rate * root / (1.0 - beta1**count)
    floor = eps * root  # sqrt(v / root^2) + eps = (sqrt(v) + eps root) / root

    def change(p: np.ndarray, a: np.ndarray, b: np.ndarray, g: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        np.multiply(g, factor * (1.0 - beta1), out=x)
        a *= beta1
        a += x
        np.square(g, out=x)
        x *= factor * factor * (1.0 - beta2)
        b *= beta2
        b += x
        np.sqrt(b, out=x)
        x += floor
        np.multiply(a, size, out=y)
        y /= x
        if weight_decay:
            p *= 1.0 - rate * weight_decay
        p += y

    return change


adagrad_update = op(
    "adagrad_update",
    rule=_elementwise(2, 3),
    infer=_kept(2, 3, 1),
    inplace={0: 0, 1: 1},
    parts={2: "gradients"},
    example=lambda: _update_examples(2, positive=1, eps=1e-6, weight_decay=0.1),
)
"""(param, squares, grad, lr[, scale]; eps=1e-10, weight_decay=0, gradients=1) -> param, squares, in place.

Adagrad (Duchi, Hazan, Singer 2011): g = scale grad + weight_decay param; squares += g^2; param -= lr g / (sqrt(squares) + eps).
"""


@adagrad_update.kernel
def _adagrad(
    param: np.ndarray, squares: np.ndarray, *others: np.ndarray, eps: float = 1e-10, weight_decay: float = 0.0, gradients: int = 1
) -> None:
    lr, *scale = others[gradients:]
    if skipped(scale):
        return
    rate, factor = float(lr), float(scale[0]) if scale else 1.0
    first, second = _temporaries(param, 2)
    for p, s, *parts in _flat_blocks(param, squares, *others[:gradients]):
        g, root = first[: p.size], second[: p.size]
        np.multiply(_sum(parts, g), factor, out=g)
        adagrad_step(p, s, g, root, rate, eps, weight_decay)


def adagrad_step(p: np.ndarray, s: np.ndarray, g: np.ndarray, root: np.ndarray, rate: float, eps: float, weight_decay: float) -> None:
    """One step of a block of parameters p with squares s and gradients g, which is overwritten as the temporary `root` is."""
    if weight_decay:
        np.multiply(p, weight_decay, out=root)
        g += root
    np.square(g, out=root)
    s += root
    np.sqrt(s, out=root)
    root += eps
    g /= root
    g *= rate
    p -= g


increment = op(
    "increment",
    rule=_elementwise(1, 1),
    inplace={0: 0},
    exact=True,
    example=lambda: [Example((np.asarray(41),)), Example((np.arange(5),))],
)
"""counter -> counter + 1, in place."""


@increment.kernel
def _increment(counter: np.ndarray) -> None:
    np.add(counter, 1, out=counter)


assign = op(
    "assign",
    rule=_elementwise(1, 2),
    infer=_kept(1, 2, 0),
    inplace={0: 0},
    exact=True,
    example=lambda: [Example((np.zeros((5, 3), "float32"), np.arange(15, dtype="float32").reshape(5, 3)))],
)
"""(old, new) -> new, in the memory of old."""


@assign.kernel
def _assign(old: np.ndarray, new: np.ndarray) -> None:
    np.copyto(old, new)


sum_squares = op(
    "sum_squares",
    rule=lambda ins, attrs: ", ".join([axis_names(len(ins[0].shape))] * len(ins)) + " -> ",
    parts={0: ""},
    exact=True,
    example=lambda: [
        Example((np.arange(-7.0, 8.0, dtype="float32").reshape(5, 3),)),
        Example((np.arange(7.0),)),
        Example((np.arange(7.0), np.arange(7.0) * 5 % 7, np.arange(7.0) * 3 % 7)),
    ],
)
"""(x, ...) -> the sum of the squares of x, or of the sum of the operands, a scalar; blocks are added in double precision."""


@sum_squares.kernel
def _sum_squares(out: np.ndarray, *parts: np.ndarray) -> None:
    (temporary,) = _temporaries(parts[0], 1)
    blocks = (_sum(some, temporary) for some in _flat_blocks(*parts))
    out[...] = sum(float(np.dot(x, x)) for x in blocks)
