"""The two drawings as plain data: the logical graph with its layouts, and the plan by device and stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oflow.arrays import Tables
from oflow.graph import Graph, Node
from oflow.plan import Plan
from oflow.view import style
from oflow.view.lanes import HEIGHT, WIDTH, Box, Edge, Places, curve
from oflow.view.report.layout import corners, drawn
from oflow.view.report.rows import Group, templates_by_node

MOST_NODES = 300
"""Of a graph with more nodes, those of one operator, line, stage and phase (repeated layers) are one box."""
MOST_REGISTERS = 400
"""So many registers of an edge of the plan's drawing are listed."""


# ---------------------------------------------------------------- graph


@dataclass(frozen=True, slots=True)
class _Part:
    """A box of the graph's drawing."""

    op: str
    name: str
    stage: int | None
    phase: str
    kind: str
    line: str
    nodes: tuple[int, ...] = ()


def graph_data(graph: Graph, plan: Plan, engine: str | None = None) -> dict[str, Any]:
    """Nodes, inputs, parameters and results with their positions; edges are values, with type and SBP."""
    found = _Boxes(graph)
    links, parts = found.links(), found.parts
    boxes = [Box(i, "", "", part.kind, part.op) for i, part in enumerate(parts)]
    values = [graph.values[v] for _, _, v in links]
    sbps = [", ".join(map(str, value.layout.sbp)) if value.layout else "" for value in values]
    lines = [Edge(source, target, sbp) for (source, target, _), sbp in zip(links, sbps, strict=True)]
    drawing = drawn(boxes, lines, engine)
    templates = templates_by_node(plan)
    places = corners(drawing, range(len(parts)))
    nodes = [
        {
            "id": i, "op": part.op, "name": part.name, "stage": part.stage, "phase": part.phase, "kind": part.kind, "line": part.line,
            "x": x, "y": y, "w": round(WIDTH), "h": round(HEIGHT), "count": max(1, len(part.nodes)),
            "actors": sorted({number for node in part.nodes for number in templates.get(node, ())}),
        }
        for i, (part, (x, y)) in enumerate(zip(parts, places, strict=True))
    ]  # fmt: skip
    edges = [
        {
            "source": source, "target": target, "value": v, "name": value.name, "type": str(value.type), "sbp": sbp,
            "placement": str(value.layout.placement) if value.layout else "", "time": str(value.time or ""), "path": path,
            "lx": round(x), "ly": round(y),
        }
        for (source, target, v), value, sbp, path, (x, y) in zip(links, values, sbps, drawing.paths, drawing.labels, strict=True)
    ]  # fmt: skip
    return {"nodes": nodes, "edges": edges, "width": round(drawing.width), "height": round(drawing.height), "engine": drawing.engine}


