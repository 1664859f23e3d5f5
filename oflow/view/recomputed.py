"""What is computed again, as a table: copies, seconds, bytes, and the line that made the values."""

from __future__ import annotations

from collections.abc import Iterable

from oflow.graph import Recomputed
from oflow.view.style import bytes_text, padded, seconds_text, widths_of

HEAD = ("copies", "time", "kept less", "what", "at")


def recomputed(found: Iterable[Recomputed]) -> str:
    """The table, with totals at its head. Bytes are those of one device and all slots; time is predicted, a step."""
    rows = list(found)
    if not rows:
        return "computed again: nothing\n"
    lines = [_cells(one) for one in rows]
    widths = widths_of((HEAD, *lines))
    table = padded((HEAD, *lines), widths)
    nbytes, seconds = sum(one.nbytes for one in rows), sum(one.seconds for one in rows)
    head = f"computed again: {sum(one.copies for one in rows)} nodes, {seconds_text(seconds)} a step, for {nbytes:,} bytes kept less"
    return "\n".join([head, *(f"  {line}" for line in table)]) + "\n"


def _cells(one: Recomputed) -> tuple[str, ...]:
    stage = "" if one.stage is None else f" stage {one.stage}"
    size = f"-{bytes_text(-one.nbytes)}" if one.nbytes < 0 else bytes_text(one.nbytes) if one.nbytes else ""
    return str(one.copies or ""), seconds_text(one.seconds) if one.copies else "", size, one.op + stage, one.line
