"""Causal attention as one operator: no matrix of scores is kept, neither in memory between operators nor for the gradient.

The forward keeps one number a row, the logarithm of the sum of exp(scores); the gradient makes the scores again from it
(Dao et al. 2022, FlashAttention; Dao 2023). Queries are worked on in blocks of ROWS positions, so that about half of the products
with masked keys are left out and a block of scores stays in cache.

Where `past` (the keys before query 0) is given, queries can be split too: a rank's first query has more of them before it. Keys
cannot: what a rank makes of some keys is no summand of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from oflow.errors import ShapeError, TraceError
from oflow.machine import Cost, Work
from oflow.ops.blocks import BLOCK_NBYTES, carve, row_sums
from oflow.ops.half import WIDE
from oflow.ops.op import PRODUCT, Attributes, Example, Shards, Types, op
from oflow.ops.tensor import Tensor, user_line
from oflow.types import HALF, TensorType

ROWS = 64
"""Query positions worked on at a time."""
PADDING = 64
"""Keys of a row of a block of scores are padded to a multiple of this: compiled loops over rows then have no remainder."""


def blind_queries(t: int, s: int, past: int | None = None) -> int:
    """How many queries, the first ones, see no key. past: keys before query 0, s - t unless given."""
    before = s - t if past is None else past
    return min(t, max(0, -before)) if s else t


def query_blocks(t: int, s: int, past: int | None = None) -> Iterator[tuple[int, int, int]]:
    """(start, stop, keys that position stop - 1 sees) of the blocks of queries that see any key, the last block first."""
    before, first = s - t if past is None else past, blind_queries(t, s, past)
    for stop in range(t, first, -ROWS):
        yield max(first, stop - ROWS), stop, min(s, stop + before)


def padded(keys: int) -> int:
    """Elements of one row of a block of scores of so many keys."""
    return -(-keys // PADDING) * PADDING


def heads_at_once(s: int, heads: int, itemsize: int) -> int:
    """Heads that the NumPy kernels work on at a time."""
    return max(1, min(heads, BLOCK_NBYTES // max(1, ROWS * padded(s) * itemsize)))


def _checked(ins: Types) -> Types:
    """Raises ShapeError where operands are not floats (batch, time, heads, d)."""
    if any(not t.is_float or len(t.shape) != 4 for t in ins[:3]):
        raise ShapeError(f"queries, keys and values must be floats (batch, time, heads, d), got {', '.join(map(str, ins[:3]))}")
    if len({t.dtype for t in ins[:3]}) > 1:
        raise ShapeError(f"queries, keys and values must have one dtype, got {', '.join(map(str, ins[:3]))}; convert with of.cast")
    return ins


def _rule(ins: Types, attrs: Attributes) -> str:
    _checked(ins)
    t = _queries(attrs)
    return f"b {t} h d!, b s! h d!, b s! h e! -> b {t} h e!, b h {t}"


def logarithm_dtype(dtype: str) -> str:
    """Of the logarithms of sums of exponentials: 16 bits would be too few to take exponentials of what is left again."""
    return WIDE if dtype in HALF else dtype


def _queries(attrs: Attributes) -> str:
    return "t" if "past" in attrs else "t!"


def with_past(attrs: Attributes, positions: tuple[int, int]) -> Mapping[str, Any]:
    """Attributes of a rank that has the queries at these positions (start, stop)."""
    return {**attrs, "past": attrs["past"] + positions[0]} if "past" in attrs else attrs


def _grad_rule(ins: Types, attrs: Attributes) -> str:
    t = _queries(attrs)
    q, k, v = f"b {t} h d!", "b s! h d!", "b s! h e!"
    return f"b {t} h e!, {q}, {k}, {v}, b {t} h e!, b h {t} -> {q}, {k}, {v}"


def _operands(*shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(19)
    return tuple(random.standard_normal(shape).astype("float32") for shape in shapes)


SHAPES = [
    ((3, 5, 2, 4), (3, 5, 2, 4), (3, 5, 2, 4)),
    ((2, 4, 3, 4), (2, 7, 3, 4), (2, 7, 3, 5)),
    ((1, 5, 3, 2), (1, 3, 3, 2), (1, 3, 3, 2)),
    ((1, 70, 2, 8), (1, 70, 2, 8), (1, 70, 2, 8)),
]
"""Shapes of queries, keys and values: as many keys as queries, more, fewer, and more than one block of queries."""


def _grad_example(scale: float, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> Example:
    t, s = q.shape[1], k.shape[1]
    scores = np.where(np.tri(t, s, s - t, dtype=bool), np.einsum("bthd,bshd->bhts", q * scale, k), -np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        logsumexp = np.log(np.exp(scores).sum(-1))
        weights = np.nan_to_num(np.exp(scores - logsumexp[..., None]))
    out = np.einsum("bhts,bshe->bthe", weights, v)
    (g,) = _operands(out.shape)
    return Example((g, q, k, v, out.astype("float32"), logsumexp.astype("float32")), {"scale": scale}, tolerance=1e-5)


causal_attention_op = op(
    "causal_attention",
    rule=_rule,
    dtype=lambda ins, attrs: (ins[0].dtype, logarithm_dtype(ins[0].dtype)),
    half=PRODUCT,
    example=lambda: [Example(_operands(*shapes), {"scale": 0.5}) for shapes in SHAPES],
)
"""q (b, t, h, d), k (b, s, h, d), v (b, s, h, e); scale=1, past=None -> for each head softmax of scale q k^T over the keys
j <= i + past of query i, times v (b, t, h, e); and the logarithm of the sum of exp of the scaled scores that a query sees (b, h, t).

