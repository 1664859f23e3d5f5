"""The calls that are timed: for each operator whose kernel has a rate of its own, operands of so many rows of such a width."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from oflow import native
from oflow.backends.compiled.direct import call_of, link_steps
from oflow.backends.compiled.form import Steps, steps_of
from oflow.calibrate.clock import Calls, Rounds, python_rounds
from oflow.machine import Cost
from oflow.ops import REGISTRY
from oflow.types import TensorType

Operands = tuple[np.ndarray, ...]
Attrs = dict[str, Any]
SINGLE = "float32"


def numbers(*shape: int) -> np.ndarray:
    """Ordinary single-precision numbers, none near zero: what operands hold must not decide how long a kernel takes."""
    pattern = np.random.default_rng(5).uniform(0.25, 1.0, 1021).astype(SINGLE)
    return np.resize(pattern, math.prod(shape)).reshape(shape)


def whole(count: int, below: int) -> np.ndarray:
    return np.random.default_rng(6).integers(0, below, count)


def scalar(x: float) -> np.ndarray:
    return np.asarray(x, SINGLE)


def _triangle(rows: int, width: int) -> np.ndarray:
    """Scores (heads, width, width) of about so many rows."""
    return numbers(max(1, rows // width), width, width)


def _statistics(rows: int) -> np.ndarray:
    return np.stack([np.full(rows, 1.0, SINGLE), np.full(rows, 2.0, SINGLE)], axis=1)


@dataclass(frozen=True, slots=True)
class Case:
    """An operator, and its operands and attributes for (rows, width)."""

    op: str
    make: Callable[[int, int], tuple[Operands, Attrs]]


def _plain(op: str, count: int, **attrs: Any) -> Case:
    """Operands that are all (rows, width)."""
    return Case(op, lambda r, w: (tuple(numbers(r, w) for _ in range(count)), attrs))


CASES: tuple[Case, ...] = (
    _plain("softmax", 1),
    _plain("softmax_grad", 2),
    Case("causal_softmax", lambda r, w: ((_triangle(r, w),), {"scale": 0.5})),
    Case("causal_softmax_grad", lambda r, w: ((_triangle(r, w), _triangle(r, w)), {"scale": 0.5})),
    Case("layer_norm", lambda r, w: ((numbers(r, w), numbers(w), numbers(w)), {"eps": 1e-5})),
    Case("layer_norm_grad", lambda r, w: ((numbers(r, w), numbers(r, w), numbers(w)), {"eps": 1e-5})),
    Case("rms_norm", lambda r, w: ((numbers(r, w), numbers(w)), {"eps": 1e-6})),
    Case("rms_norm_grad", lambda r, w: ((numbers(r, w), numbers(r, w), numbers(w)), {"eps": 1e-6})),
    Case("softmax_cross_entropy", lambda r, w: ((numbers(r, w), whole(r, w)), {})),
    Case("softmax_cross_entropy_grad", lambda r, w: ((numbers(r, w), whole(r, w), _statistics(r), numbers(r)), {})),
    Case("sgd_update", lambda r, w: ((numbers(r, w), numbers(r, w), scalar(1e-6)), {})),
    Case("momentum_update", lambda r, w: ((numbers(r, w), numbers(r, w), numbers(r, w), scalar(1e-6)), {})),
    Case("adamw_update", lambda r, w: ((*(numbers(r, w) for _ in range(4)), scalar(1e-6), scalar(9.0)), {})),
    Case("sum_squares", lambda r, w: ((numbers(r, w),), {})),
    Case("sum", lambda r, w: ((numbers(r, w),), {"axes": (0,), "keepdims": False})),
    Case("max", lambda r, w: ((numbers(r, w),), {"axes": (1,), "keepdims": False})),
    Case("argmax", lambda r, w: ((numbers(r, w),), {"axis": 1})),
    Case("embedding", lambda r, w: ((whole(r, 256), numbers(256, w)), {"rows": 256})),
    Case("embedding_grad", lambda r, w: ((whole(r, 256), numbers(r, w)), {"rows": 256})),
    Case("transpose", lambda r, w: ((numbers(r, w),), {"axes": (1, 0)})),
    Case("broadcast_to", lambda r, w: ((numbers(w),), {"shape": (r, w)})),
    Case("slice", lambda r, w: ((numbers(r, 2 * w),), {"starts": (0, w), "stops": (r, 2 * w)})),
    Case("concat", lambda r, w: ((numbers(r, w), numbers(r, w)), {"axis": 1})),
)
"""What is missing here is timed as a plain loop: its operations and its bytes."""
FUNCTIONS: dict[str, str] = {
    "exp": "exp", "log": "log", "tanh": "tanh", "sqrt": "sqrt", "sin": "sin", "cos": "cos", "true_divide": "div", "power": "power",
}  # fmt: skip
"""Kinds of scalar operations that are timed, each by an operator that is little else."""


def _attention(d: int) -> tuple[Operands, Attrs]:
    return tuple(numbers(1, 128, 4, d) for _ in range(3)), {"scale": 0.1}


def _attention_grad(d: int) -> tuple[Operands, Attrs]:
    return (*(numbers(1, 128, 4, d) for _ in range(5)), numbers(1, 4, 128) + np.float32(5)), {"scale": 0.1}


PAIRS: dict[str, Callable[[int], tuple[Operands, Attrs]]] = {
    "causal_attention": _attention, "causal_attention_grad": _attention_grad,
}  # fmt: skip
"""Operators that do two kinds of operations of their own, in a proportion that a size of their operands decides."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A call on arrays of its own: how to repeat it, and what it costs. `compiled`: its calls, None where NumPy runs it."""

    cost: Cost
    compiled: Calls | None
    python: tuple[Callable[[], object], ...]


