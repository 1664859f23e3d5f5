"""Forms of every operator that is a scalar expression, and of groups of them: kernels are generated from the program."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from oflow.backends.compiled.axes import Loops, Shape, loops
from oflow.backends.compiled.form import CLASS_FORMS, FORMS, OpCall, Step, Steps, Word, form, real
from oflow.backends.compiled.generate import Array, Layout, kernel_text
from oflow.ops import REGISTRY
from oflow.ops.elementwise import Elementwise
from oflow.ops.expression import Bound, bind, numbers_of
from oflow.ops.fused import bound_program

Pairs = tuple[tuple[int, int], ...]


def elementwise(call: OpCall) -> Steps | None:
    """The form of an operator of class Elementwise."""
    op = REGISTRY[call.op]
    assert isinstance(op, Elementwise)
    bound = bind(op.expr, op.present(call.attrs), tuple(t.dtype for t in call.ins), numbers_of(call.attrs, op.operands))
    return _steps(call, bound, (0,), ())


@form("fused")
def fused(call: OpCall) -> Steps | None:
    """The form of a program with several results; see `oflow.ops.fused`."""
    bound = bound_program(call.attrs, [t.dtype for t in call.ins])
    return _steps(call, bound, call.attrs["sums"], call.attrs["inplace"])


def _steps(op_call: OpCall, bound: Bound, sums: tuple[int, ...], shared: Pairs) -> Steps | None:
    if op_call.accumulate and any(not t.is_float for t in op_call.outs):
        return None
    nest = _loops(op_call, sums)
    innermost = [steps[-1] == 0 for steps in nest.steps]
    count = len(op_call.outs)
    arrays = tuple(
        Array(t.dtype, repeats, i < count and sums[i] > 0)
        for i, (t, repeats) in enumerate(zip((*op_call.outs, *op_call.ins), innermost, strict=True))
    )
    text = _text(bound, Layout(arrays, len(nest.sizes) - 1, shared, op_call.accumulate))
    return None if text is None else (Step(text, _words(op_call, bound, nest, sums)),)


def _loops(call: OpCall, sums: tuple[int, ...]) -> Loops:
    """Results that are summed repeat along the axes they lack."""
    space = np.broadcast_shapes(*(t.shape for t in call.ins))
    shapes: list[Shape] = [(1,) * count + t.shape for t, count in zip(call.outs, sums, strict=True)]
    shapes += [(1,) * (len(space) - len(t.shape)) + t.shape for t in call.ins]
    return loops(space, shapes)


_text = lru_cache(maxsize=4096)(kernel_text)


def _words(call: OpCall, bound: Bound, nest: Loops, sums: tuple[int, ...]) -> tuple[Word, ...]:
    """The block that `kernel_text` describes."""
    words: list[Word] = [nest.sizes[-1], *nest.sizes[:-1]]
    for i, (t, steps) in enumerate(zip((*call.outs, *call.ins), nest.steps, strict=True)):
        words += [call.out(i), *(n * t.itemsize for n in steps[:-1])]
    words += [t.size for t, count in zip(call.outs, sums, strict=True) if count]
    return (*words, *(_number(n) for n in bound.numbers[bound.literals :]))


def _number(value: Any) -> int:
    return real(float(value)) if isinstance(value, np.floating) else int(value)


CLASS_FORMS[Elementwise] = elementwise
FORMS.update({name: elementwise for name, op in REGISTRY.items() if isinstance(op, Elementwise)})
