"""Every change of layout in a finished graph: what moves, on which route, how many bytes and seconds a step, and who asked for it.

A boxing is a chain of pull nodes that the passes inserted (their attributes say why), or an operand that its reader takes from the
other ranks' memory where it lies, without a copy (`fold`). Bytes are those of the pulls that the plan runs, so their sum is the sum
of what the plan's actors receive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from oflow.graph import Graph, Node, time_type
from oflow.machine import Cost, Machine, pull_costs, together
from oflow.ops import REGISTRY
from oflow.sbp import B, Layout, Step, Traffic
from oflow.types import TensorType

TO_GLOBAL = "to_global"
"""The user wrote it."""
GRADIENT = "gradient of to_global"
"""Of the gradient of a tensor that the user's to_global made, or of a summand of it."""
HOME = "home"
"""Of a parameter's gradient or of what an update reads (clipping's norm, the step), to where the annotation keeps the state."""
INPUT, OUTPUT = "input", "output"
"""Between the caller's memory and the devices."""
SLICE = "slice"
"""One micro-batch of a whole value, on the devices that have it."""
UNPLACED = "no annotation"
"""A part of a parameter that nobody annotated, on the devices that have all of it."""
SHARDED = "sharded state"
"""Between a parameter and the shards of its optimizer state, gradient or home, as `of.compile(..., zero=)` asks."""
READER = "reader"
"""Inference chose another layout for the reader: the one reason that nobody asked for."""


@dataclass(frozen=True, slots=True)
class Move:
    """One step of a route, to `layout`: bytes over all links and predicted seconds, both per training step.

    in_place: the reader takes the bytes from the other ranks' memory, no copy is made.
    """

    layout: Layout
    nbytes: int
    seconds: float
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class Boxing:
    """A change of layout of `name` (a parameter, an input, or the operator that makes it).

    type: of one act, of which there are `times` a step. why: TO_GLOBAL, GRADIENT, ...; reader: the operator that reads it; line: the
    user's line that caused it; made_at: that which made the value; stage: the reader's. count: how many there are like it (`folded`).
    bucket: the number of the bucket it travels in; its seconds are a share of the bucket's, by bytes. nodes: those of the graph that
    move it (of a move in place, its reader).
    """

    value: int
    name: str
    type: TensorType
    source: Layout
    moves: tuple[Move, ...]
    phase: str
    times: int
    why: str
    reader: str
    line: str
    made_at: str
    stage: int | None = None
    count: int = 1
    bucket: int | None = None
    nodes: tuple[int, ...] = ()

    @property
    def target(self) -> Layout:
        return self.moves[-1].layout

    @property
    def asked(self) -> bool:
        return self.why != READER

    @property
    def nbytes(self) -> int:
        """Bytes over all links a step, of all that are like it."""
        return self.count * sum(move.nbytes for move in self.moves)

    @property
    def seconds(self) -> float:
        """Predicted seconds a step, of all that are like it."""
        return self.count * sum(move.seconds for move in self.moves)

    @property
    def route(self) -> str:
        """The layouts one after the other; the placement where it changes."""
        return route_text([self.source, *(move.layout for move in self.moves)])

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "value": self.name, "type": str(self.type), "from": str(self.source), "to": str(self.target), "nbytes": self.nbytes,
            "seconds": self.seconds, "phase": self.phase, "stage": self.stage, "times": self.times, "count": self.count, "why": self.why,
            "asked": self.asked, "reader": self.reader, "line": self.line, "made_at": self.made_at, "bucket": self.bucket,
            "route": [
                {"to": str(m.layout), "nbytes": m.nbytes, "seconds": m.seconds, "in_place": m.in_place} for m in self.moves
            ],
        }  # fmt: skip


def route_text(layouts: Iterable[Layout]) -> str:
    """``P -> S(0) -> B @cpu:0-3``; every placement where there are several."""
    found = list(layouts)
    if any(one.placement != found[0].placement for one in found):
        return " -> ".join(map(str, found))
    return f"{' -> '.join(str(one).partition('@')[0] for one in found)} @{found[0].placement}"


def boxings(graph: Graph, machine: Machine, before: Graph | None = None) -> tuple[Boxing, ...]:
    """All boxings of a graph, after the pass that inserts them or any later one, in the graph's order.

    before: the same graph as it was before nodes were fused, which knows operators and reasons that a fused node hides.
    """
    return tuple(_Found(graph, machine, before or graph).all())


def folded(found: Iterable[Boxing]) -> tuple[Boxing, ...]:
    """Those of repeated layers (equal but for values and numbers in names) as one, counted."""
    known: dict[Boxing, Boxing] = {}
    for one in found:
        reader = "" if one.why == TO_GLOBAL else one.reader
        key = replace(one, value=0, count=1, name=re.sub(r"\d+", "#", one.name), reader=reader, nodes=())
        first = known.setdefault(key, one)
        if first is not one:
            known[key] = replace(first, count=first.count + one.count, nodes=first.nodes + one.nodes)
    return tuple(known.values())


