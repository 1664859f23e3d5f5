"""Compiled forms of row-wise operators: softmax, norms and cross-entropy over the last axis, with their gradients.

The kernels: `kernels/softmax.py`, `kernels/normalize.py`, `kernels/losses.py`.
"""

from __future__ import annotations

import math

from oflow.backends.compiled.form import OpCall, Step, Steps, Word, form, kernel, real
from oflow.types import TensorType

REALS = ("float32", "float64")
EPS = {"layer_norm": 1e-5, "rms_norm": 1e-6}
"""The operators' own defaults."""


IN_CACHE_NBYTES = 1 << 20
"""An operand of so many bytes stays in a cache near the core, and its rows need not be fetched ahead of use."""


def _rows_of(x: TensorType) -> tuple[int, int, int]:
    """(rows, width, distance in bytes to the row to fetch while one is worked on, or 0) of a tensor (..., width)."""
    width = x.shape[-1]
    return math.prod(x.shape[:-1]), width, width * x.itemsize if x.nbytes > IN_CACHE_NBYTES else 0


def addresses(call: OpCall) -> tuple[Word, ...]:
    """Results, then operands."""
    return tuple(call.out(i) for i in range(len(call.outs))) + tuple(call.operand(i) for i in range(len(call.ins)))


def suits(call: OpCall) -> bool:
    """Whether all floats are of one dtype that there are kernels for, and results are overwritten."""
    dtypes = {t.dtype for t in (*call.outs, *call.ins)} - {"int64"}
    return len(dtypes) == 1 and dtypes <= set(REALS) and not call.accumulate


def _step(call: OpCall, module: str, *words: Word) -> Steps:
    return (Step(kernel(module, call.op, call.outs[0].dtype), (*addresses(call), *words)),)


@form("softmax", "softmax_grad")
def softmax(call: OpCall) -> Steps | None:
    return _step(call, "softmax", *_rows_of(call.ins[0])) if suits(call) else None


@form("causal_softmax", "causal_softmax_grad")
def causal_softmax(call: OpCall) -> Steps | None:
    if not suits(call):
        return None
    *lead, t, s = call.ins[0].shape
    ahead = _rows_of(call.ins[0])[2]
    return _step(call, "softmax", math.prod(lead), t, s, ahead, real(call.attrs.get("scale", 1.0)))


@form("layer_norm", "layer_norm_grad", "rms_norm", "rms_norm_grad")
def norm(call: OpCall) -> Steps | None:
    if not suits(call):
        return None
    eps = call.attrs.get("eps", EPS[call.op.removesuffix("_grad")])
    return _step(call, "normalize", *_rows_of(call.ins[0]), real(eps))


@form("softmax_cross_entropy", "softmax_cross_entropy_grad")
def cross_entropy(call: OpCall) -> Steps | None:
    """For whole classes; where they are split, labels name classes that others hold, and NumPy's kernel is used."""
    return _step(call, "losses", *_rows_of(call.ins[0])) if suits(call) and "offset" not in call.attrs else None
