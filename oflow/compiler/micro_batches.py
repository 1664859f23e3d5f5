"""micro-batches: an outermost mesh axis in TIME, of size M. The same signatures that place shards on devices place them in time.

Inputs are S(0) on it, kept state is B, sums over the batch are P. A value that is P or S in time and is wanted whole becomes an
`accumulate` node (an out port every=M that adds or collects); a whole value wanted S(0) becomes a boxing that takes one slice
an act. So accumulation equals the plain batch by construction.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from oflow.compiler.chunks import forwards_first
from oflow.compiler.options import Options
from oflow.compiler.reasons import named, refusals
from oflow.errors import SbpError
from oflow.graph import Builder, Graph, Node, weights_alone
from oflow.ops import REGISTRY
from oflow.ops.op import Shards
from oflow.sbp import B, Box, P, S, Sbp, Signature, split_range
from oflow.types import TensorType

Need = tuple[Sbp, ...]


def micro_batches(graph: Graph, options: Options) -> Graph:
    count = options.micro_batches
    state = {p.value for p in graph.parameters}
    times: dict[int, Sbp] = {v: value.time or B for v, value in graph.values.items() if v in state or v in graph.inputs}
    if count == 1:
        values = {v: replace(value, time=B) for v, value in graph.values.items()}
        return replace(graph, values=values, micro_batches=1)
    axis = _TimeAxis(graph, times, count, barriers=forwards_first(options.schedule))
    for node in graph.nodes:
        axis.visit(node)
    return axis.finish()


class _TimeAxis:
    """The walk over the graph: `times` of the values so far, and the whole or sliced twin of those that have one."""

    def __init__(self, graph: Graph, times: dict[int, Sbp], count: int, *, barriers: bool) -> None:
        self.graph = graph
        self.count = count
        self.barriers = barriers
        self.times = times
        self.twins: dict[tuple[int, Sbp], int] = {}
        self.joined: set[int] = set()
        """Whole values that depend on all micro-batches of the step: rate-M readers of them wait for a barrier."""
        self.weights = weights_alone(graph)
        self.constants = {p.value for p in graph.parameters if p.update is None}
        self.builder = Builder.without_nodes(graph)
        self.producers = graph.producers()
        self.chosen: dict[tuple[object, ...], Signature] = {}
        """By operator, attributes, types and times: equal layers choose once."""

    def visit(self, node: Node) -> None:
        signature = self._choose(node)
        ins = tuple(self._twin(v, want, node) for v, want in zip(node.ins, signature.ins, strict=True))
        split = any(s != B for s in (*signature.ins, *signature.outs))
        joined = self.joined.intersection(ins)
        if joined and split and not self.barriers:
            raise SbpError(
                f"{node.op} works micro-batch by micro-batch and needs {named(self.graph, self._whole_of(min(joined)))}, which is complete "
                f"only after all {self.count} of them. The schedules differ: 1f1b begins the backward pass of the first micro-batch before "
                "the last has come; gpipe can wait. Use schedule='gpipe', or micro_batches=1",
                line=node.line,
            )
        if joined:
            self.joined.update(node.outs)
        self.times.update(zip(node.outs, signature.outs, strict=True))
        self.builder.nodes.append(replace(node, ins=ins, rate=self.count if split else 1))

    def _choose(self, node: Node) -> Signature:
        """The signature that needs no whole twin if there is one, else the one that needs the fewest."""
        op = REGISTRY[node.op]
        have = tuple(self.times[v] for v in node.ins)
        if op.lowering == "pull":
            return Signature(have, have)
        if node.phase == "update":  # once a step, after all micro-batches, even where they have slices of a parameter each
            return Signature((B,) * len(node.ins), (B,) * len(node.outs))
        if self._joins_stages(node, have):
            return Signature((B,) * len(node.ins), (B,) * len(node.outs))
        types = tuple(self.graph.values[v].type for v in node.ins)
        key = (node.op, node.attrs, types, have)
        if key not in self.chosen:
            self.chosen[key] = self._best(node, types, have)
        return self.chosen[key]

    def _joins_stages(self, node: Node, have: Need) -> bool:
        """Whether it takes gradients of weights from other stages (of a weight that several of them read): those are sums over
        micro-batches, and cross once a step."""
        gradient = node.phase == "B" and all(self.graph.values[v].gradient_of in self.weights for v in node.outs)
        makers = [self.producers.get(v) for v in node.ins]
        return gradient and any(
            time == P and maker is not None and maker.stage != node.stage for time, maker in zip(have, makers, strict=True)
        )

    def _best(self, node: Node, types: tuple[TensorType, ...], have: Need) -> Signature:
        op = REGISTRY[node.op]
        found = [s for s in op.signatures(types, node.attributes, self.count) if not _partial_extreme(s) and self._uniform(node, types, s)]
        free = [s for s in found if s.ins == have]
        if free:
            return free[0]
        slices = [s for s in found if all(h == w or (h == B and w == S(0)) for h, w in zip(have, s.ins, strict=True))]
        if slices:
            return slices[0]
        # several values have to be made whole: keep as many as possible as they are
        return max(found, key=lambda s: (_possible(have, s), sum(h == w for h, w in zip(have, s.ins, strict=True))))

    def _uniform(self, node: Node, types: tuple[TensorType, ...], signature: Signature) -> bool:
        """Whether the kernel does the same for every micro-batch: nothing tells it which one it works on."""
        op = REGISTRY[node.op]
        results = tuple(self.graph.values[v].type for v in node.outs)
        first, last = (
            Shards(*(tuple(map(partial(_part, index=i, of=self.count), side, sbp)) for side, sbp in
                     ((types, signature.ins), (results, signature.outs))))
            for i in (0, self.count - 1)
        )  # fmt: skip
        return op.local_attrs(node.attributes, first) == op.local_attrs(node.attributes, last)

    def _twin(self, value: int, want: Sbp, node: Node) -> int:
        have = self.times[value]
        if have == want:
            return value
        if (value, want) not in self.twins:
            self.twins[value, want] = self._convert(value, have, want, node)
        return self.twins[value, want]

    def _convert(self, value: int, have: Sbp, want: Sbp, node: Node) -> int:
        made_by = self.producers.get(value)
        facts: dict[str, Any] = {
            "line": node.line, "stage": node.stage, "phase": node.phase, "placement": node.placement, "rate": self.count,
        }  # fmt: skip
        kind = self.graph.values[value].type
        if not _convertible(have, want):
            raise SbpError(self._no_way(node, value, have, want), line=node.line)
        if want == B:
            if made_by is not None:
                facts |= {"line": made_by.line, "stage": made_by.stage, "phase": made_by.phase, "placement": made_by.placement}
            elif node.phase == "update":  # an input is collected while its micro-batches come, not after them
                facts["phase"] = "F"
            made = self.builder.node("accumulate", (value,), (kind,), **facts)
            self.joined.add(made.outs[0])
        else:
            facts["placement"] = (made_by or self._given(value)).placement or node.placement  # sliced where it is, then moved
            made = self.builder.node("boxing", (self._taken_each_step(value, facts),), (kind,), **facts)
            self.joined.update(made.outs if value in self.joined else ())
        self.builder.update_value(made.outs[0], gradient_of=self.graph.values[value].gradient_of)
        self.times[made.outs[0]] = want
        return made.outs[0]

    def _taken_each_step(self, value: int, facts: dict[str, Any]) -> int:
        """The value, or a copy of a constant: its slot is taken once a run, and nothing would count the slices."""
        if value not in self.constants:
            return value
        made = self.builder.node("accumulate", (value,), (self.graph.values[value].type,), **{**facts, "rate": 1})
        self.times[made.outs[0]] = B
        return made.outs[0]

    def _given(self, value: int) -> Node:
        """What stands for the maker of an input or a parameter that the caller gets back."""
        layout = self.graph.values[value].layout
        return Node(-1, "boxing", (), (value,), placement=layout.placement if layout else None)

    def _whole_of(self, value: int) -> int:
        """What a value that was joined over micro-batches was joined from."""
        made_by = next((n for n in self.builder.nodes if value in n.outs), None)
        return value if value in self.graph.producers() or made_by is None else made_by.ins[0]

    def _no_way(self, node: Node, value: int, have: Sbp, want: Sbp) -> str:
        """Each signature on the micro-batch axis, and why it cannot be taken."""
        remedy = "Only S(0) and P can be joined over micro-batches. Keep the batch on axis 0 up to here, or use micro_batches=1"
        if value in node.outs:
            return f"{named(self.graph, value)} leaves the step whole, and it is {have} on the micro-batch axis. {remedy}"
        types = tuple(self.graph.values[v].type for v in node.ins)
        ways = [(s,) for s in REGISTRY[node.op].signatures(types, node.attributes, self.count)]
        return (
            f"{node.op} of {', '.join(map(str, types))} cannot be cut into {self.count} micro-batches: it needs "
            f"{named(self.graph, value)} as {want} on the micro-batch axis, where it is {have}. "
            f"It has{refusals(ways, lambda way: self._why_not(node, types, way[0]))}\n  {remedy}"
        )

    def _why_not(self, node: Node, types: tuple[TensorType, ...], signature: Signature) -> str:
        """The first reason against a signature in time ("" where there is none)."""
        if _partial_extreme(signature):
            return "P(max) and P(min) cannot be joined over micro-batches"
        if not self._uniform(node, types, signature):
            return "it would do something else for each micro-batch"
        for v, want in zip(node.ins, signature.ins, strict=True):
            if not _convertible(self.times[v], want):
                return f"{named(self.graph, v)} would have to be {want}, it is {self.times[v]}"
        return ""

    def finish(self) -> Graph:
        """Outputs and new state are whole: they leave the step once."""
        nodes = {out: node for node in self.builder.nodes for out in node.outs}
        sinks = {v: self._twin(v, B, nodes.get(v) or self._given(v)) for v in self.graph.sinks()}
        builder = self.builder
        builder.outputs = [(name, sinks[v]) for name, v in self.graph.outputs]
        builder.parameters = [
            replace(p, update=sinks[p.update] if p.update is not None else None) for p in self.graph.parameters
        ]
        builder.micro_batches = self.count
        builder.values = {v: replace(value, time=self.times[v]) for v, value in builder.values.items() if v in self.times}
        return builder.build()


def _part(kind: TensorType, sbp: Sbp, index: int, of: int) -> Box:
    """The region of one micro-batch."""
    return tuple(split_range(n, of, index) if sbp.is_split and axis == sbp.axis else (0, n) for axis, n in enumerate(kind.shape))


def _partial_extreme(signature: Signature) -> bool:
    """P(max) and P(min) have no joining over micro-batches."""
    return any(s.is_partial and s.op != "sum" for s in (*signature.ins, *signature.outs))


def _possible(have: Need, signature: Signature) -> bool:
    return all(map(_convertible, have, signature.ins))


def _convertible(have: Sbp, want: Sbp) -> bool:
    """Whether a value can be brought from one Sbp on the time axis to another."""
    return have == want or (want == B and (have == S(0) or have.op == "sum")) or (have == B and want == S(0))
