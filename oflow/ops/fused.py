"""One operator for a group of elementwise operators and the sums of their results: a program with several results.

    fused(x, b, g; expr="u = x + b; dx = g * (1 - tanh(u) * tanh(u)); db = dx", results=("dx", "db"), sums=(0, 1))

The iteration space is the operands' common shape after NumPy's broadcasting. Result i is its program value summed over the
first sums[i] axes of that space, so its shape is the space's without them. Made by the compiler once layouts are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from oflow.errors import ShapeError, TraceError
from oflow.machine import Cost
from oflow.ops.blocks import loop_work
from oflow.ops.elementwise import broadcast_rule
from oflow.ops.expression import Bound, bind, link, parse_program
from oflow.ops.half import narrow, wide
from oflow.ops.op import Attributes, Example, Types, op
from oflow.types import freeze


def fused_attrs(
    expr: str, operands: Sequence[str], results: Sequence[str], sums: Sequence[int] = (),
    numbers: Mapping[str, float] | None = None, inplace: Sequence[tuple[int, int]] = (),
) -> dict[str, Any]:  # fmt: skip
    """The attributes of the operator `fused`.

    expr      statements ``u = a + b; y = u * tanh(u)``
    operands  names of the tensors, in the order they are passed (each at least once in expr)
    results   names that the statements define, in the order of the results
    sums      for each result the number of leading axes summed away; all 0 if left out
    numbers   values of the other free names; kernels take them at run time, so one kernel serves all values

    inplace   (result, operand) pairs that lie in the same memory: equal types, a result that is not summed

    Raises TraceError where a name has no meaning.
    """
    program = parse_program(expr, tuple(results))
    given = {*operands, *(numbers or {})}
    unknown = [name for name in program.operands if name not in given]
    if unknown or not operands:
        raise TraceError(f"the program {expr!r} reads {', '.join(unknown) or 'no operand'}, which is neither operand nor number")
    if sums and len(sums) != len(results):
        raise TraceError(f"{len(sums)} sums for {len(results)} results; give one for each, 0 where nothing is summed")
    attrs = {
        "expr": expr, "operands": tuple(operands), "results": tuple(results), "sums": tuple(sums) or (0,) * len(results),
        "numbers": tuple((numbers or {}).items()), "inplace": tuple(inplace),
    }  # fmt: skip
    return dict(freeze(attrs))


def bound_program(attrs: Attributes, dtypes: Sequence[str]) -> Bound:
    """The program of a call of `fused` on operands of these dtypes."""
    shared = {result for result, _ in attrs["inplace"]}
    buffered = tuple(count > 0 or i in shared for i, count in enumerate(attrs["sums"]))
    return bind(attrs["expr"], attrs["operands"], tuple(dtypes), attrs["numbers"], attrs["results"], buffered)


def _rule(ins: Types, attrs: Attributes) -> str:
    left, _, right = broadcast_rule(ins, attrs).partition("->")
    axes = right.split()
    if any(not 0 <= count <= len(axes) for count in attrs["sums"]):
        raise ShapeError(f"sums {attrs['sums']} want more axes than the {len(axes)} that the operands have")
    return f"{left}-> {', '.join(' '.join(axes[count:]) for count in attrs['sums'])}"


def _dtypes(ins: Types, attrs: Attributes) -> Sequence[str]:
    found = narrow(bound_program(attrs, [t.dtype for t in wide(ins)]).dtypes, ins)
    for name, dtype, count in zip(attrs["results"], found, attrs["sums"], strict=True):
        if dtype == "bool" and count:
            raise ShapeError(f"{name} is bool and cannot be summed; use where({name}, 1, 0)")
    space = np.broadcast_shapes(*(t.shape for t in ins))
    for result, operand in attrs["inplace"]:
        if attrs["sums"][result] or (found[result], space) != (ins[operand].dtype, ins[operand].shape):
            raise ShapeError(f"{attrs['results'][result]} cannot lie in the memory of operand {attrs['operands'][operand]}: types differ")
    return found


def _examples() -> list[Example]:
    draw = np.random.default_rng(14)

    def floats(*shape: int) -> np.ndarray:
        return draw.standard_normal(shape).astype("float32")

    bias = fused_attrs("u = x + b; y = u * tanh(u); small = u < s", ("x", "b"), ("y", "small"), numbers={"s": 0.5})
    back = fused_attrs("t = tanh(x + b); dx = g * (1 - t * t); db = dx", ("x", "b", "g"), ("dx", "db"), (0, 1))
    total = fused_attrs("d = x - y; s = d * d; p = s", ("x", "y"), ("s", "p"), (2, 1))
    masked = fused_attrs("y = where(c, x * k, 0) + r; z = y", ("c", "x", "r"), ("y", "z"), (0, 2), {"k": 2.0})
    return [
        Example((floats(5, 6), floats(6)), bias),
        Example((floats(2, 5, 6), floats(5, 6), floats(2, 5, 6)), back),
        Example((floats(5, 6), floats(5, 6)), total),
        Example((draw.integers(0, 2, (5, 6)).astype(bool), floats(5, 6), floats(5, 1)), masked),
    ]


fused = op(
    "fused", rule=_rule, dtype=_dtypes, example=_examples,
    overwrites=lambda attrs: [i for i, count in enumerate(attrs["sums"]) if not count],
)  # fmt: skip


@fused.kernel
def _run(*tensors: np.ndarray, **attrs: Any) -> None:
    _link(*tensors, **attrs)()


@fused.linked
def _link(*tensors: np.ndarray, **attrs: Any) -> Callable[[], Any]:
    count = len(attrs["results"])
    outs, ins = tensors[:count], tensors[count:]
    return link(bound_program(attrs, [a.dtype.name for a in ins]), outs, ins, attrs["sums"])


@fused.cost
def _(ins: Types, outs: Types, attrs: Attributes) -> Cost:
    functions = [step.function for step in parse_program(attrs["expr"], attrs["results"]).steps]
    functions += ["add" for count in attrs["sums"] if count]
    space = np.broadcast_shapes(*(t.shape for t in ins))
    nbytes, flops = float(sum(t.nbytes for t in (*ins, *outs))), float(math.prod(space) * len(functions))
    return Cost(flops, nbytes, 1, works=(loop_work("fused", space, (*outs, *ins), functions),))
