"""Positions: boxes and curves of the two drawings, in pixels.

A graph is laid out by Graphviz: by the `pygraphviz` package, which carries the engine, or by the program `dot`; where neither is there,
or the drawing is too large for them, in layers (Sugiyama, Tagawa, Toda 1981: longest paths, then medians of neighbours). A plan's rows
are its streams, so `lanes` places it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median

from oflow.view.lanes import HEIGHT, WIDTH, Box, Edge, layers

DOT_SECONDS = 10.0
DOT_PARTS = 1200
"""Graphviz is asked for drawings of at most so many boxes and edges; it takes a second or two for these, and minutes for many more."""
LABELLED_EDGES = 200
"""With more edges Graphviz need not leave room for labels, nor search long for fewer crossings: it would take minutes."""
GAP_X, GAP_Y, MARGIN, SWEEPS = 34.0, 62.0, 20.0, 4
PER_INCH = 72.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Drawing:
    """at: top left corner of each box, by id; paths: an SVG path of each edge; labels: the middle of its label."""

    at: dict[int, Point]
    paths: tuple[str, ...]
    labels: tuple[Point, ...]
    width: float
    height: float
    engine: str


def drawn(boxes: Sequence[Box], edges: Sequence[Edge], engine: str | None = None) -> Drawing:
    """A drawing from the top down. engine: "pygraphviz", "dot" or "layers"; None: the first that is there and answers in time."""
    small = len(boxes) + len(edges) <= DOT_PARTS
    for one in (engine,) if engine else ("pygraphviz", "dot") if small else ():
        found = _by_graphviz(boxes, edges, one) if one != "layers" else None
        if found is not None:
            return found
    return layered(boxes, edges)


# ---------------------------------------------------------------- Graphviz

_PYGRAPHVIZ = "import sys, pygraphviz; sys.stdout.buffer.write(pygraphviz.AGraph(sys.stdin.read()).draw(format='json0', prog='dot'))"


def _by_graphviz(boxes: Sequence[Box], edges: Sequence[Edge], engine: str) -> Drawing | None:
    """None where the engine is not there, fails or takes too long."""
    command = _command(engine)
    if command is None:
        return None
    with contextlib.suppress(subprocess.SubprocessError, OSError, ValueError, KeyError):
        done = subprocess.run(
            command, input=_dot_text(boxes, edges), capture_output=True, text=True, timeout=DOT_SECONDS, check=True
        )
        return _read(json.loads(done.stdout), boxes, edges, engine)
    return None


def _command(engine: str) -> list[str] | None:
    """How to run an engine that reads DOT and writes JSON, in a process of its own, so that it can be given up."""
    if engine == "pygraphviz":
        return [sys.executable, "-c", _PYGRAPHVIZ] if find_spec("pygraphviz") else None
    program = shutil.which("dot")
    return [program, "-Tjson0"] if program else None


def _dot_text(boxes: Sequence[Box], edges: Sequence[Edge]) -> str:
    """Boxes and edges by number; labels are only room for what the page writes."""
    size = f"width={WIDTH / PER_INCH:.4f}, height={HEIGHT / PER_INCH:.4f}, fixedsize=true"
    large = len(edges) > LABELLED_EDGES
    effort = " nslimit=2; nslimit1=2; mclimit=0.3;" if large else ""
    lines = ["digraph g {", f"rankdir=TB; nodesep=0.35; ranksep=0.55;{effort}", f'node [shape=box, label="", {size}];']
    lines.append("edge [fontsize=9];")
    lines += [f"n{box.id};" for box in boxes]
    for number, edge in enumerate(edges):
        room = "x" * min(24, max(map(len, edge.label.split("\n")))) if edge.label and not large else ""
        back = ", constraint=false" if edge.back else ""
        lines.append(f'n{edge.source} -> n{edge.target} [id="{number}", label="{room}"{back}];')
    return "\n".join([*lines, "}"])


def _read(found: dict[str, object], boxes: Sequence[Box], edges: Sequence[Edge], engine: str) -> Drawing:
    """Positions of Graphviz, whose y axis points up."""
    bounds = [float(x) for x in str(found["bb"]).split(",")]
    top = bounds[3]

    def point(text: str) -> Point:
        x, y = (float(part) for part in text.split(",")[:2])
        return x + MARGIN, top - y + MARGIN

    objects, lines = found["objects"], found.get("edges", [])
    assert isinstance(objects, list) and isinstance(lines, list)
    at = {int(one["name"][1:]): point(one["pos"]) for one in objects}
    paths, labels = [""] * len(edges), [(0.0, 0.0)] * len(edges)
    for one in lines:
        number = int(one["id"])
        parts = str(one["pos"]).split(" ")
        tip = next((point(part[2:]) for part in parts if part.startswith("e,")), None)
        points = [point(part) for part in parts if part[0] not in "es"]
        paths[number] = _path([*points, *([tip] if tip else [])])
        labels[number] = point(one["lp"]) if "lp" in one else points[len(points) // 2]
    corner = {box.id: (at[box.id][0] - WIDTH / 2, at[box.id][1] - HEIGHT / 2) for box in boxes}
    return Drawing(corner, tuple(paths), tuple(labels), bounds[2] + 2 * MARGIN, top + 2 * MARGIN, engine)


def _path(points: Sequence[Point]) -> str:
    """Bezier pieces through a first point and threes that follow; what is over is a line."""
    words = [f"{x:.0f} {y:.0f}" for x, y in points]
    curve = "".join(f"C{' '.join(words[i : i + 3])}" for i in range(1, len(words) - 2, 3))
    rest = words[1 + (len(words) - 1) // 3 * 3 :]
    return f"M{words[0]}{curve}" + "".join(f"L{word}" for word in rest)


# ---------------------------------------------------------------- layers


def layered(boxes: Sequence[Box], edges: Sequence[Edge]) -> Drawing:
    """Rows by longest path, the order in a row by the medians of its neighbours, rows centred."""
    row = layers(list(boxes), list(edges))
    rows: list[list[int]] = [[] for _ in range(max(row.values(), default=-1) + 1)]
    for box in boxes:
        rows[row[box.id]].append(box.id)
    above: dict[int, list[int]] = {box.id: [] for box in boxes}
    below: dict[int, list[int]] = {box.id: [] for box in boxes}
    for edge in edges:
        if row[edge.source] < row[edge.target]:
            above[edge.target].append(edge.source)
            below[edge.source].append(edge.target)
    for _ in range(SWEEPS):
        _ordered(rows, above)
        _ordered(rows[::-1], below)
    width = max((len(one) for one in rows), default=0) * (WIDTH + GAP_X) + 2 * MARGIN
    at = {
        id: (width / 2 + (place - len(one) / 2) * (WIDTH + GAP_X) + GAP_X / 2, MARGIN + number * (HEIGHT + GAP_Y))
        for number, one in enumerate(rows)
        for place, id in enumerate(one)
    }
    lines = [_line(at[e.source], at[e.target]) for e in edges]
    height = len(rows) * (HEIGHT + GAP_Y) + 2 * MARGIN
    return Drawing(at, tuple(p for p, _ in lines), tuple(m for _, m in lines), width, height, "layers")


def _ordered(rows: Sequence[list[int]], neighbours: dict[int, list[int]]) -> None:
    """Sort each row, in place, by where the neighbours in the rows before it stand, as a share of the width of theirs."""
    place: dict[int, float] = {}
    for row in rows:
        old = {id: (i + 0.5) / len(row) for i, id in enumerate(row)}
        row.sort(key=lambda id: (median(found) if (found := [place[n] for n in neighbours[id] if n in place]) else old[id], old[id]))
        place.update({id: (i + 0.5) / len(row) for i, id in enumerate(row)})


def _line(source: Point, target: Point) -> tuple[str, Point]:
    """A curve from the bottom of one box to the top of another, or around the side where that is above."""
    x1, y1, x2, y2 = source[0] + WIDTH / 2, source[1] + HEIGHT, target[0] + WIDTH / 2, target[1]
    if y2 > y1:
        bend = max(24.0, (y2 - y1) / 2.2)
        return f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}", ((x1 + x2) / 2, (y1 + y2) / 2)
    side = max(source[0], target[0]) + WIDTH
    y1, y2 = y1 - HEIGHT / 2, y2 + HEIGHT / 2
    x1, x2 = source[0] + WIDTH, target[0] + WIDTH
    return f"M{x1:.0f} {y1:.0f}C{side + 60:.0f} {y1:.0f} {side + 60:.0f} {y2:.0f} {x2:.0f} {y2:.0f}", (side + 44, (y1 + y2) / 2)


def corners(drawing: Drawing, ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Whole pixels of the corner of each of these boxes."""
    for id in ids:
        x, y = drawing.at[id]
        yield round(x), round(y)
