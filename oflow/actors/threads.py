"""The threads driver: workers that each host several streams and exchange messages through mailboxes.

A message between actors of one worker is delivered at once. One for another worker goes into that worker's mailbox; a
worker with nothing to do parks on a lock and is woken by the next letter. Nobody spins and nobody polls: when the last
worker parks, nothing can happen any more unless the caller acts, and a caller that waits is told.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

from oflow.actors.actor import Actor, Message
from oflow.actors.session import ActorSession, Launcher, SlotCall
from oflow.actors.streams import Streams
from oflow.actors.workers import assign
from oflow.plan import Plan
from oflow.trace import SlotEvent, Span

ADMIT = -1
"""The target of a letter that admits steps: (ADMIT, steps, 0, 0, 0, 0, 0)."""


class Mailbox:
    """Letters for one thread, and the lock it parks on (held while nobody has woken it)."""

    __slots__ = ("gate", "letters", "parked")

    def __init__(self) -> None:
        self.letters: deque[Message] = deque()
        self.parked = False
        self.gate = threading.Lock()
        self.gate.acquire()


class Team:
    """What the workers and the caller share: mailboxes, how many workers are awake, the first failure.

    A thread announces that it parks *before* it looks into its mailbox once more, and a sender looks whether the receiver is
    parked *after* it has put the letter in, so one of them always sees the other (Dekker's argument).
    """

    def __init__(self, size: int) -> None:
        self.boxes = [Mailbox() for _ in range(size)]
        self.caller = Mailbox()
        self.lock = threading.Lock()
        self.awake = size
        self.stopped = False
        self.failure: BaseException | None = None

    def post(self, box: Mailbox, letter: Message) -> None:
        box.letters.append(letter)
        if box.parked:
            with self.lock:
                self._wake(box)

    def _wake(self, box: Mailbox) -> None:
        if box.parked:
            box.parked = False
            self.awake += box is not self.caller
            box.gate.release()

    def park(self, box: Mailbox) -> None:
        """A worker's thread sleeps until a letter comes or the team stops."""
        with self.lock:
            box.parked = True
            if box.letters or self.stopped:
                box.parked = False
                return
            self.awake -= 1
            if not self.awake:
                self._wake(self.caller)
        box.gate.acquire()

    def sleep(self) -> bool:
        """The caller sleeps until a letter comes, the team stops or falls idle. False: it is idle and there is no letter."""
        box = self.caller
        with self.lock:
            box.parked = True
            if box.letters or self.stopped or not self.awake:
                box.parked = False
                return bool(box.letters) or self.stopped
        try:
            box.gate.acquire()
        except BaseException:  # Ctrl-C: nobody may wake us any more, and no wake may stay behind
            with self.lock:
                if not box.parked:
                    box.gate.acquire(blocking=False)
                box.parked = False
            raise
        return True

    def stop(self, failure: BaseException | None = None) -> None:
        with self.lock:
            if self.failure is None:
                self.failure = failure
            self.stopped = True
            for box in (*self.boxes, self.caller):
                self._wake(box)


class Worker:
    """Hosts some streams; its thread (or the caller, where there is none) runs their acts."""

    def __init__(
        self, plan: Plan, streams: Streams, launch: Sequence[Launcher], team: Team, box: Mailbox,
        homes: Sequence[Mailbox], spans: list[Span] | None, zero: float, worked: dict[str, float],
    ) -> None:  # fmt: skip
        self.plan, self.streams, self.launch, self.team, self.box = plan, streams, launch, team, box
        self.homes, self.spans, self.zero, self.worked = homes, spans, zero, worked

    def run(self) -> None:
        team, step = self.team, self.step
        try:
            while not team.stopped:
                if not step():
                    team.park(self.box)
        except BaseException as e:  # whatever it is, it belongs to the caller
            team.stop(e)

    def step(self) -> bool:
        """Read the mailbox and run what goes next; False when nobody can go."""
        streams = self.streams
        actors = streams.actors
        letters = self.box.letters
        while letters:
            letter = letters.popleft()
            target = letter[0]
            if target == ADMIT:
                streams.admit(self.plan, letter[1])
            elif actors[target].receive(letter):  # type: ignore[union-attr]
                streams.wake(target)
        rows = streams.next()
        if not rows:
            return False
        if self.spans is not None or self.worked:
            self._timed(rows)
        else:
            for row in rows:
                act, slots = actors[row].launch()  # type: ignore[union-attr]
                self.launch[row](act, slots)
        messages: list[Message] = []
        for row in rows:
            messages += actors[row].done()  # type: ignore[union-attr]
        streams.finish(rows)
        for message in messages:
            target = message[0]
            actor = actors[target]
            if actor is None:
                self.team.post(self.homes[target], message)
            elif actor.receive(message):
                streams.wake(target)
        return True

    def _timed(self, rows: tuple[int, ...]) -> None:
        for row in rows:
            stream, start = self.plan.actors[row].stream, perf_counter()
            act, slots = self.streams.own(row).launch()
            self.launch[row](act, slots)
            stop = perf_counter()
            if self.spans is not None:
                self.spans.append(Span(row, act, stream, start - self.zero, stop - self.zero))
            if self.worked:
                self.worked[stream] += stop - start  # no other worker has this stream


class ThreadsSession(ActorSession):
    """W worker threads; with workers=0, or until `overlap` where started=False, the caller's thread runs all acts while it waits.

    A step costs the caller two thread switches, about 0.1 ms, more with threads; they pay where steps or devices overlap.
    """

    def __init__(
        self, plan: Plan, launch: Sequence[Launcher], *, freed: SlotCall | None = None, granted: SlotCall | None = None,
        checked: bool = False, recorded: bool = False, epoch: int = 0, workers: int | None = None,
        started: bool = True,
    ) -> None:  # fmt: skip
        self._zero = perf_counter()
        super().__init__(plan, launch, freed=freed, granted=granted, checked=checked, recorded=recorded, epoch=epoch)
        count = (os.cpu_count() or 1) if workers is None else workers
        shares = assign(plan, max(1, count))
        self._team = Team(len(shares))
        homes = self._homes(shares)
        self._recordings: list[tuple[list[Span], list[SlotEvent]]] = []
        self._workers = [self._worker(share, box, homes) for share, box in zip(shares, self._team.boxes, strict=True)]
        self._actors = {row: w.streams.own(row) for w in self._workers for row in w.streams.rows}
        self._hosts = {row: w for w in self._workers for row in w.streams.rows}
        self._homes_of = homes
        self._threads = [
            threading.Thread(target=w.run, name=f"oflow worker {n}", daemon=True) for n, w in enumerate(self._workers) if count
        ]
        self._finalizer = weakref.finalize(self, self._team.stop)
        self._started = False
        if started:
            self.overlap()

    def overlap(self) -> None:
        """Start the worker threads, once; they take over from the caller's thread where it stands."""
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()

    def _homes(self, shares: Sequence[Sequence[str]]) -> list[Mailbox]:
        homes = [self._team.caller] * len(self.plan.actors)
        for share, box in zip(shares, self._team.boxes, strict=True):
            for stream in share:
                for row in self.plan.streams[stream]:
                    homes[row] = box
        return homes

    def _worker(self, share: Sequence[str], box: Mailbox, homes: Sequence[Mailbox]) -> Worker:
        spans: list[Span] = []
        events: list[SlotEvent] = []
        self._recordings.append((spans, events))
        watch = self._watch(events)

        def make(row: int) -> Actor:
            return self._make(row, 0, watch)

        streams = Streams(self.plan, share, make)
        return Worker(self.plan, streams, self.launch, self._team, box, homes, spans if self.recorded else None, self._zero, self._worked)

    def close(self) -> None:
        """Stop the workers and wait for their threads."""
        self._fail(RuntimeError("the session is closed"))
        self._team.stop()
        for thread in self._threads if self._started else ():
            thread.join()

    @property
    def _clock(self) -> Callable[[], float]:
        zero = self._zero
        return lambda: perf_counter() - zero

    def _collect(self) -> None:
        if self._team.failure is not None:
            self._fail(self._team.failure)
        self._raise_failure()
        letters = self._team.caller.letters
        while letters:
            letter = letters.popleft()
            self._hosted[letter[0]].receive(letter)
        if self._recordings and self.recorded:
            self._gather()

    def _gather(self) -> None:
        """Move what the workers have recorded; `extend` and `del` of a prefix leave alone what they append meanwhile."""
        for spans, events in self._recordings:
            for source, target in ((spans, self._spans), (events, self._events)):
                count = len(source)
                target.extend(source[:count])  # type: ignore[arg-type]
                del source[:count]

    def _progress(self) -> bool:
        if self._threads and self._started:
            return self._team.sleep()
        try:
            return any([worker.step() for worker in self._workers])
        except BaseException as e:
            self._fail(e)
            raise

    def _send(self, messages: list[Message]) -> None:
        for message in messages:
            self._team.post(self._homes_of[message[0]], message)

    def _admit(self, steps: int) -> None:
        for box in self._team.boxes:
            self._team.post(box, (ADMIT, steps, 0, 0, 0, 0, 0))

    def _fail(self, error: BaseException) -> None:
        super()._fail(error)
        self._team.stop(error)

    def _device_actors(self) -> Mapping[int, Actor]:
        return self._actors

    def _head(self, row: int) -> int:
        return self._hosts[row].streams.head(row)


def threads(
    plan: Plan, launch: Sequence[Launcher], *, freed: SlotCall | None = None, granted: SlotCall | None = None,
    checked: bool = False, recorded: bool = False, workers: int | None = None, started: bool = True,
) -> ThreadsSession:  # fmt: skip
    """A session of `plan` on threads (`workers`: default the cores, 0: the caller's thread); see `Session`, `ThreadsSession`."""
    return ThreadsSession(
        plan, launch, freed=freed, granted=granted, checked=checked, recorded=recorded, workers=workers, started=started
    )
