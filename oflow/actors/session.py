"""A session: a run of a plan that its caller feeds and fetches from. One interface for all drivers.

The caller's thread hosts the actors of ``host:`` devices. `wait` blocks until one of them can act, `act` runs it, `drain`
waits until the devices have finished. Kernels are handed in as `launch`, one callable per actor row: it gets the act's
number and the slot index bound to each port. A session can be used for any number of steps.

Steps are *admitted*: an actor makes its acts of step n once the caller has begun to feed step n (a host actor with an out
port acts in it), drains it, or admits it by name. So after ``drain(n)`` every actor has made exactly n steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from oflow.actors.actor import Actor, Message, Watch
from oflow.actors.blocked import ActorState, deadlock
from oflow.actors.meter import ActorSlots
from oflow.actors.streams import device_streams, host_streams
from oflow.errors import DeadlockError
from oflow.live import Reading
from oflow.plan import Plan
from oflow.trace import SlotEvent, SlotEvents, Span, Spans, Trace

Launcher = Callable[[int, tuple[int, ...]], None]
Meter = Callable[[], Reading]
SlotCall = Callable[[int, int], None]
"""Called with a register row and a slot."""


class Session(ABC):
    """See the module. Use it as a context manager: leaving it stops the run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.steps = 0

    @property
    @abstractmethod
    def host(self) -> Mapping[int, ActorState]:
        """The actors that the caller's thread hosts."""

    @abstractmethod
    def wait(self, actors: Iterable[int]) -> int:
        """Block until one of these host actors can act; return it (highest priority, then fewest acts, then lowest row).

        Raises the error of a kernel, or DeadlockError when nothing can happen any more.
        """

    @abstractmethod
    def act(self, actor: int) -> None:
        """Run a host actor that `wait` returned, in this thread."""

    @abstractmethod
    def admit(self, steps: int) -> None:
        """Allow all acts of the first `steps` steps."""

    @abstractmethod
    def drain(self, steps: int) -> None:
        """Wait until every actor that is not on the host has made all acts of `steps` steps. Raises like `wait`."""

    def overlap(self) -> None:  # noqa: B027 - a driver without threads has nothing to do
        """What follows will keep devices and caller busy at the same time: a driver that put off its threads starts them."""

    @property
    @abstractmethod
    def dropped(self) -> int:
        """Messages that were not owed or already seen. Read it between `drain` and the next act."""

    @abstractmethod
    def trace(self) -> Trace:
        """What was recorded so far. Call it after `drain`."""

    @abstractmethod
    def meter(self) -> Meter:
        """Count from now on how long each device stream works; returns what reads it, at any time and in any thread."""

    @abstractmethod
    def close(self) -> None:
        """Stop the run. What runs now is finished first."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class ActorSession(Session):
    """A session whose actors are `Actor` machines in Python.

    freed, granted: called when a slot becomes free, or is taken for writing, in the thread of its producer; never for slots
    of `keep` registers. checked: actors keep the story of their slots for errors. recorded: keep spans and slot events.
    """

    def __init__(
        self, plan: Plan, launch: Sequence[Launcher], *, freed: SlotCall | None = None, granted: SlotCall | None = None,
        checked: bool = False, recorded: bool = False, epoch: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(plan)
        self.launch, self.checked, self.recorded, self.epoch = launch, checked, recorded, epoch
        self.failure: BaseException | None = None
        self._calls = {"free": freed, "write": granted}
        self._kept = kept_registers(plan)
        self._spans: list[Span] = []
        self._events: list[SlotEvent] = initial_events(plan) if recorded else []
        watch = self._watch(self._events)
        rows = [row for stream in host_streams(plan) for row in plan.streams[stream]]
        self._hosted = {row: self._make(row, None, watch) for row in rows}
        self._sources = {row for row in rows if plan.actors[row].outs}
        self._worked: dict[str, float] = {}
        """Seconds that each device stream has worked; empty until somebody meters."""

    # ------------------------------------------------------------ for the caller

    @property
    def host(self) -> Mapping[int, ActorState]:
        return self._hosted

    def wait(self, actors: Iterable[int]) -> int:
        rows = sorted(actors, key=lambda row: (-self.plan.actors[row].priority, self._hosted[row].act, row))
        if not self._sources:
            self.admit(max(self._step_of(row) for row in rows))
        while True:
            self._collect()
            for row in rows:
                if self._hosted[row].ready:
                    return row
            if not self._progress():
                raise self._blocked(f"the caller waits for {', '.join(self.plan.actors[row].label for row in rows)}")

    def act(self, actor: int) -> None:
        self._raise_failure()
        machine = self._hosted[actor]
        if actor in self._sources:
            self.admit(self._step_of(actor))
        try:
            started = self._clock()
            number, slots = machine.launch()
            self.launch[actor](number, slots)
            if self.recorded:
                self._spans.append(Span(actor, number, self.plan.actors[actor].stream, started, self._clock()))
            messages = machine.done()
        except BaseException as e:
            self._fail(e)
            raise
        self._send(messages)

    def admit(self, steps: int) -> None:
        if steps > self.steps:
            self.steps = steps
            self._admit(steps)

    def drain(self, steps: int) -> None:
        self.admit(steps)
        while True:
            self._collect()
            if not self._progress():
                break
        done = self._device_actors()
        if any(actor.act < steps * self.plan.actors[row].acts for row, actor in done.items()):
            raise self._blocked(f"the caller waits for the end of step {steps - 1}")

    @property
    def dropped(self) -> int:
        return sum(actor.dropped for actor in (*self._hosted.values(), *self._device_actors().values()))

    def trace(self) -> Trace:
        return Trace(Spans.of(self._spans).in_time(), SlotEvents.of(self._events), self.steps, self._source)

    def meter(self) -> Meter:
        worked, clock = self._worked, self._clock
        for stream in device_streams(self.plan):
            worked.setdefault(stream, 0.0)
        slots = ActorSlots(self.plan, {**self._hosted, **self._device_actors()})
        return lambda: Reading(clock(), dict(worked), slots(), slots.total)

    # ------------------------------------------------------------ for the drivers

    _source = "measured"

    @property
    @abstractmethod
    def _clock(self) -> Callable[[], float]:
        """Seconds since the start of the run; holds no reference to the session."""

    @abstractmethod
    def _progress(self) -> bool:
        """Let something happen; False when nothing can unless the caller acts."""

    @abstractmethod
    def _send(self, messages: list[Message]) -> None:
        """Deliver messages of a host actor."""

    @abstractmethod
    def _admit(self, steps: int) -> None: ...

    @abstractmethod
    def _device_actors(self) -> Mapping[int, Actor]: ...

    @abstractmethod
    def _head(self, row: int) -> int:
        """The row that the stream of device actor `row` wants next (-1: any)."""

    def _collect(self) -> None:
        """Deliver what has arrived for host actors; raise the failure of the run."""
        self._raise_failure()

    def _fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _step_of(self, row: int) -> int:
        return self._hosted[row].act // self.plan.actors[row].acts + 1

    def _blocked(self, waiting: str) -> DeadlockError:
        actors = {**self._hosted, **self._device_actors()}
        return deadlock(self.plan, actors, lambda row: -1 if row in self._hosted else self._head(row), max(self.steps, 1), waiting)

    def _make(self, row: int, limit: int | None, watch: Watch | None) -> Actor:
        spec = self.plan.actors[row]
        return Actor(spec, self.plan.registers, epoch=self.epoch, limit=limit, watch=watch, checked=self.checked)

    def _watch(self, events: list[SlotEvent]) -> Watch | None:
        """Tells the caller's functions and `events` what an actor's slots do; holds no reference to the session."""
        calls, kept, clock, recorded = self._calls, self._kept, self._clock, self.recorded
        if not recorded and not any(calls.values()):
            return None

        def told(event: str, register: int, slot: int, seq: int) -> None:
            call = calls.get(event)
            if call is not None and register not in kept:
                call(register, slot)
            if recorded and event in ("write", "full", "free"):
                events.append(SlotEvent(clock(), register, slot, event))

        return told


def kept_registers(plan: Plan) -> frozenset[int]:
    return frozenset(p.register for actor in plan.actors for p in actor.ports if p.mode == "keep")


def initial_events(plan: Plan) -> list[SlotEvent]:
    return [SlotEvent(0.0, r.id, slot, "full") for r in plan.registers for slot in range(r.initial)]
