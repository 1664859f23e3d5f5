"""Graphs and plans as pictures: DOT text, and SVG by the `dot` program where it is installed, else by `lanes`.

A plan has its devices as clusters and streams as lanes within them; edges are registers. A logical graph has its stages as
clusters; edges are values. Edges say what moves: name, slots, SBP, bytes.
"""

from __future__ import annotations

import re
import shutil
import subprocess

from oflow.graph import Graph, Node
from oflow.plan import Plan, Register
from oflow.view import style
from oflow.view.lanes import Box, Edge, picture

DOT_SECONDS = 20.0
"""After this time a layout by `dot` is given up."""
DOT_EDGES = 400


def dot(thing: Graph | Plan) -> str:
    """The DOT text of a plan (actors and registers) or a logical graph (nodes and values)."""
    boxes, edges = parts(thing)
    groups: dict[str, dict[str, list[Box]]] = {}
    for box in sorted(boxes, key=lambda b: style.device_order(b.group)):
        groups.setdefault(box.group, {}).setdefault(box.lane, []).append(box)
    lines = [
        "digraph oflow {", "  rankdir=LR; nodesep=0.25; ranksep=0.6; bgcolor=white; fontname=Helvetica; fontsize=12;",
        '  node [shape=box, style="rounded,filled", color=white, fontcolor=white, fontname=Helvetica, fontsize=11];',
        "  edge [color=gray40, fontcolor=gray30, fontname=Helvetica, fontsize=9];",
    ]  # fmt: skip
    for number, (group, lanes) in enumerate(groups.items()):
        lines += [f"  subgraph cluster_{number} {{", f"    label={_quote(group)}; style=rounded; color=gray70; labeljust=l;"]
        for at, (lane, members) in enumerate(lanes.items()):
            lines += [f"    subgraph cluster_{number}_{at} {{", f"      label={_quote(lane)}; style=filled; color=gray95;"]
            lines += [f"      {_node(box)}" for box in members] + ["    }"]
        lines.append("  }")
    lines += [f"  {_edge(edge)}" for edge in edges]
    return "\n".join([*lines, "}"]) + "\n"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _node(box: Box) -> str:
    words = _quote("\n".join(filter(None, (box.head, box.foot))))
    return f'n{box.id} [label={words}, tooltip={_quote(box.title)}, fillcolor="{style.KINDS[box.kind][1]}"];'


def _edge(edge: Edge) -> str:
    dashed = ", style=dashed, constraint=false" if edge.back else ""
    return f"n{edge.source} -> n{edge.target} [label={_quote(edge.label)}, tooltip={_quote(edge.title)}{dashed}];"


def svg(thing: Graph | Plan, engine: str | None = None) -> str:
    """The picture as SVG. engine: "dot", "lanes", or None: dot where it is installed and the picture is not too large for it."""
    boxes, edges = parts(thing)
    if engine != "lanes" and (program := shutil.which("dot")) and (engine == "dot" or len(edges) <= DOT_EDGES):
        try:
            done = subprocess.run(
                [program, "-Tsvg"], input=dot(thing), capture_output=True, text=True, timeout=DOT_SECONDS, check=True
            )
            return re.sub(r"^.*?(?=<svg)", "", done.stdout, count=1, flags=re.DOTALL)
        except (subprocess.SubprocessError, OSError):
            pass  # its own layout draws the same boxes and edges
    return picture(boxes, edges, _title(thing))


def parts(thing: Graph | Plan) -> tuple[list[Box], list[Edge]]:
    """The boxes and edges of the picture."""
    return _plan_parts(thing) if isinstance(thing, Plan) else _graph_parts(thing)


def _title(thing: Graph | Plan) -> str:
    if isinstance(thing, Plan):
        how = f", {thing.schedule}" if thing.schedule else ""
        return f"plan: {len(thing.actors)} actors, {len(thing.registers)} registers, {thing.micro_batches} micro-batches{how}"
    return f"graph: {len(thing.nodes)} nodes, {len(thing.parameters)} parameters, {thing.micro_batches} micro-batches"


# ---------------------------------------------------------------- plan


