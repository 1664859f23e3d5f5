"""Attention over all keys, under a mask or an additive bias, or causal, with keys that several heads of queries share.

One operator as `causal_attention` is: scores exist a block of queries at a time. Batch and queries may be split, and the heads of
keys, with the heads of queries that share them; a single head of keys is shared by all ranks. Keys stay whole: what a rank makes of
some keys is no summand of the result (compose softmax(..., fused=False) and products for that).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from oflow.errors import ShapeError, TraceError
from oflow.machine import Cost, Work
from oflow.ops.attend import attend, heads_at_once, pull_back, spans
from oflow.ops.attention import ROWS, causal_attention, logarithm_dtype, padded, with_past
from oflow.ops.op import PRODUCT, Attributes, Example, Shards, Types, op
from oflow.ops.shape import reshape
from oflow.ops.tensor import Tensor, user_line
from oflow.types import TensorType


@dataclass(frozen=True, slots=True)
class _Rule:
    """The factors of each tensor."""

    q: str
    k: str
    v: str
    out: str
    logsumexp: str
    mask: tuple[str, ...]


def _words(q: TensorType, k: TensorType, masks: Types) -> _Rule:
    (b, t, h, _), (_, s, g, _) = q.shape, k.shape
    heads, shared = ("h", "h") if h == g else ("h", "1") if g == 1 else ("(g r)", "g")
    found = []
    for mask in masks:
        words = zip(mask.shape, (b, h, t, s), ("b", heads, "t", "s!"), strict=True)
        found.append(" ".join(word if n == m else "1" for n, m, word in words))
    return _Rule(
        f"b t {heads} d!", f"b s! {shared} d!", f"b s! {shared} e!", f"b t {heads} e!", f"b {heads} t", tuple(found)
    )


def _rule(ins: Types, attrs: Attributes) -> str:
    of = _words(ins[0], ins[1], ins[3:])
    return f"{', '.join((of.q, of.k, of.v, *of.mask))} -> {of.out}, {of.logsumexp}"


def _grad_rule(ins: Types, attrs: Attributes) -> str:
    of = _words(ins[1], ins[2], ins[6:])
    results = (of.q, of.k, of.v, *(of.mask if _has_bias(ins[6:]) else ()))
    return f"{', '.join((of.out, of.q, of.k, of.v, of.out, of.logsumexp, *of.mask))} -> {', '.join(results)}"


def _has_bias(masks: Types) -> bool:
    return any(mask.is_float for mask in masks)


def _infer(ins: Types, attrs: Attributes) -> Types:
    """Raises ShapeError where the operands do not fit."""
    q, k, v, *masks = ins
    if any(not x.is_float or len(x.shape) != 4 for x in (q, k, v)):
        raise ShapeError(f"queries, keys and values must be floats (batch, time, heads, d), got {q}, {k}, {v}")
    (b, t, h, d), (_, s, g, _) = q.shape, k.shape
    if (k.shape[0], v.shape[:3], k.shape[3]) != (b, k.shape[:3], d) or len({x.dtype for x in (q, k, v)}) > 1:
        raise ShapeError(f"queries {q}, keys {k} and values {v} do not belong together")
    if g < 1 or h % g:
        raise ShapeError(f"{h} heads of queries cannot share {g} heads of keys evenly")
    for mask in masks:
        if len(mask.shape) != 4 or any(n not in (1, m) for n, m in zip(mask.shape, (b, h, t, s), strict=True)):
            raise ShapeError(f"a mask {mask} does not repeat to (batch, heads, queries, keys) = {(b, h, t, s)}")
        if mask.dtype not in ("bool", q.dtype):
            raise ShapeError(f"a mask is bool, or a bias of the queries' dtype {q.dtype}, not {mask.dtype}")
    return TensorType((b, t, h, v.shape[3]), q.dtype), TensorType((b, h, t), logarithm_dtype(q.dtype))


def _grad_infer(ins: Types, attrs: Attributes) -> Types:
    return (*ins[1:4], *(ins[6:] if _has_bias(ins[6:]) else ()))


# ------------------------------------------------------------ examples

Shape = tuple[int, ...]
SHAPES: list[tuple[Shape, Shape, Shape, Shape | None, dict[str, Any]]] = [
    # (queries, keys, values, mask, attributes)
    ((3, 5, 2, 4), (3, 5, 2, 4), (3, 5, 2, 4), None, {}),
    ((2, 5, 3, 4), (2, 7, 3, 4), (2, 7, 3, 5), (2, 1, 5, 7), {}),
    ((2, 4, 6, 4), (2, 6, 2, 4), (2, 6, 2, 3), (1, 6, 4, 6), {"bias": True}),
    ((1, 5, 4, 2), (1, 5, 4, 2), (1, 5, 4, 2), (1, 1, 1, 5), {"bias": True}),
    ((2, 6, 3, 2), (2, 6, 1, 2), (2, 6, 1, 2), None, {"past": 0}),
    ((1, 5, 6, 2), (1, 7, 3, 2), (1, 7, 3, 2), (1, 6, 1, 7), {"past": 2}),
    ((1, 6, 2, 2), (1, 4, 2, 2), (1, 4, 2, 2), None, {"past": -2}),
    ((1, 70, 4, 8), (1, 66, 4, 8), (1, 66, 4, 8), (1, 1, 70, 66), {"bias": True}),
]


def _example(sizes: tuple[Shape, ...], mask: Shape | None, past: int | None = None, bias: bool = False) -> Example:
    random = np.random.default_rng(31)
    operands = [random.standard_normal(shape).astype("float32") for shape in sizes]
    if mask is not None:
        operands.append(random.standard_normal(mask).astype("float32") if bias else random.random(mask) < 0.6)
    return Example(tuple(operands), {"scale": 0.5, **({} if past is None else {"past": past})})


def _examples() -> list[Example]:
    return [_example((q, k, v), mask, **attrs) for q, k, v, mask, attrs in SHAPES]


def _grad_example(example: Example) -> Example:
    q, k, v, *masks = example.operands
    out = np.zeros((*q.shape[:3], v.shape[3]), q.dtype)
    logsumexp = np.zeros((q.shape[0], q.shape[2], q.shape[1]), q.dtype)
    attend(out, logsumexp, q, k, v, *masks, **example.attrs, workspace=np.empty(1 << 20, np.uint8))
    g = np.asarray(np.random.default_rng(37).standard_normal(out.shape), q.dtype)
    return Example((g, q, k, v, out, logsumexp, *masks), example.attrs)


# ------------------------------------------------------------ the operators

attention_op = op("attention", rule=_rule, infer=_infer, half=PRODUCT, example=_examples)
"""q (b, t, h, d), k (b, s, g, d), v (b, s, g, e)[, mask (1|b, 1|h, 1|t, 1|s)]; scale, past=None -> for each head of queries i the
softmax of its scores, scale q k^T with the head i g / h of keys, times v (b, t, h, e); and the logarithm of the sum of exp(scores) of
each row (b, h, t).

