"""Pieces of Markdown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence


def fence(text: str, language: str = "text", numbered: bool = False, wrapped: bool = False) -> str:
    """A block of code; numbered: with line numbers; wrapped: long lines go on below."""
    ticks = "````" if "```" in text else "```"
    wanted = ":lineno-start: 1\n" * numbered + ":class: wrapped\n" * wrapped
    if wanted:
        return f"\n{ticks}{{code-block}} {language}\n{wanted}\n{text.rstrip()}\n{ticks}\n"
    return f"\n{ticks}{language}\n{text.rstrip()}\n{ticks}\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def details(summary: str, text: str) -> str:
    """What opens by a click."""
    return f"\n<details><summary>{summary}</summary>\n\n{text}\n\n</details>\n"


def changes(before: str, after: str, around: int = 100) -> str:
    """What turns one text into the other, line by line, with so many equal lines around each change."""
    return diff(list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=around))[2:])


def diff(lines: Sequence[str]) -> str:
    """A unified diff without its head; dots where lines are left out."""
    shown = [("..." if number else "") if line.startswith("@@") else line.rstrip() for number, line in enumerate(lines)]
    return fence("\n".join(shown).strip("\n"), "diff", wrapped=True)


def first_sentence(doc: str) -> str:
    """Of a docstring; "et al." ends none."""
    return re.split(r"(?<=\.)(?<!al\.)\s", " ".join(doc.split("\n\n")[0].split()))[0]
