"""Source of elementwise kernels: a bound program and the broadcast pattern of its arrays -> text that defines kernel(block).

    for i0 in range(n0):                   # up to four outer loops, steps from the block
        v1 = load1(p1, 0)                  # repeated along the innermost axis: read once
        for j in range(m):
            v0 = load0(p0, j)
            t0 = v0 + v1
            store2(p2, j, t0)

Shapes, steps and numbers that come from attributes are words of the block, so one kernel serves all of their values. Results
that are summed over leading axes add up in the order of the rows; results summed over all axes add up in blocks, several
sums at a time (the compiler's vectors), block after block in float64 or int64: the order depends on the shape alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from oflow.ops.expression import Bound, Call

OUTER_LOOPS = 4
SUM_BLOCK = 4096
"""Elements that are added in the dtype of the result before their sum goes into the total."""
_FLOATS = ("float32", "float64")
_SOURCES = ("angles", "memory", "number", "powers", "scalar")


@dataclass(frozen=True, slots=True)
class Array:
    """An array of a kernel: its dtype, whether it repeats along the innermost axis, and how a result is kept."""

    dtype: str
    repeats: bool
    summed: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What the text depends on beside the program. Results come first among the arrays, then operands.

    shared: (result, operand) pairs that are one memory; accumulate: results add to what is there.
    """

    arrays: tuple[Array, ...]
    outer: int
    shared: tuple[tuple[int, int], ...] = ()
    accumulate: bool = False


def kernel_text(bound: Bound, layout: Layout) -> str | None:
    """The kernel's source, or None where the program has a step that only NumPy has (whole-number powers, //, %).

    Block: size of the innermost axis; sizes of the outer axes; for each array its address, then its steps in bytes along the
    outer axes; for each summed result its size in elements; the numbers that are not literals, floats as float64 bits.
    """
    if layout.outer > OUTER_LOOPS:
        return None
    steps = _Steps(bound, layout)
    lines = [steps.line(call) for call in bound.calls]
    if None in lines:
        return None
    return _Text(bound, layout, steps, [str(line) for line in lines]).text()


@cache
def _sources() -> str:
    """A hash of the modules that kernels import, so that their changes rebuild every kernel."""
    found = hashlib.sha256()
    for name in _SOURCES:
        found.update((Path(__file__).parent / "kernels" / f"{name}.py").read_bytes())
    return found.hexdigest()[:16]


# ---------------------------------------------------------------- steps


def _loop_dtypes(function: str, args: Sequence[str], result: str) -> tuple[str, ...]:
    """The dtypes to which NumPy converts the arguments."""
    if function == "where":
        return ("bool", result, result)
    if function == "erf":
        return (result,)
    found = getattr(np, function).resolve_dtypes((*map(np.dtype, args), None))
    return tuple(d.name for d in found[: len(args)])


