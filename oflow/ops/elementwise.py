"""Elementwise operators: a name, one scalar expression, and a gradient expression for each operand.

    mul = elementwise("mul", "a * b", grad={"a": "g * b", "b": "g * a"}, linear=[{0}, {1}])

Broadcasting follows NumPy. A Python number given for an operand becomes an attribute with the operand's name, of the tensors'
dtype. Gradient operators are made from their expressions, so every one of them is in the registry and under the generic test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from oflow.errors import ShapeError, TraceError
from oflow.machine import Cost
from oflow.ops.blocks import loop_work
from oflow.ops.expression import bind, evaluate, link, numbers_of, parse_expression
from oflow.ops.half import growth, narrow, wide
from oflow.ops.linearity import linear_sets
from oflow.ops.op import ANY, SINGLE, Attributes, Example, Op, Types
from oflow.ops.tensor import Tensor, user_line
from oflow.sbp import Partials
from oflow.types import FLOATS

Groups = Iterable[Iterable[int]]
Sets = tuple[frozenset[int], ...]
LARGE = 1e4
"""What results are let grow to in 16 bits, float16's largest number being 65504."""
_WHOLE = ("int64", "int32", "uint8")
_WRAPS = {"add", "subtract", "multiply", "negative", "square", "left_shift"}
"""Steps that are not monotone on whole numbers: the smallest one, which stands for "no candidate" of a maximum, wraps around."""


class Elementwise(Op):
    """An operator made from a scalar expression over `operands`; `masks` are the operands that are bool."""

    def __init__(
        self, name: str, expr: str, *, operands: Sequence[str], linear: Groups, monotone: Groups, antitone: Groups,
        also: Iterable[str], rises: Mapping[str, str], falls: Mapping[str, str], floats: bool, whole: bool, masks: Sequence[str],
        domain: tuple[float, float], tolerance: float,
    ) -> None:  # fmt: skip
        self.expr = expr
        self.operands = tuple(operands)
        self.masks = frozenset(masks)
        self.floats = floats
        self.whole = whole
        self.rises, self.falls = dict(rises), dict(falls)
        parsed = parse_expression(expr)
        super().__init__(
            name, rule=broadcast_rule, dtype=self._result_dtype, linear=linear, monotone=monotone, antitone=antitone,
            also=also, exact=parsed.exact, example=partial(_examples, self, domain, tolerance),
        )  # fmt: skip
        self.half = SINGLE if whole else _half(expr, self.operands, self.masks)
        self.gradients: dict[str, str | Elementwise | None] = {}
        self.kernel(self._run)
        self.linked(self._link)
        self.cost(self._work)

    def present(self, attrs: Attributes) -> tuple[str, ...]:
        """The operands that are tensors, not numbers."""
        return tuple(name for name in self.operands if name not in attrs)

    def partials_of(self, attrs: Attributes) -> Partials:
        """A set of operands with a number in it may not be partial, unless that number is 0: it would be added once a device."""
        present = self.present(attrs)
        if len(present) == len(self.operands):
            return self.partials
        place = {self.operands.index(name): i for i, name in enumerate(present)}
        zeros = {i for i, name in enumerate(self.operands) if attrs.get(name) == 0}

        def kept(groups: Sets, left_out: set[int]) -> Sets:
            found = (group - left_out for group in groups if group <= place.keys() | left_out)
            return tuple(frozenset(place[i] for i in group) for group in found if group)

        def directed(pairs: Mapping[str, str], sign: int) -> Sets:
            fitting = (a for a, b in pairs.items() if a in present and math.inf > sign * attrs.get(b, 0) > 0)
            return tuple(frozenset({present.index(a)}) for a in fitting)

        rising = kept(self.partials.monotone, set()) + directed(self.rises, 1)
        falling = kept(self.partials.antitone, set()) + directed(self.falls, -1)
        return Partials(kept(self.partials.linear, zeros), rising, falling)

    def partials_on(self, ins: Types, attrs: Attributes) -> Partials:
        """Sums and products of whole numbers wrap around, so they are not monotone."""
        found = self.partials_of(attrs)
        wraps = any(step.function in _WRAPS for step in parse_expression(self.expr).steps)
        return Partials(found.linear) if wraps and any(t.dtype in _WHOLE for t in ins) else found

    def _result_dtype(self, ins: Types, attrs: Attributes) -> Sequence[str]:
        present = self.present(attrs)
        for name, t in zip(present, ins, strict=True):
            if name in self.masks and t.dtype != "bool":
                raise ShapeError(f"operand {name} is a condition, of dtype bool, and got {t.dtype}; compare it, as in t > 0")
        names = dict.fromkeys(t.dtype for name, t in zip(present, ins, strict=True) if name not in self.masks)
        if len(names) > 1:
            raise ShapeError(f"dtypes {' and '.join(names)} differ and oflow does not promote; convert one with of.cast(t, dtype)")
        if self.floats and any(n not in FLOATS for n in names):
            raise ShapeError(f"{self.name} needs a float dtype, got {next(iter(names))}; convert with of.cast(t, 'float32')")
        if self.whole and not names.keys() <= {*_WHOLE, "bool"}:
            raise ShapeError(f"{self.name} needs a whole-number or bool dtype, got {next(iter(names))}; convert with of.cast(t, 'int64')")
        if attrs and next(iter(names), "bool") in _WHOLE:
            wrong = [v for _, v in numbers_of(attrs, self.operands) if v != int(v)]
            if wrong:
                raise ShapeError(f"{wrong[0]} is not a whole number; convert the tensor with of.cast(t, 'float32')")
        bound = bind(self.expr, present, tuple(t.dtype for t in wide(ins)), numbers_of(attrs, self.operands))
        return narrow(bound.dtypes[:1], ins)

    def _run(self, out: np.ndarray, *ins: np.ndarray, **attrs: Any) -> None:
        self._link(out, *ins, **attrs)()

    def _link(self, out: np.ndarray, *ins: np.ndarray, **attrs: Any) -> Callable[[], Any]:
        bound = bind(self.expr, self.present(attrs), tuple(a.dtype.name for a in ins), numbers_of(attrs, self.operands))
        return link(bound, (out,), ins)

    def _work(self, ins: Types, outs: Types, attrs: Attributes) -> Cost:
        steps = parse_expression(self.expr).steps
        nbytes, flops = float(sum(t.nbytes for t in (*ins, *outs))), float(outs[0].size * len(steps))
        return Cost(flops, nbytes, 1, works=(loop_work(self.name, outs[0].shape, (*outs, *ins), [s.function for s in steps]),))

    def __call__(self, *operands: Tensor | float, **attrs: Any) -> Any:
        """Append a node; Python numbers become attributes."""
        if len(operands) != len(self.operands):
            raise TraceError(f"{self.name} takes {len(self.operands)} operands, got {len(operands)}", line=user_line())
        pairs = list(zip(self.operands, operands, strict=True))
        numbers = {name: _number(v) for name, v in pairs if isinstance(v, int | float | np.number | np.bool_)}
        tensors = [v for name, v in pairs if name not in numbers]
        wrong = [v for v in tensors if not isinstance(v, Tensor)]
        if wrong or not tensors:
            got = type(wrong[0]).__name__ if wrong else "numbers only"
            raise TraceError(f"{self.name} takes tensors and numbers, got {got}; pass arrays as inputs of the program", line=user_line())
        return self.append([t for t in tensors if isinstance(t, Tensor)], {**attrs, **numbers})


