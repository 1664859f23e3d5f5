"""The public face, by subject: every name of `oflow.__all__` with its docstring."""

from __future__ import annotations

import inspect
from types import FunctionType, ModuleType
from typing import Any

from make_operators import arguments, what

import oflow as of
from _ext.docstrings import escaped
from _ext.markdown import fence, table
from oflow import ops
from oflow.ops import Op

SUBJECTS: dict[str, tuple[str, ...]] = {
    "Programs": ("compile", "Program", "Progress", "spec", "Spec", "load", "tap", "recompute", "Precision", "LossScale"),
    "Layouts": ("placement", "Placement", "S", "B", "P", "Layout", "sbp"),
    "Models": ("nn", "optim", "data"),
    "Pipelines": ("stage", "Schedule", "Action", "Times", "Replay", "choose_schedule", "chunk_placements"),
    "Graphs, plans, traces": ("Graph", "Plan", "Trace", "pack", "view"),
    "Machines": ("preset", "Machine", "Device", "Link"),
    "Operators of your own": ("op", "Op", "Example", "Shards", "REGISTRY", "Tensor"),
    "Constants": ("constant", "full", "zeros", "ones", "arange", "linspace", "eye", "identity", "tri"),
}
"""Errors and the functions on tensors follow by themselves."""


def errors() -> tuple[str, ...]:
    return tuple(sorted(name for name in of.__all__ if inspect.isclass(getattr(of, name)) and issubclass(getattr(of, name), Exception)))


def functions() -> tuple[str, ...]:
    """On tensors: what the operators' room exports and no subject has."""
    placed = {name for names in SUBJECTS.values() for name in names}
    return tuple(sorted(set(ops.__all__) - placed))


def page() -> str:
    made = [f"\n## {subject}\n\n{''.join(entry(name) for name in names)}" for subject, names in SUBJECTS.items()]
    made.append(f"\n## Errors\n\n{''.join(entry(name) for name in errors())}")
    made.append(f"\n## Functions on tensors\n\n{''.join(entry(name) for name in functions())}")
    return "".join(made)


def entry(name: str) -> str:
    """A directive for a name of the package."""
    thing = getattr(of, name)
    if isinstance(thing, ModuleType):
        return module(name, thing)
    if isinstance(thing, Op) or (isinstance(thing, FunctionType) and name in ops.__all__):
        return rst(f".. py:function:: {name}({arguments(thing)})\n   :module: oflow\n\n   {words(thing)}\n")
    if inspect.isclass(thing):
        kind = "autoexception" if issubclass(thing, Exception) else "autoclass"
        members = "" if issubclass(thing, Exception) else "\n   :members:"
        return rst(f".. {kind}:: oflow.{name}{members}\n")
    if callable(thing) and inspect.isroutine(thing):
        return rst(f".. autofunction:: oflow.{name}\n")
    return rst(f".. py:data:: {name}\n   :module: oflow\n\n   {escaped(' '.join((inspect.getdoc(thing) or '').split('. ')[0].split()))}.\n")


def words(thing: Any) -> str:
    """An expression as code, or the whole docstring's first paragraph."""
    if isinstance(thing, Op):
        return escaped(what(thing)).replace("`", "``")
    return escaped(" ".join((inspect.getdoc(thing) or what(thing)).split("\n\n")[0].split()))


def module(name: str, thing: ModuleType) -> str:
    """A module's own words and its public names."""
    doc = inspect.getdoc(thing) or ""
    head = f"\n### of.{name}\n" + fence(doc)
    public = getattr(thing, "__all__", None) or own_names(thing)
    rows = [row(name, one, getattr(thing, one)) for one in public]
    return head + "\n" + table(("name", "what it is"), rows)


def own_names(thing: ModuleType) -> list[str]:
    """Public names that a module without `__all__` defines itself."""
    return [name for name, one in vars(thing).items() if not name.startswith("_") and getattr(one, "__module__", "") == thing.__name__]


def row(home: str, name: str, thing: Any) -> tuple[str, str]:
    if callable(thing):
        given = str(inspect.signature(thing).replace(return_annotation=inspect.Signature.empty)) if has_signature(thing) else "(...)"
        given = short(thing) if len(given) > 60 else given
    else:
        given = ""
    first = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return f"`{name}{given}`", first


def has_signature(thing: Any) -> bool:
    try:
        inspect.signature(thing)
    except (TypeError, ValueError):
        return False
    return True


def short(thing: Any) -> str:
    """A signature without annotations."""
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in inspect.signature(thing).parameters.values()]
    return str(inspect.Signature(parameters))


def rst(text: str) -> str:
    return f"\n```{{eval-rst}}\n{text}```\n"
