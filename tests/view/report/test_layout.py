"""Drawings place every box once, without overlap, and every edge from its source to its target, whoever lays them out."""

from __future__ import annotations

import random
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from oflow.view.lanes import HEIGHT, WIDTH, Box, Edge
from oflow.view.report import layout
from oflow.view.report.layout import Drawing, drawn, layered

ENGINES = [
    pytest.param("pygraphviz", marks=pytest.mark.skipif(find_spec("pygraphviz") is None, reason="pygraphviz is not installed")),
    pytest.param("dot", marks=pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")),
    "layers",
]


def random_drawing(seed: int, count: int = 14) -> tuple[list[Box], list[Edge]]:
    """Boxes with numbers that have holes; edges forwards, some backwards and some twice."""
    rng = random.Random(seed)
    boxes = [Box(3 * i, "", "", "F", f"box {i}") for i in range(count)]
    edges = []
    for _ in range(2 * count):
        a, b = sorted(rng.sample(range(count), 2))
        back = rng.random() < 0.15
        source, target = (b, a) if back else (a, b)
        edges.append(Edge(3 * source, 3 * target, rng.choice(("", "S(0)", "B, P")), back=back and rng.random() < 0.5))
    return boxes, [*edges, edges[0]]


def is_sound(drawing: Drawing, boxes: list[Box], edges: list[Edge]) -> None:
    assert set(drawing.at) == {box.id for box in boxes}
    for id, (x, y) in drawing.at.items():
        assert 0 <= x <= drawing.width - WIDTH and 0 <= y <= drawing.height - HEIGHT
        assert all(id == other or abs(x - a) >= WIDTH - 1 or abs(y - b) >= HEIGHT - 1 for other, (a, b) in drawing.at.items())
    assert len(drawing.paths) == len(drawing.labels) == len(edges)
    for edge, path in zip(edges, drawing.paths, strict=True):
        assert re.fullmatch(r"M-?\d+ -?\d+([CL]-?\d+ -?\d+( -?\d+ -?\d+)*)+", path), path
        numbers = [float(n) for n in re.findall(r"-?\d+", path)]
        for (x, y), id in ((numbers[:2], edge.source), (numbers[-2:], edge.target)):
            left, top = drawing.at[id]
            assert left - 4 <= x <= left + WIDTH + 4 and top - 4 <= y <= top + HEIGHT + 4, (edge, path)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(4))
def test_drawings(engine: str, seed: int) -> None:
    print(f"seed {seed}")
    boxes, edges = random_drawing(seed)
    drawing = drawn(boxes, edges, engine)
    assert drawing.engine == engine
    is_sound(drawing, boxes, edges)
    assert drawn(boxes, edges, engine) == drawing


def test_nothing_to_draw() -> None:
    assert drawn([], [], "layers").at == {}
    assert drawn([], []).paths == ()


def test_forward_edges_point_down() -> None:
    boxes, edges = random_drawing(7)
    forward = [edge for edge in edges if edge.source < edge.target]
    drawing = layered(boxes, forward)
    assert all(drawing.at[e.source][1] < drawing.at[e.target][1] for e in forward)


def test_without_graphviz_there_is_a_drawing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    boxes, edges = random_drawing(1)
    monkeypatch.setattr(layout, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert drawn(boxes, edges).engine == "layers"
    for words in ("exit 1", "echo not json", "echo '{}'"):
        (tmp_path / "dot").write_text(f"#!/bin/sh\n{words}\n")
        (tmp_path / "dot").chmod(0o755)
        assert drawn(boxes, edges) == layered(boxes, edges)


def test_a_drawing_that_is_too_large_or_too_slow_is_laid_out_in_layers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    boxes, edges = random_drawing(1)
    (tmp_path / "dot").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setattr(layout, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(layout, "DOT_SECONDS", 0.2)
    assert drawn(boxes, edges).engine == "layers"
    many = [Edge(0, 3, "")] * (layout.DOT_PARTS + 1)
    monkeypatch.setattr(layout, "DOT_SECONDS", 60.0)
    assert drawn(boxes, many).engine == "layers"
