"""What the compiled loop runs: linked programs, and Python's part of them; and the loop's own entry points."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from oflow.actors.session import Launcher
from oflow.arrays import Linked, Tables, starts, tables
from oflow.native import addresses
from oflow.plan import Plan

LOOP = "oflow.actors.native.machine.loop"
Routine = Callable[[int], int]


class Compiled(Protocol):
    """A plan's linked programs, and what Python does for them."""

    tables: Tables
    linked: Linked
    called: np.ndarray
    """1 for the host actors that act when the caller says so, 0 for all that have a program; one entry an actor row."""

    def python(self, row: int, first: int, last: int, act: int, slots: tuple[int, ...]) -> None:
        """Run calls [first, last) of an actor row with these slots bound to its ports."""

    def failure(self, row: int, call: int, act: int, slots: tuple[int, ...], status: int) -> BaseException:
        """The error of a call that returned `status`."""


class PythonPrograms:
    """Every actor as one call that Python runs: ``launch[row](act, slots)``."""

    def __init__(self, plan: Plan, launch: Sequence[Launcher]) -> None:
        self.tables, self.launch = tables(plan), launch
        self.called = np.array([a.device.startswith("host:") for a in plan.actors], np.int64)
        ones, none = np.ones(len(self.tables.acts), np.int64), np.zeros(0, np.int64)
        self.linked = Linked(
            starts(ones), 0 * ones, 0 * ones, -ones, 0 * ones, np.cumsum(ones), 0 * ones, starts(0 * ones),
            none, none, none, none, none, none,
        )  # fmt: skip

    def python(self, row: int, first: int, last: int, act: int, slots: tuple[int, ...]) -> None:
        self.launch[row](act, slots)

    def failure(self, row: int, call: int, act: int, slots: tuple[int, ...], status: int) -> BaseException:
        raise AssertionError("a call of Python's has no status")


def routines() -> dict[str, Routine]:
    """The loop's entry points; a call through ctypes leaves the interpreter."""
    names = {name: f"{LOOP}:{name}" for name in ("worker", "host", "stop", "admit_steps")}
    found = addresses(names.values())
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    return {name: kind(found[routine]) for name, routine in names.items()}
