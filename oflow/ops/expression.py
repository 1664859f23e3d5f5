"""Scalar expressions as data: Python syntax over operand names, parsed into a short list of steps.

    where(a > 0, g, 0)   ->   t0 = greater(a, 0.0);  out = where(t0, g, 0.0)

Programs are several of them with names, ``u = a + b; y = u * tanh(u)``, and several results. The steps are what kernels are
generated from: here one NumPy call a step over blocks that stay in the cache.
"""

from __future__ import annotations

import ast
import math
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
    ast.NotEq: "not_equal", ast.BitAnd: "bitwise_and", ast.BitOr: "bitwise_or", ast.BitXor: "bitwise_xor", ast.Invert: "invert",
    ast.LShift: "left_shift", ast.RShift: "right_shift",
}  # fmt: skip
_FUNCTIONS = {
    "exp": "exp", "log": "log", "sqrt": "sqrt", "tanh": "tanh", "abs": "absolute", "sign": "sign", "cos": "cos", "sin": "sin",
    "floor": "floor", "square": "square", "min": "minimum", "max": "maximum", "where": "where",
    "ceil": "ceil", "trunc": "trunc", "rint": "rint", "isnan": "isnan", "isinf": "isinf", "isfinite": "isfinite",
    "expm1": "expm1", "log1p": "log1p", "exp2": "exp2", "log2": "log2", "log10": "log10", "erf": "erf", "tan": "tan",
    "arcsin": "arcsin", "arccos": "arccos", "arctan": "arctan", "arctan2": "arctan2", "sinh": "sinh", "cosh": "cosh",
    "arcsinh": "arcsinh", "arccosh": "arccosh", "arctanh": "arctanh", "hypot": "hypot",
}  # fmt: skip
_FLOPS = {
    "exp": 16, "log": 16, "tanh": 16, "cos": 16, "sin": 16, "power": 32, "sqrt": 4, "true_divide": 4, "floor_divide": 8, "remainder": 8,
    "expm1": 24, "log1p": 24, "exp2": 16, "log2": 16, "log10": 16, "erf": 48, "tan": 24, "arcsin": 24, "arccos": 24, "arctan": 24,
    "arctan2": 32, "sinh": 24, "cosh": 24, "arcsinh": 32, "arccosh": 32, "arctanh": 32, "hypot": 8,
}  # fmt: skip
"""About how many additions one call costs in a vectorised loop; 1 for the others."""
_EXACT = {"floor_divide", "remainder"}
_ROUNDING = _FLOPS.keys() - _EXACT


