"""The rules of the "Trace Event Format" (Google, 2016) for the events that we write, as a validator that knows nothing of plans."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

Events = list[dict[str, Any]]
FIELDS = {
    "M": {"name", "pid", "args"},
    "X": {"name", "cat", "pid", "tid", "ts", "dur"},
    "s": {"name", "cat", "id", "pid", "tid", "ts"},
    "f": {"name", "cat", "id", "pid", "tid", "ts", "bp"},
    "C": {"name", "pid", "ts", "args"},
}
"""Phases (``ph``) and what an event of each must have."""
METADATA = {"process_name": ("name", str), "process_sort_index": ("sort_index", int), "thread_name": ("name", str)}


def validated(text: str) -> Events:
    """The events of a trace in the object form; an AssertionError says which rule one breaks."""
    whole = json.loads(text)
    assert whole["displayTimeUnit"] in ("ms", "ns")
    events: Events = whole["traceEvents"]
    for e in events:
        assert e["ph"] in FIELDS, e
        assert FIELDS[e["ph"]] <= e.keys(), e
        assert all(isinstance(e[key], int) for key in ("pid", "tid") if key in e), e
        assert all(isinstance(e[key], int | float) and e[key] >= 0 for key in ("ts", "dur") if key in e), e
        if e["ph"] == "M":
            key, kind = METADATA[e["name"]]
            assert isinstance(e["args"][key], kind), e
        if e["ph"] == "C":
            assert e["args"] and all(isinstance(value, int | float) for value in e["args"].values()), e
    threads = _threads(events)
    _nested(threads)
    _bound(events, threads)
    _counted_in_time(events)
    return events


Slices = dict[tuple[int, int], list[tuple[int, int]]]


def _threads(events: Events) -> Slices:
    """(start, stop) of the slices of each thread in nanoseconds, in the order in which a viewer opens them."""
    threads = defaultdict(list)
    for e in events:
        if e["ph"] == "X":
            start = round(e["ts"] * 1e3)
            threads[e["pid"], e["tid"]].append((start, start + round(e["dur"] * 1e3)))
    return {thread: sorted(slices, key=lambda s: (s[0], -s[1])) for thread, slices in threads.items()}


def _nested(threads: Slices) -> None:
    """A slice that opens within another one of its thread also closes within it."""
    for thread, slices in threads.items():
        open_until: list[int] = []
        for start, stop in slices:
            while open_until and open_until[-1] <= start:
                open_until.pop()
            assert not open_until or stop <= open_until[-1], (thread, start, stop)
            open_until.append(stop)


def _bound(events: Events, threads: Slices) -> None:
    """Every arrow has one tail and one head, in this order, and at either there is a slice to bind to."""
    ends: dict[tuple[str, str, Any], dict[str, dict[str, Any]]] = defaultdict(dict)
    for e in events:
        if e["ph"] in "sf":
            end = ends[e["cat"], e["name"], e["id"]]
            assert e["ph"] not in end, e
            end[e["ph"]] = e
    for end in ends.values():
        assert end.keys() == {"s", "f"}, end
        assert end["s"]["ts"] <= end["f"]["ts"] and end["f"]["bp"] == "e", end
        for e in end.values():
            at = round(e["ts"] * 1e3)
            slices = threads.get((e["pid"], e["tid"]), [])
            assert any(start <= at < stop or at == start == stop for start, stop in slices), e


def _counted_in_time(events: Events) -> None:
    last: Counter[tuple[int, str]] = Counter()
    for e in events:
        if e["ph"] == "C":
            assert e["ts"] >= last[e["pid"], e["name"]], e
            last[e["pid"], e["name"]] = e["ts"]