past: s - t unless given. Queries that see no key are zero, their logarithm -inf. Batch and heads may be split, and with `past` queries.
"""


@causal_attention_op.local
def _(attrs: Attributes, shards: Shards) -> Attributes:
    return with_past(attrs, shards.ins[0][1])


def _cost(name: str, first: int, products: int) -> Callable[[Types, Types, Attributes], Cost]:
    """Cost rule: of the seen part of the scores' matrix, so many products with queries or keys and as many with values.

    `first` is the place of the queries among the operands.
    """

    def rule(ins: Types, outs: Types, attrs: Attributes) -> Cost:
        (b, t, h, d), (_, s, _, e) = ins[first].shape, ins[first + 2].shape
        found = list(query_blocks(t, s, attrs.get("past")))
        seen = sum((stop - start) * keys for start, stop, keys in found)
        flops = float(b * h * seen) * (2 * products * (d + e) + 10)
        nbytes = float(sum(x.nbytes for x in (*ins, *outs)))
        pairs = float(b * h * sum((stop - start) * padded(keys) for start, stop, keys in found))
        operations = ((f"{name}.pair", pairs), (f"{name}.product", pairs * products * (d + e)))
        work = Work(name, touched=((0.0, nbytes),), operations=operations, itemsize=ins[first].itemsize)
        return Cost(flops, nbytes, 1, works=(work,))

    return rule


causal_attention_op.cost(_cost("causal_attention", 0, 1))


def _block_nbytes(q: TensorType, s: int) -> int:
    """Bytes of one block of scores of all heads that are worked on at once."""
    return heads_at_once(s, q.shape[2], q.itemsize) * ROWS * padded(s) * q.itemsize


@causal_attention_op.workspace
def _workspace(ins: Types, outs: Types, attrs: Attributes) -> int:
    return _block_nbytes(ins[0], ins[1].shape[1])


# ------------------------------------------------------------ gradient

causal_attention_grad = op(
    "causal_attention_grad",
    rule=_grad_rule,
    dtype=lambda ins, attrs: [t.dtype for t in ins[1:4]],
    linear=[{0}],
    example=lambda: [_grad_example(0.5, *_operands(*shapes)) for shapes in SHAPES],
)
"""(g, q, k, v, out, logsumexp; scale=1, past=None), the last two what causal_attention(q, k, v) gives -> the cotangents of q, k, v."""


@causal_attention_grad.local
def _(attrs: Attributes, shards: Shards) -> Attributes:
    return with_past(attrs, shards.ins[1][1])


causal_attention_grad.cost(_cost("causal_attention_grad", 1, 2))


@causal_attention_grad.workspace
def _grad_workspace(ins: Types, outs: Types, attrs: Attributes) -> int:
    """Two blocks of scores, and what one of them adds to the cotangents of keys or values."""
    (_, s, h, d), e = ins[2].shape, ins[3].shape[3]
    many = heads_at_once(s, h, ins[1].itemsize)
    return 2 * _block_nbytes(ins[1], s) + many * s * max(d, e) * ins[1].itemsize


@causal_attention_op.grad
def _(
    g: tuple[Tensor, Tensor | None], y: tuple[Tensor, Tensor], q: Tensor, k: Tensor, v: Tensor, **attrs: float
) -> tuple[Tensor, Tensor, Tensor]:
    if g[1] is not None:
        raise TraceError("the second result of causal_attention, logsumexp, has no gradient", line=user_line())
    made: tuple[Tensor, Tensor, Tensor] = causal_attention_grad(g[0], q, k, v, *y, **attrs)
    return made


# ------------------------------------------------------------ kernels


def by_head(x: np.ndarray, batch: int, positions: slice, heads: slice) -> np.ndarray:
    """View of x (batch, time, heads, d) as matrices (heads, positions, d)."""
    return x[batch, positions, heads].transpose(1, 0, 2)


def _blocks(q: np.ndarray, k: np.ndarray, past: int | None) -> Iterator[tuple[int, slice, slice, slice]]:
    """(batch, heads, queries, keys that one of them sees) of all blocks; of equal heads the last queries come first."""
    b, t, h, _ = q.shape
    s = k.shape[1]
    many = heads_at_once(s, h, q.itemsize)
    for batch in range(b):
        for first in range(0, h, many):
            for start, stop, seen in query_blocks(t, s, past):
                yield batch, slice(first, min(first + many, h)), slice(start, stop), slice(0, seen)


def hide_future(block: np.ndarray, first: int) -> None:
    """Set to -inf, in scores (..., rows, keys), the keys j > first + i of row i."""
    rows, keys = block.shape[-2:]
    if first < keys:
        np.copyto(block[..., first:], -np.inf, where=~np.tri(rows, keys - first, dtype=bool))


def _scores(block: np.ndarray, q: np.ndarray, k: np.ndarray, scale: float, first: int) -> None:
    """block (heads, rows, keys) = scale q k^T, -inf where the key is masked; `first` is the last key that row 0 sees."""
    np.matmul(q, k.transpose(0, 2, 1), out=block)
    block *= scale
    hide_future(block, first)


@causal_attention_op.kernel
def _causal_attention(
    out: np.ndarray, logsumexp: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float = 1.0,
    past: int | None = None, *, workspace: np.ndarray,
) -> None:  # fmt: skip
    before = k.shape[1] - q.shape[1] if past is None else past
    blind = blind_queries(q.shape[1], k.shape[1], past)
    out[:, :blind], logsumexp[:, :, :blind] = 0, -np.inf
    for batch, heads, queries, keys in _blocks(q, k, past):
        mine = by_head(q, batch, queries, heads)
        block = carve(workspace, 0, (*mine.shape[:2], keys.stop), q.dtype)
        _scores(block, mine, by_head(k, batch, keys, heads), scale, queries.start + before)
        largest = block.max(axis=2, keepdims=True)
        block -= largest
        np.exp(block, out=block)
        total = row_sums(block)
        result = by_head(out, batch, queries, heads)
        np.matmul(block, by_head(v, batch, keys, heads), out=result)
        result /= total
        logsumexp[batch, heads, queries] = (largest + np.log(total))[..., 0]


@causal_attention_grad.kernel
def _causal_attention_grad(
    to_q: np.ndarray, to_k: np.ndarray, to_v: np.ndarray, g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray,
    out: np.ndarray, logsumexp: np.ndarray, scale: float = 1.0, past: int | None = None, *, workspace: np.ndarray,
) -> None:  # fmt: skip
    to_q[...], to_k[...], to_v[...] = 0, 0, 0
    before = k.shape[1] - q.shape[1] if past is None else past
    for batch, heads, queries, keys in _blocks(q, k, past):
        theirs, mine, cotangent = (by_head(x, batch, queries, heads) for x in (out, q, g))
        shape = (*mine.shape[:2], keys.stop)
        nbytes = math.prod(shape) * q.itemsize
        weights, slopes = carve(workspace, 0, shape, q.dtype), carve(workspace, nbytes, shape, q.dtype)
        rest = workspace[2 * nbytes :]
        _scores(weights, mine, by_head(k, batch, keys, heads), scale, queries.start + before)
        weights -= logsumexp[batch, heads, queries, None]
        np.exp(weights, out=weights)
        _add_product(by_head(to_v, batch, keys, heads), weights, cotangent, rest)
        np.matmul(cotangent, by_head(v, batch, keys, heads).transpose(0, 2, 1), out=slopes)
        slopes -= np.vecdot(cotangent, theirs)[..., None]
        slopes *= weights
        slopes *= scale
        np.matmul(slopes, by_head(k, batch, keys, heads), out=by_head(to_q, batch, queries, heads))
        _add_product(by_head(to_k, batch, keys, heads), slopes, mine, rest)


def _add_product(total: np.ndarray, block: np.ndarray, x: np.ndarray, workspace: np.ndarray) -> None:
    """total (heads, keys, d) += block^T x for block (heads, rows, keys) and x (heads, rows, d)."""
    part = carve(workspace, 0, total.shape, total.dtype)
    total += np.matmul(block.transpose(0, 2, 1), x, out=part)


# ------------------------------------------------------------ what users call


def causal_attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """q (batch, t, heads, d), k (batch, s, heads, d), v (batch, s, heads, e) -> softmax(scale q k^T) v of each head: (batch, t, heads, e).

    Query i sees the keys j <= i + s - t. scale: d^-1/2 unless given.
    """
    factor = max(1, *q.shape[-1:]) ** -0.5 if scale is None else float(scale)
    past = k.shape[1] - q.shape[1] if q.ndim == k.ndim == 4 else 0
    made: Tensor = causal_attention_op(q, k, v, scale=factor, past=past)[0]
    return made
