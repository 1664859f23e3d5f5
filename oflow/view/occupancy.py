"""Slots and bytes over time, from the moments at which slots changed hands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oflow.arrays import REGIONS, Tables
from oflow.plan import Plan
from oflow.trace import EVENTS, SlotEvents, Trace

FREE = EVENTS.index("free")
LARGEST = 8
"""Registers that are named at a device's peak."""


@dataclass(frozen=True, eq=False, slots=True)
class Uses:
    """Slots of registers while they are not free, in order of register, slot and time: written or full from `start` to `stop`."""

    register: np.ndarray
    slot: np.ndarray
    start: np.ndarray
    stop: np.ndarray


@dataclass(frozen=True, eq=False, slots=True)
class Level:
    """Bytes of a device that hold something: `live` from each of `time` on. peak: the largest registers when most are, with bytes."""

    time: np.ndarray
    live: np.ndarray
    peak: tuple[tuple[int, int], ...]


def horizon(trace: Trace) -> float:
    """Seconds until the last act ends and the last slot changes hands."""
    return max(trace.seconds, float(trace.events.time.max(initial=0.0)))


def uses(events: SlotEvents, seconds: float) -> Uses:
    """A use begins with a write, or at the start for a token that is there from the start, and ends when the slot is free again."""
    order = np.lexsort((events.time, events.slot, events.register))
    register, slot, time = events.register[order], events.slot[order], events.time[order]
    free = events.event[order] == FREE
    same = np.zeros(len(order), bool)
    same[1:] = (register[1:] == register[:-1]) & (slot[1:] == slot[:-1])
    busy = np.zeros(len(order), bool)
    busy[1:] = same[1:] & ~free[:-1]
    edges = np.flatnonzero(free == busy)  # begins where it was free, ends where it was not
    begins = np.flatnonzero(~free[edges])
    ends = np.full(len(begins), seconds)
    closed = begins + 1 < len(edges)
    closed[closed] = same[edges[begins[closed] + 1]] & free[edges[begins[closed] + 1]]
    ends[closed] = time[edges[begins[closed] + 1]]
    at = edges[begins]
    return Uses(register[at], slot[at], time[at], np.maximum(ends, time[at]))


def levels(plan: Plan, t: Tables, found: Uses, seconds: float) -> list[Level]:
    """For each of ``tables.devices``: bytes of its arena in slots that are in use and in scratch, and all of its kept state.

    Bytes that two registers share and both hold (a result that takes its operand's place) count once.
    """
    arena = (t.region == REGIONS.index("arena")) & (t.slot_nbytes > 0)
    rows = np.flatnonzero(arena[found.register])
    device = t.device[found.register[rows]]
    by_device = rows[np.argsort(device, kind="stable")]
    first = np.searchsorted(np.sort(device), np.arange(len(t.devices) + 1))
    scratches: dict[str, list[tuple[int, int]]] = {}
    for stream, (offset, nbytes) in plan.scratches.items():
        scratches.setdefault(stream.partition("/")[0], []).append((offset, offset + nbytes))
    return [
        _level(t, found, by_device[first[i] : first[i + 1]], scratches.get(name, []), plan.states.get(name, 0), seconds)
        for i, name in enumerate(t.devices)
    ]


def _level(
    t: Tables, found: Uses, rows: np.ndarray, scratches: list[tuple[int, int]], kept: int, seconds: float
) -> Level:
    register = found.register[rows]
    low = t.offset[register] + found.slot[rows] * t.slot_nbytes[register]
    high = low + t.slot_nbytes[register]
    always = np.array(scratches, np.int64).reshape(-1, 2)
    low, high = np.concatenate([low, always[:, 0]]), np.concatenate([high, always[:, 1]])
    start = np.concatenate([found.start[rows], np.zeros(len(always))])
    stop = np.concatenate([found.stop[rows], np.full(len(always), seconds)])
    piece, one, size = _pieces(low, high)
    begin, end, piece = _together(piece, start[one], stop[one])
    time, live = _sums(begin, end, size[piece], seconds)
    at = time[int(np.argmax(live))]
    return Level(time, live + kept, _largest(t, register, found.start[rows], found.stop[rows], at))


def _pieces(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut [low, high) at all borders: for each cut piece its number and the interval it is of; and the bytes of each number."""
    borders = np.unique(np.concatenate([low, high]))
    first, last = np.searchsorted(borders, low), np.searchsorted(borders, high)
    counts = last - first
    one = np.repeat(np.arange(len(low)), counts)
    within = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts)
    return first[one] + within, one, np.diff(borders)


def _together(piece: np.ndarray, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The times at which each piece is held by at least one: (start, stop, piece)."""
    order = np.lexsort((start, piece))
    piece, start, stop = piece[order], start[order], stop[order]
    times, rank = np.unique(stop, return_inverse=True)
    reach = np.maximum.accumulate(piece * len(times) + rank.reshape(-1)) - piece * len(times) if len(piece) else rank
    opens = np.ones(len(piece), bool)
    opens[1:] = (piece[1:] != piece[:-1]) | (start[1:] > times[reach[:-1]])
    begin = np.flatnonzero(opens)
    last = np.append(begin[1:], len(piece))[: len(begin)] - 1
    return start[begin], times[reach[last]] if len(begin) else stop, piece[begin]


def _sums(begin: np.ndarray, end: np.ndarray, size: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """(time, bytes): what is held after all that happens at each moment. What is freed at the very end is shown as it was before."""
    at = np.concatenate([[0.0, seconds], begin, end[end < seconds]])
    change = np.concatenate([[0, 0], size, -size[end < seconds]]).astype(np.int64)
    time, place = np.unique(at, return_inverse=True)
    total = np.zeros(len(time), np.int64)
    np.add.at(total, place.reshape(-1), change)
    return time, np.cumsum(total)


def _largest(t: Tables, register: np.ndarray, start: np.ndarray, stop: np.ndarray, at: float) -> tuple[tuple[int, int], ...]:
    """The registers with most bytes in use at a moment."""
    held = register[(start <= at) & (at < stop) | (start == at) & (stop == at)]
    rows, slots = np.unique(held, return_counts=True)
    nbytes = slots * t.slot_nbytes[rows]
    order = np.lexsort((rows, -nbytes))[:LARGEST]
    return tuple((int(rows[i]), int(nbytes[i])) for i in order)


def thinned(level: Level, points: int) -> tuple[np.ndarray, np.ndarray]:
    """At most about `points` of a level's moments: of each run of moments the first and the highest, so that no peak is lost."""
    count = len(level.time)
    if count <= points:
        return level.time, level.live
    first = np.arange(0, count, -(-2 * count // points))
    run = np.searchsorted(first, np.arange(count), "right") - 1
    order = np.lexsort((-level.live, run))
    highest = order[np.searchsorted(run[order], np.arange(len(first)))]
    kept = np.unique(np.concatenate([first, highest, [count - 1]]))
    return level.time[kept], level.live[kept]
