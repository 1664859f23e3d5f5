"""fold: sums are made where they are wanted, without a copy on the way.

Over micro-batches: where an operator that can add makes the summands of an `accumulate` node, and nobody else reads them, it adds
to the total itself: its result is the total, a value made once a step (in the plan an out port of mode sum).

Over ranks: an update that takes its gradient in parts reads every rank's partial gradient where it lies and adds them in rank
order, so the boxing P(sum) -> B before it falls away. That is a matter of cost: each rank reads all parts, where the boxing's two
pulls share the work and then copy.

In place: an operator that takes an operand in pieces reads the ranks' shards where they lie, so the boxing S -> B before it is no
copy any more, only the messages of its ports; where devices share memory and that costs less.

Cut: where an operator rewrites a copy of its operand, and that is a part of what the device has, it copies the part itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from oflow.compiler.recompute_elementwise import needed
from oflow.compiler.views import views
from oflow.graph import Graph, Node, time_type
from oflow.machine import Cost, Machine, pull_costs
from oflow.ops import REGISTRY
from oflow.sbp import B, Layout, Placement, Step
from oflow.types import TensorType, freeze


def fold(graph: Graph, machine: Machine) -> Graph:
    return _cut(_in_place(_over_ranks(_over_micro_batches(graph), machine), machine))


# ---------------------------------------------------------------- micro-batches


def _over_micro_batches(graph: Graph) -> Graph:
    makers, readers = graph.producers(), graph.consumers()
    totals: dict[int, Node] = {}
    for node in graph.nodes:
        maker = makers.get(node.ins[0]) if REGISTRY[node.op].lowering == "accumulate" else None
        if maker is not None and _adds(graph, maker, node) and len(readers[node.ins[0]]) == 1:
            totals[maker.id] = node
    gone = {node.id for node in totals.values()}
    nodes = tuple(replace(n, outs=totals[n.id].outs) if n.id in totals else n for n in graph.nodes if n.id not in gone)
    lost = {v for n in graph.nodes if n.id in totals for v in n.outs}
    return replace(graph, nodes=nodes, values={v: value for v, value in graph.values.items() if v not in lost})


def _adds(graph: Graph, maker: Node, total: Node) -> bool:
    """Whether the maker of the summands can add them to the total itself."""
    op, time = REGISTRY[maker.op], graph.values[total.ins[0]].time
    facts = [(n.placement, n.stage, n.phase, n.rate) for n in (maker, total)]
    beside = maker.stream == total.stream or op.lowering == "pull"  # who adds what a boxing brings need not wait for it
    return op.adds and len(maker.outs) == 1 and time is not None and time.is_partial and facts[0] == facts[1] and beside


# ---------------------------------------------------------------- ranks


def summands(layout: Layout) -> tuple[tuple[int, ...], ...]:
    """Where the summands of each rank's elements lie: the first of every rank, the second of every rank, in rank order."""
    return _summands(layout.placement.mesh, tuple(s.is_partial for s in layout.sbp))


@lru_cache(maxsize=1024)
def _summands(mesh: tuple[int, ...], partial: tuple[bool, ...]) -> tuple[tuple[int, ...], ...]:
    number = np.arange(math.prod(mesh)).reshape(mesh)
    found = []
    for own in np.ndindex(mesh):
        found.append(number[tuple(slice(None) if p else slice(at, at + 1) for p, at in zip(partial, own, strict=True))].ravel().tolist())
    return tuple(zip(*found, strict=True))


def _over_ranks(graph: Graph, machine: Machine) -> Graph:
    makers, readers, sinks = graph.producers(), graph.consumers(), graph.sinks()
    direct: dict[int, int] = {}
    for v in graph.values:
        chain = list(_boxings(graph, makers, v))
        if chain and _partial_twin(graph, chain[0].ins[0], v) and v not in sinks and _takes_parts(graph, readers.get(v, []), v):
            alone = [n for n in chain if n.outs[0] == v or len(readers[n.outs[0]]) == 1]
            if _pays(graph, machine, chain[0].ins[0], alone, readers[v]):
                direct[v] = chain[0].ins[0]
    changed = [replace(n, ins=tuple(direct.get(v, v) for v in n.ins)) if _reads(n, direct) else n for n in graph.nodes]
    return _without_unread(graph, changed)


