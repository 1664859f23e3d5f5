"""pack: offsets for buffers with known lifetimes (dynamic storage allocation).

    greedy        by size, best fit; then other orders
    free            gaps between what has its place
    tight         the search for less, by both of
    across        a full arena, border by border in time, with
    borders         who can take whose place at one time
    orders          the orders that are still possible
    question      one start of the search by
    valleys         one buffer on the others at a time, with
    decisions         what it does and undoes
    levels            when two heights can be made level
    board             where it stands
    joined          buffers that may as well lie as one
    successions   who has whose bytes

The lower bound is the largest sum of live bytes (`load`). Greedy by size stays within a few percent of it on training graphs
(Pisarchyk & Lee 2020) and is all that is done where it meets the bound; what costs more is bounded by counted work, so offsets are
the same on every run and every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral

from oflow.compiler.packing.greedy import Buffer, place_in_turn
from oflow.compiler.packing.successions import successions
from oflow.compiler.packing.tight import tighten, tighten_across
from oflow.errors import PlanError
from oflow.native import available

__all__ = ["MODEST", "THOROUGH", "Buffer", "load", "pack", "peak", "successions"]

MODEST = 300_000
"""Steps of the search that Python takes in less than a second."""
THOROUGH = 16_000_000_000
"""Steps that machine code takes in well under a minute."""
FEW, ACROSS = 500, 4_000_000
"""Without numba, so many buffers are few enough for so many steps of the search across time, which Python takes in about two seconds."""

Key = Callable[[Buffer], tuple[int, ...]]
ORDERS: tuple[Key, ...] = (
    lambda b: (-b[2], b[0] - b[1]),  # large first, long lives first among equals
    lambda b: (b[0] - b[1], -b[2]),
    lambda b: (b[2] * (b[0] - b[1]),),
    lambda b: (b[0], -b[2]),
)


def pack(buffers: Sequence[Buffer], effort: int | None = None) -> list[int]:
    """Offsets, in bytes, for buffers (start, stop, nbytes); two that live at the same time never overlap.

    effort: steps of search after the first greedy attempt, 0 for none. None: THOROUGH where numba is installed, else MODEST and,
    for FEW buffers, the search across time. Equal arguments give equal offsets; those of None depend on whether numba is
    installed. Raises PlanError for what is no buffer: three whole numbers, a size that
    is not negative, a lifetime that does not end before it starts.
    """
    for buffer in buffers:
        if len(buffer) != 3 or not all(isinstance(n, Integral) for n in buffer):
            raise PlanError(f"a buffer is (start, stop, nbytes), whole numbers, got {buffer!r}")
        start, stop, nbytes = buffer
        if nbytes < 0 or stop < start:
            raise PlanError(f"a buffer needs start <= stop and nbytes >= 0, got {buffer!r}")
    bound = load(buffers)
    if effort is not None or available():
        return _within(buffers, bound, THOROUGH if effort is None else effort)
    best = _within(buffers, bound, MODEST)
    return tighten_across(buffers, best, bound, ACROSS) if len(buffers) <= FEW else best


def _within(buffers: Sequence[Buffer], bound: int, effort: int) -> list[int]:
    each = len(buffers) ** 2 // 4
    best = _greedy(buffers, ORDERS[0])
    for order in ORDERS[1:]:
        if effort < each or peak(buffers, best) == bound:
            break
        effort -= each
        best = min(best, _greedy(buffers, order), key=lambda offsets: peak(buffers, offsets))
    return tighten(buffers, best, bound, effort) if peak(buffers, best) > bound and effort >= each else best


def _greedy(buffers: Sequence[Buffer], key: Key) -> list[int]:
    return place_in_turn(buffers, sorted(range(len(buffers)), key=lambda i: (*key(buffers[i]), i)))


def peak(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """Bytes of the arena that these offsets need."""
    return max((offset + nbytes for (_, _, nbytes), offset in zip(buffers, offsets, strict=True)), default=0)


def load(buffers: Sequence[Buffer]) -> int:
    """The largest sum of live bytes: no packing is smaller."""
    living = [(start, stop, nbytes) for start, stop, nbytes in buffers if start < stop]
    changes = sorted([(stop, -nbytes) for _, stop, nbytes in living] + [(start, nbytes) for start, _, nbytes in living])
    live = most = 0
    for _, change in changes:
        live += change
        most = max(most, live)
    return most
