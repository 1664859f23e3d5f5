"""The simulator: discrete events in virtual time, one thread, deterministic.

`simulate` predicts a plan on a machine and runs no kernel. `simulator` is a session that runs the real kernels in
virtual-time order (the debugger). A message takes no time: what a transfer costs is in the cost of the act that reads.
Streams that share a worker take turns: an act that finds it at work waits, first come, first served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush

from oflow.actors.actor import Actor, Message
from oflow.actors.session import ActorSession, Launcher, SlotCall
from oflow.actors.streams import Streams, device_streams
from oflow.machine import Machine
from oflow.plan import Plan
from oflow.trace import Span


class VirtualTime:
    """Streams, a clock (`time[0]`) and the acts that run. `launch`: runs an act's kernel when it starts (None: nothing runs)."""

    def __init__(
        self, plan: Plan, streams: Iterable[str], machine: Machine, make: Callable[[int], Actor],
        launch: Sequence[Launcher] | None, elsewhere: Callable[[Message], None], time: list[float],
        shares: Sequence[Sequence[str]] = (), worked: dict[str, float] | None = None,
    ) -> None:  # fmt: skip
        """shares: the streams of each worker, where several share one; what stands in none has a worker of its own. worked: seconds of
        the streams that are in it are added up there."""
        self.plan, self.time, self.spans = plan, time, list[Span]()
        self.streams = Streams(plan, streams, make)
        self.actors = {row: self.streams.own(row) for row in self.streams.rows}
        worker = {stream: number for number, share in enumerate(shares) for stream in share}
        self._worker = [worker.get(a.stream, -1) for a in plan.actors]
        near = [{stream.rpartition("/")[0] for stream in share} for share in shares] + [set[str]()]
        self._seconds = [
            machine.seconds(a.cost, a.device, busy=len(shares) > 1, near=near[w]) for a, w in zip(plan.actors, self._worker, strict=True)
        ]
        self._waiting: list[deque[tuple[int, ...]] | None] = [None] * len(shares)  # None: the worker has nothing to do
        self._running: list[tuple[float, int, tuple[int, ...]]] = []
        self._started, self._launch, self._elsewhere = 0, launch, elsewhere
        self._worked = {} if worked is None else worked

    def deliver(self, message: Message) -> None:
        actor = self.streams.actors[message[0]]
        if actor is None:
            self._elsewhere(message)
        elif actor.receive(message):
            self.streams.wake(message[0])

    def advance(self) -> bool:
        """Start every act that can start now; else finish those that end next. False: there are none."""
        if rows := self.streams.next():
            self._engage(rows)
            return True
        if not self._running:
            return False
        now = self.time[0] = self._running[0][0]
        messages, over = list[Message](), list[int]()
        while self._running and self._running[0][0] == now:
            rows = heappop(self._running)[2]
            over.append(self._worker[rows[0]])
            for row in rows:
                messages += self.actors[row].done()
            self.streams.finish(rows)
        for message in messages:
            self.deliver(message)
        for worker in over:
            self._release(worker)
        return True

    def _engage(self, rows: tuple[int, ...]) -> None:
        """Start `rows`, or let them wait for their worker."""
        worker = self._worker[rows[0]]
        waiting = self._waiting[worker] if worker >= 0 else None
        if waiting is not None:
            waiting.append(rows)
            return
        if worker >= 0:
            self._waiting[worker] = deque()
        self._start(rows)

    def _release(self, worker: int) -> None:
        """A worker has done an act: the next that waits for it starts."""
        waiting = self._waiting[worker] if worker >= 0 else None
        if waiting:
            self._start(waiting.popleft())
        elif worker >= 0:
            self._waiting[worker] = None

    def _start(self, rows: tuple[int, ...]) -> None:
        stop = self.time[0] + max(self._seconds[row] for row in rows)
        for row in rows:
            act, slots = self.actors[row].launch()
            if self._launch is not None:
                self._launch[row](act, slots)
            stream = self.plan.actors[row].stream
            self.spans.append(Span(row, act, stream, self.time[0], stop))
            if stream in self._worked:
                self._worked[stream] += stop - self.time[0]
        self._started += 1
        heappush(self._running, (stop, self._started, rows))


class SimulatorSession(ActorSession):
    """Real kernels in virtual-time order, in the caller's thread. An act runs its kernel when it starts."""

    _source = "simulated"

    def __init__(
        self, plan: Plan, launch: Sequence[Launcher], *, freed: SlotCall | None = None, granted: SlotCall | None = None,
        checked: bool = False, recorded: bool = False, epoch: int = 0, machine: Machine | None = None,
    ) -> None:  # fmt: skip
        self._time = [0.0]
        super().__init__(plan, launch, freed=freed, granted=granted, checked=checked, recorded=recorded, epoch=epoch)
        used, watch = plan.machine if machine is None else machine, self._watch(self._events)
        self._world = VirtualTime(
            plan, device_streams(plan), used, lambda row: self._make(row, 0, watch), launch, self._deliver, self._time,
            worked=self._worked,
        )  # fmt: skip
        self._spans = self._world.spans

    def close(self) -> None:
        self._fail(RuntimeError("the session is closed"))

    @property
    def _clock(self) -> Callable[[], float]:
        time = self._time
        return lambda: time[0]

    def _deliver(self, message: Message) -> None:
        self._hosted[message[0]].receive(message)

    def _progress(self) -> bool:
        try:
            return self._world.advance()
        except BaseException as e:
            self._fail(e)
            raise

    def _send(self, messages: list[Message]) -> None:
        for message in messages:
            if message[0] in self._hosted:
                self._deliver(message)
            else:
                self._world.deliver(message)

    def _admit(self, steps: int) -> None:
        self._world.streams.admit(self.plan, steps)

    def _device_actors(self) -> Mapping[int, Actor]:
        return self._world.actors

    def _head(self, row: int) -> int:
        return self._world.streams.head(row)


def simulator(
    plan: Plan, launch: Sequence[Launcher], *, freed: SlotCall | None = None, granted: SlotCall | None = None,
    checked: bool = False, recorded: bool = False, machine: Machine | None = None,
) -> SimulatorSession:  # fmt: skip
    """A session of `plan` on the simulator; see `Session`."""
    return SimulatorSession(
        plan, launch, freed=freed, granted=granted, checked=checked, recorded=recorded, machine=machine
    )

