"""Why no signature fits: each that an operator has, with the reason against it. Errors about layouts are made of these lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oflow.graph import Graph
from oflow.sbp import Sbp, Signature

Way = tuple[Signature, ...]
"""One signature for each mesh axis."""
SHOWN = 8
"""Signatures that are listed with one reason."""


def refusals(ways: Sequence[Way], reason: Callable[[Way], str]) -> str:
    """One line for each reason, which lists the signatures that it speaks against: ``S(0),B -> S(0) · B,S(1) -> S(1): reason``."""
    found: dict[str, list[str]] = {}
    for way in ways:
        found.setdefault(reason(way), []).append(way_text(way))
    return "".join(f"\n  {_listed(texts)}: {why}" for why, texts in found.items())


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return " · ".join(texts[:SHOWN]) + more


def way_text(way: Way) -> str:
    """``S(0),B -> S(0)``; on meshes ``(S(0),B),B -> (S(0),B)``: for each operand its Sbp on every mesh axis."""
    sides = (zip(*(s.ins for s in way), strict=True), zip(*(s.outs for s in way), strict=True))
    return " -> ".join(",".join(map(_sbps, side)) for side in sides)


def _sbps(each: Sequence[Sbp]) -> str:
    if all(one == each[0] for one in each[1:]) and each[0].kind == "B":
        return "B"
    return str(each[0]) if len(each) == 1 else f"({','.join(map(str, each))})"


def named(graph: Graph, value: int) -> str:
    """What a user knows a value by: ``input0``, ``parameter up.weight`` or ``the result of matmul at mlp.py:14``."""
    maker = graph.producers().get(value)
    if maker is not None:
        return f"the result of {maker.op}" + (f" at {maker.line}" if maker.line else "")
    name = graph.values[value].name or f"%{value}"
    return f"parameter {name}" if any(p.value == value for p in graph.parameters) else name
