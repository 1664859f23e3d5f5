"""Boxings as a table: what each moves, on which route, and which line caused it."""

from __future__ import annotations

from collections.abc import Iterable

from oflow.boxings import GRADIENT, HOME, INPUT, OUTPUT, SHARDED, SLICE, TO_GLOBAL, UNPLACED, Boxing, folded, route_text
from oflow.view.style import bytes_text, padded, seconds_text, widths_of

HEAD = ("", "acts", "bytes", "time", "what", "layouts", "because")


def boxings(found: Iterable[Boxing]) -> str:
    """The table, repeated layers in one line, with totals at its head. Bytes are over all links, time is predicted; both a step."""
    rows = folded(found)
    if not rows:
        return "boxings: none\n"
    lines = [_cells(one) for one in rows]
    widths = widths_of((HEAD, *lines))
    table = padded((HEAD, *lines), widths)
    indent = " " * (sum(widths[:4]) + 8)
    body = [line for row, text in zip(rows, table[1:], strict=True) for line in (text, *_route(row, indent))]
    return "\n".join([_totals(rows), *(f"  {line}" for line in (table[0], *body))]) + "\n"


def _totals(rows: tuple[Boxing, ...]) -> str:
    def sum_of(some: list[Boxing]) -> str:
        nbytes, seconds = sum(one.nbytes for one in some), sum(one.seconds for one in some)
        return f"{sum(one.count for one in some)}, {nbytes:,} bytes over all links and {seconds_text(seconds)} a step"

    unasked = [one for one in rows if not one.asked]
    return f"boxings: {sum_of(list(rows))}" + (f"; not asked for: {sum_of(unasked)}" if unasked else "; all asked for")


def _cells(one: Boxing) -> tuple[str, ...]:
    count = f"{one.count} x " if one.count > 1 else ""
    return (
        one.phase, f"x{one.times}", bytes_text(one.nbytes), seconds_text(one.seconds), f"{count}{one.name} {one.type}",
        route_text((one.source, one.target)), _because(one),
    )  # fmt: skip


def _because(one: Boxing) -> str:
    return _reason(one) + (f", in bucket {one.bucket}" if one.bucket is not None else "")


def _reason(one: Boxing) -> str:
    at = f" at {one.line}" if one.line else ""
    if one.why in (TO_GLOBAL, GRADIENT, INPUT, OUTPUT):
        return f"{one.why}{at}"
    if one.why == UNPLACED:
        return f"a part of what has no annotation, for {one.reader}{at}"
    if one.why == HOME:
        return f"state's home, for {one.reader}{at}"
    if one.why == SHARDED:
        return f"{one.why}{at}"
    if one.why == SLICE:
        return f"micro-batch, for {one.reader}{at}" if one.reader else f"micro-batch{at}"
    return f"not asked for: {one.reader}{at}"


def _route(one: Boxing, indent: str) -> list[str]:
    """What one line cannot say: the steps of a route of several, and that nothing is copied."""
    if len(one.moves) > 1:
        steps = " · ".join(f"{bytes_text(one.count * m.nbytes)} in {seconds_text(one.count * m.seconds)}" for m in one.moves)
        return [f"{indent}route {one.route}: {steps}"]
    return [f"{indent}read where it lies, without a copy"] if one.moves[0].in_place else []
