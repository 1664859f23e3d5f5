"""The picture that fits a thing."""

from __future__ import annotations

from oflow.graph import Graph
from oflow.plan import Plan
from oflow.schedule import Schedule
from oflow.trace import Trace
from oflow.view.dot import svg as drawing
from oflow.view.grid import grid
from oflow.view.timeline import timeline


def svg(thing: Graph | Plan | Schedule | Trace, engine: str | None = None) -> str:
    """An SVG: boxes and arrows of a Graph or Plan, the grid of a Schedule, the timeline of a Trace.

    engine (of boxes and arrows): "dot" (Graphviz), "lanes" (our own), or None: dot where it is installed and the picture is
    not too large for it. Raises TypeError for anything else.
    """
    if isinstance(thing, Graph | Plan):
        return drawing(thing, engine)
    if isinstance(thing, Schedule):
        return grid(thing)
    if isinstance(thing, Trace):
        return timeline(thing)
    raise TypeError(f"view.svg shows a Graph, Plan, Schedule or Trace, not {type(thing).__name__}")


def repr_svg(thing: Graph | Plan | Schedule | Trace) -> str:
    """What a notebook shows (``_repr_svg_``): the same picture on every machine, in the light and in the dark."""
    return svg(thing, "lanes")
