"""expand: one actor template a node, stamped on the ranks of its placement; one register template a value.

What differs between ranks (uneven shards, the peers a boxing reads, local attributes) is a column with one entry a rank; where
all entries are equal the column has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from oflow.compiler.infer_sbp import rate_of, time_type
from oflow.compiler.options import Options
from oflow.graph import Graph, Node
from oflow.machine import Cost
from oflow.ops import REGISTRY
from oflow.ops.op import Shards
from oflow.plan import ActorTemplate, Arg, Call, Plan, PortTemplate, RegisterTemplate, Scratch
from oflow.sbp import HOST, Layout, Step
from oflow.types import Attrs, TensorType, freeze

T = TypeVar("T")


def expand(graph: Graph, options: Options) -> Plan:
    made = _Expansion(graph)
    feed = made.host_actor("feed", [(v, "out") for v in graph.inputs])
    actors = [feed] if graph.inputs else []
    actors += [made.actor(node) for node in graph.nodes]
    if graph.outputs:
        actors.append(made.host_actor("fetch", [(v, "in") for v in dict.fromkeys(v for _, v in graph.outputs)]))
    plan = Plan(
        tuple(actors), tuple(made.registers), tuple(made.rank_table), options.machine, micro_batches=graph.micro_batches
    )
    first = {v: plan.register_bases[row] for v, row in made.rows.items()}
    return Plan(
        plan.actor_templates, plan.register_templates, plan.rank_table, plan.machine,
        inputs=tuple(first[v] for v in graph.inputs),
        outputs=tuple((name, first[v]) for name, v in graph.outputs),
        micro_batches=graph.micro_batches,
    )  # fmt: skip


def column(entries: Sequence[T]) -> tuple[T, ...]:
    """One entry where all ranks agree, else one a rank."""
    return (entries[0],) if all(e == entries[0] for e in entries[1:]) else tuple(entries)


class _Expansion:
    """The tables that grow while nodes become templates: rank groups, registers, and the register row of each value."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rank_table: list[tuple[str, ...]] = []
        self.registers: list[RegisterTemplate] = []
        self.rows: dict[int, int] = {}
        self.state = {p.value: p for p in graph.parameters}
        self.rewritten = {p.update: p.value for p in graph.parameters if p.update is not None}
        names = {v: node for node in graph.nodes for v in node.outs}
        for v, value in graph.values.items():
            if v in names or v in self.state or v in graph.inputs:
                self._register(v, f"{value.name or names[v].op}.{v}" if v not in self.state else value.name)

    def group(self, devices: tuple[str, ...]) -> int:
        if devices not in self.rank_table:
            self.rank_table.append(devices)
        return self.rank_table.index(devices)

    def _register(self, v: int, name: str) -> None:
        if v in self.rewritten:
            return
        layout = self._layout(v)
        kind = time_type(self.graph, v)
        ranks = range(layout.placement.size)
        types = column([TensorType(layout.shard_shape(kind.shape, i), kind.dtype) for i in ranks])
        kept = v in self.state
        self.rows[v] = len(self.registers)
        self.registers.append(
            RegisterTemplate(
                name, self.group(layout.placement.devices), types, initial=int(kept), region="state" if kept else "arena",
                state=name if kept else "", value=v, layout=", ".join(map(str, layout.sbp)),
            )
        )  # fmt: skip

    def _layout(self, v: int) -> Layout:
        found = self.graph.values[v].layout
        assert found is not None
        return found

    # ------------------------------------------------------------ actors

    def host_actor(self, name: str, ports: list[tuple[int, str]]) -> ActorTemplate:
        bound = tuple(PortTemplate(self.rows[v], direction) for v, direction in ports)
        return ActorTemplate(name, self.group(HOST.devices), bound, stream=name, phase="F")

    def actor(self, node: Node) -> ActorTemplate:
        assert node.placement is not None
        pull = REGISTRY[node.op].lowering == "pull"
        ports, call, costs, scratch = self._pull(node) if pull else self._local(node)
        name = f"{node.op}.{node.id}"
        return ActorTemplate(
            name, self.group(node.placement.devices), tuple(ports), (call,), scratch, node.stream, node.stage or 0, node.phase,
            node.rate, costs=column(costs), nodes=(node.id,), line=node.line,
        )  # fmt: skip

    def _in_every(self, node: Node, v: int) -> int:
        if v in self.state and self.state[v].update is None:
            return 0
        return node.rate // rate_of(self.graph, v)

    def _out_port(self, node: Node, v: int) -> PortTemplate:
        if v in self.rewritten:
            return PortTemplate(self.rows[self.rewritten[v]], "out", mode="keep")
        if REGISTRY[node.op].lowering == "accumulate":
            time = self.graph.values[node.ins[0]].time
            mode = "slice" if time is not None and time.is_split else "sum"
            return PortTemplate(self.rows[v], "out", every=node.rate, mode=mode)
        return PortTemplate(self.rows[v], "out")

    def _local(self, node: Node) -> tuple[list[PortTemplate], Call, list[Cost], tuple[Scratch, ...]]:
        op = REGISTRY[node.op]
        aliased = {node.ins[i] for i in op.inplace.values()}
        ports = [self._out_port(node, v) for v in node.outs]
        read = [v for v in dict.fromkeys(node.ins) if v not in aliased]
        ports += [PortTemplate(self.rows[v], "in", every=self._in_every(node, v)) for v in read]
        place = {v: len(node.outs) + i for i, v in enumerate(read)}
        attrs, costs, workspaces = [], [], []
        for rank in range(node.placement.size if node.placement else 0):
            local, ins, outs = self._rank(node, rank)
            attrs.append(freeze(local))
            costs.append(op.estimate(ins, outs, local))
            workspaces.append(op.workspace_nbytes(ins, outs, local))
        scratch = (Scratch((TensorType((max(workspaces),), "uint8"),)),) if max(workspaces) else ()
        call = Call(
            node.op, tuple(Arg("port", i) for i in range(len(node.outs))),
            tuple(Arg("port", place[v]) for i, v in enumerate(node.ins) if i not in op.inplace.values()),
            column(attrs), workspace=0 if scratch else -1, line=node.line,
        )  # fmt: skip
        return ports, call, costs, scratch

    def _rank(self, node: Node, rank: int) -> tuple[dict[str, Any], tuple[TensorType, ...], tuple[TensorType, ...]]:
        """Local attributes and shard types of one rank (of its first micro-batch)."""
        boxes = [tuple(self._layout(v).box(time_type(self.graph, v).shape, rank) for v in vs) for vs in (node.ins, node.outs)]
        local = REGISTRY[node.op].local_attrs(node.attributes, Shards(boxes[0], boxes[1]))
        types = [
            tuple(TensorType(tuple(b - a for a, b in box), self.graph.values[v].type.dtype) for box, v in zip(side, vs, strict=True))
            for side, vs in zip(boxes, (node.ins, node.outs), strict=True)
        ]
        return local, types[0], types[1]

    def _pull(self, node: Node) -> tuple[list[PortTemplate], Call, list[Cost], tuple[Scratch, ...]]:
        """A boxing: one in port for each source that any rank reads."""
        (source,), (target,) = node.ins, node.outs
        values = self.graph.values
        src, dst = self._layout(source), self._layout(target)
        flat = bool(node.attributes.get("flat"))
        kind = time_type(self.graph, target)
        step = Step(src, dst, flat)
        pulls = step.pulls(kind.shape)
        sources = [tuple(dict.fromkeys(pull.source for pull in mine)) for mine in pulls]
        sliced = values[source].time != values[target].time
        every, mode = self._in_every(node, source), "slice" if sliced else "whole"
        width = max(map(len, sources))
        ports = [self._out_port(node, target)]
        for j in range(width):
            peers = tuple(mine[j] if j < len(mine) else -1 for mine in sources)
            ports.append(PortTemplate(self.rows[source], "in", every, mode, self._own_or(peers, src, dst)))
        attrs: list[Attrs] = []
        costs = []
        for rank, mine in enumerate(pulls):
            moves = tuple((sources[rank].index(pull.source), pull.take, pull.put) for pull in mine)
            attrs.append(freeze({"pulls": moves, "flat": flat, "op": step.op}))
            costs.append(_pull_cost(step, kind, rank, dst.placement.devices[rank]))
        call = Call(node.op, (Arg("port", 0),), tuple(Arg("port", j + 1) for j in range(width)), column(attrs), line=node.line)
        return ports, call, costs, ()

    def _own_or(self, peers: tuple[int, ...], src: Layout, dst: Layout) -> tuple[int, ...]:
        own = src.placement.devices == dst.placement.devices and peers == tuple(range(len(peers)))
        return () if own else peers


def _pull_cost(step: Step, kind: TensorType, rank: int, device: str) -> Cost:
    moved: dict[str, int] = {}
    total = 0
    for pull in step.pulls(kind.shape)[rank]:
        nbytes = pull.size * kind.itemsize
        total += nbytes
        name = step.src.placement.devices[pull.source]
        if name != device:
            moved[name] = moved.get(name, 0) + nbytes
    return Cost(nbytes=2.0 * total, calls=1, received=tuple(moved.items()))
