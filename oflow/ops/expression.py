"""Scalar expressions as data: Python syntax over operand names, parsed into a short list of steps.

    where(a > 0, g, 0)   ->   t0 = greater(a, 0.0);  out = where(t0, g, 0.0)

The steps are what kernels are generated from: here one NumPy call a step over blocks that stay in the cache.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from oflow.errors import TraceError
from oflow.ops.blocks import block_length, blocks

_OPERATORS: dict[type, str] = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "true_divide", ast.Pow: "power",
    ast.FloorDiv: "floor_divide", ast.Mod: "remainder", ast.USub: "negative", ast.Not: "logical_not", ast.And: "logical_and",
    ast.Or: "logical_or", ast.Gt: "greater", ast.GtE: "greater_equal", ast.Lt: "less", ast.LtE: "less_equal", ast.Eq: "equal",
    ast.NotEq: "not_equal",
}  # fmt: skip
_FUNCTIONS = {
    "exp": "exp", "log": "log", "sqrt": "sqrt", "tanh": "tanh", "abs": "absolute", "sign": "sign", "cos": "cos", "sin": "sin",
    "floor": "floor", "square": "square", "min": "minimum", "max": "maximum", "where": "where",
}  # fmt: skip
_ROUNDING = {"exp", "log", "sqrt", "tanh", "cos", "sin", "true_divide", "power"}


@dataclass(frozen=True, slots=True)
class Step:
    """One call: a NumPy function's name (or "where") on names of operands, names of earlier steps, or numbers."""

    function: str
    args: tuple[str | float, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Expression:
    """The operands an expression reads, in order of appearance, and its steps; the last step is the result."""

    operands: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def exact(self) -> bool:
        """Whether it maps whole numbers to whole numbers without rounding."""
        numbers = [arg for step in self.steps for arg in step.args if not isinstance(arg, str)]
        return all(n == int(n) for n in numbers) and not any(step.function in _ROUNDING for step in self.steps)


@lru_cache(maxsize=1024)
def parse_expression(text: str) -> Expression:
    """Parse a scalar expression; equal subexpressions become one step. Raises TraceError for syntax it does not have."""
    steps: dict[tuple[str, tuple[str | float, ...]], Step] = {}
    operands: dict[str, None] = {}

    def emit(function: str, *args: str | float) -> str | float:
        if function == "negative" and not isinstance(args[0], str):
            return -args[0]
        step = steps.setdefault((function, args), Step(function, args, f"t{len(steps)}"))
        return step.name

    def visit(tree: ast.AST) -> str | float:
        match tree:
            case ast.Constant(value=int() | float() as value):
                return float(value)
            case ast.Name(id=name):
                operands[name] = None
                return name
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return emit(_OPERATORS[type(op)], visit(left), visit(right))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return emit(_OPERATORS[type(op)], visit(operand))
            case ast.BoolOp(op=op, values=[left, right]):
                return emit(_OPERATORS[type(op)], visit(left), visit(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
                return emit(_OPERATORS[type(op)], visit(left), visit(right))
            case ast.Call(func=ast.Name(id=name), args=args) if name in _FUNCTIONS:
                return emit(_FUNCTIONS[name], *(visit(arg) for arg in args))
        raise TraceError(f"{ast.unparse(tree)!r} is no scalar expression; there are + - * / **, comparisons, {', '.join(_FUNCTIONS)}")

    result = visit(ast.parse(text, mode="eval").body)
    if not steps:
        steps["copy", (result,)] = Step("positive", (result,), "t0")
    return Expression(tuple(operands), tuple(steps.values()))


# ------------------------------------------------------------ running it with NumPy


@dataclass(frozen=True, slots=True)
class _Call:
    """A step bound to dtypes: args are ("operand", i), ("slot", i) or ("number", x); it writes `slot` (-1: the result)."""

    function: str
    args: tuple[tuple[str, Any], ...]
    slot: int
    dtype: str


@dataclass(frozen=True, slots=True)
class Bound:
    """An expression for operands of given dtypes, with numbers for the operands that are none: calls over `slots` temporaries."""

    calls: tuple[_Call, ...]
    slots: int
    itemsize: int

    @property
    def dtype(self) -> str:
        return self.calls[-1].dtype


def scalar_dtype(dtypes: Sequence[str]) -> str:
    """What a Python number turns into beside operands of these dtypes."""
    return next((d for d in dtypes if d != "bool"), "bool")


@lru_cache(maxsize=4096)
def bind(text: str, operands: tuple[str, ...], dtypes: tuple[str, ...], numbers: tuple[tuple[str, float], ...] = ()) -> Bound:
    """Bind an expression: operand names in the order they are passed, their dtypes, and numbers for the other names."""
    weak = np.dtype(scalar_dtype(dtypes)).type
    known: dict[str | float, tuple[str, Any]] = {name: ("operand", i) for i, name in enumerate(operands)}
    known |= {name: ("number", weak(value)) for name, value in numbers}
    samples: dict[tuple[str, Any], Any] = {("operand", i): np.ones(1, d) for i, d in enumerate(dtypes)}
    steps = parse_expression(text).steps
    last_use = {arg: i for i, step in enumerate(steps) for arg in step.args}
    calls: list[_Call] = []
    free: list[int] = []
    slots = 0
    for i, step in enumerate(steps):
        args = tuple(known[a] if isinstance(a, str) else ("number", weak(a)) for a in step.args)
        sample = _call(step.function, [v if kind == "number" else samples[kind, v] for kind, v in args])
        if all(kind == "number" for kind, _ in args) and i < len(steps) - 1:
            known[step.name] = ("number", sample)
            continue
        if i == len(steps) - 1:
            slot = -1
        elif free:
            slot = free.pop()
        else:
            slot, slots = slots, slots + 1
        known[step.name] = ("slot", (slot, i))
        samples["slot", (slot, i)] = sample
        calls.append(_Call(step.function, args, slot, sample.dtype.name))
        free += [known[a][1][0] for a in dict.fromkeys(step.args) if last_use.get(a) == i and known.get(a, ("",))[0] == "slot"]
    plain = tuple(_Call(c.function, tuple((k, v[0] if k == "slot" else v) for k, v in c.args), c.slot, c.dtype) for c in calls)
    return Bound(plain, slots, max(np.dtype(c.dtype).itemsize for c in calls))


def _call(function: str, args: list[Any]) -> Any:
    with np.errstate(all="ignore"):
        return np.where(*args) if function == "where" else getattr(np, function)(*args)


def _apply(function: str, args: list[Any], out: np.ndarray) -> None:
    if function == "where":
        np.copyto(out, args[2])
        np.copyto(out, args[1], where=args[0])
    else:
        getattr(np, function)(*args, out=out)


def evaluate(bound: Bound, out: np.ndarray, ins: Sequence[np.ndarray]) -> None:
    """Write the expression's value into `out`; operands broadcast. Temporaries are as long as one block."""
    if len(bound.calls) == 1:
        call = bound.calls[0]
        _apply(call.function, [ins[v] if kind == "operand" else v for kind, v in call.args], out)
        return
    limit = block_length(bound.itemsize)
    if all(a.shape == out.shape and a.flags.c_contiguous for a in ins) and out.flags.c_contiguous:
        out, ins = out.reshape(-1), [a.reshape(-1) for a in ins]
    else:
        ins = [np.broadcast_to(a, out.shape) for a in ins]
    buffers = [np.empty(min(out.size, limit) * bound.itemsize, np.uint8) for _ in range(bound.slots)]
    for index in blocks(out.shape, limit):
        _evaluate_block(bound, out[index], [a[index] for a in ins], buffers)


def _evaluate_block(bound: Bound, out: np.ndarray, ins: Sequence[np.ndarray], buffers: Sequence[np.ndarray]) -> None:
    slots: dict[int, np.ndarray] = {}
    for call in bound.calls:
        args = [ins[v] if kind == "operand" else slots[v] if kind == "slot" else v for kind, v in call.args]
        if call.slot < 0:
            _apply(call.function, args, out)
        else:
            room = buffers[call.slot][: out.size * np.dtype(call.dtype).itemsize]
            slots[call.slot] = room.view(call.dtype).reshape(out.shape)
            _apply(call.function, args, slots[call.slot])


def numbers_of(attrs: Mapping[str, Any], names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """The operands that are numbers: attributes with an operand's name."""
    return tuple((name, attrs[name]) for name in names if name in attrs)