class _Boxes:
    """The boxes of a graph's drawing: one for all that has the same key."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.fold = graph, len(graph.nodes) > MOST_NODES
        self.parts: list[_Part] = []
        self.by_key: dict[object, int] = {}
        self.maker: dict[int, int] = {}
        """The box that makes each value."""
        self.reader: dict[int, int] = {}
        """The box of each node."""
        self._nodes()
        self._sources()

    def add(self, key: object, part: _Part) -> int:
        """The number of the box with this key; `part` where there is none yet."""
        number = self.by_key.setdefault(key, len(self.parts))
        if number == len(self.parts):
            self.parts.append(part)
        return number

    def _nodes(self) -> None:
        alike: dict[object, list[Node]] = {}
        for node in self.graph.nodes:
            alike.setdefault((node.op, node.line, node.stage, node.phase) if self.fold else node.id, []).append(node)
        for key, members in alike.items():
            node = members[0]
            kind = "comm" if node.stream != "compute" else node.phase if node.phase in style.KINDS else "F"
            part = _Part(node.op, node.op, node.stage, node.phase, kind, node.line, tuple(m.id for m in members))
            number = self.add(("node", key), part)
            self.reader.update((member.id, number) for member in members)
            self.maker.update((v, number) for member in members for v in member.outs)

    def _sources(self) -> None:
        """Inputs and parameters; where boxes are folded, those of one reader are one."""
        readers = self.graph.consumers()
        named = [(v, self.graph.values[v].name or "input", "input") for v in self.graph.inputs]
        named += [(p.value, p.name, "parameter") for p in self.graph.parameters]
        for v, name, op in named:
            first = readers[v][0] if v in readers else None
            part = _Part(op, name, first.stage if first else None, first.phase if first else "F", "data", "")
            self.maker[v] = self.add((op, self.reader[first.id] if first and self.fold else v), part)

    def links(self) -> list[tuple[int, int, int]]:
        """(source, target, value): of values alike between two boxes, one."""
        found = [(self.maker[v], self.reader[node.id], v) for node in self.graph.nodes for v in dict.fromkeys(node.ins)]
        results = [(name, "output", v) for name, v in self.graph.outputs]
        results += [(p.name, "new value", p.update) for p in self.graph.parameters if p.update is not None]
        for name, op, v in results:
            source = self.parts[self.maker[v]]
            part = _Part(op, name, source.stage, source.phase, "data", "")
            found.append((self.maker[v], self.add((op, self.maker[v] if self.fold else name), part), v))
        kept: dict[object, tuple[int, int, int]] = {}
        for source_box, target, v in found:
            value = self.graph.values[v]
            what = (str(value.type), str(value.layout or "")) if self.fold else v
            if source_box != target:
                kept.setdefault((source_box, target, what), (source_box, target, v))
        return list(kept.values())


# ---------------------------------------------------------------- plan


def plan_data(plan: Plan, t: Tables, groups: Sequence[Group]) -> dict[str, Any]:
    """Boxes of groups in lanes, one a stream of a range of devices; edges carry registers."""
    boxes = [Box(i, group.devices, group.stream, group.kind, group.name) for i, group in enumerate(groups)]
    carried = _carried(t, groups)
    names = [r.name for r in plan.register_templates]
    edges = [Edge(source, target, "", back=back) for source, target, back in carried]
    places = Places(boxes, edges)
    lines = []
    for edge, registers in zip(edges, carried.values(), strict=True):
        path, x, y = curve(places, edge)
        label = names[plan.register_template_of(registers[0])]
        more = len({plan.register_template_of(row) for row in registers}) - 1
        lines.append({
            "source": edge.source, "target": edge.target, "registers": registers[:MOST_REGISTERS], "count": len(registers),
            "label": f"{label} and {more} more" if more else label, "path": path, "back": edge.back, "lx": round(x), "ly": round(y),
        })  # fmt: skip
    return {
        "boxes": [
            {"group": i, "x": round(places.at[i][0]), "y": round(places.at[i][1]), "w": round(WIDTH), "h": round(HEIGHT)}
            for i in range(len(boxes))
        ],
        "edges": lines,
        "lanes": [
            {"device": group, "stream": lane, "y": round(y), "h": round(height)} for group, lane, y, height in places.bands
        ],
        "width": round(places.width), "height": round(places.height),
    }  # fmt: skip


def _carried(t: Tables, groups: Sequence[Group]) -> dict[tuple[int, int, bool], list[int]]:
    """The registers between groups, by (source, target, whether a token is there from the start)."""
    group = np.full(len(t.template), -1)
    for number, one in enumerate(groups):
        group[list(one.rows)] = number
    reads = np.flatnonzero(t.producer >= 0)
    source, target = group[t.port_actor[t.producer[reads]]], group[t.port_actor[reads]]
    register = t.port_register[reads]
    found: dict[tuple[int, int, bool], dict[int, None]] = {}
    for a, b, row, tokens in zip(source.tolist(), target.tolist(), register.tolist(), t.initial[register].tolist(), strict=True):
        if a != b:
            found.setdefault((a, b, bool(tokens)), {})[row] = None
    return {key: list(rows) for key, rows in found.items()}