_COMPARISONS = {"greater": ">", "greater_equal": ">=", "less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!="}
_LOGIC = {
    "logical_and": "{0} & {1}", "logical_or": "{0} | {1}", "logical_not": "{0} ^ True", "add": "{0} | {1}", "maximum": "{0} | {1}",
    "multiply": "{0} & {1}", "minimum": "{0} & {1}", "absolute": "{0}", "bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}",
    "bitwise_xor": "{0} != {1}", "invert": "{0} ^ True",
}  # fmt: skip
"""Steps on operands that are all bool."""
_ANY = {
    "add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}", "negative": "-{0}", "square": "{0} * {0}",
    "positive": "{0}",
}  # fmt: skip
_FLOAT = {
    "sqrt": "root({0})", "absolute": "magnitude({0})", "floor": "round_down({0})",
    "sign": "({T}(1) if {0} > {T}(0) else {T}(-1) if {0} < {T}(0) else {0})", "ceil": "-round_down(-{0})", "rint": "nearest({0})",
    "trunc": "(round_down({0}) if {0} > {T}(0) else -round_down(-{0}))", "isnan": "{0} != {0}",
    "isinf": "magnitude({0}) == {T}(np.inf)", "isfinite": "magnitude({0}) < {T}(np.inf)",
}  # fmt: skip
_WHOLE = {
    "absolute": "({T}(-{0}) if {0} < {T}(0) else {0})", "floor": "{0}", "ceil": "{0}", "trunc": "{0}",
    "sign": "{T}(({0} > {T}(0)) - ({0} < {T}(0)))", "isnan": "{0} != {0}", "isinf": "{0} != {0}", "isfinite": "{0} == {0}",
    "bitwise_and": "{T}({0} & {1})", "bitwise_or": "{T}({0} | {1})", "bitwise_xor": "{T}({0} ^ {1})", "invert": "{T}(~{0})",
}  # fmt: skip
_FUNCTIONS = {
    "exp": "scalar.exp", "log": "scalar.log", "tanh": "scalar.tanh", "expm1": "scalar.expm1", "log1p": "scalar.log1p",
    "erf": "scalar.erf", "sin": "angles.sin", "cos": "angles.cos",
    "power": "powers.power", "true_divide": "scalar.divide",
}  # fmt: skip
"""Where the functions of one element are."""


@dataclass(slots=True)
class _Steps:
    """Writes one line a step; `functions` defines the functions that the lines call."""

    bound: Bound
    layout: Layout
    functions: dict[str, str] = field(default_factory=dict)

    def dtype(self, value: int) -> str:
        operands, numbers = len(self.bound.operands), len(self.bound.numbers)
        if value < operands:
            return self.bound.operands[value]
        if value < operands + numbers:
            return str(np.dtype(type(self.bound.numbers[value - operands])).name)
        return self.bound.calls[value - operands - numbers].dtype

    def line(self, call: Call) -> str | None:
        wanted = _loop_dtypes(call.function, [self.dtype(a) for a in call.args], call.dtype)
        args = [self._cast(a, dtype) for a, dtype in zip(call.args, wanted, strict=True)]
        made = self._value(call, args, wanted)
        return None if made is None else f"v{call.result} = {made}"

    def _cast(self, value: int, dtype: str) -> str:
        found = self.dtype(value)
        if found == dtype:
            return f"v{value}"
        return f"(v{value} != np.{found}(0))" if dtype == "bool" else f"np.{dtype}(v{value})"

    def _value(self, call: Call, args: list[str], dtypes: tuple[str, ...]) -> str | None:
        name, dtype = call.function, dtypes[-1]
        cast = f"np.{dtype}"
        if name == "where":
            return "({1} if {0} else {2})".format(*args)
        if name in _COMPARISONS:
            return f"{args[0]} {_COMPARISONS[name]} {args[1]}"
        if dtype == "bool":
            return _LOGIC[name].format(*args) if name in _LOGIC else None
        if name in ("minimum", "maximum"):
            return self._extreme(call, args, "<" if name == "maximum" else ">")
        if name in _ANY:
            made = _ANY[name].format(*args)
            return made if dtype in _FLOATS else f"{cast}({made})"
        table = _FLOAT if dtype in _FLOATS else _WHOLE
        if name in table:
            return table[name].format(*args, T=cast)
        return self._function(call, args, dtype)

    def _function(self, call: Call, args: list[str], dtype: str) -> str | None:
        if call.function not in _FUNCTIONS or dtype not in _FLOATS:
            return None
        if call.function == "power" and self._literal(call.args[1]) == 2:
            return f"{args[0]} * {args[0]}"
        name = f"{call.function}_{dtype}"
        self.functions[name] = f'{name} = {_FUNCTIONS[call.function]}("{dtype}")'
        return f"{name}({', '.join(args)})"

    def _extreme(self, call: Call, args: list[str], sign: str) -> str:
        """The second argument where the first is on the wrong side of it; NaN wins, and stays the first argument's by itself."""
        first, second = args
        if self._literal(call.args[0]) is not None:
            first, second = second, first
        chosen = f"({second} if {first} {sign} {second} else {first})"
        is_number = self._literal(call.args[0]) is not None or self._literal(call.args[1]) is not None
        if is_number or self.dtype(call.args[0]) not in _FLOATS:
            return chosen
        return f"({second} if {second} != {second} else {chosen})"

    def _literal(self, value: int) -> Any:
        """The number that stands in the text, or None; NaN counts as none."""
        place = value - len(self.bound.operands)
        if not 0 <= place < self.bound.literals:
            return None
        number = self.bound.numbers[place]
        return number if number == number else None


