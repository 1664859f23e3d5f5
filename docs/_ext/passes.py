"""The table of passes, each with what it says of itself and what it does to a small program: before -> after."""

from __future__ import annotations

import importlib
import inspect
import re
from functools import cache

import oflow as of
from _ext import pass_examples
from _ext.markdown import changes, details, fence, first_sentence
from _ext.pass_examples import EXAMPLES
from oflow.compiler import PASSES
from oflow.errors import OflowError
from oflow.graph import Graph
from oflow.plan import Plan

AROUND = 0
"""Equal lines that are shown beside a changed one."""


def sections() -> str:
    return "".join(section(name) for name in PASSES) + programs()


def section(name: str) -> str:
    make, options = EXAMPLES[name]
    given = ", ".join(f"{word}={value!r}" for word, value in options.items())
    words = f"\n## {name}\n\n{says(name)}\n\nOf `{make.__name__}({given})`:\n"
    made = program(name)
    if isinstance(made, OflowError):
        return f"{words}\n{type(made).__name__}:\n{fence(str(made), wrapped=True)}"
    before, after = around(name)
    if not before:
        return words + fence(inspect.getsource(make), "python") + f"\nbecomes\n{fence(after)}"
    whole = f"Before:\n{fence(before)}\nAfter:\n{fence(after)}"
    if name == "expand":
        return f"{words}\nThe graph\n{fence(before)}\nbecomes the plan\n{fence(after)}"
    return words + changes(before, after, AROUND) + details("All of it, before and after", whole)


def says(name: str) -> str:
    """The first sentence of a pass's file, without the pass's name."""
    home = importlib.import_module(f"oflow.frontend.{name}" if name == "capture" else f"oflow.compiler.{name}")
    words = first_sentence(inspect.getdoc(home) or "")
    _, colon, rest = words.partition(": ")
    words = rest if colon else words
    return words[0].upper() + words[1:]


@cache
def program(name: str) -> of.Program | OflowError:
    """The pass's example, or why it refuses it."""
    make, options = EXAMPLES[name]
    try:
        return make(**options)
    except OflowError as refused:
        return refused


def around(name: str) -> tuple[str, str]:
    """The texts before and after a pass; nothing is before the first."""
    made = program(name)
    assert isinstance(made, of.Program)
    before = PASSES.index(name) - 1
    return (text(made.passes[PASSES[before]]) if before >= 0 else ""), text(made.passes[name])


def text(thing: Graph | Plan) -> str:
    """As `of.view.text`; of nodes and actors their names, not their numbers, which passes deal out anew, and no lines of the example."""
    shown = re.sub(r"pass_examples\.py:\d+ ?", "", of.view.text(thing))
    if isinstance(thing, Graph):
        return re.sub(r" node \d+$", "", shown, flags=re.MULTILINE)
    shown = re.sub(r"^( +)#\d+ ", r"\1", shown, flags=re.MULTILINE)
    shown = re.sub(r"#(\d+)", lambda found: thing.actors[int(found[1])].name, shown)
    return re.sub(r" +# *$", "", re.sub(r"%\d+:? ", "", shown), flags=re.MULTILINE)


def programs() -> str:
    """The programs of the examples."""
    used = dict.fromkeys(make for make, _ in EXAMPLES.values())
    given = "".join(line for line in inspect.getsource(pass_examples).splitlines(keepends=True) if line.startswith(("ONE", "SGD")))
    return "\n## The programs\n" + fence("\n\n".join([given, *map(inspect.getsource, used)]), "python")
