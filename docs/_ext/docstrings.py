"""Docstrings of the house as reStructuredText: ``name: text`` lines become items, indented blocks stay as they are written."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

ITEM = re.compile(r"((?:\w+, )*\w+): (?=\S)")
CODE = re.compile(r"(``.+?``|`.+?`)")


def process(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """For autodoc's event: rewrites `lines` in place."""
    lines[:] = list(converted(lines, names_of(thing)))


def signature(app: Any, what: str, name: str, thing: Any, options: Any, given: str | None, result: str | None) -> tuple[Any, Any]:
    """For autodoc's event: Sphinx leaves a signature as it stands where a field is made anew each time."""
    return (re.sub(r"~[\w.]+\.", "", given).replace("<factory>", "...") if given else given), result


def names_of(thing: Any) -> set[str]:
    """What a docstring may explain line by line: arguments and fields."""
    try:
        found = set(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        found = set()
    return found | set(getattr(thing, "__annotations__", {}))


def converted(lines: Iterable[str], names: set[str]) -> Iterator[str]:
    """Lines that reStructuredText reads as they were meant."""
    inside = block = False
    for line in (part for given in lines for part in parted(given, names)):
        if not line.strip():
            inside = False
            yield ""
        elif line.startswith("    "):
            if not block:
                yield from ("", ".. code-block:: default", "")
            block = True
            yield line
            continue
        else:
            item = ITEM.match(line)
            starts = item is not None and (names & set(item[1].split(", ")) or inside)
            if block or (starts and not inside):
                yield ""
            if starts and item is not None:
                inside = True
                given = ", ".join(f"``{one}``" for one in item[1].split(", "))
                yield f"* {given}: {escaped(line[item.end() :])}"
            else:
                if inside and line.startswith("Raises"):
                    inside = False
                    yield ""
                yield f"  {escaped(line)}" if inside else escaped(line)
        block = block and not line.strip()
    yield ""


def parted(line: str, names: set[str]) -> list[str]:
    """A line in which a sentence begins with what it explains, as several."""
    if line.startswith("    ") or not names:
        return [line]
    return re.split(rf"(?<=[.)]) (?=(?:{'|'.join(map(re.escape, sorted(names)))})(?:, \w+)*: )", line)


def escaped(text: str) -> str:
    """Outside code, what would be markup is meant as it stands."""
    parts = CODE.split(text)
    return "".join(part if number % 2 else re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", part) for number, part in enumerate(parts))
