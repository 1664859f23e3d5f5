"""A worker's world in words: tables, programs, state and partners, laid out for the compiled loop (see `fields`)."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from oflow.actors.actor import UNLIMITED
from oflow.actors.native.fields import FIELDS, RECORD_WORDS, RING_ENTRIES, RING_HEAD, RING_TAIL, SPACING
from oflow.arrays import Linked, Tables, starts

NUMBER = {field: number for number, field in enumerate(FIELDS)}
Zeros = Callable[[int], np.ndarray]
"""Words of memory, zeroed; shared between processes where workers are processes."""


def words(count: int) -> np.ndarray:
    return np.zeros(count, np.int64)


SPINS, YIELDS = 1000, 3
"""How often a worker with nothing to do looks again before it yields, and before it sleeps: about 20 microseconds. On a busy
machine who sleeps is woken at once, and who yields waits for its next turn. Where workers fill the cores the caller sleeps at
once: by spinning it would take one of theirs."""
RECORDS = 1 << 16
MICROSECOND = 1e-6


@dataclass(frozen=True, slots=True)
class Common:
    """What the worlds of all workers share: the words they meet in, and how the plan is divided."""

    tables: Tables
    linked: Linked
    worker: np.ndarray
    """The worker of each actor; the caller's number is `workers`."""
    workers: int
    called: np.ndarray
    weight: np.ndarray
    stop: np.ndarray
    steps: np.ndarray
    awake: np.ndarray
    parked: np.ndarray
    finished: np.ndarray
    rings: np.ndarray
    keep: tuple[np.ndarray, ...]


def common(
    tables: Tables, linked: Linked, called: np.ndarray, worker: np.ndarray, workers: int, seconds: np.ndarray, zeros: Zeros
) -> Common:
    """called (A): which actors act when the caller says so; seconds (A): how long an act should take: the clock is looked at
    accordingly."""
    rings, memory = _rings(tables, worker, workers, zeros)
    weight = np.maximum(seconds / MICROSECOND, 1).astype(np.int64)
    awake, parked, finished = zeros(SPACING), *(zeros(SPACING * (workers + 1)) for _ in range(2))
    awake[0] = workers
    return Common(
        tables, linked, worker, workers, called, weight, zeros(SPACING), zeros(SPACING), awake, parked, finished, rings, memory
    )


