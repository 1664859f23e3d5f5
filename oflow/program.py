"""Program: compiler, backend, driver and state joined in one place. `compile` makes one; nothing is allocated before it runs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from threadpoolctl import threadpool_limits

from oflow import checkpoint, compiler
from oflow.actors import Session, simulator, threads
from oflow.backends import Memory, evaluate, link
from oflow.errors import PlanError, ProgramFailed, ShapeError
from oflow.frontend.capture import Captured, Spec, capture, split_batch, time_sbp
from oflow.frontend.init import initial_value
from oflow.graph import Graph
from oflow.machine import Machine
from oflow.ops.tensor import user_line
from oflow.plan import Plan, Schedule, Trace
from oflow.state import Kept, State

EXECUTORS: dict[str, Callable[..., Session]] = {"threads": threads, "simulator": simulator}


def compile(
    fn: Callable[..., Any],
    *specs: Spec,
    optimizer: Any = None,
    micro_batches: int = 1,
    schedule: str | Schedule = "1f1b",
    executor: str | None = None,
    machine: Machine | None = None,
    seed: int = 0,
    state: Program | None = None,
    workers: int | None = None,
    checked: bool = False,
    refuse_nan: bool = False,
    record: bool = False,
) -> Program:
    """Trace `fn` on inputs of these specs and compile it to a proved plan.

    optimizer: None makes no backward pass; otherwise the first output is the loss, a float scalar.
    micro_batches: parts the batch (axis 0 of the first input) is cut into. schedule: "1f1b", "gpipe" or an of.Schedule.
    executor: "threads" (default) or "simulator" (real kernels in one thread in virtual time). workers: threads, default the
    cores; 0: the caller's own.
    machine: the machine model that plans are timed with; default a constant preset. seed: of initial values.
    state: a program whose parameters this one shares.
    checked: slot ownership is checked (slow): released slots are poisoned, operands are read-only.
    refuse_nan: a kernel that makes NaN or infinity raises NotFiniteError. record: keep a measured trace (`Program.trace`).

    Raises TraceError, ShapeError, SbpError, PlacementError at the user's line; PlanError, DeadlockError, OutOfMemory for the
    plan.
    """
    if executor is not None and executor not in EXECUTORS:
        raise PlanError(f"there is no executor {executor!r}; there are {', '.join(EXECUTORS)}")
    line = user_line()
    for one in specs:
        if not isinstance(one, Spec):
            raise ShapeError(f"inputs are described by of.spec(shape, dtype, placement, sbp), got {one!r}", line=line)
    split_batch(specs, micro_batches)
    captured = capture(fn, specs)
    graph = captured.graph
    values = dict(graph.values)
    for v in graph.inputs:
        values[v] = replace(values[v], time=time_sbp(values[v].type, specs, micro_batches))
    given = compiler.options(machine, optimizer=optimizer, micro_batches=micro_batches, schedule=schedule)
    passes = compiler.compile_graph(replace(graph, values=values), given)
    shared = state.state if state is not None else State(seed)
    run = _RunOptions(executor or "threads", (os.cpu_count() or 1) if workers is None else workers, checked, refuse_nan, record)
    return Program(captured, specs, passes, shared, run, origin=state)


class _RunOptions:
    """How a program runs: driver and checks. Nothing here changes the plan."""

    def __init__(self, executor: str, workers: int, checked: bool, refuse_nan: bool, record: bool) -> None:
        self.executor, self.workers, self.checked, self.refuse_nan, self.record = executor, workers, checked, refuse_nan, record


class Program:
    """A compiled function. Call it for one step, `stream` batches through it for overlapping steps."""

    def __init__(
        self, captured: Captured, specs: tuple[Spec, ...], passes: dict[str, Graph | Plan], state: State, run: _RunOptions,
        origin: Program | None = None,
    ) -> None:  # fmt: skip
        self.captured = captured
        self.specs = specs
        self.passes = passes
        """What every pass made, by name, in order."""
        self.state = state
        self.origin = origin
        """The program whose state this one shares: its layouts are the parameters' homes."""
        self.taps: dict[str, np.ndarray] = {}
        """Values of the taps of the last step."""
        graph, plan = passes["host"], passes["memory"]
        assert isinstance(graph, Graph) and isinstance(plan, Plan)
        self.graph: Graph = replace(graph, evaluator=self._evaluate)
        self.plan: Plan = plan
        self._run = run
        self._session: Session | None = None
        self._mirrors: dict[str, Kept] = {}
        self._mirrored = -1
        self._staged: tuple[np.ndarray, ...] = ()
        self._results: deque[Any] = deque()
        self._fed = self._fetched = 0
        self._streaming = False
        self._writes = any(p.update is not None for p in self.graph.parameters)

    # ------------------------------------------------------------ running

    def __call__(self, *inputs: Any) -> Any:
        """One step: arrays (NumPy or DLPack) in, NumPy out. Raises ShapeError where an input does not fit its spec."""
        batch = self._checked_inputs(inputs)
        (result,) = self._steps([batch])
        return result

    def stream(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Results of all batches (tuples of inputs), in order. Steps overlap; a slow consumer slows `batches` down.

        An error of the iterator, or leaving the loop, first finishes the steps that were begun.
        """
        return self._steps(batches)

    def _steps(self, batches: Iterable[Any]) -> Iterator[Any]:
        session = self._start()
        session.overlap()
        source = iter(batches)
        failure: BaseException | None = None
        open_source = True
        self._streaming = True
        try:
            try:
                while open_source or self._fetched < self._fed or self._results:
                    if self._results:
                        yield self._results.popleft()
                        continue
                    if self._feed < 0 and self._fed == self._fetched:
                        open_source = open_source and self._stage(source)
                        self._guarded(session.admit, self._fed)
                        continue
                    row = self._guarded(session.wait, self._hosts(feeding=open_source))
                    if row == self._feed and not self._stage(source):
                        open_source = False
                        continue
                    self._guarded(session.act, row)
            except _SourceError as e:
                failure = e.__cause__
            finally:
                self._finish(session)
            while self._results:
                yield self._results.popleft()
        finally:
            self._streaming = False
            self._results.clear()  # a loop that was left has no use for them, and the next one must not see them
        if failure is not None:
            raise failure

    def _stage(self, source: Iterator[Any]) -> bool:
        """Take the next batch from the iterator; False when it has ended."""
        try:
            batch = next(source)
            self._staged = self._checked_inputs(batch if isinstance(batch, tuple | list) else (batch,))
        except StopIteration:
            return False
        except BaseException as e:
            raise _SourceError from e
        self._fed += 1
        self._dirty = True
        self.state.version += self._writes
        return True

    def _finish(self, session: Session) -> None:
        """Bring the steps that were begun to their end (unless the run has failed)."""
        if session is self._session:
            self.quiesce()

    def quiesce(self) -> None:
        """Finish every step that was begun; its results wait for whoever reads the stream."""
        session = self._session
        if session is None or (self._fed == session.steps == self._fetched and not self._dirty):
            return
        while self._fetched < self._fed:
            self._guarded(session.act, self._guarded(session.wait, self._hosts(feeding=False)))
        self._guarded(session.drain, self._fed)
        self._dirty = False

    def _guarded(self, call: Callable[..., Any], *args: Any) -> Any:
        """A call of the session; when it fails the session is closed, and kept state that may be half updated is refused."""
        try:
            return call(*args)
        except BaseException as e:
            self._abandon()
            if self._writes:
                self.state.failed = f"{type(e).__name__}: {e}"
            raise

    def _abandon(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
            self._blas.restore_original_limits()
        self._results.clear()
        self._fed = self._fetched = 0

    def _hosts(self, *, feeding: bool) -> set[int]:
        assert self._session is not None
        return {row for row in self._session.host if feeding or row != self._feed}

    # ------------------------------------------------------------ starting

    def _start(self) -> Session:
        if self.state.failed:
            raise ProgramFailed(
                f"this program's state may be half updated, because a step failed ({self.state.failed}). "
                "Load a good state with load_state_dict, then go on"
            )
        if self._streaming:
            raise PlanError("this program is streaming already; finish that loop first, or compile another with state=")
        for program in self.state.programs:
            if program is not self:
                program.quiesce()
        if self._session is None:
            self._session = self._open()
        self._refresh_mirrors()
        return self._session

    def _open(self) -> Session:
        if self.origin is not None and self.origin not in self.state.programs:
            self.origin._allocate()
        plan = self.plan
        memory = Memory(plan)
        self._link_state(memory)
        launch = link(plan, memory, checked=self._run.checked, refuse_nan=self._run.refuse_nan)
        self._feed = plan.registers[plan.inputs[0]].producer if plan.inputs else -1
        self._fetch = plan.registers[plan.outputs[0][1]].consumers[0]
        calls: list[Callable[[int, tuple[int, ...]], None]] = list(launch)
        if self._feed >= 0:
            calls[self._feed] = partial(self._copy_in, memory)
        calls[self._fetch] = partial(self._copy_out, memory)
        # parallelism comes from the plan: more BLAS threads than workers fight for the cores (17 s instead of 0.5 s were seen);
        # held until close, because switching costs a millisecond
        self._blas = threadpool_limits(1, user_api="blas")
        freed, granted = (memory.poison_freed, memory.poison_granted) if self._run.checked else (None, None)
        options = {"workers": self._run.workers, "started": False} if self._run.executor == "threads" else {}
        if self not in self.state.programs:
            self.state.programs.append(self)
        return EXECUTORS[self._run.executor](
            plan, calls, freed=freed, granted=granted, checked=self._run.checked, recorded=self._run.record, **options
        )

    def _copy_in(self, memory: Memory, act: int, slots: tuple[int, ...]) -> None:
        for row, slot, array in zip(self.plan.inputs, slots, self._staged, strict=True):
            memory.slot(self.plan.registers[row], slot)[...] = array

    def _copy_out(self, memory: Memory, act: int, slots: tuple[int, ...]) -> None:
        ports = self.plan.actors[self._fetch].ports
        at = {port.register: slot for port, slot in zip(ports, slots, strict=True)}
        found = {name: memory.slot(self.plan.registers[row], at[row]).copy() for name, row in self.plan.outputs}
        self.taps = {name: found[name] for name in self.captured.taps}
        self._results.append(self._shaped(found))
        self._fetched += 1

    def _shaped(self, found: Mapping[str, np.ndarray]) -> Any:
        """The outputs in the form the traced function returned them; scalars as NumPy scalars."""
        leaves = {name: found[name][()] if found[name].shape == () else found[name] for name in self.captured.outputs}
        if self.captured.form == "single":
            return leaves[self.captured.outputs[0]]
        return leaves if self.captured.form == "dict" else tuple(leaves.values())

    def _link_state(self, memory: Memory) -> None:
        """Give each kept register its storage: the shared one where the layout is the same, else this program's own copy."""
        layouts = {p.name: (self.graph.values[p.value].type, self.graph.values[p.value].layout, p) for p in self.graph.parameters}
        own: dict[str, list[int]] = {}
        for register in self.plan.registers:
            if register.state:
                own.setdefault(register.state, []).append(register.id)
        for name, rows in own.items():
            type, layout, parameter = layouts[name]
            assert layout is not None
            shared = self.state.values.get(name)
            if shared is not None and shared.type != type:
                raise ShapeError(f"parameter {name} is {type} here and {shared.type} in the program whose state is shared")
            if shared is not None and shared.layout == layout:
                memory.kept.update(zip(rows, shared.shards, strict=True))
                continue
            kept = Kept(type, layout, [memory.slot(self.plan.registers[row], 0) for row in rows])
            if shared is None:
                kept.write(initial_value(self.state.seed, name, parameter.init, dict(parameter.init_args), type))
                self.state.values[name] = kept
            elif parameter.update is not None:
                raise PlanError(f"{name} lives in {shared.layout}; a program that updates it must keep it there, not in {layout}")
            else:
                self._mirrors[name] = kept

    def _refresh_mirrors(self) -> None:
        if self._mirrors and self._mirrored != self.state.version:
            for name, kept in self._mirrors.items():
                kept.write(self.state.values[name].join())
            self._mirrored = self.state.version

    _dirty = False
    _feed = _fetch = -1

    def _checked_inputs(self, inputs: Iterable[Any]) -> tuple[np.ndarray, ...]:
        arrays = tuple(x if isinstance(x, np.ndarray) else _as_array(x) for x in inputs)
        if len(arrays) != len(self.specs):
            raise ShapeError(f"the program takes {len(self.specs)} inputs, got {len(arrays)}", line=user_line())
        for index, (array, spec) in enumerate(zip(arrays, self.specs, strict=True)):
            if array.shape != spec.type.shape or array.dtype.name != spec.type.dtype:
                raise ShapeError(
                    f"input {index} is {array.dtype.name}{list(array.shape)}, the program was compiled for {spec.type} "
                    f"({spec.line}). Shapes are fixed: convert the array, or compile for it with of.compile(..., state=step)",
                    line=user_line(),
                )
        return arrays

    # ------------------------------------------------------------ state

    def state_dict(self) -> dict[str, np.ndarray]:
        """Every kept value (weights, buffers, optimizer state) by name, as logical tensors. Drains the stream first."""
        self._allocate()
        return self.state.join()

    def load_state_dict(self, values: Mapping[str, np.ndarray]) -> None:
        """Replace the state. Raises ShapeError, and changes nothing, unless names, shapes and dtypes fit."""
        self._allocate()
        self.state.load(values)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint folder (logical tensors, seed): any layout loads it. Crash-safe."""
        checkpoint.write(path, self.state_dict(), self.state.seed, dict(self.captured.aliases))

    def _allocate(self) -> None:
        self.state.quiesce()
        if self._session is None:
            self._session = self._open()

    def close(self) -> None:
        """Stop the workers. The state stays; the next step starts them again."""
        self.quiesce()
        self._abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ looking

    def trace(self) -> Trace:
        """The measured trace of the steps so far (compile with record=True)."""
        if self._session is None or not self._run.record:
            raise PlanError("there is no recording; compile with record=True and run a step first")
        self.quiesce()
        return self._session.trace()

    def _evaluate(self, graph: Graph, *inputs: Any) -> Any:
        """The reference result with the state this program has now (or would start with)."""
        self.state.quiesce()
        state = {}
        for p in graph.parameters:
            kept = self.state.values.get(p.name)
            type = graph.values[p.value].type
            start = partial(initial_value, self.state.seed, p.name, p.init, dict(p.init_args), type)
            state[p.name] = kept.join() if kept else start()
        return self._shaped(evaluate(graph, state, self._checked_inputs(inputs)))

    def __repr__(self) -> str:
        return f"<program: {len(self.graph.nodes)} nodes, {len(self.plan.actors)} actors on {', '.join(self.plan.devices)}>"


class _SourceError(Exception):
    """The batches' iterator failed; its error is the cause."""


def _as_array(x: Any) -> np.ndarray:
    return np.from_dlpack(x) if hasattr(x, "__dlpack__") else np.asarray(x)
