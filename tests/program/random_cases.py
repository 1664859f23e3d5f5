"""A random program as data: sources, steps, outputs and how it is run; `compiled` makes an oflow program of it.

A case prints as Python, so a failing one can be pasted into a test (`@example`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import oflow as of

Numbers = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Source:
    """An input, or a parameter whose layout is None where nothing is said about it. layout: as `Layout` prints it."""

    shape: tuple[int, ...]
    dtype: str
    layout: str | None


@dataclass(frozen=True)
class Step:
    """A user function on values before it (sources first, then the steps' results, by number) with these further arguments."""

    function: str
    operands: tuple[int, ...]
    given: Numbers = ()


@dataclass(frozen=True)
class Case:
    """trains: the first output is the loss of a step of SGD. exact: the values are whole numbers, to be equal bit for bit.

    regions: (first step, step after the last) that is computed again; they nest.
    """

    inputs: tuple[Source, ...]
    parameters: tuple[Source, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    exact: bool = True
    trains: bool = False
    micro_batches: int = 1
    options: Numbers = ()
    seed: int = 0
    regions: tuple[tuple[int, int], ...] = ()


# ------------------------------------------------------------ functions that are not called as they are


def _pieces(t: Any, starts: Any) -> Any:
    return of.getitem(t, tuple(slice(*one) for one in starts))


def _number(x: Any, count: int) -> Any:
    """Row numbers out of whole numbers."""
    return of.cast(of.remainder(x, count), "int64")


CALLS: dict[str, Callable[..., Any]] = {
    "concat": lambda *ts, axis: of.concat(ts, axis),
    "reshape": lambda t, shape: of.reshape(t, shape),
    "stack": lambda *ts, axis: of.stack(ts, axis),
    "slices": _pieces,
    "topk": lambda t, k, axis, largest, pick: of.topk(t, k, axis, largest)[pick],
    "array_split": lambda t, parts, axis, pick: of.array_split(t, parts, axis)[pick],
    "numbers": _number,
    "positive": lambda x: of.absolute(x) + 1.0,
    "einsum": lambda *ts, spec: of.einsum(spec, *ts),
}


def call(step: Step, *operands: Any) -> Any:
    given = dict(step.given)
    if "number" in given:
        operands = (*operands, given.pop("number"))
    return CALLS.get(step.function, getattr(of, step.function, None))(*operands, **given)


# ------------------------------------------------------------ running


def drawn(source: Source, seed: int) -> np.ndarray:
    """Whole numbers from -3 to 3."""
    draw = np.random.default_rng(seed)
    if source.dtype == "bool":
        return draw.integers(0, 2, source.shape).astype("bool")
    return draw.integers(0 if source.dtype == "uint8" else -3, 4, source.shape).astype(source.dtype)


def arrays(case: Case) -> list[np.ndarray]:
    return [drawn(one, case.seed + i) for i, one in enumerate(case.inputs)]


class Holder(of.nn.Module):
    """The parameters p0, p1, ..., with whole numbers from -2 to 2 to begin with."""

    def __init__(self, case: Case, alone: bool):
        super().__init__()
        for i, source in enumerate(case.parameters):
            parameter = of.nn.Parameter(source.shape, source.dtype, "integers", low=-2, high=3)
            if source.layout and not alone:
                where = of.Layout.parse(source.layout)
                parameter.to_global(where.placement, where.sbp)
            setattr(self, f"p{i}", parameter)


def traced(case: Case, alone: bool) -> Callable[..., Any]:
    """The function of the case. alone: on one device, where moves are left out."""
    model = Holder(case, alone)

    def function(*inputs: Any) -> Any:
        values = [*inputs, *(getattr(model, f"p{i}") for i in range(len(case.parameters)))]
        open_regions: list[tuple[int, Any]] = []
        for at, step in enumerate(case.steps):
            _enter_regions(case, at, open_regions)
            operands = [values[i] for i in step.operands]
            if step.function != "to_global":
                values.append(call(step, *operands))
            elif alone:
                values.append(operands[0])
            else:
                to = of.Layout.parse(dict(step.given)["to"])
                values.append(operands[0].to_global(to.placement, to.sbp))
        _enter_regions(case, len(case.steps), open_regions)
        return tuple(values[i] for i in case.outputs)

    return function


def _enter_regions(case: Case, at: int, now: list[tuple[int, Any]]) -> None:
    """Leave the regions that end at a step, innermost first, and enter those that begin at it."""
    while now and now[-1][0] <= at:
        now.pop()[1].__exit__(None, None, None)
    for stop in sorted((stop for start, stop in case.regions if start == at), reverse=True):
        region = of.recompute()
        region.__enter__()
        now.append((stop, region))


def compiled(case: Case, alone: bool = False, **options: Any) -> of.Program:
    specs = []
    for source in case.inputs:
        where = of.Layout.parse(source.layout) if source.layout and not alone else None
        specs.append(of.spec(source.shape, source.dtype, *((where.placement, where.sbp) if where else ())))
    given = {"optimizer": of.optim.SGD(lr=1.0)} if case.trains else {}
    times = {} if alone else {"micro_batches": case.micro_batches, **dict(case.options)}
    return of.compile(traced(case, alone), *specs, **{"kernels": "numpy", **given, **times, **options})


def run(case: Case, alone: bool = False, **options: Any) -> dict[str, np.ndarray]:
    """The outputs of one step and, where the case trains, the parameters after it: each is the one before less its gradient."""
    with compiled(case, alone, **options) as program:
        found = {f"output {i}": np.asarray(x) for i, x in enumerate(program(*arrays(case)))}
        return found | (program.state_dict() if case.trains else {})
