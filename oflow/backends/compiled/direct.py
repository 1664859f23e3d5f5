"""One operator call on arrays through its compiled form: for tests, benchmarks and calibration. Plans are linked by `link`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from oflow import native
from oflow.backends.compiled.form import WORKSPACE, OpCall, Steps, Symbol, Word, steps_of
from oflow.native.blas import symbol
from oflow.ops import REGISTRY
from oflow.types import TensorType

ROUTINE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)


def call_of(op: str, outs: Sequence[np.ndarray], ins: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> OpCall:
    types = [tuple(TensorType(a.shape, a.dtype.name) for a in side) for side in (outs, ins)]
    return OpCall(op, types[0], types[1], attrs, REGISTRY[op].workspace_nbytes(types[1], types[0], attrs))


def link_steps(
    steps: Steps, arrays: Sequence[np.ndarray], workspace: np.ndarray | None = None
) -> list[tuple[int, np.ndarray]]:  # fmt: skip
    """(address, argument block) of each step on C-contiguous arrays (results, then operands), which the caller keeps alive."""
    assert all(a.flags.c_contiguous for a in arrays)
    found = native.addresses(step.routine for step in steps)

    def word(w: Word) -> int:
        if isinstance(w, int):
            return w
        if isinstance(w, Symbol):
            return symbol(w.name)
        base = workspace if w.index == WORKSPACE else arrays[w.index]
        assert base is not None
        return int(base.ctypes.data) + w.offset

    return [(found[step.routine], np.array([word(w) for w in step.words], np.int64)) for step in steps]


def bind(steps: Steps, arrays: Sequence[np.ndarray], workspace: np.ndarray | None = None) -> Callable[[], int]:
    """A function that runs the steps on C-contiguous arrays (results, then operands) and returns the first status but 0."""
    linked = link_steps(steps, arrays, workspace)
    calls = [(ROUTINE(address), block.ctypes.data) for address, block in linked]

    def run() -> int:
        for routine, address in calls:
            if status := routine(address):
                return int(status)
        return 0

    run.keep = (linked, arrays, workspace)  # type: ignore[attr-defined]
    return run


def run(op: str, outs: Sequence[np.ndarray], ins: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> int | None:
    """Run the compiled form of an operator once; its status, or None where it has none."""
    call = call_of(op, outs, ins, attrs)
    steps = steps_of(call)
    if steps is None:
        return None
    workspace = np.empty(call.workspace_nbytes, np.uint8) if call.workspace_nbytes else None
    return bind(steps, (*outs, *ins), workspace)()
