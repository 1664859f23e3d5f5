"""expand: one actor template a node, stamped on the ranks of its placement; one register template a value.

What differs between ranks (uneven shards, the peers a boxing reads, local attributes) is a column with one entry a rank; where
all entries are equal the column has one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

from oflow.boxings import bucket_of
from oflow.compiler.choices import time_attrs
from oflow.compiler.fold import summands
from oflow.compiler.options import Options
from oflow.compiler.views import views
from oflow.graph import Graph, Node, rate_of, time_type
from oflow.machine import Cost, Work, pull_costs, together
from oflow.ops import REGISTRY
from oflow.ops.op import Shards
from oflow.plan import ActorTemplate, Arg, Call, Plan, PortTemplate, RegisterTemplate, Scratch, at_rank
from oflow.sbp import HOST, Layout, Step
from oflow.types import FLOATS, Attrs, TensorType, freeze

T = TypeVar("T")
COPY = "boxing"


def expand(graph: Graph, options: Options) -> Plan:
    made = _Expansion(graph)
    feed = made.host_actor("feed", [(v, "out") for v in graph.inputs])
    actors = [feed] if graph.inputs else []
    actors += made.actors([node for node in graph.nodes if not made.views.keys() & node.outs])
    if graph.outputs:
        actors.append(made.host_actor("fetch", [(v, "in") for v in dict.fromkeys(v for _, v in graph.outputs)]))
    plan = Plan(
        tuple(actors), tuple(made.registers), tuple(made.groups), options.machine, micro_batches=graph.micro_batches
    )
    first = {v: plan.register_bases[row] for v, row in made.rows.items()}
    return Plan(
        plan.actor_templates, plan.register_templates, plan.rank_table, plan.machine,
        inputs=tuple(first[v] for v in graph.inputs),
        outputs=tuple((name, first[v]) for name, v in graph.outputs),
        micro_batches=graph.micro_batches, model_flops=_model_flops(graph),
    )  # fmt: skip


def _model_flops(graph: Graph) -> float:
    """See `Plan`. A backward pass multiplies once more for each operand that depends on a weight: for all of them twice as much."""
    known: dict[tuple[object, ...], float] = {}
    trained = {p.value for p in graph.parameters if p.trainable}
    backward = any(node.phase in ("B", "I", "W") for node in graph.nodes)
    total = 0.0
    for node in graph.nodes:
        if trained & set(node.ins):
            trained.update(node.outs)
        if node.phase == "F" and REGISTRY[node.op].lowering == "local":
            ins, outs = (tuple(time_type(graph, v) for v in vs) for vs in (node.ins, node.outs))
            key = (node.op, node.attrs, ins, outs)
            if key not in known:
                known[key] = REGISTRY[node.op].estimate(ins, outs, time_attrs(graph, node)).product_flops
            real = [v for v in node.ins if graph.values[v].type.dtype in FLOATS]
            again = 2.0 * sum(v in trained for v in real) / len(real) if backward and real else 0.0
            total += node.rate * known[key] * (1.0 + again)
    return total


def column(entries: Sequence[T]) -> tuple[T, ...]:
    """One entry where all ranks agree, else one a rank."""
    return (entries[0],) if all(e == entries[0] for e in entries[1:]) else tuple(entries)


@dataclass(frozen=True, slots=True)
class _Local:
    """What the ranks of a computing node run: local attributes, costs (one entry, or one a rank) and the largest workspace."""

    attrs: tuple[Attrs, ...]
    costs: tuple[Cost, ...]
    workspace: int


@dataclass(frozen=True, slots=True)
class Pulled:
    """What the ranks of a boxing run: the peers of each in port, local attributes and costs (one entry, or one a rank)."""

    peers: tuple[tuple[int, ...], ...]
    attrs: tuple[Attrs, ...]
    costs: tuple[Cost, ...]


class _Expansion:
    """The tables that grow while nodes become templates: rank groups, registers, and the register row of each value.

    `shards` numbers what values are on the devices, (type in time, layout): nodes that are equal up to their values, such as
    those of repeated layers, are worked out once.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shards: dict[tuple[TensorType, Layout], int] = {}
        self.shard_types: list[tuple[TensorType, ...]] = []
        self.shard_of: dict[int, int] = {}
        self._locals: dict[tuple[object, ...], _Local] = {}
        self._alone: dict[tuple[object, ...], _Local] = {}
        self._pulled: dict[tuple[object, ...], Pulled] = {}
        self.groups: dict[tuple[str, ...], int] = {}
        self.registers: list[RegisterTemplate] = []
        self.rows: dict[int, int] = {}
        self.views = views(graph)
        self.state = {p.value: p for p in graph.parameters}
        self.rewritten = {p.update: p.value for p in graph.parameters if p.update is not None}
        names = {v: node for node in graph.nodes for v in node.outs}
        for v, value in graph.values.items():
            if (v in names and v not in self.views) or v in self.state or v in graph.inputs:
                self._register(v, f"{value.name or names[v].op}.{v}" if v not in self.state else value.name)

    def group(self, devices: tuple[str, ...]) -> int:
        return self.groups.setdefault(devices, len(self.groups))

    def _shard(self, v: int) -> int:
        """The number of what `v` is on the devices."""
        if v not in self.shard_of:
            kind, layout = time_type(self.graph, v), self._layout(v)
            number = self.shard_of[v] = self.shards.setdefault((kind, layout), len(self.shards))
            if number == len(self.shard_types):
                ranks = range(layout.placement.size)
                self.shard_types.append(column([TensorType(layout.shard_shape(kind.shape, i), kind.dtype) for i in ranks]))
        return self.shard_of[v]

    def _register(self, v: int, name: str) -> None:
        if v in self.rewritten:
            return
        layout = self._layout(v)
        kept, types = v in self.state, self.shard_types[self._shard(v)]
        self.rows[v] = len(self.registers)
        self.registers.append(
            RegisterTemplate(
                name, self.group(layout.placement.devices), types, initial=int(kept), region="state" if kept else "arena",
                state=name if kept else "", value=v, layout=layout.sbp_text, shape=time_type(self.graph, v).shape,
                mesh=layout.placement.mesh,
            )
        )  # fmt: skip

    def _layout(self, v: int) -> Layout:
        found = self.graph.values[v].layout
        assert found is not None
        return found

    # ------------------------------------------------------------ actors

    def host_actor(self, name: str, ports: list[tuple[int, str]]) -> ActorTemplate:
        bound = tuple(PortTemplate(self.rows[v], direction) for v, direction in ports)
        nbytes = 2.0 * sum(time_type(self.graph, v).nbytes for v, _ in ports)
        cost = Cost(works=(Work(name, touched=((0.0, nbytes),)),))
        return ActorTemplate(name, self.group(HOST.devices), bound, stream=name, phase="F", costs=(cost,))

    def actors(self, nodes: Sequence[Node]) -> list[ActorTemplate]:
        """One a node; nodes of one leg of a bucket are one, in the place of the last."""
        made: list[ActorTemplate] = []
        bundles: dict[object, list[ActorTemplate]] = {}
        sizes = Counter(map(bucket_of, nodes))
        for node in nodes:
            key = bucket_of(node)
            if key is None:
                made.append(self.actor(node))
                continue
            bundles.setdefault(key, []).append(self.actor(node))
            if len(bundles[key]) == sizes[key]:
                made.append(_bundle(bundles[key]))
        return made

    def actor(self, node: Node) -> ActorTemplate:
        assert node.placement is not None
        pull = REGISTRY[node.op].lowering == "pull"
        ports, calls, costs, scratch = self._pull(node) if pull else self._local(node)
        name = f"{node.op}.{node.id}"
        return ActorTemplate(
            name, self.group(node.placement.devices), tuple(ports), calls, scratch, node.stream, node.stage or 0, node.phase,
            node.rate, costs=costs, nodes=(node.id,), line=node.line,
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
        if REGISTRY[node.op].adds and node.rate > rate_of(self.graph, v):
            return PortTemplate(self.rows[v], "out", node.rate, "sum")  # it acts for each micro-batch, its result is their sum
        return PortTemplate(self.rows[v], "out")

    def _local(self, node: Node) -> tuple[list[PortTemplate], tuple[Call, ...], tuple[Cost, ...], tuple[Scratch, ...]]:
        op = REGISTRY[node.op]
        ports = [self._out_port(node, v) for v in node.outs]
        copied = self._copied(node)
        reads = [read for i, v in enumerate(node.ins) if i not in op.inplace.values() for read in self._parts(node, i, v)]
        bound = dict.fromkeys((self.views.get(v, v), peers) for v, peers in (*reads, *((node.ins[i], ()) for i in copied.values())))
        ports += [PortTemplate(self.rows[v], "in", self._in_every(node, v), peers=peers) for v, peers in bound]
        place = {read: len(node.outs) + i for i, read in enumerate(bound)}
        key = (node.op, node.attrs, node.placement, tuple(map(self._shard, node.ins)), tuple(map(self._shard, node.outs)))
        local = self._locals.get(key)
        if local is None:
            local = self._locals[key] = self._all_ranks(node)
        scratch = (Scratch((TensorType((local.workspace,), "uint8"),)),) if local.workspace else ()
        call = Call(
            node.op, tuple(Arg("port", i) for i in range(len(node.outs))),
            tuple(Arg("port", place[self.views.get(v, v), peers], self._read_as(v)) for v, peers in reads),
            local.attrs, workspace=0 if scratch else -1, line=node.line,
        )  # fmt: skip
        copies = tuple(
            Call(COPY, (Arg("port", k),), (Arg("port", place[self.views.get(v, v), ()], self._read_as(v)),), self._cut(v, node.outs[k]))
            for k, i in copied.items()
            for v in (node.ins[i],)
        )
        return ports, (*copies, call), local.costs, scratch

    def _copied(self, node: Node) -> dict[int, int]:
        """{result: operand} where the operand is rewritten, but not in its own memory: the result begins as a copy of it."""
        inplace = REGISTRY[node.op].inplace
        return {k: i for k, i in inplace.items() if self.rewritten.get(node.outs[k]) != node.ins[i]}

    def _cut(self, source: int, target: int) -> tuple[Attrs, ...]:
        """The copy of what a rank has of one value in that value's place in another, which has no more on any rank."""
        kind, have, want = self.graph.values[source].type, self._layout(source), self._layout(target)
        moves = []
        for rank in range(want.placement.size):
            inner, outer = want.box(kind.shape, rank), have.box(kind.shape, rank)
            take = tuple((a - start, b - start) for (a, b), (start, _) in zip(inner, outer, strict=True))
            put = tuple((0, b - a) for a, b in inner)
            moves.append(freeze({"pulls": ((0, take, put),), "flat": False, "op": "sum"}))
        return column(moves)

    def _read_as(self, v: int) -> tuple[TensorType, ...]:
        return self.shard_types[self._shard(v)] if v in self.views else ()

    def _all_ranks(self, node: Node) -> _Local:
        """What the ranks run, with what each receives from others: the rest is alike on meshes of one shape."""
        assert node.placement is not None
        sides = tuple((time_type(self.graph, v), self._layout(v).sbp, self._layout(v).placement.mesh) for v in (*node.ins, *node.outs))
        key = (node.op, node.attrs, node.placement.mesh, sides)
        alone = self._alone.get(key)
        if alone is None:
            alone = self._alone[key] = self._ranks_alone(node)
        received = [self._received(node, rank) for rank in range(node.placement.size)] if self._has_parts(node) else []
        costs = [at_rank(alone.costs, rank) + cost for rank, cost in enumerate(received)]
        return replace(alone, costs=column(costs)) if costs else alone

    def _ranks_alone(self, node: Node) -> _Local:
        op = REGISTRY[node.op]
        attrs, costs, workspaces = [], [], []
        for rank in range(node.placement.size if node.placement else 0):
            local, ins, outs = self._rank(node, rank)
            attrs.append(freeze(local))
            costs.append(op.estimate(ins, outs, local) + Cost())
            workspaces.append(op.workspace_nbytes(ins, outs, local))
        return _Local(column(attrs), column(costs), max(workspaces))

    def _rank(self, node: Node, rank: int) -> tuple[dict[str, Any], tuple[TensorType, ...], tuple[TensorType, ...]]:
        """Local attributes and shard types of one rank (of its first micro-batch)."""
        boxes = [tuple(self._layout(v).box(time_type(self.graph, v).shape, rank) for v in vs) for vs in (self._worked_on(node), node.outs)]
        local = REGISTRY[node.op].local_attrs(node.attributes, Shards(boxes[0], boxes[1]))
        types = [
            tuple(TensorType(tuple(b - a for a, b in box), self.graph.values[v].type.dtype) for box, v in zip(side, vs, strict=True))
            for side, vs in zip(boxes, (node.ins, node.outs), strict=True)
        ]
        gathered = dict(node.attributes.get("pieces", ()))
        whole = [time_type(self.graph, v) if i in gathered else t for i, (v, t) in enumerate(zip(node.ins, types[0], strict=True))]
        counts = [1 if i in gathered else len(self._parts(node, i, v)) for i, v in enumerate(node.ins)]
        local |= {name: counts[i] for i, name in REGISTRY[node.op].parts.items() if name and counts[i] > 1}
        return local, tuple(t for t, count in zip(whole, counts, strict=True) for _ in range(count)), types[1]

    def _worked_on(self, node: Node) -> list[int]:
        """The operands, in place of those that are rewritten elsewhere what is made of them."""
        made = {i: node.outs[k] for k, i in self._copied(node).items()}
        return [made.get(i, v) for i, v in enumerate(node.ins)]

    def _parts(self, node: Node, index: int, v: int) -> list[tuple[int, tuple[int, ...]]]:
        """(value, peers) for each part of an operand: all ranks' summands or pieces where the operator takes them, else its own."""
        if index in dict(node.attributes.get("pieces", ())):
            size = self._layout(v).placement.size
            return [(v, (rank,) * size) for rank in range(size)]
        partial = index in REGISTRY[node.op].parts and self._layout(v).is_partial
        return [(v, peers) for peers in summands(self._layout(v))] if partial else [(v, ())]

    def _has_parts(self, node: Node) -> bool:
        return bool(REGISTRY[node.op].parts or node.attributes.get("pieces"))

    def _received(self, node: Node, rank: int) -> Cost:
        """What a rank reads from others, in operands that it takes in parts."""
        moved = Cost()
        for i, v in enumerate(node.ins):
            kind, layout = time_type(self.graph, v), self._layout(v)
            others = [peers[rank] for _, peers in self._parts(node, i, v) if peers and peers[rank] != rank]
            sizes = [TensorType(layout.shard_shape(kind.shape, peer), kind.dtype).nbytes for peer in others]
            moved += Cost(received=tuple((layout.placement.devices[p], n) for p, n in zip(others, sizes, strict=True)))
        return moved

    def _pull(self, node: Node) -> tuple[list[PortTemplate], tuple[Call, ...], tuple[Cost, ...], tuple[Scratch, ...]]:
        """A boxing: one in port for each source that any rank reads."""
        (source,), (target,) = node.ins, node.outs
        values = self.graph.values
        step = Step(self._layout(source), self._layout(target), bool(node.attributes.get("flat")))
        key = (self._shard(source), self._shard(target), step.flat)
        pulled = self._pulled.get(key)
        if pulled is None:
            pulled = self._pulled[key] = pull_columns(step, time_type(self.graph, target))
        every = self._in_every(node, source)
        time = values[target].time
        mode = "slice" if time is not None and time.is_split and values[source].time != time else "whole"
        ports = [self._out_port(node, target)]
        ports += [PortTemplate(self.rows[source], "in", every, mode, peers) for peers in pulled.peers]
        ins = tuple(Arg("port", i) for i in range(1, len(ports)))
        return ports, (Call(node.op, (Arg("port", 0),), ins, pulled.attrs, line=node.line),), pulled.costs, ()


def _bundle(actors: Sequence[ActorTemplate]) -> ActorTemplate:
    """One actor that does the pulls of several: one call over all regions, and one message to each peer."""
    ports = tuple(port for actor in actors for port in actor.ports)
    calls, first = [], 0
    for actor in actors:
        for call in actor.calls:
            outs, ins = (tuple(replace(arg, index=first + arg.index) for arg in side) for side in (call.outs, call.ins))
            calls.append(replace(call, outs=outs, ins=ins))
        first += len(actor.ports)
    ranks = max(len(actor.costs) for actor in actors)
    costs = [together([actor.costs[rank if len(actor.costs) > 1 else 0] for actor in actors]) for rank in range(ranks)]
    name = actors[0].name if len(actors) == 1 else f"{actors[0].name}..{actors[-1].name}"
    nodes = tuple(n for actor in actors for n in actor.nodes)
    return replace(actors[0], name=name, ports=ports, calls=tuple(calls), costs=column(costs), nodes=nodes)


def pull_columns(step: Step, kind: TensorType) -> Pulled:
    """What a boxing of a value of this type comes to on each rank."""
    # on the host, what nothing triggers would begin steps by itself: a copy of 0 elements waits for a producer too
    peers, attrs = _moves(step.like, kind.shape, (0,) if step.dst.placement == HOST else ())
    return Pulled(peers, attrs, column(pull_costs(step.traffic(kind.shape, kind.itemsize))))


@lru_cache(maxsize=512)
def _moves(step: Step, shape: tuple[int, ...], least: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], ...], tuple[Attrs, ...]]:
    """The peers of each in port and the local attributes; least: the sources of a rank that reads nothing."""
    devices, pulls = step.dst.placement.devices, step.pulls(shape)
    sources = [tuple(dict.fromkeys(pull.source for pull in mine)) or least for mine in pulls]
    peers = [tuple(mine[j] if j < len(mine) else -1 for mine in sources) for j in range(max(map(len, sources)))]
    attrs = []
    for rank, mine in enumerate(pulls):
        moves = tuple((sources[rank].index(pull.source), pull.take, pull.put) for pull in mine)
        attrs.append(freeze({"pulls": moves, "flat": step.flat, "op": step.op}))
    own = tuple(range(len(devices))) if step.src.placement.devices == devices else ()
    return tuple(() if each == own else each for each in peers), column(attrs)
