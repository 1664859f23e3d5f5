"""Scalar expressions as data: Python syntax over operand names, parsed into a short list of steps.

    where(a > 0, g, 0)   ->   t0 = greater(a, 0.0);  out = where(t0, g, 0.0)

The steps are what kernels are generated from: here one NumPy call a step over blocks that stay in the cache.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
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
    """A step bound to dtypes. Values are numbered: the operands, the numbers, then one a step; the last is the result."""

    function: str
    args: tuple[int, ...]
    result: int
    slot: int
    dtype: str


@dataclass(frozen=True, slots=True)
class Bound:
    """An expression for operands of given dtypes, with numbers for the operands that are none: calls over `slots` temporaries."""

    calls: tuple[_Call, ...]
    numbers: tuple[Any, ...]
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
    samples: dict[str | float, Any] = {name: np.ones(1, d) for name, d in zip(operands, dtypes, strict=True)}
    constants: dict[str | float, Any] = {name: weak(value) for name, value in numbers}
    steps = parse_expression(text).steps
    kept: list[Step] = []
    for step in steps:
        constants |= {a: weak(a) for a in step.args if not isinstance(a, str)}
        sample = _sample(step.function, [constants[a] if a in constants else samples[a] for a in step.args])
        if all(a in constants for a in step.args) and step is not steps[-1]:
            constants[step.name] = sample
        else:
            samples[step.name] = sample
            kept.append(step)
    number = {name: i for i, name in enumerate((*operands, *constants, *(step.name for step in kept)))}
    slots = _slots(kept)
    calls = tuple(
        _Call(s.function, tuple(number[a] for a in s.args), number[s.name], slots[s.name], samples[s.name].dtype.name) for s in kept
    )
    widest = max(np.dtype(c.dtype).itemsize for c in calls)
    return Bound(calls, tuple(constants.values()), max((c.slot for c in calls), default=-1) + 1, widest)


def _slots(steps: Sequence[Step]) -> dict[str, int]:
    """The temporary that each step writes (-1: the last one writes the result); free again after the last step that reads it."""
    last_use = {arg: i for i, step in enumerate(steps) for arg in step.args}
    slots: dict[str, int] = {}
    free: list[int] = []
    used = 0
    for i, step in enumerate(steps):
        if i == len(steps) - 1:
            slots[step.name] = -1
        elif free:
            slots[step.name] = free.pop()
        else:
            slots[step.name], used = used, used + 1
        free += [slots[a] for a in dict.fromkeys(step.args) if isinstance(a, str) and a in slots and last_use[a] == i]
    return slots


def _sample(function: str, args: list[Any]) -> Any:
    with np.errstate(all="ignore"):
        return np.where(*args) if function == "where" else getattr(np, function)(*args)


def _where(condition: np.ndarray, a: Any, b: Any, out: np.ndarray) -> None:
    """out = a where the condition holds, else b: exact, with bit masks, because a branch for each element costs five times more."""
    integers = {2: np.int16, 4: np.int32, 8: np.int64}.get(out.itemsize)
    if integers is None or out.dtype.kind not in "fiu":
        np.copyto(out, np.where(condition, a, b))
        return
    mask = np.empty(out.shape, integers)
    np.copyto(mask, np.asarray(condition).view(np.int8))
    np.negative(mask, out=mask)
    x, y, bits = np.asarray(a, out.dtype).view(integers), np.asarray(b, out.dtype).view(integers), out.view(integers)
    if y.ndim == 0 and y == 0:
        np.bitwise_and(x, mask, out=bits)
    else:
        np.bitwise_xor(x, y, out=bits)
        np.bitwise_and(bits, mask, out=bits)
        np.bitwise_xor(bits, y, out=bits)


_Loop = tuple[Callable[..., Any], tuple[int, ...], int]
"""A function, the numbers of its arguments, the number of its result."""


def link(bound: Bound, out: np.ndarray, ins: Sequence[np.ndarray]) -> Callable[[], Any]:
    """A function that writes the expression's value into `out`; operands broadcast. Temporaries are as long as one block."""
    first = bound.calls[0]
    if len(bound.calls) == 1 and first.function != "where":
        values = (*ins, *bound.numbers)
        return partial(getattr(np, first.function), *(values[i] for i in first.args), out=out)
    if all(a.shape == out.shape and a.flags.c_contiguous for a in ins) and out.flags.c_contiguous:
        out, ins = out.reshape(-1), [a.reshape(-1) for a in ins]
    else:
        ins = [np.broadcast_to(a, out.shape) for a in ins]
    loop = tuple((_where if c.function == "where" else getattr(np, c.function), c.args, c.result) for c in bound.calls)
    return partial(_run_blocks, bound, loop, out, ins)


def _run_blocks(bound: Bound, loop: Sequence[_Loop], out: np.ndarray, ins: Sequence[np.ndarray]) -> None:
    limit = block_length(bound.itemsize)
    buffers = [np.empty(min(out.size, limit) * bound.itemsize, np.uint8) for _ in range(bound.slots)]
    shape: tuple[int, ...] | None = None
    temporaries: list[np.ndarray] = []
    for index in blocks(out.shape, limit):
        result = out[index]
        if result.shape != shape:
            shape = result.shape
            temporaries = [
                buffers[c.slot][: result.size * np.dtype(c.dtype).itemsize].view(c.dtype).reshape(shape) for c in bound.calls[:-1]
            ]
        values = [*(a[index] for a in ins), *bound.numbers, *temporaries, result]
        for function, args, target in loop:
            function(*[values[i] for i in args], out=values[target])


def evaluate(bound: Bound, out: np.ndarray, ins: Sequence[np.ndarray]) -> None:
    """Write the expression's value into `out`; operands broadcast."""
    link(bound, out, ins)()


def numbers_of(attrs: Mapping[str, Any], names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """The operands that are numbers: attributes with an operand's name."""
    return tuple((name, attrs[name]) for name in names if name in attrs)