def _half(expr: str, operands: tuple[str, ...], masks: frozenset[str]) -> str:
    """An operator works in 16 bits where its operands have them, unless moderate numbers give results that float16 cannot hold."""

    def values(*arrays: np.ndarray) -> np.ndarray:
        ins = [array > 0 if name in masks else array for name, array in zip(operands, arrays, strict=True)]
        bound = bind(expr, operands, tuple(array.dtype.name for array in ins))
        out = np.empty(arrays[0].shape, bound.dtypes[0])
        evaluate(bound, out, ins)
        return out

    return ANY if growth(values, len(operands)) <= LARGE else SINGLE


def _number(value: Any) -> int | float | bool:
    return value if isinstance(value, bool | int | float) else value.item()


def broadcast_rule(ins: Types, attrs: Attributes) -> str:
    """One factor an axis of the result, counted from the right; `1` where an operand is repeated."""
    ndim = max((len(t.shape) for t in ins), default=0)
    shapes = [(1,) * (ndim - len(t.shape)) + t.shape for t in ins]
    sizes = [next((n for n in axis if n != 1), 1) for axis in zip(*shapes, strict=True)]
    for shape, t in zip(shapes, ins, strict=True):
        if any(n not in (1, size) for n, size in zip(shape, sizes, strict=True)):
            raise ShapeError(f"shape {t.shape} does not broadcast with {' and '.join(str(o.shape) for o in ins if o is not t)}")
    words = [
        [f"i{ndim - axis}" if n != 1 else "1" for axis, n in enumerate(shape)][ndim - len(t.shape) :]
        for shape, t in zip(shapes, ins, strict=True)
    ]
    result = [f"i{ndim - axis}" if size != 1 else "1" for axis, size in enumerate(sizes)]
    return f"{', '.join(' '.join(w) for w in words)} -> {' '.join(result)}"


