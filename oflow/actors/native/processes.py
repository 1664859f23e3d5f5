"""The processes driver: the same arrays and loop as `session`, with each worker a process.

Workers are forked from the caller's process when the run opens: arenas, rings and state lie in anonymous shared memory at the same
addresses in all of them, so nothing is copied, named or left behind; the system takes it back with the last process. A worker
runs the loop and nothing else. It ends with the run, when the caller's process has gone (it looks whose child it is), or when it
is killed: the caller looks after its workers while it waits and names the one that is missing.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from oflow.actors.native.compiled import Compiled, PythonPrograms, Routine
from oflow.actors.native.fields import RECORD_WORDS, STOPPED
from oflow.actors.native.session import NativeSession
from oflow.actors.native.team import Team, Workers
from oflow.actors.native.world import World
from oflow.actors.session import Launcher, Session, SlotCall
from oflow.errors import OflowError, PlanError, WorkerLost
from oflow.plan import Plan

TEXT_BYTES = 1 << 14


def shared_words(count: int) -> np.ndarray:
    """Zeroed words that processes forked later share with this one."""
    return np.frombuffer(mmap.mmap(-1, max(count, 1) * 8), np.int64)[:count]


def shared_bytes(nbytes: int) -> np.ndarray:
    """Zeroed bytes, page-aligned, that processes forked later share with this one."""
    return np.frombuffer(mmap.mmap(-1, max(nbytes, 1)), np.uint8)[:nbytes]


class ProcessTeam(Team):
    """Workers as processes; see the module."""

    caller_works = False
    zeros = staticmethod(shared_words)

    def __init__(self, plan: Plan, compiled: Compiled, workers: Workers, recorded: bool) -> None:
        super().__init__(plan, compiled, workers, recorded)
        self.children: dict[int, int] = {}
        """Process number -> worker number, of those that have not been waited for."""
        self._owner = os.getpid()
        self._texts = [shared_bytes(TEXT_BYTES) for _ in range(self.size)]
        self._failed = shared_words(max(self.size, 1))
        files = range(self.size if recorded else 0)
        self._spills: list[BinaryIO] = [tempfile.TemporaryFile() for _ in files]  # noqa: SIM115 - closed by join
        self._lock = threading.Lock()

    def start(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        for world in self.worlds:
            world["OWNER"] = self._owner
        for n in range(self.size):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # a child of a process with threads may only run the loop: it does
                number = os.fork()
            if not number:
                self._live(n)
            self.children[number] = n

    def _live(self, n: int) -> None:
        """The life of a worker process; it never returns."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller stops us
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        status = 0
        try:
            self.records, world = [], self.worlds[n]
            while self.serve(world, self.routines["worker"](world.address)) != STOPPED:
                pass
        except BaseException as e:
            status = 1
            text = "".join(traceback.format_exception(e)).encode()[-TEXT_BYTES:]
            self._texts[n][: len(text)] = np.frombuffer(text, np.uint8)
            self._failed[n] = len(text)
            self.routines["stop"](self.worlds[n].address)
        finally:
            os._exit(status)

    def take_records(self, world: World) -> None:
        """A worker that has filled its records writes them into its file; the caller's own stay here."""
        if not self._spills or world is self.caller:
            super().take_records(world)
            return
        spill = self._spills[world["ME"]]
        spill.write(world.arrays["records"][: world["RECORD_COUNT"] * RECORD_WORDS].tobytes())
        spill.flush()
        world["RECORD_COUNT"] = 0

    def recorded(self) -> list[np.ndarray]:
        found = super().recorded()
        for spill in self._spills:
            spill.seek(0)
            found = [*found, np.frombuffer(spill.read(), np.int64).reshape(-1, RECORD_WORDS)]
        return found

    def look(self) -> None:
        """Raise what a worker raised, or that it has been killed."""
        for n in np.flatnonzero(self._failed[: self.size]).tolist():
            raise self._error_of(n)
        with self._lock:
            for number, n in list(self.children.items()):
                gone, status = os.waitpid(number, os.WNOHANG)
                if gone:
                    del self.children[number]
                    if self._failed[n]:
                        raise self._error_of(n)
                    raise WorkerLost(
                        f"worker process {number}, which ran {', '.join(self.shares[n])}, {_ending(status)}. The other workers "
                        "were stopped; load a good state and go on"
                    )

    def _error_of(self, n: int) -> BaseException:
        """The error that stopped worker n: what its act raises here, on the same memory, else its text."""
        text = self._texts[n][: int(self._failed[n])].tobytes().decode(errors="replace")
        world = self.worlds[n]
        row, call = world["ROW"], world["CALL"]
        act, slots = int(world.arrays["act"][row]), self._slots(world, row)
        try:
            if world["STATUS"]:
                return self.compiled.failure(row, call, act, slots, world["STATUS"])
            self.compiled.python(row, call, world["CALL_END"], act, slots)
        except BaseException as e:
            return e
        return OflowError(f"a worker process failed:\n{text}")

    def ending(self) -> tuple[Any, ...]:
        return _end, self.routines["stop"], self.caller, self.children, self._owner

    def join(self) -> None:
        with self._lock:
            _wait_for(self.children)
        for spill in self._spills:
            spill.close()
        self._spills = []


def _end(stop: Routine, caller: World, children: dict[int, int], owner: int) -> None:
    if os.getpid() == owner:
        stop(caller.address)
        _wait_for(children)


def _wait_for(children: dict[int, int]) -> None:
    while children:
        number, _ = children.popitem()
        os.waitpid(number, 0)


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with exit code {os.waitstatus_to_exitcode(status)}"


def processes(
    plan: Plan, launch: Sequence[Launcher], *, compiled: Compiled | None = None, freed: SlotCall | None = None,
    granted: SlotCall | None = None, checked: bool = False, recorded: bool = False, workers: Workers = None,
    started: bool = True,
) -> Session:  # fmt: skip
    """A session of `plan` with a process for each worker (default: one a device, at most the cores).

    What kernels read and write must lie in memory from `shared_bytes` that was there before the session. Raises PlanError where the
    system cannot fork, or for a checked run, whose story of slots only threads can keep.
    """
    if checked or freed is not None or granted is not None:
        raise PlanError("checked runs keep one story of all slots: use executor='threads' or 'native' with checked=True")
    if not hasattr(os, "fork"):
        raise PlanError("executor='processes' forks its workers, and this system cannot; use executor='native'")
    team = ProcessTeam(plan, compiled or PythonPrograms(plan, launch), workers, recorded)
    return NativeSession(plan, launch, team, recorded=recorded)