def _reads(node: Node, direct: dict[int, int]) -> bool:
    return REGISTRY[node.op].lowering == "local" and any(v in direct for v in node.ins)


def _boxings(graph: Graph, makers: dict[int, Node], v: int) -> Iterator[Node]:
    """The boxings that made `v`, first to last."""
    node = makers.get(v)
    if node is None or REGISTRY[node.op].lowering != "pull" or "bucket" in node.attributes:
        return
    if graph.values[node.ins[0]].time != graph.values[v].time:
        return
    yield from _boxings(graph, makers, node.ins[0])
    yield node


def _partial_twin(graph: Graph, source: int, v: int) -> bool:
    """Whether `source` holds summands where `v` holds their sum, and is the same otherwise."""
    have, want = graph.values[source].layout, graph.values[v].layout
    assert have is not None and want is not None
    sums = any(s.is_partial for s in have.sbp) and all(s.op == "sum" for s in have.sbp if s.is_partial)
    whole = tuple(B if s.is_partial else s for s in have.sbp)
    return sums and graph.values[source].type == graph.values[v].type and want == Layout(have.placement, whole)


def _takes_parts(graph: Graph, readers: list[Node], v: int) -> bool:
    """Whether every reader takes `v` in parts."""
    places = [(node, i) for node in readers for i, operand in enumerate(node.ins) if operand == v]
    same = {node.placement for node in readers} == {layout.placement} if (layout := graph.values[v].layout) else False
    return same and all(i in REGISTRY[node.op].parts for node, i in places)


def _pays(graph: Graph, machine: Machine, source: int, boxings: list[Node], readers: list[Node]) -> bool:
    """Whether reading all summands in every reader takes the first rank less time than the boxings that nobody else needs."""
    kind, layout = time_type(graph, source), graph.values[source].layout
    assert layout is not None
    nbytes = TensorType(layout.shard_shape(kind.shape, 0), kind.dtype).nbytes
    device, devices = layout.placement.devices[0], layout.placement.devices
    others = [peers[0] for peers in summands(layout) if peers[0] != 0]
    further = Cost(received=tuple((devices[peer], nbytes) for peer in others))
    boxed = sum(machine.seconds(_boxing_cost(graph, node), device) for node in boxings)
    return len(readers) * machine.seconds(further, device) < boxed


def _boxing_cost(graph: Graph, node: Node) -> Cost:
    src, dst = graph.values[node.ins[0]].layout, graph.values[node.outs[0]].layout
    assert src is not None and dst is not None
    kind = time_type(graph, node.outs[0])
    return pull_costs(Step(src, dst, bool(node.attributes.get("flat"))).traffic(kind.shape, kind.itemsize))[0]


# ---------------------------------------------------------------- shards


def _in_place(graph: Graph, machine: Machine) -> Graph:
    makers, readers, sinks = graph.producers(), graph.consumers(), graph.sinks()
    direct: dict[int, tuple[int, int]] = {}
    taken: set[int] = set()
    same = views(graph)
    for v, node in makers.items():
        axis = _gathered_axis(graph, node, v)
        if axis < 0 or v in sinks or not _takes_pieces(graph, readers.get(v, []), v, taken):
            continue
        if any(same.get(one, one) == same.get(node.ins[0], node.ins[0]) for n in readers[v] for one in n.ins):
            continue  # an actor reads a register through one port
        if _reading_pays(graph, machine, node, readers[v]):
            direct[v] = node.ins[0], axis
            taken.update(n.id for n in readers[v])
    return _without_unread(graph, [_with_pieces(n, direct) for n in graph.nodes])


