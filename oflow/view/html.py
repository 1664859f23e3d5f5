"""One HTML page with the proof, the tables and the pictures of a plan. It loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from oflow.check import Proof
from oflow.graph import Graph
from oflow.plan import Plan
from oflow.trace import Trace
from oflow.view import style
from oflow.view.dot import svg
from oflow.view.memory import memory
from oflow.view.text import text
from oflow.view.timeline import bubbles, timeline

_CSS = """
:root{--bg:#fff;--ink:#1d2430;--soft:#667080;--line:#d5dae2;--band:#f4f6f9;--good:#2f9561}
@media (prefers-color-scheme:dark){:root{--bg:#14181f;--ink:#e4e8ee;--soft:#97a1b0;--line:#333b48;--band:#1b212b;--good:#52bd85}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 ui-sans-serif,system-ui,"Segoe UI",sans-serif}
main{max-width:1320px;margin:0 auto;padding:28px 24px 64px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 10px}p{margin:4px 0}.soft{color:var(--soft)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:12px;margin:20px 0}
.card{background:var(--band);border:1px solid var(--line);border-radius:8px;padding:12px 14px}
.card b{display:block;font-size:20px}.card span{color:var(--soft);font-size:13px}.card.good b{color:var(--good)}
.scroll{overflow:auto;max-height:80vh;border:1px solid var(--line);border-radius:8px}.scroll svg{display:block}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:5px 14px 5px 0;text-align:left}
th{color:var(--soft);font-weight:500;border-bottom:1px solid var(--line)}td.n,th.n{text-align:right}
details{margin:14px 0}summary{cursor:pointer;font-weight:600}ol{margin:6px 0;padding-left:22px}
pre{background:var(--band);border:1px solid var(--line);border-radius:8px;padding:12px;overflow:auto}
pre{font-size:12.5px;line-height:1.45}
"""


def html(plan: Plan, trace: Trace | None = None, graph: Graph | None = None, proof: Proof | None = None) -> str:
    """The report of a plan: proof, devices, timeline (where there is a trace), memory, plan and graph, as HTML text."""
    title = f"plan on {len(plan.devices)} devices{', ' + plan.schedule if plan.schedule else ''}"
    sections = [f"<h1>{escape(title)}</h1>", f'<p class="soft">{escape(_subtitle(plan))}</p>', _cards(plan, trace, proof)]
    if proof is not None:
        sections.append(_proof(proof))
    sections.append(_section("Devices", _devices(plan, trace, proof)))
    if trace is not None:
        sections.append(_section("Timeline", _scroll(timeline(trace, plan))))
    if plan.arenas or plan.states:
        sections.append(_section("Memory", _scroll(memory(plan))))
    sections.append(_section("Plan", _scroll(svg(plan, "lanes"))))
    sections.append(_details("Registers", _registers(plan)))
    sections.append(_details("Plan as text", f"<pre>{escape(text(plan))}</pre>"))
    if graph is not None:
        sections.append(_details("Logical graph", _scroll(svg(graph, "lanes"))))
        sections.append(_details("Logical graph as text", f"<pre>{escape(text(graph))}</pre>"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>oflow: {escape(title)}</title><style>{_CSS}</style></head>\n<body><main>\n" + "\n".join(sections)
        + "\n</main></body></html>\n"
    )  # fmt: skip


def _subtitle(plan: Plan) -> str:
    return (
        f"{len(plan.actors)} actors, {len(plan.registers)} registers, {plan.micro_batches} micro-batches, "
        f"machine {plan.machine.name}"
    )


def _cards(plan: Plan, trace: Trace | None, proof: Proof | None) -> str:
    cards = []
    if proof is not None:
        cards.append(("card good", "proved", "deadlock-free"))
        cards.append(("card", style.seconds_text(proof.period), "steady period of a step"))
    cards.append(("card", style.bytes_text(max(plan.arenas.values(), default=0)), "largest arena"))
    cards.append(("card", style.bytes_text(sum(plan.states.values())), "kept state, all devices"))
    if trace is not None and (shares := bubbles(trace)):
        cards.append(("card", f"{sum(shares.values()) / len(shares):.1%}", f"mean bubble, {trace.steps} {trace.source} steps"))
    shown = "".join(f'<div class="{cls}"><b>{value}</b><span>{escape(words)}</span></div>' for cls, value, words in cards)
    return f'<div class="cards">{shown}</div>'


def _section(head: str, body: str) -> str:
    return f"<section><h2>{escape(head)}</h2>{body}</section>"


def _details(head: str, body: str) -> str:
    return f"<details><summary>{escape(head)}</summary>{body}</details>"


def _scroll(body: str) -> str:
    return f'<div class="scroll">{body}</div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int) -> str:
    """A table whose last `numbers` columns are numbers."""

    def cells(tag: str, row: Sequence[str]) -> str:
        first = len(row) - numbers
        return "".join(f'<{tag}{" class=n" if i >= first else ""}>{escape(cell)}</{tag}>' for i, cell in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"


def _proof(proof: Proof) -> str:
    cycle = "".join(f"<li>{escape(entry)}</li>" for entry in proof.critical_cycle)
    return _section(
        "Proof",
        f"<p>One step of {proof.acts:,} acts returns every slot and token to where it was, so no order of events can block.</p>"
        f"<p>The steady period is {style.seconds_text(proof.period)} a step, bound by {escape(proof.bound)}. "
        "Its critical cycle:</p>"
        f"<ol>{cycle}</ol>",
    )


def _devices(plan: Plan, trace: Trace | None, proof: Proof | None) -> str:
    shares = bubbles(trace) if trace is not None else {}
    busy = proof.busy if proof is not None else {}
    period = proof.period if proof is not None else 0.0
    rows = []
    for device in sorted(plan.devices, key=style.device_order):
        actors = sum(actor.device == device for actor in plan.actors)
        most = max((seconds for stream, seconds in busy.items() if style.device_of(stream) == device), default=0.0)
        rows.append(
            (
                device, str(actors), f"{plan.arenas.get(device, 0):,}", f"{plan.states.get(device, 0):,}",
                f"{most / period:.1%}" if period else "-", f"{shares[device]:.1%}" if device in shares else "-",
            )
        )  # fmt: skip
    return _table(("device", "actors", "arena bytes", "state bytes", "busiest stream, steady", "bubble, whole trace"), rows, 5)


def _registers(plan: Plan) -> str:
    rows = [
        (r.name, r.device, str(r.type), r.layout or "-", r.region, str(r.slots), str(r.initial), f"{r.offset:,}", f"{r.nbytes:,}")
        for r in plan.registers
    ]
    return _table(("register", "device", "slot", "SBP", "region", "slots", "initial", "offset", "bytes"), rows, 4)
