"""Working in blocks that stay in cache: the row blocks and workspaces that the NumPy kernels of this room share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from oflow.machine import Cost, Work
from oflow.types import TensorType

BLOCK_NBYTES = 256 << 10
"""Bytes of one operand that a kernel works on at a time: a few of them fit into a level-2 cache."""


def axis_names(rank: int) -> str:
    """Factor names for `rank` leading axes, ``x0 x1 ...``, to build rules from."""
    return " ".join(f"x{i}" for i in range(rank))


def as_rows(x: np.ndarray) -> np.ndarray:
    """View of x (..., d) as (rows, d)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def block_rows(width: int, itemsize: int) -> int:
    """Rows of `width` elements that make one block; at least one, at most 4096 (one number a row is a small temporary)."""
    return min(4096, max(1, BLOCK_NBYTES // max(1, width * itemsize)))


def row_sums(block: np.ndarray) -> np.ndarray:
    """Sums over the last axis (..., 1). A dot product with ones is several times faster than a reduction of short rows."""
    width = block.shape[-1]
    if width > 2048:
        return np.asarray(block.sum(axis=-1, keepdims=True))
    return np.asarray(np.vecdot(block, np.ones(width, block.dtype))[..., None])


def row_blocks(rows: np.ndarray) -> Iterator[slice]:
    """Slices that cover the rows of an array (rows, d) a block at a time."""
    step = block_rows(rows.shape[1], rows.itemsize)
    return (slice(start, min(start + step, len(rows))) for start in range(0, len(rows), step))


def block_nbytes(shape: tuple[int, ...], itemsize: int) -> int:
    """Bytes of workspace that hold one row block of a tensor of this shape."""
    width = shape[-1]
    return min(block_rows(width, itemsize), math.prod(shape[:-1])) * width * itemsize


def carve(workspace: np.ndarray, start: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """View of the uint8 workspace from byte `start` as an array; `start` must suit the dtype's alignment."""
    nbytes = math.prod(shape) * dtype.itemsize
    return workspace[start : start + nbytes].view(dtype).reshape(shape)


ELEMENT_BLOCK_NBYTES = 32 << 10
"""Bytes of one temporary of an elementwise expression: several of them fit into a level-1 cache."""


def block_length(itemsize: int) -> int:
    """Elements of one temporary."""
    return max(1, ELEMENT_BLOCK_NBYTES // itemsize)


def blocks(shape: tuple[int, ...], limit: int) -> Iterator[tuple[slice | int, ...]]:
    """Indices that cut an array of this shape into parts of at most `limit` elements, in row-major order."""
    size = math.prod(shape)
    if size <= limit:
        if size:
            yield ()
        return
    inner = size // shape[0]
    if inner <= limit:
        rows = limit // inner
        for start in range(0, shape[0], rows):
            yield (slice(start, start + rows),)
        return
    for row in range(shape[0]):
        for rest in blocks(shape[1:], limit):
            yield (row, *rest)


def cost_of_passes(flops: float) -> Callable[..., Cost]:
    """Cost rule: so many flops for each element of the first operand, all operands and results touched once."""

    def rule(ins: tuple[TensorType, ...], outs: tuple[TensorType, ...], attrs: object) -> Cost:
        return Cost(flops=flops * ins[0].size, nbytes=float(sum(t.nbytes for t in (*ins, *outs))), calls=1)

    return rule


def loop_work(
    kernel: str, space: tuple[int, ...], types: Sequence[TensorType], functions: Sequence[str]
) -> Work:
    """One loop nest over `space` that applies `functions` at each point; tensors smaller than it make it a loop a row."""
    points = math.prod(space)
    rows = points // max(1, space[-1]) if space and any(t.size != points for t in types) else 1
    counted = tuple((name, float(points * count)) for name, count in sorted(Counter(functions).items()))
    nbytes = float(sum(t.nbytes for t in types))
    return Work(kernel, touched=((0.0, nbytes),), rows=float(rows), operations=counted, itemsize=max(t.itemsize for t in types))
