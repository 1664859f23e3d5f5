"""simulate: predict a plan on a machine in virtual time; no kernel runs."""

from __future__ import annotations

from collections.abc import Sequence

from oflow.actors.actor import Actor, Message
from oflow.actors.blocked import deadlock
from oflow.actors.native.virtual import virtual_time
from oflow.actors.session import initial_events
from oflow.actors.simulator import VirtualTime
from oflow.actors.streams import device_streams
from oflow.actors.workers import assign
from oflow.errors import PlanError, user_line
from oflow.live import phase
from oflow.machine import Machine
from oflow.native import available
from oflow.plan import Plan
from oflow.trace import EVENTS, SlotEvent, SlotEvents, Spans, Trace


def shares(plan: Plan, workers: int) -> list[list[str]]:
    """The streams of each worker of the native driver with so many cores: with one worker the caller's thread does everything."""
    devices = {stream.rpartition("/")[0] for stream in device_streams(plan)}
    found = assign(plan, max(1, min(workers, len(devices))))
    return [list(plan.streams)] if len(found) <= 1 else found


def simulate(
    plan: Plan, machine: Machine | None = None, steps: int = 3, *, events: bool = True, workers: int | None = None
) -> Trace:
    """Run `steps` steps in virtual time on `machine` (default: the plan's). Host actors act as soon as they are ready.

    workers: how many cores the devices share, as the native driver divides them (None: every stream has its own).
    events: record also when slots change hands; without them the trace has spans only and is made faster.
    Raises DeadlockError when nobody can act before the end, PlanError for what is no machine. The compiled loop does it where numba is;
    the answer is the same.
    """
    if not isinstance(machine, Machine | None):
        raise PlanError(f"{machine!r} is no machine; give an of.Machine, such as of.preset('h100'), and steps by name", line=user_line())
    used, shared = plan.machine if machine is None else machine, [] if workers is None else shares(plan, workers)
    if available() and not shared:
        return virtual_time(plan, used, steps, events=events)
    return interpreted(plan, used, steps, events=events, shared=shared)


def interpreted(plan: Plan, machine: Machine, steps: int, *, events: bool, shared: Sequence[Sequence[str]] = ()) -> Trace:
    """The same by the actors in Python. shared: the streams of each worker, where several share one."""
    found, time = initial_events(plan) if events else [], [0.0]

    def watch(event: str, register: int, slot: int, seq: int) -> None:
        if event in EVENTS:
            found.append(SlotEvent(time[0], register, slot, event))

    def make(row: int) -> Actor:
        spec = plan.actors[row]
        return Actor(spec, plan.registers, limit=steps * spec.acts, watch=watch if events else None)

    def nowhere(message: Message) -> None:
        raise AssertionError(f"every actor is simulated, yet {message} found none")

    world = VirtualTime(plan, plan.streams, machine, make, None, nowhere, time, shared)
    total = max(1, steps * sum(spec.acts for spec in plan.actors))
    with phase(f"simulate {total:,} acts", lambda: len(world.spans) / total):
        while world.advance():
            pass
    if any(actor.act < steps * plan.actors[row].acts for row, actor in world.actors.items()):
        raise deadlock(plan, dict(sorted(world.actors.items())), world.streams.head, steps, f"{steps} steps are simulated")
    return Trace(Spans.of(world.spans).in_time(), SlotEvents.of(found), steps, "simulated")
