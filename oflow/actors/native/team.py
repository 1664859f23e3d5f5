"""The workers of a native run as threads: each leaves the interpreter while its loop works."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from oflow.actors.native import fields
from oflow.actors.native.compiled import Compiled, Routine, routines
from oflow.actors.native.fields import FAILED, FULL_RECORDS, PYTHON, STOPPED
from oflow.actors.native.world import World, Zeros, common, words
from oflow.actors.workers import assign
from oflow.arrays import Tables
from oflow.errors import PlanError
from oflow.plan import Plan

Workers = int | Sequence[Sequence[str]] | None
"""How many workers, or the streams (``device/stream``) of each; None: one a device, at most the cores."""


def divide(plan: Plan, t: Tables, workers: Workers) -> list[list[str]]:
    """The streams of each worker. Raises PlanError unless streams that are given are all device streams, each once."""
    devices = [d for d in t.devices if not d.startswith("host:")]
    if workers is None:
        workers = max(1, min(os.cpu_count() or 1, len(devices)))
    if isinstance(workers, int):
        return assign(plan, max(1, workers))
    shares = [list(share) for share in workers]
    own = [s for s in t.streams if not s.startswith("host:")]
    if sorted(s for share in shares for s in share) != sorted(own):
        raise PlanError(f"workers must name each of these streams once: {', '.join(own)}")
    return shares


def act_seconds(plan: Plan) -> np.ndarray:
    """How long an act of each actor row takes on the plan's machine."""
    parts = []
    for template in plan.actor_templates:
        ranks, machine = plan.rank_table[template.group], plan.machine
        same = len(template.costs) == 1 and len({device.partition(":")[0] for device in ranks}) == 1
        columns = zip(template.costs * (1 if len(template.costs) > 1 else len(ranks)), ranks, strict=True)
        found = [machine.seconds(template.costs[0], ranks[0])] * len(ranks) if same else [machine.seconds(*c) for c in columns]
        parts.append(np.array(found))
    return np.concatenate(parts) if parts else np.zeros(0)


class Team:
    """The workers of a run: their worlds, the compiled loop, the first failure. Its threads hold it, not the session.

    The caller's thread is the first worker, so that there are no more threads than workers; it hosts the ``host:`` devices too.
    """

    caller_works = True
    zeros: Zeros = staticmethod(words)

    def __init__(self, plan: Plan, compiled: Compiled, workers: Workers, recorded: bool) -> None:
        t = compiled.tables
        shares = divide(plan, t, workers)
        self.shares = shares[1:] if self.caller_works else shares
        """The streams of the workers beside the caller."""
        self.size = len(self.shares)
        number = {stream: n for n, share in enumerate(self.shares) for stream in share}
        by_stream = np.array([number.get(s, self.size) for s in t.streams], np.int64)
        worker = by_stream[t.stream] if len(t.stream) else t.stream
        seconds = act_seconds(plan)
        self.compiled, self.worker, self.routines = compiled, worker, routines()
        self.common = common(t, compiled.linked, compiled.called, worker, self.size, seconds, self.zeros)
        self.worlds = [
            World(self.common, me, alone=not self.size, recording=recorded, zeros=self.zeros) for me in range(self.size + 1)
        ]
        self.caller = self.worlds[-1]
        self.failure: BaseException | None = None
        self.records: list[np.ndarray] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the workers, which wait for their first step."""
        for n in range(self.size):
            self._threads.append(threading.Thread(target=self.work, args=(n,), name=f"oflow worker {n}", daemon=True))
            self._threads[n].start()

    def join(self) -> None:
        """Wait until the workers have ended; call `stop` first."""
        for thread in self._threads:
            thread.join()

    def ending(self) -> tuple[Any, ...]:
        """A function, and its arguments, that ends the workers of a session nobody closed."""
        return _end, self.routines["stop"], self.caller

    def look(self) -> None:
        """Called now and then while the caller waits."""

    def work(self, number: int) -> None:
        """A worker's thread: run until the end."""
        world = self.worlds[number]
        try:
            while self.serve(world, self.routines["worker"](world.address)) != STOPPED:
                pass
        except BaseException as e:  # whatever it is, it belongs to the caller
            self.stop(e)

    def serve(self, world: World, event: int) -> int:
        """Do what the loop leaves to Python; returns the event. Raises what a kernel raised."""
        if event == PYTHON:
            row, first, last = world["ROW"], world["CALL"], world["CALL_END"]
            self.compiled.python(row, first, last, int(world.arrays["act"][row]), self._slots(world, row))
            world["GOING_CALL"] = last
        elif event == FAILED:
            row = world["ROW"]
            act, slots = int(world.arrays["act"][row]), self._slots(world, row)
            raise self.compiled.failure(row, world["CALL"], act, slots, world["STATUS"])
        elif event == FULL_RECORDS:
            self.take_records(world)
        return event

    def _slots(self, world: World, row: int) -> tuple[int, ...]:
        start = self.compiled.tables.port_start
        return tuple(world.arrays["held"][int(start[row]) : int(start[row + 1])].tolist())

    def take_records(self, world: World) -> None:
        count = world["RECORD_COUNT"]
        self.records.append(world.arrays["records"].reshape(-1, fields.RECORD_WORDS)[:count].copy())
        world["RECORD_COUNT"] = 0

    def recorded(self) -> list[np.ndarray]:
        """All records so far, rows of RECORD_WORDS; call it while nothing moves."""
        for world in self.worlds:
            self.take_records(world)
        return self.records

    def stop(self, failure: BaseException | None = None) -> None:
        if self.failure is None:
            self.failure = failure
        self.routines["stop"](self.caller.address)


def _end(stop: Routine, caller: World) -> None:
    stop(caller.address)