def sum_to(t: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum the axes along which `shape` was broadcast to t's shape."""
    from oflow.ops.reduce import sum as sum_axes

    extra = t.ndim - len(shape)
    repeated = tuple(extra + i for i, n in enumerate(shape) if n == 1 and t.shape[extra + i] != 1)
    if repeated:
        t = sum_axes(t, axis=repeated, keepdims=True)
    return sum_axes(t, axis=tuple(range(extra))) if extra else t


def _gradient(op: Elementwise, g: Tensor, y: Tensor, *tensors: Tensor, **attrs: Any) -> list[Tensor | None]:
    values: dict[str, Any] = {"g": g, "y": y, **attrs, **dict(zip(op.present(attrs), tensors, strict=True))}
    found: list[Tensor | None] = []
    for name, tensor in zip(op.present(attrs), tensors, strict=True):
        rule = op.gradients.get(name)
        if rule is None or not tensor.type.is_float:
            found.append(None)
            continue
        cotangent = g if isinstance(rule, str) else rule(*(values[operand] for operand in rule.operands))
        found.append(sum_to(cotangent, tensor.shape))
    return found


def elementwise(
    name: str,
    expr: str,
    *,
    operands: str = "a",
    grad: Mapping[str, str] | None = None,
    linear: Groups = (),
    monotone: Groups = (),
    antitone: Groups = (),
    also: Iterable[str] = (),
    rises: Mapping[str, str] | None = None,
    falls: Mapping[str, str] | None = None,
    floats: bool = False,
    whole: bool = False,
    masks: str = "",
    domain: tuple[float, float] = (-4, 4),
    tolerance: float = 1e-5,
) -> Elementwise:
    """Declare an elementwise operator.

    expr      a scalar expression over `operands` (names in the order they are passed)
    grad      for each differentiable operand an expression over g (the result's cotangent), y (the result) and operands
    linear    operand sets that may arrive as P(sum); monotone: non-decreasing in them, so P(max) and P(min) pass
    antitone  non-increasing in them, so P(max) becomes P(min); also: further signatures, as text
    rises     {operand: other}: monotone in an operand where the other is a positive number; falls: antitone where it is negative
    floats    whether it refuses whole-number dtypes; whole: whether it refuses floats; masks: the operands that are bool
    domain    where the example's numbers are drawn from; tolerance: declared relative error if it is not exact

    Exact is every expression without rounding functions. Raises TraceError for an expression that does not parse.
    """
    made = Elementwise(
        name, expr, operands=operands.split(), linear=linear, monotone=monotone, antitone=antitone, also=also,
        rises=rises or {}, falls=falls or {}, floats=floats, whole=whole, masks=masks.split(), domain=domain, tolerance=tolerance,
    )  # fmt: skip
    for operand, rule in (grad or {}).items():
        if rule == "g":
            made.gradients[operand] = rule
            continue
        reads = parse_expression(rule).operands
        made.gradients[operand] = Elementwise(
            f"{name}_grad_{operand}", rule, operands=reads, linear=linear_sets(rule, reads), monotone=(),
            antitone=(), also=(), rises={}, falls={}, floats=False, whole=False, masks=[m for m in masks.split() if m in reads],
            domain=domain, tolerance=tolerance,
        )  # fmt: skip
    if grad:
        made.grad(partial(_gradient, made))
    return made


# ------------------------------------------------------------ examples


def _examples(op: Elementwise, domain: tuple[float, float], tolerance: float) -> list[Example]:
    count = len(op.operands)
    dtype = "int64" if op.whole else "float64" if op.exact else "float32"
    draw = np.random.default_rng(len(op.name))

    def numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name in op.masks:
            return draw.integers(0, 2, shape).astype(bool)
        low, high = domain
        found = draw.integers(int(low), int(high) + 1, shape) if op.exact else draw.uniform(low, high, shape)
        return np.asarray(found, dtype=dtype)

    shapes: list[tuple[tuple[int, ...], ...]] = [((5, 6),) * count, ((2,),) * count]
    if count > 1:
        shapes += [((5, 1), *((1, 6),) * (count - 1)), ((6,), *((5, 6),) * (count - 1)), ((5, 6), *((),) * (count - 1))]
    found = [Example(tuple(map(numbers, op.operands, chosen)), tolerance=tolerance) for chosen in shapes]
    for name in _number_operands(op) if count > 1 else ():
        for value in _numbers_for(op, name, domain):
            tensors = tuple(numbers(n, (5, 6)) for n in op.operands if n != name)
            found.append(Example(tensors, {name: value}, tolerance=tolerance))
    return found


def _number_operands(op: Elementwise) -> list[str]:
    """The operands that examples give as a number: of a gradient's only the last, where it is an operand of the operator's own."""
    if "g" in op.operands or "y" in op.operands:
        return [name for name in op.operands[-1:] if name not in (*op.masks, "g", "y")]
    return [name for name in op.operands if name not in op.masks]


def _numbers_for(op: Elementwise, name: str, domain: tuple[float, float]) -> list[float]:
    """Numbers inside the domain, a negative one and 0 too where they change what may be partial."""
    high = int(domain[1])
    found: list[float] = [high]
    if domain[0] < 0 or name in {*op.rises.values(), *op.falls.values()}:
        found.append(-high)
    together = any(len(group) > 1 and op.operands.index(name) in group for group in op.partials.linear)
    return [float(n) if not op.whole else n for n in (*found, *([0] if together and domain[0] <= 0 else []))]
