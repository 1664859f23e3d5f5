"""The table of passes, each with what it says of itself and what it does to a small program: before -> after."""

from __future__ import annotations

import importlib
import inspect
import re
from functools import cache

import oflow as of
from _ext import pass_examples
from _ext.markdown import details, diff, fence, first_sentence
from _ext.pass_examples import EXAMPLES
from oflow.compiler import PASSES
from oflow.errors import OflowError
from oflow.graph import Graph
from oflow.plan import Plan

LINES = re.compile(r"  # pass_examples\.py:\d+$|pass_examples\.py:\d+ ", re.MULTILINE)
"""Lines of the examples, which say nothing here."""


def sections() -> str:
    return "".join(section(name) for name in PASSES) + programs()


def section(name: str) -> str:
    make, options = EXAMPLES[name]
    given = ", ".join(f"{word}={value!r}" for word, value in options.items())
    words = f"\n## {name}\n\n{says(name)}\n\nOf `{make.__name__}({given})`:\n"
    made = program(name)
    if isinstance(made, OflowError):
        return f"{words}\n{type(made).__name__}:\n{fence(str(made), wrapped=True)}"
    found = of.view.pass_changes(made.passes, name)
    if not found.previous:
        return f"{words}{fence(inspect.getsource(make), 'python')}\nbecomes\n{fence(text(made.passes[name]))}"
    before, after = fence(text(made.passes[found.previous])), fence(text(made.passes[name]))
    if not found.comparable:
        return f"{words}\nThe graph\n{before}\nbecomes the plan\n{after}"
    shown = diff([LINES.sub("", line) for line in found.lines])
    whole = details("All of it, before and after", f"Before:\n{before}\nAfter:\n{after}")
    return f"{words}{shown}\n{found.summary().partition(': ')[2]}.\n{whole}"


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


def text(thing: Graph | Plan) -> str:
    """As `of.view.text`, without the lines of the example."""
    return LINES.sub("", of.view.text(thing))


def programs() -> str:
    """The programs of the examples."""
    used = dict.fromkeys(make for make, _ in EXAMPLES.values())
    given = "".join(line for line in inspect.getsource(pass_examples).splitlines(keepends=True) if line.startswith(("ONE", "SGD")))
    return "\n## The programs\n" + fence("\n\n".join([given, *map(inspect.getsource, used)]), "python")