A mask of bools leaves out keys where it is False, one of floats is added to the scores. With `past` query i sees the keys j <= i + past.
Rows that see no key are zero, their logarithm -inf.
"""
attention_grad = op(
    "attention_grad", rule=_grad_rule, infer=_grad_infer, linear=[{0}], example=lambda: list(map(_grad_example, _examples()))
)
"""(g, q, k, v, out, logsumexp[, mask]; scale, past=None), out and logsumexp of attention -> the cotangents of q, k, v, and of the
mask where it is a bias."""


attention_op.kernel(attend)
attention_grad.kernel(pull_back)


@attention_op.local
def _(attrs: Attributes, shards: Shards) -> Attributes:
    return with_past(attrs, shards.ins[0][1])


@attention_grad.local
def _(attrs: Attributes, shards: Shards) -> Attributes:
    return with_past(attrs, shards.ins[1][1])


def _cost_of(first: int, products: int, ins: Types, outs: Types, attrs: Attributes) -> Cost:
    """`products` with queries or keys and as many with values, of the seen part of the scores; `first`: the queries' place."""
    (b, t, h, d), (_, s, _, e) = ins[first].shape, ins[first + 2].shape
    pairs = float(b * h * sum((stop - start) * keys for start, stop, keys in spans(t, s, attrs.get("past"))))
    nbytes = float(sum(x.nbytes for x in (*ins, *outs)))
    name = "causal_attention" if products == 1 else "causal_attention_grad"  # the same work a pair, which machines were measured for
    operations = ((f"{name}.pair", pairs), (f"{name}.product", pairs * products * (d + e)))
    work = Work(name, touched=((0.0, nbytes),), operations=operations, itemsize=ins[first].itemsize)
    return Cost(pairs * (2 * products * (d + e) + 10), nbytes, 1, works=(work,))


