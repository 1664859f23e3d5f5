"""The NumPy kernels of `masked_attention`: scores of a block of queries at a time, in the workspace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from oflow.ops.attention import ROWS, by_head, hide_future, padded, query_blocks
from oflow.ops.blocks import BLOCK_NBYTES, carve, row_sums


def heads_at_once(k: tuple[int, ...], shared: int, itemsize: int) -> int:
    """Heads of keys that are worked on at a time, each with its `shared` heads of queries."""
    return max(1, min(k[2], BLOCK_NBYTES // max(1, shared * ROWS * padded(k[1]) * itemsize)))


def spans(t: int, s: int, past: int | None) -> Iterator[tuple[int, int, int]]:
    """(start, stop, keys seen) of the blocks of queries, the last first. past: keys before query 0; None: all are seen."""
    if past is not None:
        yield from query_blocks(t, s, past)
    elif s:
        yield from ((max(0, stop - ROWS), stop, s) for stop in range(t, 0, -ROWS))


@dataclass(frozen=True, slots=True)
class _Block:
    """Queries of one batch element, the heads of keys and the keys that they are multiplied with."""

    batch: int
    heads: slice
    queries: slice
    keys: slice
    shared: int

    def shape(self) -> tuple[int, int, int, int]:
        """Of its scores: heads of keys, heads of queries of each, queries, keys."""
        return self.heads.stop - self.heads.start, self.shared, self.queries.stop - self.queries.start, self.keys.stop

    def of_queries(self, x: np.ndarray) -> np.ndarray:
        """View of x (batch, time, heads, d) as (heads of keys, heads of queries of each, queries, d)."""
        return self._grouped(x[self.batch, self.queries, self._all()].transpose(1, 0, 2))

    def of_keys(self, x: np.ndarray) -> np.ndarray:
        """View of x (batch, time, heads, d) as (heads of keys, keys, d)."""
        return by_head(x, self.batch, self.keys, self.heads)

    def of_rows(self, x: np.ndarray) -> np.ndarray:
        """View of x (batch, heads, time) as (heads of keys, heads of queries of each, queries, 1)."""
        return self._grouped(x[self.batch, self._all(), self.queries, None])

    def of_mask(self, x: np.ndarray) -> np.ndarray:
        """View of a mask as it repeats to the scores."""
        b, h, t, s = x.shape
        found = x[
            0 if b == 1 else self.batch, slice(1) if h == 1 else self._all(), slice(1) if t == 1 else self.queries,
            slice(1) if s == 1 else self.keys,
        ]  # fmt: skip
        return found[None] if h == 1 else self._grouped(found)

    def _all(self) -> slice:
        return slice(self.heads.start * self.shared, self.heads.stop * self.shared)

    def _grouped(self, x: np.ndarray) -> np.ndarray:
        """The first axis, heads of queries, as two; a view."""
        heads, *rest = x.strides
        shape = (x.shape[0] // self.shared, self.shared, *x.shape[1:])
        return np.lib.stride_tricks.as_strided(x, shape, (heads * self.shared, heads, *rest))


def _blocks(q: np.ndarray, k: np.ndarray, past: int | None) -> Iterator[_Block]:
    (b, t, h, _), (_, s, g, _) = q.shape, k.shape
    if not g or not h:
        return
    shared = h // g
    many = heads_at_once(k.shape, shared, q.itemsize)
    for batch in range(b):
        for first in range(0, g, many):
            for start, stop, seen in spans(t, s, past):
                yield _Block(batch, slice(first, min(first + many, g)), slice(start, stop), slice(0, seen), shared)


def _scores(
    at: _Block, workspace: np.ndarray, q: np.ndarray, k: np.ndarray, masks: tuple[np.ndarray, ...], scale: float, past: int | None
) -> np.ndarray:
    """The block's scores, -inf where a key is not seen, in the workspace. past: keys before query 0; None: all are seen."""
    block = carve(workspace, 0, at.shape(), q.dtype)
    np.matmul(at.of_queries(q), at.of_keys(k).transpose(0, 2, 1)[:, None], out=block)
    block *= scale
    for mask in masks:
        if mask.dtype == bool:
            np.copyto(block, -np.inf, where=~at.of_mask(mask))
        else:
            block += at.of_mask(mask)
    if past is not None:
        hide_future(block, at.queries.start + past)
    return block


def attend(
    out: np.ndarray, logsumexp: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, *masks: np.ndarray,
    scale: float, past: int | None = None, workspace: np.ndarray,
) -> None:  # fmt: skip
    """The kernel of attention."""
    out[...], logsumexp[...] = 0, -np.inf
    for at in _blocks(q, k, past):
        block = _scores(at, workspace, q, k, masks, scale, past)
        largest = block.max(axis=3, keepdims=True)
        np.copyto(largest, 0, where=np.isneginf(largest))
        block -= largest
        np.exp(block, out=block)
        total = row_sums(block)
        result = at.of_queries(out)
        np.matmul(block, at.of_keys(v)[:, None], out=result)
        np.divide(result, total, out=result, where=total > 0)
        np.add(largest, np.log(total, out=np.full_like(total, -np.inf), where=total > 0), out=at.of_rows(logsumexp))


def pull_back(
    to_q: np.ndarray, to_k: np.ndarray, to_v: np.ndarray, *others: np.ndarray,
    scale: float, past: int | None = None, workspace: np.ndarray,
) -> None:  # fmt: skip
    """The kernel of attention_grad: a fourth result is the cotangent of a bias."""
    to_bias, operands = (others[0], others[1:]) if len(others) == 8 else (None, others)
    (g, q, k, v, out, logsumexp), masks = operands[:6], operands[6:]
    for result in (to_q, to_k, to_v, *([] if to_bias is None else [to_bias])):
        result[...] = 0
    for at in _blocks(q, k, past):
        weights = _scores(at, workspace, q, k, masks, scale, past)
        slopes, rest = carve(workspace, weights.nbytes, weights.shape, q.dtype), workspace[2 * weights.nbytes :]
        totals, mine, cotangent = at.of_rows(logsumexp), at.of_queries(q), at.of_queries(g)
        weights -= np.where(np.isneginf(totals), np.inf, totals)
        np.exp(weights, out=weights)
        _add_products(at.of_keys(to_v), weights, cotangent, rest)
        np.matmul(cotangent, at.of_keys(v).transpose(0, 2, 1)[:, None], out=slopes)
        slopes -= np.vecdot(cotangent, at.of_queries(out))[..., None]
        slopes *= weights
        if to_bias is not None:
            _add_repeats(at.of_mask(to_bias), slopes)
        slopes *= scale
        np.matmul(slopes, at.of_keys(k)[:, None], out=at.of_queries(to_q))
        _add_products(at.of_keys(to_k), slopes, mine, rest)


def _add_products(total: np.ndarray, block: np.ndarray, x: np.ndarray, workspace: np.ndarray) -> None:
    """total (heads, keys, d) += the sum of block^T x over the heads of queries, of block (heads, shared, rows, keys)."""
    part = carve(workspace, 0, total.shape, total.dtype)
    for i in range(block.shape[1]):
        total += np.matmul(block[:, i].transpose(0, 2, 1), x[:, i], out=part)


def _add_repeats(total: np.ndarray, block: np.ndarray) -> None:
    """total += block, summed over the axes along which `total` is repeated."""
    axes = tuple(i for i, (n, m) in enumerate(zip(total.shape, block.shape, strict=True)) if n != m)
    total += block.sum(axis=axes, keepdims=True) if axes else block
