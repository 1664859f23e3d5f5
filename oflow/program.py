"""Program: compiler, backend, driver and state joined in one place. `compile` makes one; nothing is allocated before it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from oflow import checkpoint, compiler
from oflow.backends import Memory, evaluate
from oflow.boxings import Boxing, boxings
from oflow.errors import PlanError, ProgramFailed, ShapeError
from oflow.frontend.capture import Captured, Spec, capture, split_batch, time_sbp
from oflow.frontend.init import initial_value
from oflow.frontend.precision import Precision
from oflow.graph import Graph, Recomputed, SignatureChoice
from oflow.live import Following, Progress, Reading, followed, form, length, phase, shown
from oflow.machine import Machine
from oflow.ops.tensor import user_line
from oflow.plan import Plan
from oflow.run import Run, RunOptions, new_memory, run_options
from oflow.schedule import Schedule
from oflow.state import Kept, State
from oflow.trace import Trace


def compile(
    fn: Callable[..., Any],
    *specs: Spec,
    optimizer: Any = None,
    micro_batches: int = 1,
    schedule: str | Schedule | None = None,
    layout: str | None = None,
    recompute: str | None = None,
    offload: str | None = None,
    memory: int | None = None,
    strict: bool = False,
    zero: int | Mapping[str, Any] = 0,
    bucket_nbytes: int | str | None = None,
    precision: str | Precision | None = None,
    slots: str | None = None,
    executor: str | None = None,
    kernels: str | None = None,
    blas: str = "numpy",
    machine: Machine | str | None = None,
    seed: int = 0,
    state: Program | None = None,
    workers: int | Sequence[Sequence[str]] | None = None,
    checked: bool = False,
    refuse_nan: bool = False,
    record: bool = False,
) -> Program:
    """Trace `fn` on inputs of these specs and compile it to a proved plan.

    optimizer: None makes no backward pass; otherwise the first output is the loss, a float scalar.
    micro_batches: parts the batch (axis 0 of the first input) is cut into.
    schedule: the order of pipeline stages on their devices: "gpipe", "1f1b", "interleaved" (several stages a rank), "zero-bubble"
    (-h1, -h2, -v, -v-half, -v-third: the backward parted into input and weight gradients), "auto" (the one with the shortest period
    that fits in memory, `Program.schedule_choices` says which others there are) or an of.Schedule. None: "1f1b", or the plainest that
    has several stages a rank where the program has them.
    layout: "auto" chooses where parameters without annotation, and inputs whose spec names no sbp, live: the layouts on their
    placements' meshes that make the predicted step cheapest and fit the machine's memory (`Program.parameter_choices` says why).
    recompute: "auto" computes activations again in the backward pass, at the least added time, where the plan does not fit in memory;
    "all" keeps only the ends of segments of each stage; both beside what of.recompute marks (`Program.recomputed` lists it).
    offload: "all" lets what the backward pass needs wait in the host's memory, copied beside the work; "auto" where it does not fit
    on the device, as far as that takes less time than computing it again (with recompute="auto").
    memory: bytes of each device, if not the machine's. What does not fit is refused; `recompute`, `offload` and `schedule` set to
    "auto" make it fit where they can.
    strict: refuse to change a layout where nobody asked for it (`oflow.compiler.strict` says what counts as asked for).
    zero: 1 keeps optimizer state split over the devices that repeat a parameter, 2 accumulated gradients too, 3 parameters too; a
    dict also names the mesh axis, {"stage": 2, "axis": "data"}, and how often stage 3 gathers, "gather": "micro_batch" or "step".
    bucket_nbytes: gradients that are reduced alike travel together, about so many bytes a message, as soon as the last is there; "auto"
    takes the number that makes the proved period shortest, or no buckets.
    precision: "float16", "bfloat16" or an of.Precision: products and what follows them in 16 bits, kept values and the rest in
    float32; float16 scales the loss (see `oflow.compiler.mixed_precision`). None: as declared.
    slots: "least" gives registers the fewest bytes of slots at the same period, where these do not fit the fewest on the fullest device
    (`Plan.least_slots` does it to a finished plan).
    executor: "native" (the compiled loop; the default where numba is), "processes" (the same loop, a process a worker), "threads"
    (the same actors in Python) or "simulator" (real kernels in one thread in virtual time).
    workers: how many, or the streams (``cpu:0/compute``) of each; default one a device, at most the cores (threads: the cores).
    The native driver's first worker is the caller's own thread; threads with 0 use no other either.
    kernels: "compiled" (the default where numba is) or "numpy"; what has no compiled form is NumPy's.
    blas: whose matrix products compiled kernels call, "numpy" (the library that NumPy ships) or "mkl".
    machine: the machine model that plans are timed with, or the name of a preset (`of.preset`): "reference" (the default, constant),
    "two-level", "a100", "h100" or "measured" (this machine, see `oflow bench machine`). seed: of initial values.
    state: a program whose parameters this one shares.
    checked: slot ownership is checked (slow): released slots are poisoned, operands are read-only.
    refuse_nan: a kernel that makes NaN or infinity raises NotFiniteError. record: keep a measured trace (`Program.trace`).

    Raises TraceError, ShapeError, SbpError, PlacementError at the user's line, PlanError there for options that there are not;
    PlanError, DeadlockError, OutOfMemory for the plan; KernelMissing where numba is asked for and is not there.
    """
    options = run_options(
        executor, kernels, workers=workers, checked=checked, refuse_nan=refuse_nan, record=record, blas=blas
    )
    line = user_line()
    for one in specs:
        if not isinstance(one, Spec):
            raise ShapeError(f"inputs are described by of.spec(shape, dtype, placement, sbp), got {one!r}", line=line)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise PlanError(f"seed={seed!r} is no whole number; write one, such as seed=0", line=line)
    split_batch(specs, micro_batches)
    with phase("trace"):
        captured = capture(fn, specs)
    graph = captured.graph
    values = dict(graph.values)
    for v in graph.inputs:
        values[v] = replace(values[v], time=time_sbp(values[v].type, specs, micro_batches))
    given = compiler.options(
        machine, memory, optimizer=optimizer, micro_batches=micro_batches, schedule=schedule, layout=layout, recompute=recompute,
        offload=offload, strict=strict, zero=zero, bucket_nbytes=bucket_nbytes, precision=precision, slots=slots,
    )  # fmt: skip
    with phase("compile"):
        passes = compiler.compile_graph(replace(graph, values=values), given)
    shared = state.state if state is not None else State(seed)
    return Program(captured, specs, passes, shared, options, given, origin=state)


class Program:
    """A compiled function. Call it for one step, `stream` batches through it for overlapping steps."""

    def __init__(
        self, captured: Captured, specs: tuple[Spec, ...], passes: dict[str, Graph | Plan], state: State, options: RunOptions,
        given: compiler.Options, origin: Program | None = None,
    ) -> None:  # fmt: skip
        self.captured = captured
        self.specs = specs
        self.passes = passes
        """What every pass made, by name, in order."""
        self.given = given
        """What the passes were told."""
        self.state = state
        self.origin = origin
        """The program whose state this one shares: its layouts are the parameters' homes."""
        self.taps: dict[str, np.ndarray] = {}
        """Values of the taps of the last step."""
        graph, plan = passes["recompute"], passes["memory"]
        assert isinstance(graph, Graph) and isinstance(plan, Plan)
        self.graph: Graph = replace(graph, evaluator=self._evaluate)
        self.plan: Plan = plan
        self._options = options
        self._run: Run | None = None
        self._mirrors: dict[str, Kept] = {}
        self._mirrored = -1
        self._streaming = self._metered = False
        self._meter: Callable[[], Reading] | None = None
        self._expected = [(s.type.shape, np.dtype(s.type.dtype)) for s in specs]
        self._writes = any(p.update is not None for p in self.graph.parameters)

    # ------------------------------------------------------------ running

    def __call__(self, *inputs: Any) -> Any:
        """One step: arrays (NumPy or DLPack) in, NumPy out. Raises ShapeError where an input does not fit its spec."""
        batch = self._checked_inputs(inputs)
        (result,) = self._steps([batch])
        return result

    def stream(self, batches: Iterable[Any], *, progress: bool | Callable[[Progress], Any] = False) -> Iterator[Any]:
        """Results of all batches (tuples of inputs), in order. Steps overlap; a slow consumer slows `batches` down.

        progress: True draws step, loss, rates, time left, busy shares and slots on stderr (a bar on a terminal, a line now and then
        elsewhere); a function is called with them, an of.Progress, at most ten times a second and at the end.
        An error of the iterator, or leaving the loop, first finishes the steps that were begun.
        """
        if progress is False:
            return self._steps(batches)
        return self._watched(batches, progress)

    def _watched(self, batches: Iterable[Any], progress: bool | Callable[[Progress], Any]) -> Iterator[Any]:
        following = self.following(length(batches))
        if callable(progress):
            yield from followed(self._steps(batches), following, progress)
            return
        with shown(form()), closing(self._steps(batches)) as results:
            yield from following.through(results)

    def following(self, steps: int | None = None) -> Following:
        """What counts results that pass through it, and makes the figures of `of.Progress`. From now on this program's streams are metered.

        steps: how many there will be. Samples are rows of the first input, and tokens its elements, where they are whole numbers in rows.
        """
        self._metered = True
        if self._run is not None:
            self._meter = self._run.session.meter()
        shape, kind = self._expected[0] if self._expected else ((), np.dtype("float32"))
        tokens = math.prod(shape) if kind.kind in "iu" and len(shape) > 1 else None
        return Following(steps, shape[0] if shape else None, tokens, self._reading)

    def _reading(self) -> Reading | None:
        """What the open run has counted."""
        return self._meter() if self._meter is not None else None

    def _steps(self, batches: Iterable[Any]) -> Generator[Any, None, None]:
        run = self._start()
        session, results, feed = run.session, run.results, run.feed
        session.overlap()
        source = iter(batches)
        failure: BaseException | None = None
        open_source = True
        self._streaming = True
        try:
            try:
                while open_source or run.fetched < run.fed or results:
                    if results:
                        yield results.popleft()
                    elif feed < 0 and run.fed == run.fetched:
                        open_source = open_source and self._stage(run, source)
                        self._guarded(session.admit, run.fed)
                    else:
                        row = self._guarded(session.wait, run.hosts if open_source else run.others)
                        if row == feed and not self._stage(run, source):
                            open_source = False
                        else:
                            self._guarded(session.act, row)
            except _SourceError as e:
                failure = e.__cause__
            finally:
                if run is self._run:
                    self.quiesce()  # bring the steps that were begun to their end
            while results:
                yield results.popleft()
        finally:
            self._streaming = False
            results.clear()  # a loop that was left has no use for them, and the next one must not see them
        if failure is not None:
            raise failure

    def _stage(self, run: Run, source: Iterator[Any]) -> bool:
        """Take the next batch from the iterator; False when it has ended."""
        try:
            batch = next(source)
            run.begin(self._checked_inputs(batch if isinstance(batch, tuple | list) else (batch,)))
        except StopIteration:
            return False
        except BaseException as e:
            raise _SourceError from e
        self.state.version += self._writes
        return True

    def quiesce(self) -> None:
        """Finish every step that was begun; its results wait for whoever reads the stream."""
        if self._run is not None:
            self._guarded(self._run.fetch_results)

    def _guarded(self, call: Callable[..., Any], *args: Any) -> Any:
        """A call of the session; when it fails the run is closed, and kept state that may be half updated is refused."""
        try:
            return call(*args)
        except BaseException as e:
            self._abandon()
            if self._writes:
                self.state.failed = f"{type(e).__name__}: {e}"
            raise

    def _abandon(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run.results.clear()
            self._run = self._meter = None

    # ------------------------------------------------------------ starting

    def _start(self) -> Run:
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
        run = self._opened()
        self._refresh_mirrors()
        return run

    def _opened(self) -> Run:
        if self._run is None:
            if self.origin is not None and self.origin not in self.state.programs:
                self.origin._allocate()
            memory = new_memory(self.plan, self._options)
            self._link_state(memory)
            self._run = Run(self.plan, memory, self._options, self._deliver)
            self._meter = self._run.session.meter() if self._metered else None
            if self not in self.state.programs:
                self.state.programs.append(self)
        return self._run

    def _deliver(self, found: Mapping[str, np.ndarray]) -> Any:
        if self.captured.taps:
            self.taps = {name: found[name] for name in self.captured.taps}
        return self._shaped(found)

    def _shaped(self, found: Mapping[str, np.ndarray]) -> Any:
        """The outputs in the form the traced function returned them; scalars as NumPy scalars."""
        if self.captured.form == "single":
            only = found[self.captured.outputs[0]]
            return only if only.shape else only[()]
        leaves = {name: found[name] if found[name].shape else found[name][()] for name in self.captured.outputs}
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
                self._reachable(name)
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

    def _reachable(self, name: str) -> None:
        """Worker processes see only what was allocated for them."""
        if self._options.executor == "processes" and self.origin is not None and self.origin._options.executor != "processes":
            raise PlanError(f"{name} lives in a program whose memory no other process sees; compile that with executor='processes'")

    def _refresh_mirrors(self) -> None:
        if self._mirrors and self._mirrored != self.state.version:
            for name, kept in self._mirrors.items():
                kept.write(self.state.values[name].join())
            self._mirrored = self.state.version

    def _checked_inputs(self, inputs: Iterable[Any]) -> tuple[np.ndarray, ...]:
        arrays = tuple([x if isinstance(x, np.ndarray) else _as_array(x) for x in inputs])
        if [(a.shape, a.dtype) for a in arrays] == self._expected:
            return arrays
        if len(arrays) != len(self.specs):
            raise ShapeError(f"the program takes {len(self.specs)} inputs, got {len(arrays)}", line=user_line())
        for index, (array, spec) in enumerate(zip(arrays, self.specs, strict=True)):
            if array.shape != spec.type.shape or array.dtype.name != spec.type.dtype:
                raise ShapeError(
                    f"input {index} is {array.dtype.name}{list(array.shape)}, the program was compiled for {spec.type} "
                    f"({spec.line}). Shapes are fixed: convert the array, or compile for it with of.compile(..., state=step)",
                    line=user_line(),
                )
        return arrays  # the same type in another byte order, say

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
        self._opened()

    def close(self) -> None:
        """Stop the workers. The state stays; the next step starts them again."""
        self.quiesce()
        self._abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ looking

    def record(self, on: bool = True) -> None:
        """Keep a measured trace from the next step on, as compile(record=True) does from the first, or no longer. Drains the stream."""
        if self._options.record != on:
            self.close()
            self._options = replace(self._options, record=on)

    def trace(self) -> Trace:
        """The measured trace of the steps so far (compile with record=True, or call `record`)."""
        if self._run is None or not self._options.record:
            raise PlanError("there is no recording; compile with record=True, or call record(), and run a step first")
        self.quiesce()
        return self._run.session.trace()

    def parameter_choices(self) -> list[compiler.ParameterChoice]:
        """What layout="auto" chose for each parameter and what came second: layouts, bytes a device, seconds of the step."""
        before, after = self.passes["micro_batches"], self.passes["infer_sbp"]
        assert isinstance(before, Graph) and isinstance(after, Graph)
        return compiler.parameter_choices(before, after, self.given)

    def schedule_choices(self) -> list[compiler.ScheduleChoice]:
        """What each schedule would make of this program: proved period, bubble, bytes. The first is what schedule="auto" takes.

        All of them are compiled for it.
        """
        captured = self.passes["capture"]
        assert isinstance(captured, Graph)
        return compiler.schedule_choices(captured, self.given)

    def signature_choices(self, values: Iterable[int]) -> dict[int, SignatureChoice]:
        """Why values (by number, of ``passes["infer_sbp"]``) have their layouts: the signature that was chosen, and what the step would
        take with the next best. Without those where inference had nothing to choose: what is annotated, and boxings."""
        before, after = self.passes["zero"], self.passes["infer_sbp"]
        assert isinstance(before, Graph) and isinstance(after, Graph)
        return compiler.signature_choices(before, after, self.given, values)

    def boxings(self) -> tuple[Boxing, ...]:
        """Every change of layout: what moves, its route, bytes and predicted seconds a step, the line that caused it, and whether
        that was asked for. `of.view.boxings` prints them."""
        before = self.passes["host"]
        assert isinstance(before, Graph)
        return boxings(self.graph, self.given.machine, before)

    def recomputed(self) -> tuple[Recomputed, ...]:
        """What the backward pass computes again, by line: copies, seconds a step that they add, and what is kept less (or more) for it."""
        before = self.passes["fuse"]
        assert isinstance(before, Graph)
        return compiler.recomputed(before, self.graph, self.given)

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