def _rings(tables: Tables, worker: np.ndarray, workers: int, zeros: Zeros) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Addresses of the rings between workers that exchange messages, each as large as all that can be under way in it."""
    table = zeros((workers + 1) ** 2)
    edges = np.flatnonzero(tables.producer >= 0)
    reader = worker[tables.port_actor[edges]]
    writer = worker[tables.port_actor[tables.producer[edges]]]
    memory = []
    for a, b in np.unique(np.stack([writer, reader], 1)[writer != reader], axis=0).tolist():
        slots = int(tables.slots[edges][(writer == a) & (reader == b)].sum())
        back = int(tables.slots[edges][(writer == b) & (reader == a)].sum())
        capacity = 1 << (slots + back).bit_length()
        for source, target in ((a, b), (b, a)):
            if table[source * (workers + 1) + target] == 0:
                ring = zeros(RING_ENTRIES + capacity)
                ring[RING_HEAD + 1] = ring[RING_TAIL + 1] = capacity - 1
                table[source * (workers + 1) + target] = ring.ctypes.data
                memory.append(ring)
    return table, tuple(memory)


class World:
    """One worker's words, and the arrays behind them by field name (lower case)."""

    def __init__(self, shared: Common, me: int, *, alone: bool, recording: bool, zeros: Zeros) -> None:
        self.words = zeros(len(FIELDS))
        self.cells = self.words.data
        """The words as Python reads them fastest."""
        self.address = int(self.words.ctypes.data)
        self.arrays: dict[str, np.ndarray] = {}
        t = shared.tables
        own = np.flatnonzero((shared.worker == me) | alone)
        self._driven = own[shared.called[own] == 0]
        self._tables(shared, own)
        self._state(t, shared.called, zeros)
        sources = [] if alone else [int(r) for r in shared.rings.reshape(shared.workers + 1, -1)[:, me] if r]
        self.put("SOURCES", np.array(sources, np.int64))
        room = 4 * int(self.arrays["ended"].size) + sum(8 + r.size for r in shared.keep) + 64
        self.put("RECORDS", zeros(RECORD_WORDS * (max(RECORDS, 4 * room) if recording else 1)))
        for name in ("STOP", "STEPS", "AWAKE", "PARKED", "FINISHED", "RINGS"):
            self.put(name, getattr(shared, name.lower()))
        crowded = me == shared.workers and shared.workers >= (os.cpu_count() or 1)
        numbers = {
            "ME": me, "WORKERS": shared.workers, "ALONE": alone, "OWN_COUNT": len(own), "SOURCE_COUNT": len(sources),
            "QUEUE_SIZE": len(t.streams) + 1, "RECORDING": recording, "RECORD_CAPACITY": max(RECORDS, 4 * room),
            "RECORD_ROOM": room, "SPINS": 0 if crowded else SPINS,
            "YIELDS": 0 if crowded else YIELDS, "GOING_CALL": -1, "PENDING": -1, **system(),
        }  # fmt: skip
        for name, number in numbers.items():
            self[name] = int(number)

    def __getitem__(self, field: str) -> int:
        return int(self.cells[NUMBER[field]])

    def __setitem__(self, field: str, value: int) -> None:
        self.cells[NUMBER[field]] = value

    @property
    def unfinished(self) -> bool:
        """Whether an own actor has not made all acts it was admitted to; those that the caller drives do not count."""
        return bool((self.arrays["act"][self._driven] < self.arrays["limit"][self._driven]).any())

    def put(self, field: str, array: np.ndarray) -> None:
        """Name an array in the world; it lives as long as the world does."""
        made = np.ascontiguousarray(array, np.int64)
        self.arrays[field.lower()] = made
        self[field] = made.ctypes.data

    def _tables(self, shared: Common, own: np.ndarray) -> None:
        t, linked = shared.tables, shared.linked
        group_sizes = np.bincount(t.meeting[t.meeting >= 0], minlength=1)
        members = np.flatnonzero(t.meeting >= 0)
        self.put("CALLED", shared.called)
        self.put("WEIGHT", shared.weight)
        self.put("WORKER", shared.worker)
        self.put("OUT", t.port_out)
        self.put("REGISTER", t.port_register)
        self.put("OWED_START", starts(t.slots * t.port_out))
        self.put("HEAP_START", starts(np.bincount(t.stream, minlength=len(t.streams))))
        self.put("GROUP_START", starts(group_sizes))
        self.put("GROUP", members[np.argsort(t.meeting[members], kind="stable")])
        self.put("OWN_ACTORS", own)
        order_start, order = _orders(t, shared.called)
        self.put("ORDER_START", order_start)
        self.put("ORDER", order)
        for field in ("ACTS", "PORT_START", "STREAM", "PRIORITY", "MEETING", "PORT_ACTOR", "EVERY", "SLOTS", "PRODUCER"):
            self.put(field, getattr(t, field.lower()))
        self.put("READER_START", t.reader_start)
        self.put("READERS", t.readers)
        for field in ("CALL_START", "ROUTINE", "WHEN", "WINDOW", "BLOCK", "SKIP"):
            self.put(field, getattr(linked, field.lower()))
        for field in ("PATCH_START", "PATCH_WORD", "PATCH_PORT", "PATCH_BASE", "PATCH_STRIDE", "PATCH_PART"):
            self.put(field, getattr(linked, field.lower()))

    def _state(self, t: Tables, called: np.ndarray, zeros: Zeros) -> None:
        actors, ports, streams = len(t.acts), len(t.every), len(t.streams)
        out = t.port_out == 1
        initial = t.initial[t.port_register] if ports else t.every
        counts = np.diff(t.reader_start)
        owed_start = self.arrays["owed_start"]
        sizes = {
            "ACT": actors, "LIMIT": actors, "MISSING": actors, "NEXT": ports, "HELD": ports, "PHASE": ports, "FULL": ports,
            "WAITING": ports, "OWED": int(owed_start[-1]), "ACKED": ports, "IDLE": streams, "POINTER": streams,
            "QUEUE": streams + 1, "HEAP": actors, "HEAP_SIZE": streams, "MET": int(t.meeting.max(initial=0)) + 1,
            "WANTED": int(called.sum()), "CLOCK": 4, "WORKED": streams,
        }  # fmt: skip
        for field, size in sizes.items():
            self.put(field, zeros(max(size, 1)))
        widest = int(np.diff(t.port_start).max(initial=1))
        group = int(np.bincount(t.meeting[t.meeting >= 0]).max(initial=1))
        self.put("GOING", zeros(group))
        self.put("ENDED", zeros(widest * group + 1))
        s = self.arrays
        s["limit"][:actors] = np.where(called == 1, UNLIMITED, 0)
        s["idle"][:] = 1
        s["next"][:ports] = np.where(out, initial % t.slots, 0)
        s["full"][:ports] = np.where(out, 0, initial)
        slot_port = np.repeat(np.arange(ports), t.slots * t.port_out)
        full = np.arange(len(slot_port)) - owed_start[slot_port] < initial[slot_port]
        s["owed"][: len(slot_port)] = np.where(full, counts[slot_port], 0)
        taken = owed_start[:-1] + s["next"][:ports]
        blocked = np.where(out, s["owed"][np.minimum(taken, len(s["owed"]) - 1)] > 0, s["full"][:ports] == 0)
        s["waiting"][:ports] = blocked
        s["missing"][:actors] = np.bincount(t.port_actor[blocked], minlength=actors) if ports else 0


def _orders(t: Tables, called: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The streams' orders as the loop follows them. A stream with one actor needs no choice, so it has an order too; where the
    caller decides there is none."""
    lengths = np.diff(t.order_start)
    free = np.zeros(len(lengths), bool)
    free[t.stream[called == 1]] = True
    alone = (np.bincount(t.stream, minlength=len(lengths)) == 1) & (lengths == 0) & ~free
    kept = np.repeat(~free, lengths)
    stream = np.concatenate([np.repeat(np.arange(len(lengths)), lengths)[kept], np.flatnonzero(alone)])
    first = np.full(len(lengths), -1)
    first[t.stream[::-1]] = np.arange(len(t.stream))[::-1]
    rows = np.concatenate([t.order[kept], first[alone]])
    place = np.argsort(stream, kind="stable")
    return starts(np.bincount(stream, minlength=len(lengths))), rows[place]


@cache
def system() -> dict[str, int]:
    """Functions of the C library that the loop calls by address. Without futexes a worker naps for 50 microseconds."""
    library = ctypes.CDLL(None)

    def address(name: str) -> int:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0

    number = {"x86_64": 202, "aarch64": 98, "arm64": 98}.get(platform.machine())
    futex = sys.platform == "linux" and number is not None
    return {
        "YIELD": address("sched_yield"), "CLOCK_GETTIME": address("clock_gettime"), "GETPPID": address("getppid"),
        "SYSCALL": address("syscall" if futex else "usleep"), "FUTEX": number or 50 if futex else 50,
    }  # fmt: skip