@attention_op.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return _cost_of(0, 1, ins, outs, attrs)


@attention_grad.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    return _cost_of(1, 2, ins, outs, attrs)


def _block_nbytes(q: TensorType, k: TensorType) -> int:
    shared = q.shape[2] // max(1, k.shape[2])
    return heads_at_once(k.shape, shared, q.itemsize) * shared * ROWS * padded(k.shape[1]) * q.itemsize


@attention_op.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    return _block_nbytes(ins[0], ins[1])


@attention_grad.workspace
def _(ins: Types, outs: Types, attrs: Attributes) -> int:
    """Two blocks of scores, and what one head of queries adds to the cotangents of keys or values."""
    _, k, v = ins[1:4]
    many = heads_at_once(k.shape, ins[1].shape[2] // max(1, k.shape[2]), k.itemsize)
    return 2 * _block_nbytes(ins[1], k) + many * k.shape[1] * max(k.shape[3], v.shape[3]) * k.itemsize


@attention_op.grad
def _(
    g: tuple[Tensor, Tensor | None], y: tuple[Tensor, Tensor], q: Tensor, k: Tensor, v: Tensor, *masks: Tensor, **attrs: float
) -> tuple[Tensor | None, ...]:
    if g[1] is not None:
        raise TraceError("the second result of attention, logsumexp, has no gradient", line=user_line())
    made: tuple[Tensor, ...] = attention_grad(g[0], q, k, v, *y, *masks, **attrs)
    return (*made, *[None] * (3 + len(masks) - len(made)))


# ------------------------------------------------------------ what users call


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False, scale: float | None = None
) -> Tensor:
    """q (batch, t, heads, d), k (batch, s, kv heads, d), v (batch, s, kv heads, e) -> (batch, t, heads, e): for each head of queries
    the softmax over the keys of scale q k^T, times v. PyTorch's scaled_dot_product_attention, with the heads after the sequence.

    mask: repeats (NumPy's broadcasting) to (batch, heads, t, s); bool: True where a key is seen; or floats, added to the scaled scores.
    A bias has a gradient. causal: query i sees the keys j <= i + s - t (aligned at the end; PyTorch aligns at the start, which differs
    where s is not t). Heads of keys divide the heads of queries: head i shares head i * kv heads // heads of keys and values.
    scale: d^-1/2 unless given. Rows that see no key are 0. Raises ShapeError where operands do not fit.
    """
    if causal and mask is None and q.ndim == 4 and q.shape[2:3] == k.shape[2:3]:
        return causal_attention(q, k, v, scale)
    masks = [] if mask is None else [reshape(mask, (1,) * (4 - mask.ndim) + mask.shape)]
    attrs = {"past": k.shape[1] - q.shape[1]} if causal and q.ndim == k.ndim == 4 else {}
    factor = max(1, *q.shape[-1:]) ** -0.5 if scale is None else float(scale)
    made: Tensor = attention_op(q, k, v, *masks, scale=factor, **attrs)[0]
    return made
