"""Compiled forms of the operators that rewrite kept state, and of the sum of squares. The kernels: `kernels/update.py`."""

from __future__ import annotations

from oflow.backends.compiled.form import OpCall, Step, Steps, Word, form, kernel, real
from oflow.backends.compiled.kernels.kinds import SCALARS
from oflow.backends.compiled.moves import Axis, move

FLOATS = ("float32", "float64")


def _update(call: OpCall, routine: str, scalars: int, settings: tuple[float, ...], *arguments: str) -> Steps | None:
    """Words: elements, state; kind and address of `scalars` scalars and of the scale; settings; gradients.

    The operands are the gradients, then the scalars, then the scale where it is given.
    """
    count = int(call.attrs.get("gradients", 1))
    given = call.ins[count:]
    if call.outs[0].dtype not in FLOATS or any(t.dtype not in SCALARS for t in given):
        return None
    named: list[Word] = []
    for i in range(scalars + 1):
        named += [SCALARS[given[i].dtype], call.operand(count + i)] if i < len(given) else [0, 0]
    state = [call.out(i) for i in range(len(call.outs))]
    gradients = [call.operand(i) for i in range(count)]
    words = (call.outs[0].size, *state, *named, *map(real, settings), *gradients)
    return (Step(kernel("update", routine, call.outs[0].dtype, str(count), *arguments), words),)


@form("sgd_update")
def sgd(call: OpCall) -> Steps | None:
    return _update(call, "sgd", 1, (call.attrs.get("weight_decay", 0.0),))


@form("momentum_update")
def momentum(call: OpCall) -> Steps | None:
    get = call.attrs.get
    settings = (get("momentum", 0.9), get("weight_decay", 0.0))
    return _update(call, "momentum", 1, settings, "nesterov" if get("nesterov", False) else "plain")


@form("adamw_update")
def adamw(call: OpCall) -> Steps | None:
    get = call.attrs.get
    settings = (get("beta1", 0.9), get("beta2", 0.999), get("eps", 1e-8), get("weight_decay", 0.0))
    return _update(call, "adamw", 2, settings)


@form("sum_squares")
def sum_squares(call: OpCall) -> Steps | None:
    x = call.ins[0]
    if x.dtype not in FLOATS or call.accumulate:
        return None
    operands = [call.operand(i) for i in range(len(call.ins))]
    return (Step(kernel("update", "sum_squares", x.dtype, str(len(operands))), (x.size, call.out(0), *operands)),)


@form("increment")
def increment(call: OpCall) -> Steps | None:
    (counter,) = call.outs
    if counter.dtype not in (*FLOATS, "int64", "int32"):
        return None
    return (Step(kernel("update", "increment", counter.dtype), (counter.size, call.out(0))),)


@form("assign")
def assign(call: OpCall) -> Steps:
    (new,) = call.ins
    return move(new.dtype, "copy", call.out(0), call.operand(0), [Axis(new.size, 1, 1)])
