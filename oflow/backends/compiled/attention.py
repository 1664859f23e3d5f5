"""Compiled forms of causal attention and its gradient. The kernels: `kernels/attention.py`."""

from __future__ import annotations

from oflow.backends.compiled.form import WORKSPACE, Address, OpCall, Step, Steps, Symbol, form, kernel, real
from oflow.backends.compiled.rows import addresses, suits
from oflow.ops.attention import PADDING, ROWS


@form("causal_attention", "causal_attention_grad")
def causal_attention(call: OpCall) -> Steps | None:
    if not suits(call):
        return None
    q, _, v = call.ins[:3] if call.op == "causal_attention" else call.ins[1:4]
    (batch, t, heads, d), (_, s, _, e) = q.shape, v.shape
    if call.attrs.get("past", s - t) != s - t:
        return None  # the first queries of a sequence that is split
    sizes = (batch, heads, t, s, d, e, ROWS, PADDING, real(call.attrs.get("scale", 1.0)))
    routine = kernel("attention", call.op, q.dtype)
    return (Step(routine, (*addresses(call), Address(WORKSPACE), Symbol(f"gemm.{q.dtype}"), *sizes)),)
