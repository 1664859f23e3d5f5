"""operators.md from the registry: what users call, and what each operator may do to layouts.

    python docs/make_operators.py            writes docs/operators.md
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

from _ext.markdown import first_sentence, table

from oflow import ops
from oflow.ops import REGISTRY, Op
from oflow.types import TensorType

FILE = Path(__file__).parent / "operators.md"
PARTS = 2
"""Devices along the one mesh axis whose signatures are listed."""
NOT_CALLED = {"elementwise", "fused_attrs", "missed_signatures", "op", "prove_signatures"}
"""Exported names that declare operators or examine them."""
HEAD = """# Operators

Made from the registry by `python docs/make_operators.py`; a test keeps it up to date. Names, arguments and broadcasting are NumPy's
where NumPy has the function. The first table is what users call and which operators that may become, the others are the operators.

A rule names the factors of operands and results: a factor that is split gives S where it appears and P where it is summed away; `k!`
must stay whole, `1` is an axis that no factor covers. The signatures are those on one mesh axis of {parts} devices for the operator's
first example, all-B left out; on a mesh of several axes every axis takes one. Exact operators give the same bits in every layout on
whole numbers; the others state the relative error that the generic test allows. Without gradient: nothing flows back.
"""


def page() -> str:
    calls = users()
    made_of = {name: reached(function) for name, function in calls.items()}
    rows = [(op, callers(op, calls, made_of)) for _, op in sorted(REGISTRY.items())]
    head = ("operator", "called by", "rule", "signatures", "result", "gradient")
    called = [operator_row(op, names) for op, names in rows if names]
    others = [operator_row(op, names) for op, names in rows if not names]
    return "".join((
        HEAD.format(parts=PARTS),
        f"\n## What users call: {len(calls)} functions\n\n",
        table(("function", "what it does", "operators"), [call_row(name, calls[name], found) for name, found in made_of.items()]),
        f"\n## The operators of calls: {len(called)} of {len(rows)} in the registry\n\n",
        table(head, called),
        f"\n## The operators that gradients, the optimizer and the compiler make: {len(others)}\n\n",
        table(tuple(name for name in head if name != "called by"), [(row[0], *row[2:]) for row in others]),
    ))  # fmt: skip


# ------------------------------------------------------------ what users call


def users() -> dict[str, Callable[..., Any]]:
    """Every exported function on tensors, by name."""
    found = {name: getattr(ops, name) for name in sorted(ops.__all__) if name not in NOT_CALLED}
    return {name: thing for name, thing in found.items() if isinstance(thing, Op | FunctionType)}


def call_row(name: str, function: Callable[..., Any], found: set[str]) -> tuple[str, str, str]:
    made_of = sorted(found)
    shown = ", ".join(f"`{one}`" for one in made_of[:8]) + (", ..." if len(made_of) > 8 else "")
    return f"`{name}({arguments(function)})`", what(function), shown


def arguments(function: Callable[..., Any]) -> str:
    if isinstance(function, Op):
        return ", ".join(getattr(function, "operands", None) or operand_names(function))
    parameters = inspect.signature(function).parameters.values()
    return str(inspect.Signature([p.replace(annotation=inspect.Parameter.empty) for p in parameters]))[1:-1]


def operand_names(op: Op) -> list[str]:
    """As the kernel calls them, whose first arguments are the results."""
    if op.run is None:
        return ["t"]
    every = inspect.signature(op.run).parameters.values()
    parameters = [p for p in every if p.kind in (p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    count = len(op.example()[0].operands)
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return [str(p).partition(":")[0] for p in (parameters if op.inplace else parameters[1:])]
    return [p.name for p in parameters[-count:]]


def what(function: Callable[..., Any]) -> str:
    """The expression of an elementwise operator, else the first sentence of the docstring (or of the module's)."""
    expression = getattr(function, "expr", "")
    if expression:
        return f"`{expression}`"
    doc = "" if isinstance(function, Op) else inspect.getdoc(function) or ""
    if not doc:
        home = function.run if isinstance(function, Op) else function
        doc = inspect.getdoc(inspect.getmodule(home)) or ""
    return first_sentence(doc)


def reached(function: Any, seen: frozenset[str] = frozenset()) -> set[str]:
    """Names of the operators that a function of the operators' room calls, directly or through others there."""
    if isinstance(function, Op):
        return {function.name}
    if not isinstance(function, FunctionType) or not function.__module__.startswith(ops.__name__) or function.__qualname__ in seen:
        return set()
    inside = seen | {function.__qualname__}
    return set().union(*(reached(one, inside) for one in named_in(function.__code__, function.__globals__)))


def named_in(code: Any, known: dict[str, Any]) -> Iterator[Any]:
    """What code, or a function inside it, loads by a global name or imports."""
    for line in dis.get_instructions(code):
        if line.opname == "LOAD_GLOBAL":
            yield known.get(line.argval)
        elif line.opname == "IMPORT_FROM":
            yield getattr(ops, line.argval, None)
        elif inspect.iscode(line.argval):
            yield from named_in(line.argval, known)


def callers(op: Op, calls: dict[str, Callable[..., Any]], made_of: dict[str, set[str]]) -> list[str]:
    """The functions whose operator this is: itself, or those of its own module that call it, or a few others."""
    users = [name for name, found in made_of.items() if op.name in found]
    own = [name for name in users if calls[name] is op]
    near = [name for name in users if op.run is not None and calls_from(calls[name]) == op.run.__module__]
    return own or near or users[:3]


def calls_from(function: Callable[..., Any]) -> str:
    return function.__module__ if isinstance(function, FunctionType) else ""


# ------------------------------------------------------------ the registry


def operator_row(op: Op, called_by: Sequence[str]) -> tuple[str, ...]:
    example = op.example()[0]
    types = tuple(TensorType(x.shape, x.dtype.name) for x in example.operands)
    rule = op._rule if isinstance(op._rule, str) else op._rule(types, example.attrs)
    found = [str(one) for one in op.signatures(types, example.attrs, PARTS)[1:]]
    signatures = " · ".join(f"`{one.replace(' ', '')}`" for one in found) or "all B"
    result = "exact" if op.exact else f"{example.tolerance:.0e}"
    shown = ", ".join(f"`{name}`" for name in called_by)
    return f"`{op.name}`", shown, f"`{rule.strip()}`", signatures, result, "yes" if op.gradient else "no"


def main(words: Sequence[str]) -> int:
    """Write the page; with --check only say whether it is up to date."""
    made = page()
    if "--check" in words:
        return int(FILE.read_text(encoding="utf-8") != made)
    FILE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
