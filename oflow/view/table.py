"""Columns of text under their heads."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """One line a row, indented by two, numbers to the right; empty where there are no rows."""
    if not lines:
        return ""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    right = [all(line[i][:1] in "0123456789-+" for line in lines) for i in range(len(head))]

    def row(cells: Sequence[str]) -> str:
        placed = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
        return f"  {'  '.join(placed)}".rstrip()

    return "\n".join([row(head), *map(row, lines)]) + "\n"
