"""buckets: gradients that are reduced over the same devices travel together, one message for many, while the backward pass goes on.

Li et al. 2020, "PyTorch Distributed: experiences on accelerating data parallel training" (VLDB): gradients fall into buckets of about so
many bytes in the order in which the backward pass makes them, and a bucket is reduced as soon as its last gradient is there. There a
bucket is a flat copy. Here it is one actor that pulls several registers: every region goes straight from where the gradient lies to
where its sum is wanted, so nothing is packed or unpacked, layouts may differ, and the sums are those of the gradients one by one.

    boxing g3, boxing g2, boxing g1        three acts, each with a message to every peer
    bucket (g3, g2, g1)                    one act with one message to every peer, after g1

New values of parameters that come home from shards (`zero`) travel together in the same way, after the updates, and so do copies of split
parameters, in the order in which they are used (where devices share memory these are read where they lie). Where a route has several
legs, the bucket has an actor for each, and the legs are those that are cheapest for all its bytes together.

A gradient that arrives in 16 bits is converted, and added over micro-batches, by the bucket that brought it: the backward pass does not
wait for what only its update reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from oflow.boxings import SHARDED
from oflow.compiler.insert_boxing import STREAM, Cause, step_nodes
from oflow.compiler.options import Options
from oflow.graph import Builder, Graph, Node, time_type
from oflow.ops import REGISTRY
from oflow.sbp import Layout, Planner, Step
from oflow.types import TensorType, freeze


def buckets(graph: Graph, options: Options) -> Graph:
    limit = options.bucket_nbytes
    return _Buckets(_sums_early(graph), options.planner, limit).graph() if isinstance(limit, int) else graph


def trial_sizes(graph: Graph, planner: Planner) -> list[int]:
    """Bucket sizes to try: every tensor alone, then from a 32nd of all that could travel together to all of it."""
    found = _Buckets(_sums_early(graph), planner, 1)
    totals: Counter[tuple[object, ...]] = Counter()
    for route in found.travelling():
        totals[found.key(route)] += route.nbytes
    most = max(totals.values(), default=0)
    return sorted({max(1, most >> shift) for shift in SHIFTS} | {1}) if most else []


def _sums_early(graph: Graph) -> Graph:
    """The graph with the sums over micro-batches right after what they sum, not before who reads them."""
    makers = graph.producers()
    early: dict[int, list[Node]] = {}
    for node in graph.nodes:
        if REGISTRY[node.op].lowering == "accumulate" and node.ins[0] in makers:
            early.setdefault(makers[node.ins[0]].id, []).append(node)
    moved = {node.id for nodes in early.values() for node in nodes}

    def following(node: Node) -> Iterator[Node]:
        yield node
        for sums in early.get(node.id, ()):
            yield from following(sums)

    return replace(graph, nodes=tuple(n for node in graph.nodes if node.id not in moved for n in following(node)))


@dataclass(frozen=True, slots=True)
class _Route:
    """The boxings from one value to one layout, in order, and what its readers wait for `then`: conversions and a sum over micro-batches.

    `ready`: the place behind the node that makes the value (0: it is kept state), `wanted`: that of the first reader of what comes out;
    `nbytes`: what a device has of it where it has more. like: the node whose stage and phase the boxings have."""

    nodes: tuple[Node, ...]
    then: tuple[Node, ...]
    ready: int
    wanted: int
    nbytes: int
    like: Node

    @property
    def source(self) -> int:
        return self.nodes[0].ins[0]

    @property
    def result(self) -> int:
        return self.nodes[-1].outs[0]

    @property
    def members(self) -> tuple[Node, ...]:
        return (*self.nodes, *self.then)


SHIFTS = (5, 4, 3, 2, 1, 0)


class _Buckets:
    def __init__(self, graph: Graph, planner: Planner, limit: int) -> None:
        self.source, self.planner, self.limit = graph, planner, limit
        self.makers = {v: place for place, node in enumerate(graph.nodes) for v in node.outs}
        self.readers: dict[int, list[int]] = {}
        for place, node in enumerate(graph.nodes):
            for v in node.ins:
                self.readers.setdefault(v, []).append(place)
        self.sinks, self.state = graph.sinks(), {p.value for p in graph.parameters}
        for node in graph.nodes:  # what stands first and is made of kept state alone is there from the start, too
            if not (node.ins and self.state.issuperset(node.ins) and REGISTRY[node.op].lowering == "local"):
                break
            self.state.update(node.outs)

    def graph(self) -> Graph:
        """The graph with the boxings of each bucket side by side, right after the last value that one of them waits for."""
        builder = Builder.without_nodes(self.source)
        full = list(self._full(self.travelling()))
        taken = {node.id for routes in full for route in routes for node in route.members}
        before: dict[int, list[tuple[int, list[_Route]]]] = {}
        for number, routes in enumerate(full):
            place = max(route.ready for route in routes) or min(route.wanted for route in routes)
            before.setdefault(place, []).append((number, routes))
        for place, node in enumerate((*self.source.nodes, None)):
            for number, routes in before.get(place, ()):
                self._append(builder, number, routes)
            if node is not None and node.id not in taken:
                builder.nodes.append(node)
        return builder.build()

    # ------------------------------------------------------------ what travels

    def travelling(self) -> list[_Route]:
        return [route for route in self._routes() if self._belongs(route)]

    def _routes(self) -> Iterator[_Route]:
        nodes = self.source.nodes
        for place, node in enumerate(nodes):
            if REGISTRY[node.op].lowering != "pull" or node.attributes.get("leg") != 0:
                continue
            kept = node.ins[0] in self.state
            if not kept and node.ins[0] not in self.makers:
                continue
            legs = [node]
            for leg in count(1):
                follower = nodes[place + leg] if place + leg < len(nodes) else node
                if follower.attributes.get("leg") != leg or follower.ins != legs[-1].outs:
                    break
                legs.append(follower)
            then = self._then(legs[-1].outs[0])
            wanted = min(self.readers.get((*legs, *then)[-1].outs[0], ()), default=len(nodes))
            ready = 0 if kept else self.makers[node.ins[0]] + 1
            nbytes = max(self._nbytes(node.ins[0]), self._nbytes(legs[-1].outs[0]))
            yield _Route(tuple(legs), then, ready, wanted, nbytes, node if kept else nodes[ready - 1])

    def _then(self, v: int) -> tuple[Node, ...]:
        """What stands between a value of the backward pass and its readers: conversions, one after the other, and then a sum."""
        found: list[Node] = []
        while len(self.readers.get(v, ())) == 1 and v not in self.sinks:
            node = self.source.nodes[self.readers[v][0]]
            adds = REGISTRY[node.op].lowering == "accumulate"
            if node.phase in ("F", "update") or not (found if adds else self._converts(node)):
                break
            found.append(node)
            v = node.outs[0]
            if adds:
                break
        return tuple(found)

    def _converts(self, node: Node) -> bool:
        """Whether it makes of one value another of as many elements, on the devices that have it."""
        types = [self.source.values[v].type for v in (*node.ins, *node.outs)]
        return REGISTRY[node.op].lowering == "local" and (len(node.ins), len(node.outs)) == (1, 1) and types[0].size == types[1].size

    def _nbytes(self, v: int) -> int:
        kind = time_type(self.source, v)
        return TensorType(self._layout(v).shard_shape(kind.shape, 0), kind.dtype).nbytes

    def _layout(self, v: int) -> Layout:
        found = self.source.values[v].layout
        assert found is not None
        return found

    def _belongs(self, route: _Route) -> bool:
        """Whether it brings a gradient to its update, what an update made home, or a split parameter, on the devices that have it."""
        have, want, maker = self._layout(route.source), self._layout(route.result), route.like
        if have.placement != want.placement or any(len(self.readers.get(v, ())) > 1 for n in route.nodes[:-1] for v in n.outs):
            return False
        if not route.ready:
            asked = maker.attributes.get("why") == SHARDED and maker.phase != "update" and have != want
            return asked and len(route.nodes) == 1 and have.placement.kind != "cpu" and route.result in self.readers
        if maker.phase == "update":
            return route.result in self.sinks and len(route.nodes) == 1
        readers = [self.source.nodes[place] for place in self.readers.get(route.members[-1].outs[0], ())]
        updates = all(n.phase == "update" or REGISTRY[n.op].lowering == "accumulate" for n in readers)
        sums = have.is_partial and all(s.op == "sum" for s in have.sbp if s.is_partial)
        one_pull = len(route.nodes) == 1 or not any(self._split(have, want))
        return maker.phase != "F" and bool(readers) and updates and sums and one_pull and route.result not in self.sinks

    def _split(self, have: Layout, want: Layout) -> Iterator[bool]:
        """For each mesh axis along which the layout changes, whether it is split after."""
        return (s.is_split for s, before in zip(want.sbp, have.sbp, strict=True) if s != before)

    # ------------------------------------------------------------ which together

    def _full(self, routes: Iterable[_Route]) -> Iterator[list[_Route]]:
        """The routes in buckets, in the order in which their values are made, or used."""
        filling: dict[tuple[object, ...], list[_Route]] = {}
        for route in sorted(routes, key=lambda route: (route.ready, route.wanted)):
            key = self.key(route)
            bucket = filling.setdefault(key, [])
            if any(route.ready > one.wanted or route.source == one.source for one in bucket):
                yield bucket
                bucket = filling[key] = []
            bucket.append(route)
            if sum(one.nbytes for one in bucket) >= self.limit:
                yield filling.pop(key)
        yield from (bucket for bucket in filling.values() if bucket)

    def key(self, route: _Route) -> tuple[object, ...]:
        """What routes have in common that may travel together."""
        have, want, like = self._layout(route.source), self._layout(route.result), route.like
        kinds = tuple("S" if s.is_split and s != before else str(s) for s, before in zip(want.sbp, have.sbp, strict=True))
        where = tuple("S" if s.is_split and s != after else str(s) for s, after in zip(have.sbp, want.sbp, strict=True))
        time = self.source.values[route.source].time
        when = (like.stage, like.phase, () if route.ready else like.region, route.ready > 0, route.nodes[0].rate, time)
        return (have.placement, where, kinds, when)

    # ------------------------------------------------------------ how

    def _append(self, builder: Builder, number: int, routes: Sequence[_Route]) -> None:
        steps = self._steps(routes)
        made = [self._legs(builder, number, route, steps) for route in routes]
        # leg by leg, so that the actors of a bucket stand in the order of their work
        builder.nodes += [node for leg in range(max(map(len, made))) for legs in made for node in legs[leg : leg + 1]]
        builder.nodes += [replace(n, stage=r.like.stage, phase=r.like.phase, stream=STREAM) for r in routes for n in r.then]

    def _legs(self, builder: Builder, number: int, route: _Route, steps: Sequence[Step]) -> list[Node]:
        """The nodes of a route, along these steps where there are some, marked with the number of their bucket."""
        maker, legs = route.like, list(route.nodes)
        if steps:
            first = legs[0]
            like = replace(first, line=first.line, stage=maker.stage, phase=maker.phase)
            before = len(builder.nodes)
            step_nodes(builder, route.source, steps, Cause(str(first.attributes["why"]), like), first.stream, self._layout(route.result))
            legs = builder.nodes[before:]
            del builder.nodes[before:]
            for v in (*legs[-1].outs, *(out for node in route.nodes[:-1] for out in node.outs)):
                del builder.values[v]
            legs[-1] = replace(legs[-1], outs=(route.result,))
        reader = str(route.nodes[0].attributes["reader"])
        return [
            replace(n, stage=maker.stage, phase=maker.phase, attrs=freeze({**n.attributes, "reader": reader, "bucket": number}))
            for n in legs
        ]

    def _steps(self, routes: Sequence[_Route]) -> Sequence[Step]:
        """The steps that bring all of a bucket from its layout to the one that is wanted, or none where each keeps its own."""
        have, want = self._layout(routes[0].source), self._layout(routes[0].result)
        if any(self._split(have, want)) or not have.is_partial:
            return ()
        kinds = [time_type(self.source, route.source) for route in routes]
        largest = max(kinds, key=lambda kind: kind.nbytes)
        times = -(-sum(kind.nbytes for kind in kinds) // max(1, largest.nbytes))
        shape = (largest.shape[0] * times, *largest.shape[1:]) if largest.shape else (times,)
        steps = self.planner.route(have, want, shape, largest.itemsize).steps
        fits = all(step.flat or all(s.axis < len(kind.shape) for s in step.dst.sbp if s.is_split) for step in steps for kind in kinds)
        return steps if fits else ()
