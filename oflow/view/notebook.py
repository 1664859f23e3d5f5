"""What a notebook shows of a plan, a program and a proof (``_repr_html_``): pictures that unfold, and tables. No script, nothing loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from oflow.actors import simulate
from oflow.check import Proof, alike
from oflow.errors import OflowError
from oflow.graph import Graph
from oflow.plan import Plan
from oflow.view.memory import memory
from oflow.view.picture import repr_svg
from oflow.view.style import bytes_text, escape, seconds_text
from oflow.view.timeline import timeline

DRAWN = 500
"""Actors or nodes up to which a notebook draws a plan or graph; a larger one is for the report, which folds."""
STEPS = 2


def plan_html(plan: Plan, graph: Graph | None = None) -> str:
    """The plan's picture, the timeline of two simulated steps, its memory and, if given, the logical graph: each unfolds at a click."""
    count = sum(len(plan.rank_table[a.group]) for a in plan.actor_templates)
    words = [
        f"{count:,} actors on {len(plan.devices):,} devices", f"{plan.micro_batches} micro-batches",
        f"{bytes_text(sum(plan.arenas.values()))} of arenas", f"{bytes_text(sum(plan.states.values()))} of state",
    ]  # fmt: skip
    if plan.schedule:
        words.insert(1, plan.schedule)
    head = f"<p><b>{escape(plan.machine.name)} plan</b>: {escape(', '.join(words))}</p>"
    if count > DRAWN:
        return f"<div>{head}<p>Too large for a notebook: <code>of.view.html(plan)</code> makes a page that folds what is alike.</p></div>"
    parts = [("plan", repr_svg(plan)), _timeline(plan), ("memory", memory(plan))]
    if graph is not None and len(graph.nodes) <= DRAWN:
        parts.insert(1, ("graph", repr_svg(graph)))
    return f"<div>{head}{''.join(_unfolds(*part, open=i == 0) for i, part in enumerate(parts))}</div>"


def proof_html(proof: Proof) -> str:
    """The proof's figures as tables: bytes of each device, the period with its critical cycle, how busy each stream is."""
    devices = alike({device: (arena, proof.states.get(device, 0)) for device, arena in proof.arenas.items()})
    shares = {stream: f"{seconds / proof.period:.1%}" if proof.period else "" for stream, seconds in proof.busy.items()}
    streams = alike({stream: (seconds, shares[stream]) for stream, seconds in proof.busy.items()})
    cycle = "".join(f"<li>{escape(entry)}</li>" for entry in proof.critical_cycle)
    return "".join([
        f"<div><p><b>deadlock-free</b>: one step of {proof.acts:,} acts returns every slot and token to where it was</p>",
        f"<p><b>{seconds_text(proof.period)} a step</b>, bound by {escape(proof.bound)}</p>",
        _unfolds("critical cycle", f"<ol>{cycle}</ol>") if cycle else "",
        _table(("device", "arena", "state"), ((d, f"{arena:,}", f"{state:,}") for d, (arena, state) in devices.items())),
        _table(("stream", "busy", "share"), ((s, seconds_text(n), share) for s, (n, share) in streams.items())), "</div>",
    ])  # fmt: skip


def _timeline(plan: Plan) -> tuple[str, str]:
    try:
        return "timeline", timeline(simulate(plan, steps=STEPS), plan)
    except OflowError as e:
        return "timeline", f"<pre>{escape(str(e))}</pre>"


def _unfolds(title: str, content: str, open: bool = False) -> str:
    begin = '<details open="">' if open else "<details>"
    return f'{begin}<summary>{title}</summary><div style="overflow:auto;max-height:40em">{content}</div></details>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def row(cells: Sequence[str], cell: str) -> str:
        return "<tr>" + "".join(f"<{cell}>{escape(text)}</{cell}>" for text in cells) + "</tr>"

    return f"<table><thead>{row(head, 'th')}</thead><tbody>{''.join(row(cells, 'td') for cells in rows)}</tbody></table>"