def _gathered_axis(graph: Graph, node: Node, v: int) -> int:
    """The axis along which a boxing joins the shards of devices that share memory, on those devices; -1 for any other node."""
    if REGISTRY[node.op].lowering != "pull" or "bucket" in node.attributes or graph.values[node.ins[0]].time != graph.values[v].time:
        return -1
    have, want = graph.values[node.ins[0]].layout, graph.values[v].layout
    assert have is not None and want is not None
    one_axis = have.placement == want.placement and len(have.sbp) == 1 and have.placement.kind == "cpu"
    return have.sbp[0].axis if one_axis and have.sbp[0].is_split and want.sbp == (B,) else -1


def _takes_pieces(graph: Graph, readers: list[Node], v: int, taken: set[int]) -> bool:
    """Whether every reader can take `v`, and only `v`, in pieces."""
    fits = all(n.ins.count(v) == 1 and n.ins.index(v) in REGISTRY[n.op].gathers and n.id not in taken for n in readers)
    return bool(readers) and fits and {n.placement for n in readers} == {_placement(graph, v)}


def _placement(graph: Graph, v: int) -> Placement:
    layout = graph.values[v].layout
    assert layout is not None
    return layout.placement


def _reading_pays(graph: Graph, machine: Machine, boxing: Node, readers: list[Node]) -> bool:
    """Whether reading the others' shards in every reader takes the first rank less time than the copy."""
    kind, layout = time_type(graph, boxing.ins[0]), graph.values[boxing.ins[0]].layout
    assert layout is not None
    devices = layout.placement.devices
    sizes = [TensorType(layout.shard_shape(kind.shape, rank), kind.dtype).nbytes for rank in range(1, len(devices))]
    read = Cost(received=tuple(zip(devices[1:], sizes, strict=True)))
    return len(readers) * machine.seconds(read, devices[0]) < machine.seconds(_boxing_cost(graph, boxing), devices[0])


def _with_pieces(node: Node, direct: dict[int, tuple[int, int]]) -> Node:
    found = [(i, v) for i, v in enumerate(node.ins) if v in direct] if REGISTRY[node.op].lowering == "local" else []
    if not found:
        return node
    ((index, v),) = found
    source, axis = direct[v]
    ins = tuple(source if i == index else operand for i, operand in enumerate(node.ins))
    return replace(node, ins=ins, attrs=freeze({**node.attributes, "pieces": ((index, axis),)}))


# ---------------------------------------------------------------- parts of one's own


def _cut(graph: Graph) -> Graph:
    """Rewritten operands that a boxing cuts out of what every device has itself."""
    makers, state = graph.producers(), {p.value for p in graph.parameters}
    nodes = []
    for node in graph.nodes:
        rewritten = {node.ins[i] for i in REGISTRY[node.op].inplace.values()}
        whole = {v: makers[v].ins[0] for v in rewritten if v in makers and makers[v].ins[0] in state and _own(graph, makers[v])}
        nodes.append(replace(node, ins=tuple(whole.get(v, v) for v in node.ins)) if whole else node)
    return _without_unread(graph, nodes)


def _own(graph: Graph, node: Node) -> bool:
    """Whether a boxing moves nothing from one device to another."""
    have, want = graph.values[node.ins[0]].layout, graph.values[node.outs[0]].layout
    assert have is not None and want is not None
    pull = REGISTRY[node.op].lowering == "pull" and not node.attributes.get("flat") and have.placement == want.placement
    kind = time_type(graph, node.outs[0])
    return pull and not Step(have, want).traffic(kind.shape, kind.itemsize).nbytes


def _without_unread(graph: Graph, nodes: list[Node]) -> Graph:
    """The graph of those of the nodes that a sink depends on."""
    kept = needed(graph, nodes)
    made = {v for n in kept for v in n.outs} | set(graph.inputs) | {p.value for p in graph.parameters}
    return replace(graph, nodes=kept, values={v: value for v, value in graph.values.items() if v in made})
