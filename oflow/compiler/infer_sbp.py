"""infer SBP: a layout for every value, the user's annotations fixed, the least cost elsewhere.

Each node picks one signature a mesh axis. The cost of a choice is the seconds of the boxings between its operands' layouts and
those it wants, plus its own compute seconds, both times its acts per step; so work is repeated on every rank only where that is
cheaper than moving its result. Nodes that are alike (repeated layers) are one variable (`likeness`); `cheapest` finds the least sum
over the whole graph and says what no assignment can be below. A small graph is also asked node by node, and that answer is taken
where it is better.

What the user annotated decides where the work happens: moving bytes of an annotated parameter or input on its own devices is
charged many times over (a slice of what is there already moves none).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from oflow.compiler.assignment import Moving, Problem, Same
from oflow.compiler.boxing_costs import Boxings, extremes
from oflow.compiler.cheapest import Answer, cheapest
from oflow.compiler.choices import NO_HOME, NONE, Choices, Result, Ways
from oflow.compiler.likeness import classes
from oflow.compiler.options import Options
from oflow.graph import Assignment, Graph, Node
from oflow.machine import Machine
from oflow.ops import REGISTRY
from oflow.sbp import Layout, all_sbp

SMALL = 250
"""Nodes of a graph that is also asked node by node."""


def infer_sbp(graph: Graph, options: Options) -> Graph:
    question = Question(graph, options.machine)
    return question.answered(question.best())


@dataclass(frozen=True, slots=True)
class _Source:
    """An input or a parameter: the layouts it may live in, by number."""

    value: int
    layouts: tuple[int, ...]


class Question:
    """The assignment problem of a graph. Variables are first the sources, then the nodes, both by class.

    free: inputs and parameters whose layout is open.
    """

    def __init__(self, graph: Graph, machine: Machine, free: frozenset[int] = frozenset()) -> None:
        self.graph = graph
        self.boxings = Boxings(graph, machine)
        self.choices = Choices(self.boxings, free)
        self.sources = [_Source(v, self._homes(v)) for v in (*graph.inputs, *(p.value for p in graph.parameters))]
        self.ways = self._find_ways()
        self.makers = {source.value: (i, 0) for i, source in enumerate(self.sources)}
        self.makers |= {v: (i + len(self.sources), k) for i, node in enumerate(graph.nodes) for k, v in enumerate(node.outs)}
        self.alike = classes(*self._likeness())
        """The variable that decides for each source and node."""

    def _homes(self, value: int) -> tuple[int, ...]:
        layout = self.graph.values[value].layout
        if layout is None:
            return ()
        number = self.boxings.numbers.of
        if value not in self.choices.free:
            return (number(layout),)
        rank = len(self.graph.values[value].type.shape)
        ways = product(all_sbp(rank, partial=False), repeat=len(layout.sbp))
        return tuple(number(Layout(layout.placement, way)) for way in ways)

    def _find_ways(self) -> list[Ways]:
        """The ways to run each node, in order: a boxing's depend on how its operand may be made."""
        layouts = self.boxings.numbers.layouts
        made = {source.value: source.layouts for source in self.sources}
        found = []
        for node in self.graph.nodes:
            if REGISTRY[node.op].lowering == "pull":
                ways = self.choices.of_boxing(node, [layouts[one] for one in made[node.ins[0]]])
                kinds = NONE.union(*(extremes(layouts[one]) for one in ways.results[0].made))
                self.choices.extremes |= {node.outs[0]: kinds} if kinds else {}
            else:
                ways = self.choices.of(node)
            made |= {v: result.made for v, result in zip(node.outs, ways.results, strict=True)}
            found.append(ways)
        return found

    # ------------------------------------------------------------ answers

    def best(self) -> Answer:
        """The best of the answer for classes and, in small graphs, the one node by node; picks of every source and node."""
        found = self._solved(self.alike)
        if len(self.graph.nodes) <= SMALL and max(self.alike, default=0) + 1 < len(self.alike):
            single = self._solved(range(len(self.alike)), found.picks)
            if single.seconds < found.seconds * (1 - 1e-6):
                return single
            return replace(found, bound=min(found.seconds, single.bound))
        return found

    def _solved(self, alike: Sequence[int], start: Sequence[int] | None = None) -> Answer:
        first = {c: i for i, c in reversed(list(enumerate(alike)))}
        found = cheapest(self.problem(alike), [start[first[c]] if start else 0 for c in range(len(first))])
        return replace(found, picks=tuple(found.picks[c] for c in alike))

    def answered(self, found: Answer) -> Graph:
        """The graph with a layout on every value, and the answer's cost."""
        layout, graph, count = self.boxings.numbers.layouts, self.graph, len(self.sources)
        made = {s.value: layout[s.layouts[pick]] for s, pick in zip(self.sources, found.picks[:count], strict=True) if s.layouts}
        nodes = []
        for node, ways, pick in zip(graph.nodes, self.ways, found.picks[count:], strict=True):
            made |= {v: layout[result.made[pick]] for v, result in zip(node.outs, ways.results, strict=True)}
            nodes.append(replace(node, wants=tuple(layout[wants[pick]] for wants in ways.wants)))
        values = {v: replace(value, layout=made[v]) if v in made else value for v, value in graph.values.items()}
        return replace(graph, nodes=tuple(nodes), values=values, assignment=Assignment(found.seconds, found.bound, found.method))

    # ------------------------------------------------------------ the problem

    def _likeness(self) -> tuple[list[Hashable], list[tuple[int, int, Hashable]]]:
        """What sources and nodes start with, and the edges between them."""
        start: list[Hashable] = [("source", self.boxings.kind_of[s.value], s.layouts) for s in self.sources]
        start += [ways.number for ways in self.ways]
        edges: list[tuple[int, int, Hashable]] = []
        for i, node in enumerate(self.graph.nodes, len(self.sources)):
            edges += [(self.makers[v][0], i, (self.makers[v][1], k)) for k, v in enumerate(node.ins)]
        edges += [(self.makers[new][0], self.makers[state][0], ("home", self.makers[new][1]))
                  for new, state in self.choices.homes.items() if new in self.makers]  # fmt: skip
        return start, edges

    def problem(self, alike: Sequence[int]) -> Problem:
        """The problem in which variable alike[i] decides for source or node i."""
        size = Counter(alike)
        first = {c: i for i, c in reversed(list(enumerate(alike)))}
        seconds, layouts = [], []
        for c in range(len(first)):
            works, decided = self._variable(first[c])
            seconds.append(size[c] * works)
            layouts.append(decided)
        movings, sames = self._relations(alike)
        merged = Counter(movings)
        return Problem(
            self.boxings, tuple(seconds), tuple(layouts), tuple(replace(m, times=n) for m, n in merged.items()), tuple(dict.fromkeys(sames))
        )

    def _variable(self, i: int) -> tuple[np.ndarray, tuple[tuple[int, ...], ...]]:
        """Seconds of each choice of a source or node, and the layouts it decides."""
        if i < len(self.sources):
            found = self.sources[i].layouts
            return np.zeros(max(1, len(found))), tuple((one,) for one in found) or ((),)
        ways = self.ways[i - len(self.sources)]
        decided = zip(*ways.wants, *(result.made for result in ways.results), strict=True)
        return np.array(ways.seconds), tuple(decided)

    def _relations(self, alike: Sequence[int]) -> tuple[list[Moving], list[Same]]:
        readers: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
        count, free = len(self.sources), self.choices.free
        sames = []
        for i, (node, ways) in enumerate(zip(self.graph.nodes, self.ways, strict=True), count):
            for v, wants in zip(node.ins, ways.wants, strict=True):
                readers.setdefault(v, []).append((alike[i], wants))
            sames += [Same(alike[i], ways.results[k].made, alike[self.makers[state][0]], self.sources[self.makers[state][0]].layouts)
                      for k, state in self._rewritten(node) if state in free]  # fmt: skip
        movings = [self._moving(v, alike, tuple(readers.get(v, ()))) for v in (*(s.value for s in self.sources), *self._results())]
        return [m for m in movings if m is not None], sames

    def _results(self) -> list[int]:
        return [v for node in self.graph.nodes for v in node.outs]

    def _rewritten(self, node: Node) -> list[tuple[int, int]]:
        """(result, state) that the node rewrites where it lives."""
        homes = self.choices.homes
        return [(k, homes.get(node.outs[k], node.ins[operand])) for k, operand in REGISTRY[node.op].inplace.items()]

    def _moving(self, value: int, alike: Sequence[int], readers: tuple[tuple[int, tuple[int, ...]], ...]) -> Moving | None:
        maker, k = self.makers[value]
        result = self._result(value, maker, k)
        constants: tuple[int, ...] = () if result.home == NO_HOME else (result.home,)
        state = self.choices.homes.get(value)
        if state in self.choices.free:
            source = self.makers[state][0]
            readers = (*readers, (alike[source], self.sources[source].layouts))
        fixed = [wants for _, wants in readers if len(set(wants)) == 1]
        constants = tuple(sorted({*constants, *(wants[0] for wants in fixed)}))
        open_ones = tuple(sorted({(v, wants) for v, wants in readers if len(set(wants)) > 1}))
        if not result.made or not (constants or open_ones):
            return None
        return Moving(result.kind, alike[maker], result.made, open_ones, constants)

    def _result(self, value: int, maker: int, k: int) -> Result:
        if maker < len(self.sources):
            return Result(self.boxings.kind_of[value], NO_HOME, self.sources[maker].layouts)
        return self.ways[maker - len(self.sources)].results[k]