def bucket_of(node: Node) -> tuple[object, ...] | None:
    """The bucket that a boxing travels in, and the leg of its route."""
    number = node.attributes.get("bucket")
    return None if number is None else (number, node.attributes["leg"])


class _Found:
    """The walk over a graph."""

    def __init__(self, graph: Graph, machine: Machine, before: Graph) -> None:
        self.graph, self.machine = graph, machine
        self.buckets: dict[tuple[object, ...], float] = {}
        self.makers = {**graph.producers(), **before.producers()}
        self.readers = {**graph.consumers(), **before.consumers()}
        self.reasons = {
            (one.value, one.target): one for one in (boxings(before, machine) if before is not graph else ())
        }  # fmt: skip

    def all(self) -> list[Boxing]:
        found: list[Boxing] = []
        ends: dict[int, int] = {}
        """The place in `found` of the route that ends with this value."""
        for node in self.graph.nodes:
            if REGISTRY[node.op].lowering != "pull":
                found += self._in_place(node)
                continue
            (source,), (target,) = node.ins, node.outs
            place = ends.get(source) if node.attributes.get("leg") else None
            if place is None:
                place = len(found)
                found.append(self._boxing(node))
            else:
                before = found[place]
                found[place] = replace(before, moves=(*before.moves, self._move(node)), nodes=(*before.nodes, node.id))
            ends[target] = place
        return found

    def _boxing(self, node: Node) -> Boxing:
        readers = (n.op for n in self.readers.get(node.outs[0], ()) if REGISTRY[n.op].lowering != "pull")
        reader = node.attributes.get("reader") or next(readers, "")
        return self._made(node, node.ins[0], (self._move(node),), node.attributes.get("why", READER), reader)

    def _made(self, node: Node, value: int, moves: tuple[Move, ...], why: str, reader: str) -> Boxing:
        maker, name = self._maker(value), self.graph.values[value].name
        what = name or (maker.op if maker else "value")
        made_at = maker.line if maker else ""
        kind = time_type(self.graph, value)
        return Boxing(
            value, what, kind, self._layout(value), moves, node.phase, node.rate, why, reader, node.line, made_at, node.stage,
            bucket=node.attributes.get("bucket"), nodes=(node.id,),
        )  # fmt: skip

    def _maker(self, value: int) -> Node | None:
        """The operator behind boxings."""
        maker = self.makers.get(value)
        while maker is not None and REGISTRY[maker.op].lowering == "pull":
            maker = self.makers.get(maker.ins[0])
        return maker

    def _layout(self, value: int) -> Layout:
        found = self.graph.values[value].layout
        assert found is not None
        return found

    def _move(self, node: Node) -> Move:
        moved, key = self._traffic(node), bucket_of(node)
        seconds = self.machine.boxing(moved) if key is None else self._bucket_seconds(key) * moved.nbytes
        return Move(self._layout(node.outs[0]), node.rate * moved.nbytes, node.rate * seconds)

    def _traffic(self, node: Node) -> Traffic:
        kind, target = time_type(self.graph, node.outs[0]), self._layout(node.outs[0])
        step = Step(self._layout(node.ins[0]), target, bool(node.attributes.get("flat")))
        return step.traffic(kind.shape, kind.itemsize)

    def _bucket_seconds(self, key: tuple[object, ...]) -> float:
        """Seconds of an act of a bucket, by byte that it moves."""
        if key not in self.buckets:
            nodes = [node for node in self.graph.nodes if bucket_of(node) == key]
            found = [self._traffic(node) for node in nodes]
            ranks = zip(*map(pull_costs, found), strict=True)
            devices = self._layout(nodes[0].outs[0]).placement.devices
            seconds = max(self.machine.seconds(together(costs), device) for device, costs in zip(devices, ranks, strict=True))
            self.buckets[key] = seconds / max(1, sum(moved.nbytes for moved in found))
        return self.buckets[key]

    def _in_place(self, node: Node) -> Iterator[Boxing]:
        """Operands that the node reads from all ranks."""
        pieces = dict(node.attributes.get("pieces", ()))
        for i, v in enumerate(node.ins):
            source = self._layout(v)
            if i not in pieces and not (i in REGISTRY[node.op].parts and source.is_partial):
                continue
            target = Layout(source.placement, tuple(B if s.is_partial or i in pieces else s for s in source.sbp))
            kind, devices = time_type(self.graph, v), target.placement.devices
            moved = Step(source, target).traffic(kind.shape, kind.itemsize)
            received = [Cost(received=cost.received) for cost in pull_costs(moved)]
            seconds = max(self.machine.seconds(cost, device) for cost, device in zip(received, devices, strict=True))
            move = Move(target, node.rate * moved.nbytes, node.rate * seconds, in_place=True)
            reason = self.reasons.get((v, target))
            found = self._made(node, v, (move,), HOME if node.phase == "update" else READER, node.op)
            yield found if reason is None else replace(found, why=reason.why, reader=reason.reader, line=reason.line, phase=reason.phase)
