"""A layered drawing with lanes: columns are dependency layers, rows are lanes, lanes are grouped (streams of a device).

The layers are longest paths (Sugiyama, Tagawa, Toda 1981, first step); lanes fix the rows, so no crossing is optimised.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from oflow.view import style
from oflow.view.style import label, rect

WIDTH, HEIGHT, GAP_Y, LEFT, TOP = 148.0, 40.0, 18.0, 132.0, 46.0
GAP_LABELLED, GAP_BARE = 126.0, 56.0
LABELS_UP_TO = 48
"""With more edges than this the labels are tooltips only, and the columns stand closer."""


@dataclass(frozen=True, slots=True)
class Box:
    """A node of the drawing: it stands in `lane` of `group`; `kind` is its colour (style.KINDS)."""

    id: int
    group: str
    lane: str
    kind: str
    head: str
    foot: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """From box `source` to box `target`, `label` in one or two lines.

    A `back` edge (initial tokens) is dashed and does not order the layers.
    """

    source: int
    target: int
    label: str
    title: str = ""
    back: bool = False


def merged(edges: list[Edge]) -> list[Edge]:
    """One edge for all edges between the same two boxes."""
    found: dict[tuple[int, int, bool], list[Edge]] = {}
    for edge in edges:
        found.setdefault((edge.source, edge.target, edge.back), []).append(edge)
    return [group[0] if len(group) == 1 else _bundle(group) for group in found.values()]


def _bundle(group: list[Edge]) -> Edge:
    label = f"{group[0].label.splitlines()[0]}\nand {len(group) - 1} more"
    return Edge(group[0].source, group[0].target, label, "\n".join(e.title for e in group), group[0].back)


def layers(boxes: list[Box], edges: list[Edge]) -> dict[int, int]:
    """The column of each box: the longest path to it; a box without predecessors stands right before its first successor.

    A cycle of forward edges (a plan that cannot run) is cut at its lowest number.
    """
    targets: dict[int, list[int]] = {box.id: [] for box in boxes}
    waiting = dict.fromkeys(targets, 0)
    for edge in edges:
        if not edge.back and edge.source != edge.target:
            targets[edge.source].append(edge.target)
            waiting[edge.target] += 1
    sources = [id for id, count in waiting.items() if not count]
    column = dict.fromkeys(targets, 0)
    ready, left = list(sources), set(targets)
    heapify(ready)
    while left:
        id = heappop(ready) if ready else min(left)
        if id not in left:
            continue
        left.discard(id)
        for target in (t for t in targets[id] if t in left):
            column[target] = max(column[target], column[id] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                heappush(ready, target)
    for id in sources:
        column[id] = max(0, min((column[t] for t in targets[id]), default=1) - 1)
    return column


class Places:
    """Where every box and lane stands, in pixels."""

    def __init__(self, boxes: list[Box], edges: list[Edge]) -> None:
        self.labelled = len(edges) <= LABELS_UP_TO
        self.gap = GAP_LABELLED if self.labelled else GAP_BARE
        self.lanes: dict[tuple[str, str], list[Box]] = {}
        for box in sorted(boxes, key=lambda b: style.device_order(b.group)):
            self.lanes.setdefault((box.group, box.lane), []).append(box)
        self.columns = layers(boxes, edges)
        self.at: dict[int, tuple[float, float]] = {}
        self.bands: list[tuple[str, str, float, float]] = []
        y = TOP
        for (group, lane), members in self.lanes.items():
            if self.bands and self.bands[-1][0] != group:
                y += 14
            y += self._lane(group, lane, members, y) + 4
        self.height = y + 6
        self.width = LEFT + (max(self.columns.values(), default=0) + 1) * (WIDTH + self.gap) + 8

    def _lane(self, group: str, lane: str, members: list[Box], y: float) -> float:
        filled: dict[int, int] = {}
        for box in members:
            column = self.columns[box.id]
            level = filled.get(column, 0)
            filled[column] = level + 1
            self.at[box.id] = LEFT + self.gap / 2 + column * (WIDTH + self.gap), y + GAP_Y + level * (HEIGHT + GAP_Y)
        height = GAP_Y + max(filled.values()) * (HEIGHT + GAP_Y) + 8
        self.bands.append((group, lane, y, height))
        return height


def picture(boxes: list[Box], edges: list[Edge], title: str) -> str:
    """The SVG of these boxes and edges."""
    edges = merged(edges)
    places = Places(boxes, edges)
    body = [label(10, 20, title, size=14, more=' font-weight="600"'), *style.legend(10, 38, [b.kind for b in boxes])]
    body.append('<defs><marker id="of-arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">')
    body.append('<path class="of-tip" d="M0 0L8 4L0 8z"/></marker></defs>')
    before = ""
    for group, lane, y, height in places.bands:
        body.append(rect(6, y, places.width - 12, height, "of-band", more=' rx="5"'))
        if group != before:
            body.append(label(14, y + 20, style.fit(group, LEFT - 16, 13), size=13, more=' font-weight="600"'))
        body.append(label(14, y + 37, style.fit(lane, LEFT - 16, 11), "of-soft", 11))
        before = group
    drawn = [_edge(places, edge) for edge in edges]
    body += [line for line, _ in drawn]
    body += [_box(places, box) for box in boxes]
    body += [words for _, words in drawn if words]
    return style.page(places.width, places.height, body, title)


def _box(places: Places, box: Box) -> str:
    x, y = places.at[box.id]
    shape = rect(x, y, WIDTH, HEIGHT, f"of-{box.kind}", box.title or box.head, ' rx="5"')
    head = label(x + 9, y + (17 if box.foot else 24), style.fit(box.head, WIDTH - 14, 12), "of-on", 12, more=' font-weight="600"')
    foot = label(x + 9, y + 32, style.fit(box.foot, WIDTH - 14, 10.5), "of-on", 10.5) if box.foot else ""
    return f'<g pointer-events="bounding-box">{shape}{head}{foot}</g>'


def curve(places: Places, edge: Edge) -> tuple[str, float, float]:
    """The path of an edge, and the middle of its label."""
    (x1, y1), (x2, y2) = places.at[edge.source], places.at[edge.target]
    x1, y1, y2 = x1 + WIDTH, y1 + HEIGHT / 2, y2 + HEIGHT / 2
    spans = round((x2 - x1 - places.gap) / (WIDTH + places.gap))
    if x2 < x1:  # against the columns: a bow below both boxes
        x1, x2 = x1 - WIDTH / 2, x2 + WIDTH / 2
        y1, y2 = y1 + HEIGHT / 2, y2 + HEIGHT / 2
        low = max(y1, y2) + 26
        return f"M{x1:.1f} {y1:.1f}C{x1:.1f} {low:.1f} {x2:.1f} {low:.1f} {x2:.1f} {y2:.1f}", x2 + 0.16 * (x1 - x2), low - 12
    bow = -34.0 if spans > 0 and abs(y1 - y2) < 1 else 0.0
    bend = max(30.0, (x2 - x1) / 2.2)
    path = f"M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1 + bow:.1f} {x2 - bend:.1f} {y2 + bow:.1f} {x2:.1f} {y2:.1f}"
    return path, (x1 + x2) / 2, (y1 + y2) / 2 + 0.75 * bow


def _edge(places: Places, edge: Edge) -> tuple[str, str]:
    """The curve of an edge, and its label (drawn later, above the boxes)."""
    path, x, y = curve(places, edge)
    dash = ' stroke-dasharray="4 3"' if edge.back else ""
    drawn = f'<path class="of-edge" d="{path}" stroke-width="1.3" marker-end="url(#of-arrow)"{dash}>'
    line = f"{drawn}<title>{style.escape(edge.title or edge.label)}</title></path>"
    return line, _words(x, y, edge.label) if places.labelled else ""


def _words(x: float, y: float, text: str) -> str:
    """A label in one or two lines around (x, y), with a rim of background so that curves do not cross it."""
    lines = text.split("\n")
    made = [label(x, y - 4 + 11 * i, line, "of-soft of-rim", 9, "middle") for i, line in enumerate(lines)]
    return f'<g pointer-events="none">{"".join(made)}</g>'
