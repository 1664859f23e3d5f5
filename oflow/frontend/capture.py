"""Capture: run the user's function once on `Tensor` handles and keep what it did as a logical graph.

Python's control flow runs now; every node remembers the user's file:line, its pipeline stage and its phase.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from oflow.errors import SbpError, ShapeError, TraceError
from oflow.frontend.active import ACTIVE
from oflow.frontend.module import Module, Parameter, parameter_aliases, parameter_names
from oflow.graph import Builder, Graph
from oflow.graph import Parameter as State
from oflow.ops import assign
from oflow.ops.tensor import Tensor, user_line
from oflow.sbp import B, Layout, Placement, S, Sbp, Sbps, layout
from oflow.types import TensorType, dtype_name


@dataclass(frozen=True, slots=True)
class Spec:
    """What a program's input looks like: logical type, the layout it takes on the devices, the line that declared it.

    fixed: whether the layout was asked for, so that layout="auto" keeps it.
    """

    type: TensorType
    layout: Layout
    line: str = ""
    fixed: bool = True


def spec(
    shape: Sequence[int], dtype: object = "float32", where: Placement | None = None, sbp: Sbps | None = None
) -> Spec:
    """An input of a traced function: its logical (global) shape, dtype, placement (default cpu:0) and sbp (default B, or what
    layout="auto" finds best).

    Raises ShapeError for negative sizes or unknown dtypes, SbpError where sbp does not fit the shape or the mesh.
    """
    line = user_line()
    sizes = tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes):
        raise ShapeError(f"a shape has sizes >= 0, got {sizes}", line=line)
    where = where or Placement("cpu", (0,), (1,))
    try:
        wanted = layout(where, sbp if sbp is not None else (B,) * len(where.mesh))
        kind = TensorType(sizes, dtype_name(dtype))
    except (SbpError, ShapeError) as e:
        raise type(e)(str(e), line=line) from None
    wanted.check_shape(sizes, line)
    return Spec(kind, wanted, line, sbp is not None)


@dataclass(frozen=True, slots=True)
class Captured:
    """The graph of a traced function and the form of what it returned: "single", "tuple" or "dict"."""

    graph: Graph
    form: str
    outputs: tuple[str, ...]
    taps: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...] = ()
    """(further path, name) of parameters that are reached by several paths."""
    placed_at: tuple[tuple[str, str], ...] = ()
    """(name, the user's line that asked for its layout) of parameters that have one."""


class _Trace:
    """One tracing run: the builder, and the tensor of every parameter met so far."""

    def __init__(self, names: dict[int, str]) -> None:
        self.builder = Builder()
        self.names = names
        self.tensors: dict[int, Tensor] = {}
        self.placed_at: dict[str, str] = {}
        self.written: dict[int, Tensor] = {}
        """What buffers were assigned in this trace: reading one after writing it gives what was written."""
        self.states: dict[int, int] = {}
        self.taps: dict[str, Tensor] = {}
        self.regions = 0
        """How many of.recompute regions were entered."""

    def parameter(self, p: Parameter) -> Tensor:
        return self.written[id(p)] if id(p) in self.written else self._kept(p)

    def _kept(self, p: Parameter) -> Tensor:
        """Its value at the start of the step."""
        if id(p) not in self.tensors:
            name = self.names.get(id(p))
            if name is None:
                raise TraceError(
                    "a parameter is used whose module the traced function does not name; "
                    "keep the module in a variable that the function refers to",
                    line=user_line(),
                )
            value = self.builder.value(TensorType(p.shape, p.dtype), name=name, layout=p.layout, fixed=p.layout is not None)
            if p.placed_at:
                self.placed_at[name] = p.placed_at
            self.states[id(p)] = len(self.builder.parameters)
            self.builder.parameters.append(State(name, value.id, p.init, p.init_args, p.trainable))
            self.tensors[id(p)] = Tensor(self.builder, value.id)
        return self.tensors[id(p)]

    def assign_buffer(self, p: Parameter, tensor: Tensor) -> None:
        buffer = self._kept(p)
        with self.builder.at(phase="update"):
            made = assign(buffer, tensor)
        self.written[id(p)] = tensor
        index = self.states[id(p)]
        self.builder.parameters[index] = replace(self.builder.parameters[index], update=made.id)


def active(what: str) -> _Trace:
    trace = ACTIVE.get()
    if not isinstance(trace, _Trace):
        raise TraceError(f"{what} has a meaning only inside a function that of.compile traces", line=user_line())
    return trace


@contextmanager
def stage(index: int) -> Iterator[None]:
    """``with of.stage(i):`` marks what it encloses as pipeline chunk i (counted from 0)."""
    if not isinstance(index, int) or index < 0:
        raise TraceError(f"a stage is a number >= 0, got {index!r}", line=user_line())
    with active("of.stage").builder.at(stage=index):
        yield


def tap(name: str, t: Tensor) -> Tensor:
    """Add `t` as an output called `name`; after a step its value is ``program.taps[name]``. Returns `t`."""
    trace = active("of.tap")
    if name in trace.taps:
        raise TraceError(f"there is a tap called {name!r} already", line=user_line())
    trace.taps[name] = t
    return t


def capture(fn: Callable[..., Any], specs: Sequence[Spec]) -> Captured:
    """Trace `fn` on inputs of these specs. Raises TraceError, ShapeError or SbpError at the user's line."""
    modules = _modules(fn)
    trace = _Trace(parameter_names(modules))
    tensors = []
    for index, one in enumerate(specs):
        value = trace.builder.value(one.type, name=f"input{index}", layout=one.layout, fixed=one.fixed)
        trace.builder.inputs.append(value.id)
        tensors.append(Tensor(trace.builder, value.id))
    token = ACTIVE.set(trace)
    try:
        result = fn(*tensors)
    finally:
        ACTIVE.reset(token)
    form, leaves = _leaves(result, fn)
    trace.builder.outputs = [(name, t.id) for name, t in {**leaves, **trace.taps}.items()]
    clash = set(leaves) & set(trace.taps)
    if clash:
        raise TraceError(f"{sorted(clash)[0]!r} is both an output and a tap; rename the tap", line=user_line())
    aliases = tuple(parameter_aliases(modules).items())
    return Captured(trace.builder.build(), form, tuple(leaves), tuple(trace.taps), aliases, tuple(trace.placed_at.items()))


def _leaves(result: Any, fn: Callable[..., Any]) -> tuple[str, dict[str, Tensor]]:
    form = "single" if isinstance(result, Tensor) else "dict" if isinstance(result, dict) else "tuple"
    if isinstance(result, Tensor):
        leaves = {"out": result}
    elif isinstance(result, dict):
        leaves = {str(name): t for name, t in result.items()}
    elif isinstance(result, tuple | list):
        leaves = {f"out{i}": t for i, t in enumerate(result)}
    else:
        leaves = {}
    wrong = [name for name, t in leaves.items() if not isinstance(t, Tensor)]
    if wrong or not leaves:
        code = inspect.unwrap(fn).__code__ if hasattr(fn, "__code__") else None
        line = f"{code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno}" if code else ""
        got = type(result).__name__ if not leaves else f"{type(leaves[wrong[0]]).__name__} in place {wrong[0]}"
        raise TraceError(f"a traced function returns a Tensor, a tuple or a dict of them; got {got}", line=line)
    return form, leaves


def _modules(fn: Callable[..., Any]) -> dict[str, Module]:
    """Every module a function can reach by name: itself, bound self, closure and globals, through nested functions."""
    found: dict[str, Module] = {}
    seen: set[int] = set()

    def visit(name: str, thing: Any) -> None:
        if id(thing) in seen:
            return
        seen.add(id(thing))
        if isinstance(thing, Module):
            found.setdefault(name, thing)
        elif inspect.ismethod(thing):
            visit("self", thing.__self__)
            visit(name, thing.__func__)
        elif inspect.isfunction(thing):
            reached = inspect.getclosurevars(thing)
            for inner, value in {**reached.nonlocals, **reached.globals, **_inner_globals(thing)}.items():
                visit(inner, value)
        elif isinstance(thing, list | tuple):
            for index, item in enumerate(thing):
                visit(f"{name}.{index}", item)
        elif isinstance(thing, dict):
            for key, item in thing.items():
                visit(f"{name}.{key}", item)
        elif hasattr(thing, "func") and hasattr(thing, "args") and callable(thing):
            visit(name, thing.func)
            visit(name, thing.args)

    visit("model", fn)
    return found


def _inner_globals(fn: Any) -> dict[str, Any]:
    """Globals that the functions written inside a function read."""
    codes, names = [fn.__code__], list[str]()
    for code in codes:  # grows
        inside = [const for const in code.co_consts if inspect.iscode(const)]
        codes += inside
        names += [name for one in inside for name in one.co_names]
    return {name: fn.__globals__[name] for name in names if name in fn.__globals__}


def split_batch(specs: Sequence[Spec], micro_batches: int) -> None:
    """Raises ShapeError where the batch (axis 0 of the first input) is not divisible by micro_batches."""
    if not isinstance(micro_batches, int) or micro_batches < 1:
        raise ShapeError(f"micro_batches is a whole number >= 1, got {micro_batches!r}", line=user_line())
    if specs and specs[0].type.shape and specs[0].type.shape[0] % micro_batches:
        batch = specs[0].type.shape[0]
        near = [m for m in range(1, batch + 1) if batch % m == 0 and m <= 2 * micro_batches]
        raise ShapeError(
            f"a batch of {batch} cannot be cut into {micro_batches} equal micro-batches; "
            f"use micro_batches={max(near)} or pad the batch with of.data.pad",
            line=specs[0].line,
        )


def time_sbp(value: TensorType, specs: Sequence[Spec], micro_batches: int) -> Sbp:
    """Sbp of an input on the micro-batch axis: S(0) where axis 0 is the batch (the size of the first input's axis 0)."""
    batch = specs[0].type.shape[:1] if specs else ()
    return S(0) if micro_batches > 1 and batch and value.shape[:1] == batch else B
