"""Mistakes as programs: each is run as it stands for its message, and with its fix, which must go through.

A file of docs/mistakes is a program with lines in two versions, between ``# mistake``, ``# fix`` and ``# both``.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from functools import cache
from pathlib import Path

from _ext.markdown import changes, fence
from _ext.programs import DOCS
from oflow import errors
from oflow.errors import OflowError

FOLDER = DOCS / "mistakes"
MARK = re.compile(r"^ *# (mistake|fix|both)\n", re.MULTILINE)


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def programs(name: str) -> tuple[str, str]:
    """The program with the mistake, and the one with the fix."""
    first, *rest = MARK.split((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    title, body = first.split("\n", 1)
    del title
    parts = [("both", body.lstrip("\n")), *zip(rest[::2], rest[1::2], strict=True)]
    wrong, right = ("".join(part for mark, part in parts if mark in ("both", which)) for which in ("mistake", "fix"))
    return tidy(wrong), tidy(right)


def tidy(text: str) -> str:
    return re.sub(r"\n{4,}", "\n\n\n", text).strip("\n") + "\n"


def title(name: str) -> str:
    """The first line of the file: what is wrong."""
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8").split('"""')[1]


def run(name: str, text: str) -> None:
    """Run a program; its lines are those of the text, its file is called after the mistake."""
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(text, f"{name}.py", "exec"), {"__name__": name})


@cache
def error(name: str) -> OflowError:
    """What the program with the mistake raises."""
    try:
        run(name, programs(name)[0])
    except OflowError as found:
        return found
    raise AssertionError(f"{Path(FOLDER.name) / name}.py makes no mistake")


def sections() -> str:
    """All of them, by the class of the error."""
    classes = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, OflowError)]
    made = []
    for kind in classes:
        found = [name for name in names() if type(error(name)) is kind]
        made += [f"\n## {kind.__name__}\n\n{inspect.getdoc(kind)}\n"] if found else []
        made += [section(name) for name in found]
    return "".join(made)


def section(name: str) -> str:
    wrong, right = programs(name)
    return (
        f"\n### {title(name).rstrip('.')}\n{fence(wrong, 'python', numbered=True)}"
        f"\nThe message, from {type(error(name)).__name__}:\n{fence(str(error(name)), wrapped=True)}\nThe fix:\n{changes(wrong, right, 2)}"
    )
