"""The public face, by subject: every name of `oflow.__all__` with its docstring."""

from __future__ import annotations

import inspect
from types import FunctionType, ModuleType
from typing import Any

from make_operators import arguments, what

import oflow as of
from _ext.docstrings import escaped
from _ext.markdown import fence, first_sentence
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
    return documented(f"oflow.{name}", thing)


def documented(path: str, thing: Any) -> str:
    """A directive for a class, an exception, a function or a value."""
    if inspect.isclass(thing):
        kind = "autoexception" if issubclass(thing, Exception) else "autoclass"
        return rst(f".. {kind}:: {path}\n" + "   :members:\n" * (kind == "autoclass"))
    if inspect.isroutine(thing):
        return rst(f".. autofunction:: {path}\n")
    home, _, name = path.rpartition(".")
    doc = "" if type(thing).__module__ == "builtins" else first_sentence(inspect.getdoc(thing) or "")
    return rst(f".. py:data:: {name}\n   :module: {home}\n\n   {escaped(doc)}\n")


def words(thing: Any) -> str:
    """An expression as code, or the whole docstring's first paragraph."""
    if isinstance(thing, Op):
        return escaped(what(thing)).replace("`", "``")
    return escaped(" ".join((inspect.getdoc(thing) or what(thing)).split("\n\n")[0].split()))


def module(name: str, thing: ModuleType) -> str:
    """A module's own words and its public names, without those that the package itself has."""
    public = getattr(thing, "__all__", None) or own_names(thing)
    known = {id(getattr(of, one)) for one in of.__all__}
    made = [documented(f"oflow.{name}.{one}", getattr(thing, one)) for one in public if id(getattr(thing, one)) not in known]
    return f"\n### of.{name}\n{fence(inspect.getdoc(thing) or '')}{''.join(made)}"


def own_names(thing: ModuleType) -> list[str]:
    """Public names that a module without `__all__` defines itself."""
    return [name for name, one in vars(thing).items() if not name.startswith("_") and getattr(one, "__module__", "") == thing.__name__]


def rst(text: str) -> str:
    return f"\n```{{eval-rst}}\n{text}```\n"
