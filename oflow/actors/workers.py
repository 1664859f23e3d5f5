"""Which worker hosts which streams."""

from __future__ import annotations

from collections.abc import Sequence

from oflow.actors.streams import device_streams, rendezvous_of
from oflow.plan import Plan


def assign(plan: Plan, workers: int) -> list[list[str]]:
    """The streams of each of at most `workers` workers.

    The streams of a device stay together, neighbouring devices too; with fewer devices than workers streams are spread.
    Streams that meet in a rendezvous share a worker, because its members go as one transition.
    """
    streams = device_streams(plan)
    joined = {stream: stream for stream in streams}

    def root(stream: str) -> str:
        while joined[stream] != stream:
            stream = joined[stream]
        return stream

    for rows in set(rendezvous_of(plan).values()):
        for row in rows[1:]:
            joined[root(plan.actors[row].stream)] = root(plan.actors[rows[0]].stream)
    devices = list(dict.fromkeys(_device(stream) for stream in streams))
    if len(devices) >= workers:
        for stream in streams:
            first = next(s for s in streams if _device(s) == _device(stream))
            joined[root(stream)] = root(first)
    return _cut(streams, [root(stream) for stream in streams], workers)


def _device(stream: str) -> str:
    return stream.rpartition("/")[0]


def _cut(streams: Sequence[str], roots: Sequence[str], workers: int) -> list[list[str]]:
    """Groups of streams with equal root, in the order given, cut into `workers` runs of nearly equal length."""
    groups: dict[str, list[str]] = {}
    for stream, root in zip(streams, roots, strict=True):
        groups.setdefault(root, []).append(stream)
    found: list[list[str]] = [[] for _ in range(max(1, min(workers, len(groups))))]
    for number, group in enumerate(groups.values()):
        found[number * len(found) // len(groups)] += group
    return found
