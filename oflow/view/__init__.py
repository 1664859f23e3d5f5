"""Views: pure functions of Graph, Plan, Schedule, Trace and Proof.

    text      the golden-file form                    dot, svg   devices as clusters, streams as lanes
    timeline  SVG of a trace, simulated or measured   perfetto   the same as Chrome trace JSON
    memory    SVG of the arenas                       html       all of it on one page
"""

from __future__ import annotations

from oflow.graph import Graph
from oflow.plan import Plan, Trace
from oflow.view.dot import dot, svg
from oflow.view.html import html
from oflow.view.memory import memory
from oflow.view.perfetto import perfetto
from oflow.view.text import schedule, text
from oflow.view.timeline import bubbles, timeline


def repr_svg_plan(plan: Plan) -> str:
    """A plan in a notebook."""
    return svg(plan)


def repr_svg_graph(graph: Graph) -> str:
    """A graph in a notebook."""
    return svg(graph)


def repr_svg_trace(trace: Trace) -> str:
    """A trace in a notebook."""
    return timeline(trace)


__all__ = [
    "bubbles", "dot", "html", "memory", "perfetto", "repr_svg_graph", "repr_svg_plan", "repr_svg_trace", "schedule", "svg",
    "text", "timeline",
]  # fmt: skip
