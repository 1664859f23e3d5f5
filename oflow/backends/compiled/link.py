"""Link a plan to compiled kernels: addresses for names and offsets; NumPy where an operator has no compiled form."""

from __future__ import annotations

from functools import partial

import numpy as np

from oflow import native
from oflow.arrays import ALWAYS, FIRST, REGIONS, Linked, Programs, Tables, link
from oflow.backends.arena import Memory
from oflow.backends.compiled.direct import ROUTINE
from oflow.backends.compiled.form import NOT_FINITE
from oflow.backends.numpy import ActorCalls, Launcher, link_numpy, not_finite
from oflow.errors import OflowError
from oflow.native.blas import symbol
from oflow.plan import Plan


def addresses_of(tables: Tables, memory: Memory) -> tuple[np.ndarray, np.ndarray]:
    """Where slot 0 of each register lies, and where each device's arena begins."""
    blocks = {"arena": memory.arenas, "state": memory.states}
    bases = np.array(
        [[blocks[region][d].ctypes.data if d in blocks[region] else 0 for d in tables.devices] for region in REGIONS], np.int64
    )
    registers = bases[tables.region, tables.device] + tables.offset
    for row, array in memory.kept.items():
        registers[row] = array.ctypes.data
    return registers, bases[0]


class LinkedPlan:
    """A plan's programs at their addresses, and Python's part of them; see `oflow.actors.native.Compiled`.

    Raises KernelMissing where an operator has neither a compiled nor a NumPy kernel, or a routine does not compile.
    """

    def __init__(
        self, plan: Plan, tables: Tables, programs: Programs, memory: Memory, *, refuse_nan: bool = False, blas: str = "numpy"
    ) -> None:
        self.plan, self.tables = plan, tables
        host = np.array([d.startswith("host:") for d in tables.devices])[tables.stream_device[tables.stream]]
        self.called = (host & (np.diff(programs.call_start) == 0)).astype(np.int64)
        self._numpy: list[ActorCalls] = link_numpy(plan, memory, refuse_nan=refuse_nan)
        found = native.addresses(programs.routines)
        registers, arenas = addresses_of(tables, memory)
        self.linked: Linked = link(
            programs, tables, registers, arenas,
            np.array([found[name] for name in programs.routines], np.int64),
            np.array([symbol(name, blas) for name in programs.symbols], np.int64),
            np.zeros(len(programs.words), np.int64),
        )  # fmt: skip

    def python(self, row: int, first: int, last: int, act: int, slots: tuple[int, ...]) -> None:
        """Run calls [first, last) of an actor row with NumPy."""
        numbers = self.linked.number[first:last].tolist()
        self._numpy[row].run(act, slots, numbers)

    def failure(self, row: int, call: int, act: int, slots: tuple[int, ...], status: int) -> BaseException:
        """The error of a call that returned a status: what the NumPy kernel raises for the same operands."""
        number = int(self.linked.number[call])
        actor = self._numpy[row]
        if status == NOT_FINITE:
            return actor.noted(not_finite(actor.template.calls[number]), number, act)
        try:
            actor.run(act, slots, [number])
        except Exception as e:
            return e
        op = actor.template.calls[number].op
        return actor.noted(OflowError(f"the compiled kernel of {op} refused operands that NumPy's takes"), number, act)

    # ------------------------------------------------------------ for drivers whose actors are Python's

    def launchers(self) -> list[Launcher]:
        """One launcher for each actor row: the same calls on the same words, a call through ctypes each."""
        return [partial(self._act, row) for row in range(len(self.tables.acts))]

    def _act(self, row: int, act: int, slots: tuple[int, ...]) -> None:
        linked, t = self.linked, self.tables
        first_port = int(t.port_start[row])
        for n in range(int(linked.patch_start[row]), int(linked.patch_start[row + 1])):
            port = int(linked.patch_port[n])
            part = int(linked.patch_part[n]) * (act % int(t.every[port])) if linked.patch_part[n] else 0
            word = (int(linked.patch_word[n]) - linked.words.ctypes.data) // linked.words.itemsize
            linked.words[word] = linked.patch_base[n] + slots[port - first_port] * linked.patch_stride[n] + part
        for c in range(int(linked.call_start[row]), int(linked.call_start[row + 1])):
            when, window = int(linked.when[c]), int(linked.window[c])
            if when == ALWAYS or (act % int(t.every[window]) == 0) == (when == FIRST):
                self._call(row, c, act, slots)

    def _call(self, row: int, c: int, act: int, slots: tuple[int, ...]) -> None:
        routine = int(self.linked.routine[c])
        if not routine:
            self.python(row, c, c + 1, act, slots)
        elif status := ROUTINE(routine)(int(self.linked.block[c])):
            raise self.failure(row, c, act, slots, status)
