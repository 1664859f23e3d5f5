"""pack: offsets for buffers with known lifetimes (dynamic storage allocation).

Greedy by size, best fit: the largest buffer first, into the smallest gap among the buffers it lives together with. The lower
bound is the largest sum of live bytes; greedy by size stays within a few percent of it on training graphs (Pisarchyk & Lee 2020).
"""

from __future__ import annotations

from collections.abc import Sequence

from oflow.errors import PlanError

Buffer = tuple[int, int, int]
"""(start, stop, nbytes): live from `start` up to, not including, `stop`."""


def pack(buffers: Sequence[Buffer]) -> list[int]:
    """Offsets, in bytes, for buffers (start, stop, nbytes); two that live at the same time never overlap.

    Raises PlanError for a negative size or a lifetime that ends before it starts.
    """
    for start, stop, nbytes in buffers:
        if nbytes < 0 or stop < start:
            raise PlanError(f"a buffer needs start <= stop and nbytes >= 0, got {(start, stop, nbytes)}")
    order = sorted(range(len(buffers)), key=lambda i: (-buffers[i][2], buffers[i][0] - buffers[i][1], i))
    offsets = [0] * len(buffers)
    placed: list[int] = []
    for i in order:
        start, stop, nbytes = buffers[i]
        if nbytes == 0 or start == stop:
            continue
        together = sorted((offsets[j], offsets[j] + buffers[j][2]) for j in placed if buffers[j][0] < stop and start < buffers[j][1])
        offsets[i] = _best_gap(together, nbytes)
        placed.append(i)
    return offsets


def _best_gap(taken: list[tuple[int, int]], nbytes: int) -> int:
    """The smallest gap between `taken` (sorted, maybe overlapping) that holds nbytes; the end if there is none."""
    best, best_size, top = -1, -1, 0
    for low, high in taken:
        if low - top >= nbytes and (best < 0 or low - top < best_size):
            best, best_size = top, low - top
        top = max(top, high)
    return best if best >= 0 else top


def peak(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """Bytes of the arena that these offsets need."""
    return max((offset + nbytes for (_, _, nbytes), offset in zip(buffers, offsets, strict=True)), default=0)
