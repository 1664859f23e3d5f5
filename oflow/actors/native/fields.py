"""The words of a worker's world: where the compiled loop finds tables, programs, state and partners. Shared by both sides.

A world is one array of words a worker. Fields named in TABLES, PROGRAMS and STATE hold addresses of arrays of words; the others
are numbers. Arrays of actors, ports and streams are as long as the whole plan, so rows need no translation.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

TABLES = (
    "ACTS", "PORT_START", "STREAM", "PRIORITY", "MEETING", "CALLED", "WEIGHT", "WORKER", "PORT_ACTOR", "OUT", "EVERY", "SLOTS",
    "PRODUCER", "READER_START", "READERS", "OWED_START", "REGISTER", "ORDER_START", "ORDER", "HEAP_START", "GROUP_START", "GROUP",
    "OWN_ACTORS", "SOURCES",
)  # fmt: skip
PROGRAMS = (
    "CALL_START", "ROUTINE", "WHEN", "WINDOW", "BLOCK", "SKIP", "PATCH_START", "PATCH_WORD", "PATCH_PORT", "PATCH_BASE",
    "PATCH_STRIDE", "PATCH_PART",
)  # fmt: skip
STATE = (
    "ACT", "LIMIT", "MISSING", "NEXT", "HELD", "PHASE", "FULL", "WAITING", "OWED", "ACKED", "IDLE", "POINTER", "QUEUE", "HEAP",
    "HEAP_SIZE", "MET", "GOING", "ENDED", "RECORDS", "WANTED", "CLOCK", "SECONDS", "AGENDA", "SPANS", "WORKED",
)  # fmt: skip
SHARED = ("STOP", "STEPS", "AWAKE", "PARKED", "FINISHED", "RINGS")
"""Addresses in memory that all workers see. PARKED, FINISHED (steps whose acts it has all made): one word a worker, a cache line
apart. RINGS: address of the ring from worker a to worker b at a * (workers + 1) + b, or 0."""
NUMBERS = (
    "ME", "WORKERS", "ALONE", "OWN_COUNT", "SOURCE_COUNT", "QUEUE_SIZE", "QUEUE_HEAD", "QUEUE_COUNT", "GOING_COUNT", "GOING_AT",
    "GOING_CALL", "SEEN_STEPS", "LEFT", "DRAINING", "WANTED_COUNT", "RECORDING", "RECORD_COUNT", "RECORD_CAPACITY", "RECORD_ROOM",
    "BUSY", "BUDGET_START", "DOUBT", "PENDING", "ROW", "CALL", "CALL_END", "STATUS", "STARTED",
    "YIELD", "SYSCALL", "FUTEX", "CLOCK_GETTIME", "GETPPID", "OWNER", "SPINS", "YIELDS",
    "VIRTUAL", "TIME", "AGENDA_COUNT", "BEGUN", "SPAN_COUNT", "METERED", "LOOKED",
)  # fmt: skip
"""METERED: whether the nanoseconds that each stream works are counted, in WORKED. LOOKED: when the clock was last read for that, 0 after
a rest; an act that follows another without one began when that ended, so the clock is read once an act."""
FIELDS = (*TABLES, *PROGRAMS, *STATE, *SHARED, *NUMBERS)
AT: Any = namedtuple("World", FIELDS)(*range(len(FIELDS)))

LINE = 8
"""Words of a cache line, twice over on CPUs that fetch pairs: words that different threads write stand this far apart."""
SPACING = 2 * LINE
RING_HEAD, RING_TAIL, RING_ENTRIES = 0, SPACING, 2 * SPACING
"""A ring: how many messages were read, how many were written, then the messages."""
REQ, ACK = 0, 1
"""A message: twice the edge (its in port), plus what it says."""

IDLE, READY, PYTHON, FAILED, STOPPED, TICK, FULL_RECORDS = range(7)
"""Why the loop returned: nothing can happen (alone, or all workers are parked); host actor ROW can act; calls CALL to CALL_END
of ROW are Python's; call CALL of ROW failed with STATUS; stopped; time to look at signals; the records must be taken out."""

SPAN, WRITE, FULL_SLOT, FREE = range(4)
"""Kinds of records: (SPAN, row, act, start, stop) and (kind, register, slot, time, 0), times in nanoseconds."""
RECORD_WORDS = 5
AGENDA_WORDS, SPAN_WORDS = 3, 4
"""In virtual time: an act that runs is (stop, how many began before it, key), one that has begun is (row, act, start, stop)."""
BUSY_ENOUGH = 256
"""Weight of acts (about microseconds) after which the loop looks at the clock."""
TICK_NANOSECONDS = 100_000_000
