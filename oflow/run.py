"""A run: a plan linked to memory and kernels, its driver, and the copies between the caller's arrays and host slots."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from oflow import native as machine_code
from oflow.actors import Launcher, Session, native, processes, shared_bytes, simulator, threads
from oflow.arrays import tables
from oflow.backends import Memory, link
from oflow.backends.compiled import LinkedPlan, lower
from oflow.errors import KernelMissing, PlanError, user_line
from oflow.plan import Plan

EXECUTORS = ("native", "processes", "threads", "simulator")
COMPILED_LOOP = ("native", "processes")
KERNELS = ("compiled", "numpy")
BLAS = ("numpy", "mkl")
Values = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a program runs: driver, kernels and checks. Nothing here changes the plan. See `oflow.compile`."""

    executor: str
    kernels: str
    workers: int | Sequence[Sequence[str]] | None = None
    checked: bool = False
    refuse_nan: bool = False
    record: bool = False
    blas: str = "numpy"


def run_options(executor: str | None, kernels: str | None, **others: Any) -> RunOptions:
    """The best there is where None is given. Raises PlanError for names there are none of, KernelMissing without numba."""
    best = machine_code.available()
    chosen = RunOptions(executor or ("native" if best else "threads"), kernels or ("compiled" if best else "numpy"), **others)
    asked = ("executor", chosen.executor, EXECUTORS), ("kernel library", chosen.kernels, KERNELS), ("BLAS", chosen.blas, BLAS)
    for kind, name, names in asked:
        if name not in names:
            raise PlanError(f"there is no {kind} {name!r}; there are {', '.join(names)}", line=user_line())
    if not best and (chosen.executor in COMPILED_LOOP or chosen.kernels == "compiled"):
        needs = f"executor={chosen.executor!r}" if chosen.executor in COMPILED_LOOP else "kernels='compiled'"
        raise KernelMissing(f"{needs} needs numba; install it with pip install 'oflow[native]'")
    return chosen


def new_memory(plan: Plan, options: RunOptions) -> Memory:
    """Arenas and state of a plan, where the driver's workers can reach them."""
    return Memory(plan, allocate=shared_bytes) if options.executor == "processes" else Memory(plan)


class Run:
    """An open run of a plan. `staged` is what the feeding act copies in; `results` what the fetching acts brought out.

    fed, fetched: steps begun and steps whose results have come. hosts: rows that act when the caller says so; others: all of
    them but the feeding one.
    """

    def __init__(self, plan: Plan, memory: Memory, options: RunOptions, deliver: Callable[[Values], Any]) -> None:
        self.plan, self.memory, self.options, self._deliver = plan, memory, options, deliver
        self.feed = plan.registers[plan.inputs[0]].producer if plan.inputs else -1
        self.fetch = plan.registers[plan.outputs[0][1]].consumers[0]
        self.staged: tuple[np.ndarray, ...] = ()
        self.results: deque[Any] = deque()
        self.fed = self.fetched = 0
        self.settled = True
        """Whether every step that was begun has been drained."""
        self._inputs = [self._views(row) for row in plan.inputs]
        self._outputs = [(name, self._views(row), self._port(row)) for name, row in plan.outputs]
        # parallelism comes from the plan: more BLAS threads than workers fight for the cores (17 s instead of 0.5 s were seen);
        # held until close, because switching costs a millisecond
        self._blas = threadpool_limits(1, user_api="blas")
        try:
            self.session = self._open()
        except BaseException:
            self._blas.restore_original_limits()
            raise
        self.hosts = tuple(self.session.host)
        self.others = tuple(row for row in self.hosts if row != self.feed)

    def _views(self, row: int) -> list[np.ndarray]:
        register = self.plan.registers[row]
        return [self.memory.slot(register, slot) for slot in range(register.slots)]

    def _port(self, row: int) -> int:
        return next(i for i, p in enumerate(self.plan.actors[self.fetch].ports) if p.register == row)

    def _open(self) -> Session:
        plan, options, memory = self.plan, self.options, self.memory
        launch, linked = self._link()
        if self.feed >= 0:
            launch[self.feed] = self._copy_in
        launch[self.fetch] = self._copy_out
        freed, granted = (memory.poison_freed, memory.poison_granted) if options.checked else (None, None)
        common: dict[str, Any] = {"freed": freed, "granted": granted, "checked": options.checked, "recorded": options.record}
        if options.executor == "simulator":
            return simulator(plan, launch, **common)
        if options.executor == "threads":
            count = len(options.workers) if isinstance(options.workers, Sequence) else options.workers
            return threads(plan, launch, workers=count, started=False, **common)
        driver = processes if options.executor == "processes" else native
        return driver(plan, launch, compiled=linked, workers=options.workers, started=False, **common)

    def _link(self) -> tuple[list[Launcher], LinkedPlan | None]:
        """What each actor row runs; for the native driver also the linked programs."""
        plan, options = self.plan, self.options
        compiled = options.kernels == "compiled"
        if not compiled and options.executor not in COMPILED_LOOP:
            return link(plan, self.memory, checked=options.checked, refuse_nan=options.refuse_nan), None
        stamped = tables(plan)
        programs = lower(plan, stamped, refuse_nan=options.refuse_nan, forms=compiled)
        linked = LinkedPlan(plan, stamped, programs, self.memory, refuse_nan=options.refuse_nan, blas=options.blas)
        return linked.launchers(), linked

    def _copy_in(self, act: int, slots: tuple[int, ...]) -> None:
        for views, slot, array in zip(self._inputs, slots, self.staged, strict=True):
            views[slot][...] = array

    def _copy_out(self, act: int, slots: tuple[int, ...]) -> None:
        self.results.append(self._deliver({name: views[slots[port]].copy() for name, views, port in self._outputs}))
        self.fetched += 1

    # ------------------------------------------------------------ steps

    def begin(self, batch: tuple[np.ndarray, ...]) -> None:
        """Stage the next step's inputs."""
        self.staged = batch
        self.fed += 1
        self.settled = False

    def fetch_results(self) -> None:
        """Bring out the results of every step that was begun, and wait until nothing moves any more."""
        if self.settled:
            return
        while self.fetched < self.fed:
            self.session.act(self.session.wait(self.others))
        self.session.drain(self.fed)
        self.settled = True

    def close(self) -> None:
        self.session.close()
        self._blas.restore_original_limits()
