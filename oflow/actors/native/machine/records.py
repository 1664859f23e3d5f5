"""Time, and the records of a run that keeps them: spans of acts and events of slots."""

from __future__ import annotations

from numba import njit

from oflow.actors.native.fields import AT, BUSY_ENOUGH, FREE, FULL_SLOT, RECORD_WORDS, TICK_NANOSECONDS
from oflow.actors.native.machine.words import BYTES, at, column, constant, inline, table
from oflow.native.intrinsics import call_c, words


@njit
def now(w: int) -> int:
    """Nanoseconds of the monotonic clock; in virtual time the bits of seconds."""
    if constant(w, AT.VIRTUAL):
        return words(w)[AT.TIME]
    clock = column(w, AT.CLOCK)
    call_c(constant(w, AT.CLOCK_GETTIME), 1, constant(w, AT.CLOCK) + 2 * BYTES, 0, 0, 0, 0)
    return clock[2] * 1_000_000_000 + clock[3]


@njit
def record(w: int, kind: int, a: int, b: int, c: int, d: int) -> None:
    entry = words(constant(w, AT.RECORDS) + BYTES * RECORD_WORDS * words(w)[AT.RECORD_COUNT])
    entry[0], entry[1], entry[2], entry[3], entry[4] = kind, a, b, c, d
    words(w)[AT.RECORD_COUNT] += 1


@njit
def note_full(w: int, p: int) -> None:
    register, slot, time = table(w, AT.REGISTER, p), at(w, AT.HELD, p), now(w)
    record(w, FULL_SLOT, register, slot, time, 0)
    if table(w, AT.READER_START, p) == table(w, AT.READER_START, p + 1):
        record(w, FREE, register, slot, time, 0)


@inline
def look(w: int) -> None:
    """An act begins: note when, unless the one before it has just ended."""
    if words(w)[AT.METERED] and words(w)[AT.LOOKED] == 0:
        words(w)[AT.LOOKED] = now(w)


@inline
def count_work(w: int, a: int) -> None:
    """An act has ended: its stream has worked since the clock was last read."""
    if words(w)[AT.METERED]:
        time = now(w)
        column(w, AT.WORKED)[table(w, AT.STREAM, a)] += time - words(w)[AT.LOOKED] if words(w)[AT.LOOKED] else 0
        words(w)[AT.LOOKED] = time


@inline
def tick(w: int) -> bool:
    """Whether it is time to let Python look at signals; the clock is read once in a while only."""
    if words(w)[AT.BUSY] < BUSY_ENOUGH:
        return False
    words(w)[AT.BUSY] = 0
    return now(w) - words(w)[AT.BUDGET_START] > TICK_NANOSECONDS
