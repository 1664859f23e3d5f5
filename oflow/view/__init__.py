"""Views: pure functions of Graph, Plan, Schedule, Trace and Proof.

    text      the golden-file form                    dot, svg   devices as clusters, streams as lanes
    timeline  SVG of a trace, simulated or measured   perfetto   the same as Chrome trace JSON
    memory    SVG of the arenas                       html       all of it on one page
    bubbles   idle share of each device               repr_svg, plan_html, proof_html   what a notebook shows
    replay_picture  SVG of a schedule with the durations of its actions
    boxings   every change of layout: bytes, seconds, route, cause
    graph_events, scalar_events   event files of TensorBoard, where its package is installed
    recomputed  what the backward pass computes again: bytes, seconds, line
    differences  what changed between two plans, and changes_text, the same as a screen of text
    pass_changes  what one pass changed, as counts and a unified diff
    explain_tensor, explain_actor, explain_register  answers to questions, and answer_text, the same in words
"""

from __future__ import annotations

from oflow.view.boxings import boxings
from oflow.view.changes import changes_text, differences, pass_changes
from oflow.view.dot import dot
from oflow.view.memory import memory
from oflow.view.notebook import plan_html, proof_html
from oflow.view.perfetto import perfetto
from oflow.view.picture import repr_svg, svg
from oflow.view.questions import answer_text, explain_actor, explain_register, explain_tensor
from oflow.view.recomputed import recomputed
from oflow.view.replay import replay_picture
from oflow.view.report import html
from oflow.view.tensorboard import graph_events, scalar_events
from oflow.view.text import schedule, text
from oflow.view.timeline import bubbles, timeline

__all__ = [
    "answer_text", "boxings", "bubbles", "changes_text", "differences", "dot", "explain_actor", "explain_register", "explain_tensor",
    "graph_events", "html", "memory", "pass_changes", "perfetto", "plan_html", "proof_html", "recomputed", "replay_picture", "repr_svg",
    "scalar_events", "schedule", "svg", "text", "timeline",
]  # fmt: skip
