"""fuse: what passes over the same elements becomes one node, and sums go where they are wanted without a copy.

Four steps, each a file. `recompute_elementwise`: the backward computes cheap forward values again instead of keeping them. Here: groups of
elementwise nodes become one `fused` node each. `fold`: sums over micro-batches are added by the operator that makes the
summands, and updates read the ranks' partial gradients themselves.

Groups grow greedily in the graph's order: first producer and reader, then readers of one value. Two join where the machine takes
less time for one than for both. A group stands at the place of one of its parts, so that all of its operands are made before and
all of its results are read after it: that alone keeps the graph acyclic, and no result waits for an operand it did not wait for
in the graph's order. Where a part moves, what is kept meanwhile may not grow. (Greedy fusion under a locality cost: Kennedy and
McKinley 1993.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from oflow.compiler.fold import fold
from oflow.compiler.group import Group, Surroundings
from oflow.compiler.options import Options
from oflow.compiler.recompute_elementwise import recompute_elementwise
from oflow.graph import Graph
from oflow.machine import Machine

SLACK = 16
"""One part in so many of the bytes in question may be kept longer, such as a bias beside the activation it is added to."""


def fuse(graph: Graph, options: Options) -> Graph:
    return fold(_group(recompute_elementwise(graph, options.machine), options.machine), options.machine)


def _group(graph: Graph, machine: Machine) -> Graph:
    found = _Groups(Surroundings(graph, machine))
    found.grow()
    return found.graph()


class _Groups:
    """The groups so far, by the place at which each stands; `at` is the place of every node."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.at = list(range(len(around.nodes)))
        self.groups: dict[int, Group] = {place: around.single(place) for place, role in enumerate(around.roles) if role}

    def grow(self) -> None:
        for place in sorted(self.groups):
            while any(self.join(*pair) for pair in self._makers_of(place)):
                pass
        for v in self.around.readers:
            while any(self.join(*pair) for pair in self._readers_of(v)):
                pass

    def graph(self) -> Graph:
        graph = self.around.graph
        nodes = []
        for place, node in enumerate(graph.nodes):
            group = self.groups.get(place)
            if self.at[place] == place:
                nodes.append(self.around.node(group, node) if group and len(group.members) > 1 else node)
        made = {v for node in nodes for v in node.outs} | set(graph.inputs) | {p.value for p in graph.parameters}
        values = {v: value for v, value in graph.values.items() if v in made}
        return replace(self.around.graph, nodes=tuple(nodes), values=values)

    # ------------------------------------------------------------ candidates

    def _makers_of(self, place: int) -> Iterator[tuple[int, int]]:
        """(producer, reader) for every operand of the group of `place` that a group makes, the largest first."""
        reader = self.at[place]
        if reader not in self.groups:
            return
        for v in sorted(self.groups[reader].operands, key=lambda v: -self.around.shard(v).nbytes):
            if v in self.around.makers and self.at[self.around.makers[v]] in self.groups:
                yield self.at[self.around.makers[v]], reader

    def _readers_of(self, v: int) -> Iterator[tuple[int, int]]:
        """Neighbouring groups that read `v` element by element."""
        places = sorted({self.at[r] for r in self.around.readers[v]} & self.groups.keys())
        shape = self.around.graph.values[v].type.shape
        alike = [p for p in places if any(self.around.graph.values[r].type.shape == shape for r in self.groups[p].results)]
        yield from pairwise(alike)

    # ------------------------------------------------------------ joining two

    def join(self, first: int, second: int) -> bool:
        """Make one group of those at two places, first < second, if that pays; returns whether it did."""
        before, after = self.groups[first], self.groups[second]
        if not self.around.together(first, second) or self._delays(first, second) or self._delays(second, first):
            return False
        made = self.around.group(tuple(sorted((*before.members, *after.members))))
        if made is None or made.seconds >= before.seconds + after.seconds:
            return False
        place = self._place(made, first, second)
        if place is None:
            return False
        del self.groups[first], self.groups[second]
        self.groups[place] = made
        for member in made.members:
            self.at[member] = place
        return True

    def _place(self, made: Group, first: int, second: int) -> int | None:
        """Where the joined group can stand: at the second place, else at the first."""
        makers = [self.at[self.around.makers[v]] for v in made.operands if v in self.around.makers]
        members = set(made.members)
        readers = [self.at[r] for v in made.results for r in self.around.readers[v] if r not in members]
        next_to = all(self.at[place] in (first, second) for place in range(first + 1, second))
        for place, keeps in ((second, self._later), (first, self._earlier)):
            if max(makers, default=-1) < place < min(readers, default=len(self.at)) and (next_to or keeps(first, second)):
                return place
        return None

    def _later(self, first: int, second: int) -> bool:
        """Whether the first may wait for the second: its operands, kept until then, are no larger than its results."""
        around, group = self.around, self.groups[first]
        kept = [v for v in group.operands if v in around.makers and v not in around.sinks and self._last(v, first) < second]
        return around.nbytes(kept) <= _about(around.nbytes(group.results))

    def _earlier(self, first: int, second: int) -> bool:
        """Whether the second may run with the first: its results, kept from then on, are no larger than its operands were."""
        around, group = self.around, self.groups[second]
        freed = [v for v in group.operands if v in around.makers and self._last(v, second) <= first]
        return around.nbytes(group.results) <= _about(around.nbytes(freed))

    def _delays(self, one: int, other: int) -> bool:
        """Whether another stream reads what `one` makes, and `other` waits for another stream's results that `one` does not."""
        around, keys = self.around, self.around.keys
        mine, waits = self.groups[one], set(self.groups[other].operands) - set(self.groups[one].operands)
        if set(mine.operands).intersection(self.groups[other].results):
            return False  # it waits for them through the other's results
        return any(keys[around.makers[v]] != keys[one] for v in waits if v in around.makers) and any(
            keys[r] != keys[one] for v in mine.results for r in around.readers[v]
        )

    def _last(self, v: int, but: int) -> int:
        """Place of the last reader of `v` beside the group at place `but`."""
        return max((self.at[r] for r in self.around.readers[v] if self.at[r] != but), default=-1)


def _about(nbytes: int) -> int:
    return nbytes + nbytes // SLACK
