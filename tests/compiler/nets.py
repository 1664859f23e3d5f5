"""Programs to look at after each pass: pipelines of equal stages, and two layers in many layouts."""

from __future__ import annotations

from typing import Any

import oflow as of
from oflow.graph import Graph, Node

FOUR = of.placement("cpu", [0, 1, 2, 3])


def pipeline(stages: int, micro_batches: int, ranks: int = 1, **options: Any) -> of.Program:
    """Equal stages, each a square layer and a GELU, on `ranks` devices (data parallel), the loss on the last."""
    layers = [of.nn.Linear(32, 32) for _ in range(stages)]
    places = [of.placement("cpu", list(range(s * ranks, (s + 1) * ranks))) for s in range(stages)]
    for layer, place in zip(layers, places, strict=True):
        layer.to_global(place, of.B)

    def loss(x, y):
        for i, layer in enumerate(layers):
            with of.stage(i):
                x = of.gelu(layer(x))
        with of.stage(stages - 1):
            return of.mse(x, y)

    sbp = of.S(0) if ranks > 1 else of.B
    specs = of.spec((64, 32), "float32", places[0], sbp), of.spec((64, 32), "float32", places[-1], sbp)
    return of.compile(loss, *specs, optimizer=of.optim.SGD(lr=0.1), micro_batches=micro_batches, **options)


def graph(program: of.Program, name: str) -> Graph:
    found = program.passes[name]
    assert isinstance(found, Graph)
    return found


def plan(program: of.Program, name: str) -> of.Plan:
    found = program.passes[name]
    assert isinstance(found, of.Plan)
    return found


def nodes(found: Graph, op: str, phase: str = "") -> list[Node]:
    return [n for n in found.nodes if n.op == op and phase in ("", n.phase)]
