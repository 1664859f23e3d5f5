"""What all drivers share: the actors that one worker hosts, which of them may go next, and who waits for whom.

A stream replays its order every step; without an order the ready actor of highest priority goes (then the one with fewest
acts, then the lowest row). Actors of one rendezvous go together, when each is next on its stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from oflow.actors.actor import Actor
from oflow.errors import PlanError
from oflow.plan import Plan

HOST = "host:"


def host_streams(plan: Plan) -> tuple[str, ...]:
    """The streams of the caller's thread. Their actors go when the caller says so: an order given for them is not used."""
    return tuple(stream for stream in plan.streams if stream.startswith(HOST))


def device_streams(plan: Plan) -> tuple[str, ...]:
    return tuple(stream for stream in plan.streams if not stream.startswith(HOST))


def orders(plan: Plan) -> dict[str, tuple[int, ...]]:
    """The order of each stream that has one. Raises PlanError for a rendezvous on a stream without."""
    used = {stream: rows for stream, rows in plan.order.items() if rows and not stream.startswith(HOST)}
    for actor in plan.actors:
        if actor.rendezvous and actor.stream not in used:
            raise PlanError(f"{actor.label}: rendezvous {actor.rendezvous!r} needs an explicit order of stream {actor.stream}")
    return used


def rendezvous_of(plan: Plan) -> dict[int, tuple[int, ...]]:
    """For each actor of a rendezvous all its members' rows."""
    groups: dict[str, list[int]] = {}
    for actor in plan.actors:
        if actor.rendezvous:
            groups.setdefault(actor.rendezvous, []).append(actor.id)
    return {row: tuple(rows) for rows in groups.values() for row in rows}


class Streams:
    """The actors of some streams: `wake` says that one became ready, `next` who goes, `finish` frees their streams.

    actors: by row of the plan; None where another worker hosts it. queue: streams that have an actor to run.
    A stream is idle unless it is queued, runs, or waits in a rendezvous.
    """

    __slots__ = (
        "_goes", "_idle", "_met", "_orders", "_pointers", "_priorities", "_ready", "_stream_of", "actors", "queue", "rows"
    )  # fmt: skip

    def __init__(self, plan: Plan, streams: Iterable[str], make: Callable[[int], Actor]) -> None:
        names, given, groups = tuple(streams), orders(plan), rendezvous_of(plan)
        self.rows = tuple(row for stream in names for row in plan.streams[stream])
        self.actors: list[Actor | None] = [None] * len(plan.actors)
        self._stream_of = [-1] * len(plan.actors)
        for number, name in enumerate(names):
            for row in plan.streams[name]:
                self.actors[row], self._stream_of[row] = make(row), number
        self._orders = [given.get(name, ()) for name in names]
        self._pointers = [0] * len(names)
        self._idle = [True] * len(names)
        self._ready: list[list[tuple[int, int, int]]] = [[] for _ in names]  # heaps of streams without an order
        self._priorities = [a.priority for a in plan.actors]
        self._goes = [groups.get(row, (row,)) for row in range(len(plan.actors))]
        self._met: dict[tuple[int, ...], int] = dict.fromkeys(groups.values(), 0)
        self.queue: deque[int] = deque()
        for row in self.rows:
            if self.own(row).ready:
                self.wake(row)

    def own(self, row: int) -> Actor:
        actor = self.actors[row]
        assert actor is not None
        return actor

    def head(self, row: int) -> int:
        """The actor that the order of `row`'s stream wants next (-1: no order)."""
        stream = self._stream_of[row]
        return self._orders[stream][self._pointers[stream]] if self._orders[stream] else -1

    def wake(self, row: int) -> None:
        """`row` became ready."""
        stream = self._stream_of[row]
        order = self._orders[stream]
        if not order:
            heappush(self._ready[stream], (-self._priorities[row], self.own(row).act, row))
        elif order[self._pointers[stream]] != row:
            return
        if self._idle[stream]:
            self._idle[stream] = False
            self.queue.append(stream)

    def next(self) -> tuple[int, ...]:
        """The rows that go now, as one transition; () when nobody can."""
        queue = self.queue
        while queue:
            stream = queue.popleft()
            order = self._orders[stream]
            row = order[self._pointers[stream]] if order else heappop(self._ready[stream])[2]
            rows = self._goes[row]
            if len(rows) == 1:
                return rows
            self._met[rows] += 1
            if self._met[rows] == len(rows):
                self._met[rows] = 0
                return rows
        return ()

    def finish(self, rows: tuple[int, ...]) -> None:
        """The acts of `rows` are over; call it before any message is delivered, so that nobody is woken twice."""
        for row in rows:
            stream = self._stream_of[row]
            order = self._orders[stream]
            if order:
                pointer = self._pointers[stream] + 1
                self._pointers[stream] = pointer = pointer if pointer < len(order) else 0
                going = self.own(order[pointer]).ready
            else:
                if self.own(row).ready:
                    heappush(self._ready[stream], (-self._priorities[row], self.own(row).act, row))
                going = bool(self._ready[stream])
            if going:
                self.queue.append(stream)
            else:
                self._idle[stream] = True

    def admit(self, plan: Plan, steps: int) -> None:
        """Allow every actor all acts of the first `steps` steps."""
        for row in self.rows:
            if self.own(row).admit(steps * plan.actors[row].acts):
                self.wake(row)
