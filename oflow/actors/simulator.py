"""The simulator: discrete events in virtual time, one thread, deterministic.

`simulate` predicts a plan on a machine and runs no kernel. `simulator` is a session that runs the real kernels in
virtual-time order (the debugger). A message takes no time: what a transfer costs is in the cost of the act that reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush

from oflow.actors.actor import Actor, Message
from oflow.actors.blocked import deadlock
from oflow.actors.session import Launcher, Session, SlotCall, initial_events
from oflow.actors.streams import Streams, device_streams
from oflow.machine import Machine
from oflow.plan import Plan, SlotEvent, Span, Trace


class VirtualTime:
    """Streams, a clock (`time[0]`) and the acts that run. `launch`: runs an act's kernel when it starts (None: nothing runs)."""

    def __init__(
        self, plan: Plan, streams: Iterable[str], machine: Machine, make: Callable[[int], Actor],
        launch: Sequence[Launcher] | None, elsewhere: Callable[[Message], None], time: list[float],
    ) -> None:  # fmt: skip
        self.plan, self.time, self.spans = plan, time, list[Span]()
        self.streams = Streams(plan, streams, make)
        self.actors = {row: self.streams.own(row) for row in self.streams.rows}
        self._seconds = [machine.seconds(a.cost, a.device) for a in plan.actors]
        self._running: list[tuple[float, int, tuple[int, ...]]] = []
        self._started, self._launch, self._elsewhere = 0, launch, elsewhere

    def deliver(self, message: Message) -> None:
        actor = self.streams.actors[message[0]]
        if actor is None:
            self._elsewhere(message)
        elif actor.receive(message):
            self.streams.wake(message[0])

    def advance(self) -> bool:
        """Start every act that can start now; else finish those that end next. False: there are none."""
        if rows := self.streams.next():
            self._start(rows)
            return True
        if not self._running:
            return False
        now = self.time[0] = self._running[0][0]
        messages: list[Message] = []
        while self._running and self._running[0][0] == now:
            rows = heappop(self._running)[2]
            for row in rows:
                messages += self.actors[row].done()
            self.streams.finish(rows)
        for message in messages:
            self.deliver(message)
        return True

    def _start(self, rows: tuple[int, ...]) -> None:
        stop = self.time[0] + max(self._seconds[row] for row in rows)
        for row in rows:
            act, slots = self.actors[row].launch()
            if self._launch is not None:
                self._launch[row](act, slots)
            self.spans.append(Span(row, act, self.plan.actors[row].stream, self.time[0], stop))
        self._started += 1
        heappush(self._running, (stop, self._started, rows))


def simulate(plan: Plan, machine: Machine | None = None, steps: int = 3) -> Trace:
    """Run `steps` steps in virtual time on `machine` (default: the plan's). Host actors act as soon as they are ready.

    Raises DeadlockError when nobody can act before the end.
    """
    events, time = initial_events(plan), [0.0]

    def watch(event: str, register: int, slot: int, seq: int) -> None:
        if event in ("write", "full", "free"):
            events.append(SlotEvent(time[0], register, slot, event))

    def make(row: int) -> Actor:
        spec = plan.actors[row]
        return Actor(spec, plan.registers, limit=steps * spec.acts, watch=watch)

    def nowhere(message: Message) -> None:
        raise AssertionError(f"every actor is simulated, yet {message} found none")

    world = VirtualTime(plan, plan.streams, plan.machine if machine is None else machine, make, None, nowhere, time)
    while world.advance():
        pass
    if any(actor.act < steps * plan.actors[row].acts for row, actor in world.actors.items()):
        raise deadlock(plan, world.actors, world.streams.head, steps, f"{steps} steps are simulated")
    return Trace(tuple(world.spans), tuple(events), steps, "simulated")


class SimulatorSession(Session):
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
            plan, device_streams(plan), used, lambda row: self._make(row, 0, watch), launch, self._deliver, self._time
        )
        self._spans = self._world.spans

    def close(self) -> None:
        self._fail(RuntimeError("the session is closed"))

    @property
    def _clock(self) -> Callable[[], float]:
        time = self._time
        return lambda: time[0]

    def _deliver(self, message: Message) -> None:
        self.host[message[0]].receive(message)

    def _progress(self) -> bool:
        try:
            return self._world.advance()
        except BaseException as e:
            self._fail(e)
            raise

    def _send(self, messages: list[Message]) -> None:
        for message in messages:
            if message[0] in self.host:
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

