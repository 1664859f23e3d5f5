"""The native driver: one compiled loop a worker over the plan as arrays; Python runs only what has no compiled form.

The caller's thread is one of the workers; it also hosts the actors of ``host:`` devices. The others are threads (or all of them
processes, see `processes`). Messages between workers are words in shared rings. A worker with nothing to do spins for some
microseconds, yields, then sleeps.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter

import numpy as np

from oflow.actors.blocked import deadlock
from oflow.actors.meter import SlotCount
from oflow.actors.native import fields
from oflow.actors.native.compiled import Compiled, PythonPrograms
from oflow.actors.native.fields import IDLE, READY, STOPPED
from oflow.actors.native.state import ActorView, head_of
from oflow.actors.native.team import Team, Workers
from oflow.actors.native.world import NUMBER
from oflow.actors.session import Launcher, Meter, Session, SlotCall, initial_events
from oflow.actors.streams import HOST
from oflow.actors.threads import threads
from oflow.errors import DeadlockError
from oflow.live import Reading
from oflow.plan import Plan
from oflow.trace import EVENTS, SlotEvent, SlotEvents, Span, Spans, Trace

ROW, PENDING = NUMBER["ROW"], NUMBER["PENDING"]
NANOSECOND = 1e-9


class NativeSession(Session):
    """See the module and `Session`. Keeps no story of slots: `native` uses the Python machine where one is asked for."""

    def __init__(
        self, plan: Plan, launch: Sequence[Launcher], team: Team, *, recorded: bool = False
    ) -> None:
        super().__init__(plan)
        self.launch, self.recorded = launch, recorded
        self._zero = perf_counter()
        self._team = team
        self._caller = team.caller
        self._run = team.routines["worker"]
        self._host_act = team.routines["host"]
        self._admit_steps = team.routines["admit_steps"]
        t = team.compiled.tables
        rows = np.flatnonzero(team.common.called).tolist()
        self._ports = {row: slice(int(t.port_start[row]), int(t.port_start[row + 1])) for row in rows}
        self._sources = {row for row in rows if t.port_out[self._ports[row]].any()}
        self._acts_a_step = {row: int(t.acts[row]) for row in rows}
        self._wanted: Iterable[int] = ()
        self._spans: list[Span] = []
        self._alone = not team.size
        # views of words that every step reads
        self._admitted = team.common.steps.data
        self._cells, self._address = self._caller.cells, self._caller.address
        self._next, self._acts = self._caller.arrays["next"].data, self._caller.arrays["act"].data
        # not the team itself: its failure's traceback may hold this session
        self._finalizer = weakref.finalize(self, *team.ending())
        team.start()

    @property
    def host(self) -> Mapping[int, ActorView]:
        self._host_act(self._address)
        return self._views(self._ports)

    # ------------------------------------------------------------ for the caller

    def wait(self, actors: Iterable[int]) -> int:
        if actors is not self._wanted:
            self._want(tuple(actors))
        if not self._sources:
            self.admit(max(self._step_of(row) for row in self._wanted))
        if self._advance() != READY:
            raise self._blocked(f"the caller waits for {', '.join(self.plan.actors[row].label for row in self._wanted)}")
        return int(self._cells[ROW])

    def act(self, actor: int) -> None:
        self._raise_failure()
        if actor in self._sources:
            self.admit(self._step_of(actor))
        try:
            number, slots = self._acts[actor], tuple(self._next[self._ports[actor]])
            started = self._clock() if self.recorded else 0.0
            self.launch[actor](number, slots)
            if self.recorded:
                self._spans.append(Span(actor, number, self.plan.actors[actor].stream, started, self._clock()))
            self._cells[PENDING] = actor
            if not self._alone:  # others may be waiting for it
                self._host_act(self._address)
        except BaseException as e:
            self._fail(e)
            raise

    def admit(self, steps: int) -> None:
        if steps > self.steps:
            self.steps = steps
            if self._alone:
                self._admitted[0] = steps
            else:
                self._caller["STATUS"] = steps
                self._admit_steps(self._address)

    def drain(self, steps: int) -> None:
        self.admit(steps)
        self._want(())
        self._caller["DRAINING"] = steps
        self._advance()
        self._caller["DRAINING"] = 0
        if any(world.unfinished for world in self._team.worlds):
            raise self._blocked(f"the caller waits for the end of step {steps - 1}")

    @property
    def dropped(self) -> int:
        """Rings neither lose nor repeat messages."""
        return 0

    def trace(self) -> Trace:
        self._want(())
        self._advance()  # acts are made when `drain` returns; acks may still be on their way
        spans, events = list(self._spans), initial_events(self.plan)
        for kind, a, b, c, d in np.concatenate(self._team.recorded()).tolist():
            if kind == fields.SPAN:
                start, stop = (x * NANOSECOND - self._zero for x in (c, d))
                spans.append(Span(a, b, self.plan.actors[a].stream, start, stop))
            else:
                events.append(SlotEvent(c * NANOSECOND - self._zero, a, b, EVENTS[kind - fields.WRITE]))
        return Trace(Spans.of(spans).in_time(), SlotEvents.of(events), self.steps, "measured")

    def meter(self) -> Meter:
        t, worlds = self._team.compiled.tables, self._team.worlds
        slots, states = SlotCount(t, self._team.worker), [world.arrays for world in worlds]
        streams = [(n, name) for n, name in enumerate(t.streams) if not name.startswith(HOST)]
        clock = self._clock
        for world in worlds:
            world["METERED"] = 1

        def read() -> Reading:
            worked = sum((state["worked"] for state in states), np.zeros(1, np.int64)) * NANOSECOND
            return Reading(clock(), {name: float(worked[n]) for n, name in streams}, slots(states), slots.total)

        return read

    def close(self) -> None:
        self._fail(RuntimeError("the session is closed"))
        self._team.join()

    # ------------------------------------------------------------ inside

    def _want(self, rows: tuple[int, ...]) -> None:
        self._caller.arrays["wanted"][: len(rows)] = rows
        self._caller["WANTED_COUNT"] = len(rows)
        self._wanted = rows

    def _advance(self) -> int:
        """Run the caller's world until a wanted host actor can act (READY), or nothing moves any more (IDLE)."""
        address, run = self._address, self._run
        while True:
            self._raise_failure()
            try:
                event = run(address)
                if event in (READY, IDLE):
                    return event
                self._team.serve(self._caller, event)
                self._team.look()
            except BaseException as e:
                self._fail(e)
                raise
            if event == STOPPED:
                self._raise_failure()

    def _fail(self, error: BaseException) -> None:
        self._team.stop(error)

    def _raise_failure(self) -> None:
        if self._team.failure is not None:
            raise self._team.failure

    def _step_of(self, row: int) -> int:
        return int(self._acts[row] // self._acts_a_step[row]) + 1

    def _clock(self) -> float:
        return perf_counter() - self._zero

    def _blocked(self, waiting: str) -> DeadlockError:
        self._host_act(self._address)
        return deadlock(self.plan, self._views(range(len(self.plan.actors))), self._head, max(self.steps, 1), waiting)

    def _views(self, rows: Iterable[int]) -> dict[int, ActorView]:
        t, worlds, worker = self._team.compiled.tables, self._team.worlds, self._team.worker
        acts = np.sum([world.arrays["act"] for world in worlds], axis=0)  # each world counts those of its own actors
        return {row: ActorView(t, worlds[int(worker[row])].arrays, acts, row) for row in rows}

    def _head(self, row: int) -> int:
        return head_of(self._team.compiled.tables, self._team.worlds[int(self._team.worker[row])].arrays, row)


def native(
    plan: Plan, launch: Sequence[Launcher], *, compiled: Compiled | None = None, freed: SlotCall | None = None,
    granted: SlotCall | None = None, checked: bool = False, recorded: bool = False, workers: Workers = None,
    started: bool = True,
) -> Session:  # fmt: skip
    """A session of `plan` on the compiled loop: the caller's thread and one thread for each further worker.

    compiled: the plan's linked programs; without them each act is one call of ``launch[row]``. A checked run, or one that wants to
    hear of freed slots, uses the Python machine on threads.
    """
    if checked or freed is not None or granted is not None:
        count = workers if workers is None or isinstance(workers, int) else len(workers)
        return threads(
            plan, launch, freed=freed, granted=granted, checked=checked, recorded=recorded, workers=count, started=started
        )
    team = Team(plan, compiled or PythonPrograms(plan, launch), workers, recorded)
    return NativeSession(plan, launch, team, recorded=recorded)
