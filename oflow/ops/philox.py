"""Counter-based random bits: a function of (seed, name, step, number of the element in the logical tensor) and of nothing else.

Philox4x64-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011), by NumPy's implementation.
The key is (hash of the name, seed), the counter is (block, step, 0, 0); word k of a stream is word k mod 4 of block k // 4.
An element takes 32, 64 or 128 bits of its stream, so whoever holds it, and whatever else he holds, finds the same bits.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np

SPAN_NBYTES = 32 << 10
"""Bytes of a stream that are made at a time."""
_WORDS, _WORD_NBYTES = 4, 8
_PERIOD = 1 << 256

Bits = Callable[[int, int], np.ndarray]
"""(number of the first element, count) -> their bits: uint32 or uint64 (count,), or uint64 (count, 2)."""


@lru_cache(maxsize=4096)
def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def stream(seed: int, name: str, step: int, nbytes: int) -> Bits:
    """The bits of elements that take `nbytes` (4, 8 or 16) each."""
    before = (step << 64) - 1  # NumPy counts up before it makes a block
    source = np.random.Philox(key=_hash(name) | (seed << 64), counter=before % _PERIOD)
    block = 0

    def bits(first: int, count: int) -> np.ndarray:
        nonlocal block
        start, stop = first * nbytes, (first + count) * nbytes
        wanted = start // (_WORDS * _WORD_NBYTES)
        if wanted != block:
            source.advance((wanted - block) % _PERIOD)
        block = -(-stop // (_WORDS * _WORD_NBYTES))
        skipped = start - wanted * _WORDS * _WORD_NBYTES
        raw = source.random_raw((block - wanted) * _WORDS).astype("<u8", copy=False).view(np.uint8)[skipped : skipped + count * nbytes]
        return raw.view("<u4") if nbytes == 4 else raw.view("<u8").reshape((count, 2) if nbytes == 16 else (count,))

    return bits


def parts(bits: Bits, positions: Sequence[np.ndarray], shape: Sequence[int], nbytes: int) -> Iterator[tuple[slice, np.ndarray]]:
    """The bits of all elements at `positions` (global numbers along each axis, a range each) of a tensor of this logical shape.

    Gives (slice of the elements in row-major order, their bits), a span of the stream at a time.
    """
    if not all(p.size for p in positions):
        return
    span = SPAN_NBYTES // nbytes
    runs = _Runs(positions, shape)
    if runs.length > span:
        for run in range(runs.count):
            first = int(runs.starts(run, run + 1)[0])
            for at in range(0, runs.length, span):
                count = min(span, runs.length - at)
                yield slice(run * runs.length + at, run * runs.length + at + count), bits(first + at, count)
        return
    many = max(1, span // runs.gap)
    for run in range(0, runs.count, many):
        starts = runs.starts(run, min(run + many, runs.count))
        yield slice(run * runs.length, (run + len(starts)) * runs.length), _gathered(bits, starts, runs.length, span)


class _Runs:
    """Elements of a region as runs of consecutive numbers: `count` runs of one `length`, neighbours at least `gap` apart."""

    def __init__(self, positions: Sequence[np.ndarray], shape: Sequence[int]) -> None:
        axis = max(0, len(shape) - 1)
        while axis > 0 and positions[axis].size == shape[axis]:
            axis -= 1
        inner = math.prod(shape[axis + 1 :])
        self.length = (positions[axis].size if shape else 1) * inner
        self.gap = math.prod(shape[axis:])
        self._first = int(positions[axis][0]) * inner if shape else 0
        self._outer = [(p, math.prod(shape[i + 1 :])) for i, p in enumerate(positions[:axis])]
        self._sizes = tuple(p.size for p, _ in self._outer)
        self.count = math.prod(self._sizes)

    def starts(self, begin: int, end: int) -> np.ndarray:
        """The numbers of the first elements of runs begin .. end - 1, rising."""
        found = np.full(end - begin, self._first, np.int64)
        if self._outer:
            for (p, stride), at in zip(self._outer, np.unravel_index(np.arange(begin, end), self._sizes), strict=True):
                found += p[at] * stride
        return found


def _gathered(bits: Bits, starts: np.ndarray, length: int, span: int) -> np.ndarray:
    """The bits of runs of one length, in order: made with all that lies between them where that is little, else run by run."""
    low, high = int(starts[0]), int(starts[-1]) + length
    if len(starts) == 1:
        return bits(low, length)
    if high - low > span:
        return np.concatenate([bits(int(start), length) for start in starts])
    found, steps = bits(low, high - low), np.diff(starts)
    if (steps == steps[0]).all():
        rows = np.lib.stride_tricks.as_strided(
            found, (len(starts), length, *found.shape[1:]), (int(steps[0]) * found.strides[0], *found.strides)
        )
        return rows.reshape(-1, *found.shape[1:])
    return np.asarray(found[((starts - low)[:, None] + np.arange(length)).reshape(-1)])
