"""Compiled forms of the embedding lookup and its gradient. The kernels: `kernels/embedding.py`."""

from __future__ import annotations

from oflow.backends.compiled.form import Address, OpCall, Step, Steps, Word, form, kernel
from oflow.backends.compiled.moves import fill
from oflow.types import TensorType

MOVED = {"float32": "float32", "float64": "float64", "int64": "int64", "int32": "int32", "uint8": "uint8", "bool": "uint8"}


def _words(call: OpCall, others: Address, table: TensorType) -> tuple[Word, ...]:
    ids = call.ins[0].size
    sizes = (ids, table.shape[1], call.attrs["rows"], call.attrs.get("offset", 0), table.shape[0])
    return call.out(0), call.operand(0), others, *sizes


@form("embedding")
def lookup(call: OpCall) -> Steps | None:
    table = call.ins[1]
    routine = kernel("embedding", "lookup", MOVED[table.dtype], "sum" if call.accumulate else "copy")
    return (Step(routine, _words(call, call.operand(1), table)),)


@form("embedding_grad")
def gradient(call: OpCall) -> Steps | None:
    out = call.outs[0]
    if not out.is_float:
        return None
    added = Step(kernel("embedding", "gradient", out.dtype), _words(call, call.operand(1), out))
    return (added,) if call.accumulate else (*fill(call, 0), added)