def _plan_parts(plan: Plan) -> tuple[list[Box], list[Edge]]:
    boxes = []
    for actor in plan.actors:
        template = plan.actor_templates[actor.template]
        calls = " ".join(call.op for call in template.calls)
        line = f"\n{template.line}" if template.line else ""
        seconds = style.seconds_text(plan.machine.seconds(actor.cost, actor.device))
        rate = f"stage {actor.stage} {actor.phase}, {actor.acts} acts a step, {seconds} an act"
        title = f"#{actor.id} {actor.label}\n{rate}{line}\n{calls}"
        foot = f"stage {actor.stage} {actor.phase} x{actor.acts}  {seconds}"
        lane = actor.stream.partition("/")[2]
        boxes.append(Box(actor.id, actor.device, lane, style.kind_of(actor), actor.name, foot, title))
    edges = [
        Edge(r.producer, consumer, register_label(r), register_title(r), bool(r.initial))
        for r in plan.registers
        for consumer in r.consumers
        if r.producer >= 0
    ]
    return boxes, edges


def register_label(r: Register) -> str:
    if not r.type.nbytes:
        return f"{r.name}\norder only"
    return f"{r.name} x{r.slots}\n{' '.join(filter(None, (r.layout, style.bytes_text(r.type.nbytes))))}"


def register_title(r: Register) -> str:
    start = f", {r.initial} initial" if r.initial else ""
    return f"{r.label}: {r.type} {r.layout}\n{r.slots} slots{start}, {r.type.nbytes:,} bytes a slot at {r.region}+{r.offset}"


# ---------------------------------------------------------------- graph


def _graph_parts(graph: Graph) -> tuple[list[Box], list[Edge]]:
    boxes = [Box(i, *_place(node), _kind(node), node.op, _attrs(node), _node_title(node)) for i, node in enumerate(graph.nodes)]
    maker = {v: i for i, node in enumerate(graph.nodes) for v in node.outs}
    readers: dict[int, list[int]] = {}
    for i, node in enumerate(graph.nodes):
        for v in dict.fromkeys(node.ins):
            readers.setdefault(v, []).append(i)
    named = [(v, graph.values[v].name or "input", "input") for v in graph.inputs]
    named += [(p.value, p.name, "parameter") for p in graph.parameters]
    homes = {box.id: (box.group, box.lane) for box in boxes}
    for v, name, what in named:
        group, lane = homes[readers[v][0]] if v in readers else ("", what)
        maker[v] = len(boxes)
        boxes.append(Box(len(boxes), group, lane, "data", name, f"{what} {graph.values[v].type}", str(graph.values[v])))
    edges = [_value_edge(graph, v, maker[v], i) for v, nodes in readers.items() for i in nodes]
    results = [(name, "output", v) for name, v in graph.outputs]
    results += [(p.name, "new value", p.update) for p in graph.parameters if p.update is not None]
    for name, what, v in results:
        source = boxes[maker[v]]
        edges.append(_value_edge(graph, v, source.id, len(boxes)))
        boxes.append(Box(len(boxes), source.group, source.lane, "data", name, what, str(graph.values[v])))
    return boxes, edges


def _place(node: Node) -> tuple[str, str]:
    stage = f"stage {node.stage}" if node.stage is not None else "once a step" if node.phase == "update" else "graph"
    where = f" {node.placement}" if node.placement else ""
    return stage, f"{node.phase}{where}"


def _kind(node: Node) -> str:
    if node.stream != "compute":
        return "comm"
    return node.phase if node.phase in style.KINDS else "F"


def _attrs(node: Node) -> str:
    return " ".join(f"{name}={value}" for name, value in node.attrs)


def _node_title(node: Node) -> str:
    return f"{node.op} at {node.line or '?'}\nstage {node.stage} {node.phase}, {node.rate} acts a step\n{_attrs(node)}"


def _value_edge(graph: Graph, v: int, source: int, target: int) -> Edge:
    value = graph.values[v]
    sbp = ", ".join(map(str, value.layout.sbp)) if value.layout else ""
    marks = " ".join(filter(None, (f"t:{value.time}" if value.time else "", sbp)))
    words = "\n".join(filter(None, (str(value.type), marks)))
    return Edge(source, target, words, f"{value} {style.bytes_text(value.type.nbytes)}")