# ---------------------------------------------------------------- text


@dataclass(slots=True)
class _Text:
    """Puts the parts of a kernel together. Arrays are numbered as in the layout, values as in the program."""

    bound: Bound
    layout: Layout
    steps: _Steps
    lines: list[str]
    words: int = 0

    def text(self) -> str:
        body = self._block()
        head = self._head()
        loop = self._nest()
        inside = [*body, *self._start(), *loop, *self._finish(), "return 0"]
        return "\n".join([*head, "", "", "def kernel(block):", *("    " + line for line in inside), ""])

    # names

    @property
    def outs(self) -> int:
        return len(self.bound.results)

    def memory(self, array: int) -> int:
        """The array whose pointer is used: the result's where an operand shares its memory."""
        return next((out for out, operand in self.layout.shared if array == self.outs + operand), array)

    def totals(self) -> list[int]:
        """Results summed over all axes."""
        return [i for i in range(self.outs) if self.layout.arrays[i].repeats]

    def rows(self) -> list[int]:
        """Results summed over leading axes only."""
        return [i for i in range(self.outs) if self.layout.arrays[i].summed and not self.layout.arrays[i].repeats]

    # parts

    def _head(self) -> list[str]:
        arrays = self.layout.arrays
        used = sorted({self.memory(i) for i in range(len(arrays))})
        lines = [
            f"# {_sources()}", "import numpy as np", "from oflow.backends.compiled.kernels import angles, memory, powers, scalar",
            "from oflow.native.intrinsics import POINTERS, float64_of_bits, magnitude, nearest, root, round_down, words",
        ]  # fmt: skip
        for i in used:
            dtype = arrays[i].dtype
            lines += [f'pointer{i} = POINTERS["{dtype}"]', f'load{i} = memory.reader("{dtype}", {i}, {len(arrays)})']
            lines += [f'store{i} = memory.writer("{dtype}", {i}, {len(arrays)})'] if i < self.outs else []
        first = len(self.bound.operands)
        for i, number in enumerate(self.bound.numbers[: self.bound.literals]):
            lines.append(f"v{first + i} = {_constant(number)}")
        return lines + list(self.steps.functions.values())

    def _word(self) -> str:
        self.words += 1
        return f"q[{self.words - 1}]"

    def _block(self) -> list[str]:
        """Everything in the block, in the order that `kernel_text` tells."""
        lines = ["q = words(block)", f"m = {self._word()}", *(f"n{d} = {self._word()}" for d in range(self.layout.outer))]
        for i in range(len(self.layout.arrays)):
            lines += [f"a{i} = {self._word()}", *(f"s{i}_{d} = {self._word()}" for d in range(self.layout.outer))]
        lines += [f"size{i} = {self._word()}" for i in range(self.outs) if self.layout.arrays[i].summed]
        first = len(self.bound.operands)
        for i, number in enumerate(self.bound.numbers[self.bound.literals :], self.bound.literals):
            lines.append(f"v{first + i} = {_from_word(number, self._word())}")
        return lines

    def _start(self) -> list[str]:
        """Sums begin at zero."""
        lines = []
        for i in self.rows() if not self.layout.accumulate else []:
            dtype = self.layout.arrays[i].dtype
            lines += [f"p{i} = pointer{i}(a{i})", f"for j in range(size{i}):", f"    store{i}(p{i}, j, np.{dtype}(0))"]
        return lines + [f"total{i} = np.{_wide(self.layout.arrays[i].dtype)}(0)" for i in self.totals()]

    def _nest(self) -> list[str]:
        lines = []
        at = {i: f"a{i}" for i in range(len(self.layout.arrays)) if self.memory(i) == i and i not in self.totals()}
        for d in range(self.layout.outer):
            indent = "    " * d
            lines.append(f"{indent}for i{d} in range(n{d}):")
            for i in at:
                lines.append(f"{indent}    b{i}_{d} = {at[i]} + i{d} * s{i}_{d}")
                at[i] = f"b{i}_{d}"
        indent = "    " * self.layout.outer
        lines += [f"{indent}p{i} = pointer{i}({address})" for i, address in at.items()]
        return lines + [indent + line for line in self._row()]

    def _row(self) -> list[str]:
        """The innermost loop; cut into blocks where something is summed over all axes."""
        arrays, outs = self.layout.arrays, self.outs
        operands = range(outs, len(arrays))
        before = [self._load(i, "0") for i in operands if arrays[i].repeats]
        inner = [self._load(i, "j") for i in operands if not arrays[i].repeats]
        body = ["    " + line for line in [*inner, *self.lines, *self._stores()]]
        totals = self.totals()
        if not totals:
            return [*before, "for j in range(m):", *body]
        blocks = [f"for start in range(0, m, {SUM_BLOCK}):", f"    stop = start + {SUM_BLOCK} if start + {SUM_BLOCK} < m else m"]
        blocks += [f"    sum{i} = np.{_narrow(arrays[i].dtype)}(0)" for i in totals]
        blocks += ["    for j in range(start, stop):", *("    " + line for line in body)]
        return [*before, *blocks, *(f"    total{i} += np.{_wide(arrays[i].dtype)}(sum{i})" for i in totals)]

    def _load(self, array: int, index: str) -> str:
        memory = self.memory(array)
        return f"v{array - self.outs} = load{memory}(p{memory}, {index})"

    def _stores(self) -> list[str]:
        lines = []
        for i, (array, value) in enumerate(zip(self.layout.arrays, self.bound.results, strict=False)):
            if array.repeats:
                lines.append(f"sum{i} += v{value}")
            elif array.summed or self.layout.accumulate:
                lines.append(f"store{i}(p{i}, j, np.{array.dtype}(load{i}(p{i}, j) + v{value}))")
            else:
                lines.append(f"store{i}(p{i}, j, v{value})")
        return lines

    def _finish(self) -> list[str]:
        lines = []
        for i in self.totals():
            dtype = self.layout.arrays[i].dtype
            before = f" + load{i}(p{i}, 0)" if self.layout.accumulate else ""
            lines += [f"p{i} = pointer{i}(a{i})", f"store{i}(p{i}, 0, np.{dtype}(total{i}{before}))"]
        return lines


def _constant(number: Any) -> str:
    dtype = np.dtype(type(number)).name
    return f"np.bool_({bool(number)})" if dtype == "bool" else f'np.{dtype}("{number.item()!r}")'


def _from_word(number: Any, word: str) -> str:
    dtype = np.dtype(type(number)).name
    if dtype == "bool":
        return f"{word} != 0"
    return f"np.{dtype}(float64_of_bits({word}))" if dtype in _FLOATS else f"np.{dtype}({word})"


def _narrow(dtype: str) -> str:
    """The dtype in which the elements of a block are added."""
    return dtype if dtype in _FLOATS else "int64"


def _wide(dtype: str) -> str:
    """The dtype in which the sums of blocks are added."""
    return "float64" if dtype in _FLOATS else "int64"

