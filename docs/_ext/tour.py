"""The tour as cells: the parts of tour.py with what each prints, as it is run."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

from _ext.markdown import fence
from _ext.programs import DOCS

FILE = DOCS / "tour.py"
PART = re.compile(r"^(?=# \d+\. )", re.MULTILINE)


def cells() -> str:
    """Each part under its title (the docstring lists them), its comment as text, its code, what it printed."""
    first, *parts = PART.split(FILE.read_text(encoding="utf-8"))
    titles = dict(re.findall(r"(\d+)\. ([^.]*)\.", first))
    room: dict[str, Any] = {"__name__": "tour"}
    made, line = [], 1
    for number, part in enumerate((first, *parts)):
        printed = run(part, line, room)
        line += part.count("\n")
        if number:
            comment, code = opening(part)
            made.append(f"\n## {number}. {titles[str(number)]}\n\n{comment}\n{fence(code, 'python')}")
        else:
            code = part.split('"""', 2)[2].strip()
            made.append(fence(code, "python"))
        made += [f"\nIt prints:\n{fence(printed)}"] if printed else []
    return "".join(made)


def opening(part: str) -> tuple[str, str]:
    """A part's first comment without its number, and the rest."""
    lines = part.splitlines()
    count = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    words = " ".join(line.lstrip("# ") for line in lines[:count])
    return re.sub(r"^\d+\. ", "", words), "\n".join(lines[count:]).strip()


def run(part: str, line: int, room: dict[str, Any]) -> str:
    """What a part prints; its lines keep their numbers, so that what names the user's line names the file's."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * (line - 1) + part, str(FILE), "exec"), room)
    return printed.getvalue()
