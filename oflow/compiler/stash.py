"""The stash: what the forward pass leaves for the backward, how large it is, and what it would take to make it again.

One `Stash` a pipeline stage, plain data: the values that are kept, the nodes that could run again, when the stage's backward pass
reads what (in equal parts of its nodes, one after the other), and how many bytes the backward holds of its own meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from oflow.compiler.copies import backward, can_be_copied
from oflow.compiler.expand import expand
from oflow.compiler.options import Options
from oflow.compiler.schedule import schedule
from oflow.compiler.stage_times import COMPUTE
from oflow.compiler.views import views
from oflow.graph import Graph, Node, rate_of
from oflow.ops import REGISTRY
from oflow.plan import Plan, RegisterTemplate, aligned

CELLS = 400
"""Nodes times parts of a stage, about: its backward pass is counted node by node where it is short, else in fewer parts."""


@dataclass(frozen=True, slots=True)
class Held:
    """A value of the forward pass: bytes of one slot on each of these devices, slots where it is kept for the backward pass.

    fixed: it is kept whatever is computed again, because somebody else reads it late, or because nobody can make it again.
    """

    nbytes: int
    slots: int
    devices: frozenset[str]
    fixed: bool


@dataclass(frozen=True, slots=True)
class Again:
    """A node that could run again: its seconds a step on its slowest device, the values it reads (of the stage's) and makes, and
    those it may write its results over, where it is their last reader."""

    node: Node
    seconds: float
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    over: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Stash:
    """first, last: the parts of the backward pass in which a value is read there. own: bytes a device that the backward pass holds
    of what it made itself, by part. views: values that are another's bytes. Nodes are in the graph's order."""

    stage: int | None
    parts: int
    held: Mapping[int, Held]
    nodes: tuple[Again, ...]
    first: Mapping[int, int]
    last: Mapping[int, int]
    own: Mapping[str, tuple[int, ...]]
    views: Mapping[int, int]


def stashes(graph: Graph, options: Options) -> tuple[Stash, ...]:
    """Of every stage that has a backward pass, as the schedule would keep it."""
    facts = _Facts(graph, schedule(expand(graph, options), options))
    stages = dict.fromkeys(node.stage for node in graph.nodes if backward(node))
    return tuple(facts.stash(stage) for stage in stages)


class _Facts:
    """Slots, bytes and seconds, read off the plan as it is before chains."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph, self.plan = graph, plan
        self.views = views(graph)
        self.makers, self.readers = graph.producers(), graph.consumers()
        self.rows: dict[int, RegisterTemplate] = {t.value: t for t in plan.register_templates}
        self.seconds = {a.nodes[0]: self._slowest(a.group, a.costs) * a.acts for a in plan.actor_templates if a.nodes}
        self.sinks = graph.sinks()

    def _slowest(self, group: int, costs: tuple[object, ...]) -> float:
        devices = self.plan.rank_table[group]
        per_rank = [costs[i if len(costs) > 1 else 0] for i in range(len(devices))] if len(costs) > 1 else [costs[0]]
        return max(self.plan.machine.seconds(cost, device) for cost, device in zip(per_rank, devices, strict=False))  # type: ignore[arg-type]

    def nbytes(self, v: int) -> int:
        row = self.rows.get(v)
        return max(aligned(t.nbytes) for t in row.types) if row else 0

    def devices(self, v: int) -> frozenset[str]:
        row = self.rows.get(v)
        return frozenset(self.plan.rank_table[row.group]) if row else frozenset()

    def stash(self, stage: int | None) -> Stash:
        later = [node for node in self.graph.nodes if backward(node) and node.stage == stage]
        nodes = self._again(stage, {v for node in later for v in node.ins if v in self.makers})
        parts = min(len(later), max(8, CELLS // max(1, len(nodes))))
        part_of = {node.id: at * parts // len(later) for at, node in enumerate(later)}
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for node in later:
            for v in node.ins:
                if v in self.makers and self.makers[v].phase == "F":
                    for read in dict.fromkeys((v, self.views.get(v, v))):
                        first.setdefault(read, part_of[node.id])
                        last[read] = part_of[node.id]
        held = self._held(stage, nodes, first)
        seen = {v: self.views.get(v, v) for v in (*first, *(v for n in nodes for v in (*n.ins, *n.outs)))}
        own = self._own(later, part_of, parts)
        return Stash(stage, parts, held, nodes, first, last, own, {v: of for v, of in seen.items() if v != of})

    def _again(self, stage: int | None, wanted: set[int]) -> tuple[Again, ...]:
        """What could run again for the values that the backward pass reads."""
        found: list[Again] = []
        wanted = set(wanted)
        for node in reversed(self.graph.nodes):
            if node.stage == stage and wanted.intersection(node.outs) and can_be_copied(self.graph, node):
                ins = tuple(v for v in node.ins if v in self.makers)
                found.append(Again(node, self.seconds.get(node.id, 0.0), ins, node.outs, self._over(node)))
                wanted.update(ins)
        return tuple(reversed(found))

    def _held(self, stage: int | None, nodes: tuple[Again, ...], first: dict[int, int]) -> dict[int, Held]:
        again = {v for n in nodes for v in n.outs}
        slots = max((self.rows[b].slots for v in first if (b := self.views.get(v, v)) in self.rows and b in again), default=1)
        found: dict[int, Held] = {}
        for v in (*first, *(v for n in nodes for v in (*n.ins, *n.outs))):
            base = self.views.get(v, v)
            late = base in self.sinks or any(r.phase == "update" or (backward(r) and r.stage != stage) for r in self._readers(base))
            fixed = late or (base not in again and v in first)
            row = self.rows[base]
            kept = row.slots if v in first or late or base not in again else slots
            found[base] = Held(self.nbytes(base), kept, self.devices(base), fixed or (base in found and found[base].fixed))
        return found

    def _over(self, node: Node) -> frozenset[int]:
        """Operands in whose memory the node can leave its results."""
        able = REGISTRY[node.op].overwrites
        if able is None or node.stream != COMPUTE:
            return frozenset()
        sizes = {self.nbytes(node.outs[result]) for result in able(node.attributes)}
        return frozenset(v for v in node.ins if v not in self.views and self.nbytes(v) in sizes)

    def _readers(self, base: int) -> list[Node]:
        alike = [base, *(v for v, of in self.views.items() if of == base)]
        return [r for v in alike for r in self.readers.get(v, [])]

    def _own(self, later: list[Node], part_of: Mapping[int, int], parts: int) -> dict[str, tuple[int, ...]]:
        """The most bytes of the backward's own values at a time, in each part. Totals over micro-batches are there all the time."""
        totals = {v for node in later for v in node.outs if rate_of(self.graph, v) < node.rate}
        ends = self._ends(later, totals)
        live: Counter[str] = Counter()
        most: dict[str, list[int]] = {}
        for v in totals:
            self._count(live, v, 1)
        for place, node in enumerate(later):
            for v in ends.get((place, True), ()):
                self._count(live, v, -1)
            for v in set(node.outs) - totals:
                self._count(live, v, 1)
            for device, nbytes in live.items():
                row = most.setdefault(device, [0] * parts)
                row[part_of[node.id]] = max(row[part_of[node.id]], nbytes)
            for v in ends.get((place, False), ()):
                self._count(live, v, -1)
        return {device: tuple(row) for device, row in most.items()}

    def _ends(self, later: list[Node], totals: set[int]) -> dict[tuple[int, bool], list[int]]:
        """Values of the backward pass by the place of their last reader there, and whether that may write over them."""
        places = {node.id: at for at, node in enumerate(later)}
        found: dict[tuple[int, bool], list[int]] = {}
        for node in later:
            for v in node.outs:
                readers = self._readers(v)
                inside = [places[r.id] for r in readers if r.id in places]
                if v not in totals and v not in self.sinks and len(inside) == len(readers):
                    last = max(inside, default=places[node.id])
                    found.setdefault((last, bool(inside) and v in self._over(later[last])), []).append(v)
        return found

    def _count(self, live: Counter[str], v: int, sign: int) -> None:
        for device in self.devices(v):
            live[device] += sign * self.nbytes(v)
