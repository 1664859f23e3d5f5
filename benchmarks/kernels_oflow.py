"""The kernels in oflow: the compiled forms of its operators on preallocated results; NumPy's kernel where there is no form."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from kernel_cases import BETAS, EPS, KERNELS, NORM_EPS, Arrays, operands

import oflow as of
from oflow.backends import compiled  # noqa: F401 - registers the forms
from oflow.backends.compiled.direct import bind, call_of
from oflow.backends.compiled.form import FORMS
from oflow.ops import REGISTRY, fused_attrs

VERSION = f"oflow {of.__version__}"
Call = Callable[[], Any]


def prepared(op: str, outs: Sequence[np.ndarray], ins: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> tuple[Call, bool]:
    """A function that runs the operator once, and whether it is compiled."""
    call = call_of(op, outs, ins, attrs)
    steps = FORMS[op](call) if op in FORMS else None
    workspace = np.empty(call.workspace_nbytes, np.uint8)
    if steps is not None:
        return bind(steps, (*outs, *ins), workspace), True
    extra = {"workspace": workspace} if call.workspace_nbytes else {}
    return lambda: REGISTRY[op].run(*outs, *ins, **attrs, **extra), False


def _gelu(name: str, operand: str) -> str:
    """The expression of a registered operator with its operand a renamed."""
    expression: str = REGISTRY[name].expr  # type: ignore[attr-defined]
    return re.sub(r"\ba\b", operand, expression)


def make(kernel: str, size: str) -> tuple[Call, Callable[[], Arrays], str]:
    """One call of the kernel, its results, and a remark."""
    ins = operands(kernel, size)
    like = [np.empty_like(a) for a in ins]
    lr, count = np.array(1e-3, "float32"), np.array(0.0, "float32")
    if kernel == KERNELS[0]:
        attrs = fused_attrs(f"u = x + b; y = {_gelu('gelu', 'u')}", ("x", "b"), ("y",))
        parts, results = [("fused", like[:1], ins, attrs)], like[:1]
    elif kernel == KERNELS[1]:
        attrs = fused_attrs(f"u = x + b; dx = {_gelu('gelu_grad_a', 'u')}; db = dx", ("x", "b", "g"), ("dx", "db"), (0, 1))
        parts, results = [("fused", like[:2], ins, attrs)], like[:2]
    elif kernel == KERNELS[2]:
        parts, results = [("layer_norm", like[:1], ins, {"eps": NORM_EPS})], like[:1]
    elif kernel == KERNELS[3]:
        results = [like[1], like[2], np.empty_like(ins[2])]
        parts = [("layer_norm_grad", results, ins, {"eps": NORM_EPS})]
    elif kernel == KERNELS[4]:
        rows = len(ins[0])
        losses, statistics, mean = np.empty(rows, "float32"), np.empty((rows, 2), "float32"), np.empty((), "float32")
        g, results = np.full(rows, 1 / rows, "float32"), [mean, like[0]]
        numbers = fused_attrs("l = k * x", ("x",), ("l",), (1,), {"k": 1 / rows})
        parts = [
            ("softmax_cross_entropy", [losses, statistics], ins, {}), ("fused", [mean], [losses], numbers),
            ("softmax_cross_entropy_grad", like[:1], (*ins, statistics, g), {}),
        ]  # fmt: skip
    else:
        attrs = {"beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS}
        results = list(ins[:3])
        parts = [("adamw_update", results, (ins[3], lr, count), attrs)]
    calls = [prepared(*part) for part in parts]
    missing = [part[0] for part, (_, there) in zip(parts, calls, strict=True) if not there]

    def run() -> None:
        for call, _ in calls:
            call()

    return run, lambda: tuple(results), f"NumPy: {', '.join(missing)}" if missing else ""