@dataclass(frozen=True, slots=True)
class Step:
    """One call: a NumPy function's name (or "where") on names of operands, names of earlier steps, or numbers."""

    function: str
    args: tuple[str | float, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Expression:
    """The operands a program reads, in order of appearance, its steps, and the steps that are its results."""

    operands: tuple[str, ...]
    steps: tuple[Step, ...]
    results: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether it maps whole numbers to whole numbers without rounding."""
        numbers = [arg for step in self.steps for arg in step.args if not isinstance(arg, str)]
        return all(math.isinf(n) or n == int(n) for n in numbers) and not any(step.function in _ROUNDING for step in self.steps)

    @property
    def flops(self) -> int:
        """Arithmetic at one point, functions counted by what they cost."""
        return sum(_FLOPS.get(step.function, 1) for step in self.steps)


@lru_cache(maxsize=1024)
def parse_expression(text: str) -> Expression:
    """Parse a scalar expression; equal subexpressions become one step. Raises TraceError for syntax it does not have."""
    parser = _Parser()
    return parser.finish((parser.value(ast.parse(text, mode="eval").body),))


@lru_cache(maxsize=1024)
def parse_program(text: str, results: tuple[str, ...]) -> Expression:
    """Parse statements ``u = a + b; y = u * tanh(u)`` that define `results`; names that are read before a statement defines
    them are operands. Equal subexpressions become one step, steps that no result needs are left out. Raises TraceError."""
    parser = _Parser()
    for statement in ast.parse(text).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                parser.names[name] = parser.value(value)
            case _:
                raise TraceError(f"{ast.unparse(statement)!r} is no statement of a program; write them as name = expression")
    missing = [name for name in results if name not in parser.names]
    if missing:
        raise TraceError(f"the program {text!r} defines no {', '.join(missing)}")
    return parser.finish(tuple(parser.names[name] for name in results))


class _Parser:
    """Collects the steps of a program; `names` are the values that statements have defined."""

    def __init__(self) -> None:
        self.names: dict[str, str | float] = {}
        self.steps: dict[tuple[str, tuple[str | float, ...]], Step] = {}
        self.operands: dict[str, None] = {}

    def emit(self, function: str, *args: str | float) -> str | float:
        if function == "negative" and not isinstance(args[0], str):
            return -args[0]
        return self.steps.setdefault((function, args), Step(function, args, f"%{len(self.steps)}")).name

    def value(self, tree: ast.AST) -> str | float:
        match tree:
            case ast.Constant(value=int() | float() as value):
                return float(value)
            case ast.Name(id=name):
                if name not in self.names:
                    self.operands[name] = None
                return self.names.get(name, name)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return self.emit(_OPERATORS[type(op)], self.value(left), self.value(right))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return self.emit(_OPERATORS[type(op)], self.value(operand))
            case ast.BoolOp(op=op, values=[left, right]):
                return self.emit(_OPERATORS[type(op)], self.value(left), self.value(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
                return self.emit(_OPERATORS[type(op)], self.value(left), self.value(right))
            case ast.Call(func=ast.Name(id=name), args=args) if name in _FUNCTIONS:
                return self.emit(_FUNCTIONS[name], *(self.value(arg) for arg in args))
        known = f"+ - * / // % **, & | ^ ~ << >>, comparisons, {', '.join(_FUNCTIONS)}"
        raise TraceError(f"{ast.unparse(tree)!r} is no scalar expression; there are {known}")

    def finish(self, values: tuple[str | float, ...]) -> Expression:
        """The steps that `values` need; a value that is an operand or a number is copied by a step of its own."""
        made = {step.name for step in self.steps.values()}
        results = tuple(str(v if v in made else self.emit("positive", v)) for v in values)
        needed = set(results)
        for step in reversed(self.steps.values()):
            if step.name in needed:
                needed.update(arg for arg in step.args if isinstance(arg, str))
        kept = tuple(step for step in self.steps.values() if step.name in needed)
        return Expression(tuple(self.operands), kept, results)


def rename(text: str, names: Mapping[str, str]) -> str:
    """The text of an expression or of a program with other names; names that are not in `names` stay."""

    class Rename(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.Name:
            return ast.Name(names.get(node.id, node.id), node.ctx)

        def visit_Call(self, node: ast.Call) -> ast.Call:
            return ast.Call(node.func, [self.visit(arg) for arg in node.args], [])

    return "; ".join(ast.unparse(ast.fix_missing_locations(Rename().visit(statement))) for statement in ast.parse(text).body)


# ------------------------------------------------------------ binding it to dtypes


@dataclass(frozen=True, slots=True)
class Call:
    """A step bound to dtypes. Values are numbered: the operands, the numbers, then one a step. `slot`: its temporary."""

    function: str
    args: tuple[int, ...]
    result: int
    slot: int
    dtype: str


@dataclass(frozen=True, slots=True)
class Bound:
    """A program for operands of given dtypes, with numbers for the operands that are none: calls over `slots` temporaries.

    The first `literals` of the numbers stand in the text, the others depend on attributes. `results` are numbers of values.
    A call that is a result and may be written in place has slot -1 - (its position among the results).
    """

    operands: tuple[str, ...]
    calls: tuple[Call, ...]
    numbers: tuple[Any, ...]
    literals: int
    results: tuple[int, ...]
    dtypes: tuple[str, ...]
    slots: int
    itemsize: int


def scalar_dtype(dtypes: Sequence[str]) -> str:
    """What a Python number turns into beside operands of these dtypes."""
    return next((d for d in dtypes if d != "bool"), "bool")


@lru_cache(maxsize=4096)
def bind(
    text: str, operands: tuple[str, ...], dtypes: tuple[str, ...], numbers: tuple[tuple[str, float], ...] = (),
    results: tuple[str, ...] = (), buffered: tuple[bool, ...] = (),
) -> Bound:  # fmt: skip
    """Bind an expression, or a program where `results` are given: operand names in the order they are passed, their dtypes,
    and numbers for the other names. A number has the dtype of what it is combined with. Results that are
    `buffered` are worked out in a temporary, not in place."""
    program = parse_program(text, results) if results else parse_expression(text)
    binder = _Binder(operands, dtypes, dict(numbers))
    for step in program.steps:
        binder.add(step, step.name in program.results)
    values = (*operands, *(key for key in binder.numbers if key not in binder.varying), *binder.varying, *(s.name for s in binder.kept))
    place = {value: i for i, value in enumerate(values)}
    slots = _slots(binder.kept, program.results, buffered or (False,) * len(program.results))
    calls = tuple(
        Call(s.function, tuple(place[a] for a in binder.args[s.name]), place[s.name], slots[s.name], binder.samples[s.name].dtype.name)
        for s in binder.kept
    )
    found = tuple(binder.numbers[v] for v in values[len(operands) : len(values) - len(calls)])
    widest = max(np.dtype(c.dtype).itemsize for c in calls)
    return Bound(
        tuple(dtypes), calls, found, len(found) - len(binder.varying), tuple(place[r] for r in program.results),
        tuple(binder.samples[r].dtype.name for r in program.results), max((c.slot for c in calls), default=-1) + 1, widest,
    )  # fmt: skip


_Key = str | tuple[str | float, str]
"""A value: the name of an operand or a step, or a number with its dtype."""


class _Binder:
    """Finds the dtype of every step, and works out the steps that read nothing but numbers."""

    def __init__(self, operands: Sequence[str], dtypes: Sequence[str], constants: dict[str, Any]) -> None:
        self.default = np.dtype(scalar_dtype(dtypes))
        self.samples: dict[str, Any] = {name: np.ones(1, d) for name, d in zip(operands, dtypes, strict=True)}
        self.constants = constants
        self.numbers: dict[_Key, Any] = {}
        self.varying: dict[_Key, None] = {}
        self.kept: list[Step] = []
        self.args: dict[str, tuple[_Key, ...]] = {}

    def add(self, step: Step, is_result: bool) -> None:
        known = [self.samples[a].dtype for a in step.args if isinstance(a, str) and a in self.samples]
        dtype = next((d for d in known if d.kind != "b"), self.default)
        if not known and not is_result:
            self.constants[step.name] = _sample(step.function, [self.number(a, dtype) for a in step.args])
            return
        self.args[step.name] = tuple(self.key(a, dtype) for a in step.args)
        values = [self.numbers[k] if k in self.numbers else self.samples[str(k)] for k in self.args[step.name]]
        self.samples[step.name] = _sample(step.function, values)
        self.kept.append(step)

    def number(self, value: str | float, dtype: np.dtype[Any]) -> Any:
        return dtype.type(self.constants[value] if isinstance(value, str) else value)

    def key(self, value: str | float, dtype: np.dtype[Any]) -> _Key:
        if isinstance(value, str) and value in self.samples:
            return value
        key = (value if isinstance(value, str) else repr(value), dtype.name)
        self.numbers[key] = self.number(value, dtype)
        if isinstance(value, str):
            self.varying[key] = None
        return key


def _slots(steps: Sequence[Step], results: Sequence[str], buffered: Sequence[bool]) -> dict[str, int]:
    """The temporary that each step writes, free again after the last step that reads it; results keep theirs.

    A result that is not buffered is its own temporary: slot -1 - i.
    """
    direct = {name: -1 - i for i, name in reversed(list(enumerate(results))) if not buffered[i]}
    last_use = {arg: i for i, step in enumerate(steps) for arg in step.args} | dict.fromkeys(results, len(steps))
    slots: dict[str, int] = {}
    free: list[int] = []
    used = 0
    for i, step in enumerate(steps):
        if step.name in direct:
            slots[step.name] = direct[step.name]
        elif free:
            slots[step.name] = free.pop()
        else:
            slots[step.name], used = used, used + 1
        free += [slots[a] for a in dict.fromkeys(step.args) if isinstance(a, str) and slots.get(a, -1) >= 0 and last_use[a] == i]
    return slots


def _sample(function: str, args: list[Any]) -> Any:
    with np.errstate(all="ignore"):
        return np.where(*args) if function == "where" else numpy_function(function)(*args)


def numpy_function(name: str) -> Callable[..., Any]:
    """The function of a step other than "where": NumPy's, or what stands in for one that NumPy lacks."""
    return _erf if name == "erf" else getattr(np, name)


def _erf(x: Any, out: np.ndarray | None = None) -> np.ndarray:
    """The error function, element by element with C's erf; the compiled kernels have a vectorised one."""
    x = np.asarray(x)
    if out is None:
        out = np.empty(x.shape, x.dtype if x.dtype.kind == "f" else "float64")
    out[...] = np.fromiter(map(math.erf, x.reshape(-1).tolist()), "float64", x.size).reshape(x.shape)
    return out


def _where(condition: np.ndarray, a: Any, b: Any, out: np.ndarray) -> None:
    """out = a where the condition holds, else b: exact, with bit masks, because a branch for each element costs five times more."""
    integers = {2: np.int16, 4: np.int32, 8: np.int64}.get(out.itemsize)
    if integers is None or out.dtype.kind not in "fiu":
        np.copyto(out, np.where(condition, a, b))
        return
    mask = np.empty(out.shape, integers)
    np.copyto(mask, np.asarray(condition, bool).view(np.int8))
    np.negative(mask, out=mask)
    x, y, bits = np.asarray(a, out.dtype).view(integers), np.asarray(b, out.dtype).view(integers), out.view(integers)
    if y.ndim == 0 and y == 0:
        np.bitwise_and(x, mask, out=bits)
    else:
        np.bitwise_xor(x, y, out=bits)
        np.bitwise_and(bits, mask, out=bits)
        np.bitwise_xor(bits, y, out=bits)


# ------------------------------------------------------------ running it with NumPy


def link(
    bound: Bound, outs: Sequence[np.ndarray], ins: Sequence[np.ndarray], sums: Sequence[int] = (0,)
) -> Callable[[], Any]:
    """A function that writes the program's values into `outs`; operands broadcast. Temporaries are as long as one block.

    `sums` tells for each result how many leading axes of the operands' common shape are summed away.
    """
    first, direct = bound.calls[0], not any(sums)
    if len(bound.calls) == len(outs) == 1 and direct and first.function != "where":
        values = (*ins, *bound.numbers)
        return partial(numpy_function(first.function), *(values[i] for i in first.args), out=outs[0])
    shape = outs[0].shape if direct else np.broadcast_shapes(*(a.shape for a in ins))
    if direct and all(a.shape == shape and a.flags.c_contiguous for a in (*outs, *ins)):
        outs, ins, shape = [a.reshape(-1) for a in outs], [a.reshape(-1) for a in ins], (math.prod(shape),)
    else:
        ins = [np.broadcast_to(a, shape) for a in ins]
    return partial(_run_blocks, bound, shape, tuple(outs), ins, tuple(sums))


def _run_blocks(bound: Bound, shape: tuple[int, ...], outs: Sequence[np.ndarray], ins: Sequence[np.ndarray], sums: tuple[int, ...]) -> None:
    limit = block_length(bound.itemsize)
    buffers = [np.empty(min(math.prod(shape), limit) * bound.itemsize, np.uint8) for _ in range(bound.slots)]
    loop = [(_function(c), c) for c in bound.calls]
    first = len(ins) + len(bound.numbers)
    for out, count in zip(outs, sums, strict=True):
        if count:
            out[...] = 0
    for index in blocks(shape, limit):
        # an index on a result that is summed never reaches further than the axes it has left
        results = [out[index] if not count else None for out, count in zip(outs, sums, strict=True)]
        part = _part_shape(shape, index)
        values: list[Any] = [*(a[index] for a in ins), *bound.numbers]
        for function, call in loop:
            target = results[-1 - call.slot] if call.slot < 0 else _temporary(buffers[call.slot], part, call.dtype)
            function(*[values[i] for i in call.args], out=target)
            values.append(target)
        for i, value in enumerate(bound.results):
            if sums[i]:
                _add_sum(outs[i], index, values[value], sums[i])
            elif bound.calls[value - first].slot != -1 - i:
                np.copyto(results[i], values[value])  # type: ignore[arg-type]


def _function(call: Call) -> Callable[..., Any]:
    return _where if call.function == "where" else numpy_function(call.function)


def _part_shape(shape: tuple[int, ...], index: tuple[slice | int, ...]) -> tuple[int, ...]:
    """The shape of array[index]; a slice stands last."""
    if not index or not isinstance(index[-1], slice):
        return shape[len(index) :]
    return (len(range(*index[-1].indices(shape[len(index) - 1]))), *shape[len(index) :])


def _temporary(buffer: np.ndarray, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    kind = np.dtype(dtype)
    return buffer[: math.prod(shape) * kind.itemsize].view(kind).reshape(shape)


def _add_sum(out: np.ndarray, index: tuple[slice | int, ...], value: np.ndarray, count: int) -> None:
    """Add the sum over the first `count` axes of the whole; those that `index` took by number are gone from the block."""
    gone = sum(isinstance(i, int) for i in index)
    target = out[index[count:]] if index[count:] else out
    target += value.sum(axis=tuple(range(max(0, count - gone))))


def evaluate(bound: Bound, out: np.ndarray, ins: Sequence[np.ndarray]) -> None:
    """Write an expression's value into `out`; operands broadcast."""
    link(bound, (out,), ins)()


def numbers_of(attrs: Mapping[str, Any], names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """The operands that are numbers: attributes with an operand's name."""
    return tuple((name, attrs[name]) for name in names if name in attrs)
