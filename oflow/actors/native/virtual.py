"""`simulate` on the compiled loop: every actor of a plan in one world, in virtual time, with no kernels."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import CFUNCTYPE, c_int64
from dataclasses import replace

import numpy as np

from oflow.actors.blocked import deadlock
from oflow.actors.native import fields
from oflow.actors.native.state import ActorView, head_of
from oflow.actors.native.world import World, common, words
from oflow.actors.streams import HOST
from oflow.arrays import Tables, durations, no_programs, starts, tables
from oflow.live import phase
from oflow.machine import Machine
from oflow.native import addresses
from oflow.plan import Plan
from oflow.trace import SlotEvents, Spans, Trace

ROUTINE = "oflow.actors.native.machine.virtual:virtual"


def virtual_time(plan: Plan, machine: Machine, steps: int, *, events: bool) -> Trace:
    """See `oflow.actors.simulate`. Raises DeadlockError when nobody can act before the end."""
    t = _free_hosts(tables(plan))
    world = _world(t, durations(plan, machine), steps, events)
    total = max(1, steps * int(t.acts.sum()))
    with phase(f"simulate {total:,} acts", lambda: world["SPAN_COUNT"] / total):
        _routine()(world.address)
    state = world.arrays
    if (state["act"][: len(t.acts)] < steps * t.acts).any():
        views = {row: ActorView(t, state, state["act"], row) for row in range(len(t.acts))}
        raise deadlock(plan, views, lambda row: head_of(t, state, row), steps, f"{steps} steps are simulated")
    span = state["spans"][: fields.SPAN_WORDS * world["SPAN_COUNT"]].reshape(-1, fields.SPAN_WORDS).T
    times = [np.ascontiguousarray(column).view(np.float64) for column in span[2:]]
    spans = Spans(t.streams, span[0].copy(), span[1].copy(), t.stream[span[0]], *times)
    return Trace(spans.in_time(), _events(t, world, events), steps, "simulated")


def _free_hosts(t: Tables) -> Tables:
    """Host actors act as soon as they are ready: an order given for them is not used."""
    lengths = np.diff(t.order_start)
    kept = np.array([not name.startswith(HOST) for name in t.streams], bool)
    return t if kept[lengths > 0].all() else replace(t, order_start=starts(lengths * kept), order=t.order[np.repeat(kept, lengths)])


def _world(t: Tables, seconds: np.ndarray, steps: int, events: bool) -> World:
    count, ports = len(t.acts), len(t.every)
    nobody = np.zeros(count, np.int64)
    shared = common(t, no_programs(count), nobody, nobody, 0, np.ones(count), words)
    world = World(shared, 0, alone=True, recording=False, zeros=words)
    acts = steps * int(t.acts.sum())
    windows = steps * np.where(t.every, t.acts[t.port_actor] // np.maximum(t.every, 1), 1)[t.port_out == 1].sum() if ports else 0
    # each window of an out port is written, full and freed once; what starts full is freed too
    records = 3 * int(windows) + int(t.initial.sum()) if events else 0
    for field, array in {
        "SECONDS": seconds.astype(np.float64).view(np.int64), "AGENDA": words(fields.AGENDA_WORDS * (count + 1)),
        "SPANS": words(fields.SPAN_WORDS * (acts + 1)), "ENDED": words(ports + 1), "RECORDS": words(fields.RECORD_WORDS * (records + 1)),
    }.items():  # fmt: skip
        world.put(field, array)
    world["RECORDING"], world["VIRTUAL"] = int(events), 1
    shared.steps[0] = steps
    return world


def _events(t: Tables, world: World, wanted: bool) -> SlotEvents:
    """What was recorded, after the tokens that are there from the start, in order of time."""
    if not wanted:
        return SlotEvents.of(())
    recorded = world.arrays["records"][: fields.RECORD_WORDS * world["RECORD_COUNT"]].reshape(-1, fields.RECORD_WORDS).T
    register = np.repeat(np.arange(len(t.initial)), t.initial)
    slot = np.arange(len(register)) - starts(t.initial)[register]
    full = np.full(len(register), fields.FULL_SLOT)
    time = np.concatenate([np.zeros(len(register)), np.ascontiguousarray(recorded[3]).view(np.float64)])
    columns = [np.concatenate(pair) for pair in ((register, recorded[1]), (slot, recorded[2]), (full, recorded[0]))]
    made = SlotEvents(time, columns[0], columns[1], columns[2] - fields.WRITE)
    return made.take(np.argsort(time, kind="stable"))


def _routine() -> Callable[[int], int]:
    return CFUNCTYPE(c_int64, c_int64)(addresses([ROUTINE])[ROUTINE])
