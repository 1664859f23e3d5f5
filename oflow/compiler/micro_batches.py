"""micro-batches: an outermost mesh axis in TIME, of size M. The same signatures that place shards on devices place them in time.

Inputs are S(0) on it, kept state is B, sums over the batch are P. A value that is P or S in time and is wanted whole becomes an
`accumulate` node (an out port every=M that adds or collects); a whole value wanted S(0) becomes a boxing that takes one slice
an act. So accumulation equals the plain batch by construction.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from oflow.compiler.options import Options
from oflow.errors import SbpError
from oflow.graph import Builder, Graph, Node
from oflow.ops import REGISTRY
from oflow.sbp import B, S, Sbp, Signature
from oflow.types import TensorType

Need = tuple[Sbp, ...]


def micro_batches(graph: Graph, options: Options) -> Graph:
    count = options.micro_batches
    state = {p.value for p in graph.parameters}
    times: dict[int, Sbp] = {v: value.time or B for v, value in graph.values.items() if v in state or v in graph.inputs}
    if count == 1:
        values = {v: replace(value, time=B) for v, value in graph.values.items()}
        return replace(graph, values=values, micro_batches=1)
    axis = _TimeAxis(graph, times, count, barriers=options.schedule == "gpipe")
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
                f"{node.op} needs %{min(joined)}, which is complete only after all {self.count} micro-batches, "
                "while it works micro-batch by micro-batch; use schedule='gpipe', which can wait, or micro_batches=1",
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
        types = tuple(self.graph.values[v].type for v in node.ins)
        key = (node.op, node.attrs, types, have)
        if key not in self.chosen:
            self.chosen[key] = self._best(node, types, have)
        return self.chosen[key]

    def _best(self, node: Node, types: tuple[TensorType, ...], have: Need) -> Signature:
        op = REGISTRY[node.op]
        found = [s for s in op.signatures(types, node.attributes, self.count) if not _partial_extreme(s)]
        free = [s for s in found if s.ins == have]
        if free:
            return free[0]
        slices = [s for s in found if all(h == w or (h == B and w == S(0)) for h, w in zip(have, s.ins, strict=True))]
        if slices:
            return slices[0]
        # several values have to be made whole: keep as many as possible as they are
        return max(found, key=lambda s: (_possible(have, s), sum(h == w for h, w in zip(have, s.ins, strict=True))))

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
        if want == B and (have == S(0) or have.op == "sum"):
            if made_by is not None:
                facts |= {"line": made_by.line, "stage": made_by.stage, "phase": made_by.phase, "placement": made_by.placement}
            made = self.builder.node("accumulate", (value,), (kind,), **facts)
            self.joined.add(made.outs[0])
        elif have == B and want == S(0):
            made = self.builder.node("boxing", (value,), (kind,), **facts)
        else:
            raise SbpError(
                f"{node.op} needs %{value} as {want} on the micro-batch axis, where it is {have}; "
                "only S(0) and P(sum) can be joined over micro-batches. Keep the batch on axis 0, or use micro_batches=1",
                line=node.line,
            )
        self.times[made.outs[0]] = want
        return made.outs[0]

    def finish(self) -> Graph:
        """Outputs and new state are whole: they leave the step once."""
        nodes = {out: node for node in self.builder.nodes for out in node.outs}
        sinks = {v: self._twin(v, B, nodes[v]) if v in nodes else v for v in self.graph.sinks()}
        builder = self.builder
        builder.outputs = [(name, sinks[v]) for name, v in self.graph.outputs]
        builder.parameters = [
            replace(p, update=sinks[p.update] if p.update is not None else None) for p in self.graph.parameters
        ]
        builder.micro_batches = self.count
        builder.values = {v: replace(value, time=self.times[v]) for v, value in builder.values.items() if v in self.times}
        return builder.build()


def _partial_extreme(signature: Signature) -> bool:
    """P(max) and P(min) have no joining over micro-batches."""
    return any(s.is_partial and s.op != "sum" for s in (*signature.ins, *signature.outs))


def _possible(have: Need, signature: Signature) -> bool:
    return all(
        h == w or w == B or (h == B and w == S(0)) for h, w in zip(have, signature.ins, strict=True)
    )
