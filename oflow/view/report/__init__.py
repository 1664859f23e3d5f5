"""The report: one offline page with a plan's graph, drawing, timeline, memory, boxings and proof, linked to one another.

    data    everything as one JSON object (its contract)      page      template, style, scripts and data in one text
    rows    devices, actors, groups, registers                pictures  the two drawings, placed by layout
    roles   large plans by role                               proof    its cycle by rows
    gaps    what idle streams wait for
"""

from __future__ import annotations

from collections.abc import Iterable

from oflow.boxings import Boxing
from oflow.check import Proof
from oflow.graph import Graph
from oflow.live import phase
from oflow.plan import Plan
from oflow.trace import Trace
from oflow.view.report.data import report_data
from oflow.view.report.page import page


def html(
    plan: Plan, trace: Trace | None = None, graph: Graph | None = None, proof: Proof | None = None, *, measured: Trace | None = None,
    boxings: Iterable[Boxing] | None = None, title: str | None = None, file: str = "",
) -> str:  # fmt: skip
    """The report of a plan as HTML text that loads nothing from anywhere.

    trace: a simulated run (None: two steps are simulated). graph: the logical graph. proof: what `check` found. measured: a recorded
    run of the same plan, laid over the simulated one. boxings: `Program.boxings()`. title, file: what the page calls the plan, and the
    file it came from. Raises PlanError for a trace of another plan.
    """
    with phase("report"):
        data = report_data(plan, trace, graph, proof, measured=measured, boxings=boxings, title=title, file=file)
        with phase("write the page"):
            return page(data)