@dataclass(frozen=True, slots=True)
class Given:
    """A call that is not bound yet: results, operands that are not rewritten, and the steps of its form (None: NumPy's)."""

    op: str
    outs: Operands
    ins: Operands
    attrs: Attrs
    cost: Cost
    steps: Steps | None
    workspace: int


def given(op: str, operands: Operands, attrs: Attrs) -> Given:
    operator = REGISTRY[op]
    types = tuple(TensorType(a.shape, a.dtype.name) for a in operands)
    made = operator.infer(types, attrs)
    outs = [np.zeros(t.shape, t.dtype) for t in made]
    for result, operand in operator.inplace.items():
        outs[result] = operands[operand]
    ins = tuple(a for i, a in enumerate(operands) if i not in operator.inplace.values())
    steps = steps_of(call_of(op, outs, ins, attrs)) if native.available() else None
    cost, workspace = operator.estimate(types, made, attrs), operator.workspace_nbytes(types, made, attrs)
    return Given(op, tuple(outs), ins, attrs, cost, steps, workspace)


def bound(op: str, operands: Operands, attrs: Attrs) -> Bound:
    """The compiled form of an operator bound to operands, or NumPy's kernel where it has none."""
    call = given(op, operands, attrs)
    arrays = (*call.outs, *call.ins)
    workspace = np.zeros(call.workspace, np.uint8) if call.workspace else None
    if call.steps is None:
        extra = {"workspace": workspace} if workspace is not None else {}
        return Bound(call.cost, None, (REGISTRY[op].call_for("cpu", "", call.outs, call.ins, {**attrs, **extra}),))
    linked = link_steps(call.steps, arrays, workspace)
    return Bound(call.cost, Calls(tuple(linked), keep=(arrays, workspace)), ())


def routines(calls: Iterable[Given]) -> list[str]:
    """What has to be compiled for them."""
    return list(dict.fromkeys(step.routine for call in calls for step in call.steps or ()))


def rounds_of(copies: list[Bound]) -> Rounds:
    """One round of all copies, which are alike."""
    if any(copy.compiled is None for copy in copies):
        return python_rounds([call for copy in copies for call in copy.python])
    found = [copy.compiled for copy in copies if copy.compiled is not None]
    return Calls(tuple(call for one in found for call in one.calls), keep=tuple(found)).rounds()
