"""The question of inference for a graph: which layout each source lives in and how each node runs, as an assignment problem.

Nodes that are alike (repeated layers) are one variable (`likeness`). A small graph is also asked node by node, and that answer is
taken where it is better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from oflow.compiler.assignment import Moving, Problem, Same
from oflow.compiler.boxing_costs import Boxings, extremes
from oflow.compiler.cheapest import Answer, cheapest
from oflow.compiler.choices import NO_HOME, NONE, Choices, Result, Ways
from oflow.compiler.likeness import classes
from oflow.compiler.network import LARGEST, least
from oflow.compiler.strict import unasked
from oflow.graph import Assignment, Graph, Node
from oflow.machine import Machine
from oflow.ops import REGISTRY
from oflow.sbp import WHOLE, B, Layout, Placement, Planner, S, all_sbp
from oflow.sbp.alike import renumbered

SMALL = 250
"""Nodes of a graph that is also asked node by node."""


@dataclass(frozen=True, slots=True)
class _Source:
    """An input or a parameter: the layouts it may live in, by number."""

    value: int
    layouts: tuple[int, ...]


class Question:
    """The assignment problem of a graph. Variables are first the sources, then the nodes, both by class.

    free: inputs and parameters whose layout is open. strict: boxings that nobody asked for are dear. hidden: the share of the
    gradients' boxings that runs beside the backward pass.
    """

    def __init__(
        self, graph: Graph, machine: Machine, free: frozenset[int] = frozenset(), strict: bool = False, hidden: float = 0.0,
        planner: Planner | None = None,
    ) -> None:  # fmt: skip
        self.graph = graph
        self.boxings = Boxings(graph, machine, unasked(graph) if strict else frozenset(), hidden, planner)
        self._unit = 0 if free else machine.unit()  # memory is counted by device, so homes are chosen device by device
        self._renumbered: dict[tuple[object, ...], tuple[int, ...]] = {}
        self.choices = Choices(self.boxings, free, self._unit)
        self.sources = [_Source(v, self._homes(v)) for v in (*graph.inputs, *(p.value for p in graph.parameters))]
        self.ways = self._find_ways()
        self.makers = {source.value: (i, 0) for i, source in enumerate(self.sources)}
        self.makers |= {v: (i + len(self.sources), k) for i, node in enumerate(graph.nodes) for k, v in enumerate(node.outs)}
        self.fetched = {v for _, v in graph.outputs}
        """Values that the caller gets."""
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

    def best(self, largest_program: int | None = None) -> Answer:
        """The best of the answer for classes and, in small graphs, the one node by node; picks of every source and node."""
        found = self._solved(self.alike, largest_program)
        if len(self.graph.nodes) <= SMALL and max(self.alike, default=0) + 1 < len(self.alike):
            single = self._solved(range(len(self.alike)), largest_program, found.picks)
            if single.seconds < found.seconds * (1 - 1e-6):
                return single
            return replace(found, bound=min(found.seconds, single.bound))
        return found

    def _solved(self, alike: Sequence[int], largest_program: int | None, start: Sequence[int] = ()) -> Answer:
        problem, first = self.problem(alike), _first(alike)
        starts = [[start[i] for i in first] if start else [0] * len(first)]
        found = cheapest(problem, [*starts, *self._with_split_batches(problem, first)], largest_program)
        return replace(found, picks=tuple(found.picks[c] for c in alike))

    def _with_split_batches(self, problem: Problem, first: Sequence[int]) -> list[list[int]]:
        """Where homes are open: first assignments that split the inputs' first axis over some mesh axes, with the best choices after."""
        if not self.choices.free:
            return []
        layouts = self.boxings.numbers.layouts
        found = []
        for some in product((B, S(0)), repeat=problem.axes):
            given = {}
            for c, i in enumerate(first):
                if i < len(self.sources):
                    batch = self.sources[i].value in self.graph.inputs
                    wanted = [tuple(s if batch else B for s in some[: len(layouts[one].sbp)]) for one in self.sources[i].layouts]
                    given[c] = next((k for k, one in enumerate(self.sources[i].layouts) if layouts[one].sbp == wanted[k]), 0)
            found.append(_guessed(problem, given))
        return found

    def variables(self, picks: Sequence[int]) -> tuple[Sequence[int], list[int]]:
        """The variable that decides for each source and node, and the picks of the variables, given those of sources and nodes:
        classes where their members pick alike, else each on its own."""
        uniform = len(set(zip(self.alike, picks, strict=True))) == len(set(self.alike))
        alike = self.alike if uniform else range(len(self.alike))
        return alike, [picks[i] for i in _first(alike)]

    def picks_of(self, answered: Graph) -> list[int]:
        """The picks that gave a graph its layouts."""
        number = self.boxings.numbers.of
        homes = [answered.values[s.value].layout for s in self.sources]
        found = [s.layouts.index(number(home)) if home else 0 for s, home in zip(self.sources, homes, strict=True)]
        for i, node in enumerate(answered.nodes, len(self.sources)):
            outs = [answered.values[v].layout for v in node.outs]
            decided = tuple(number(one) for one in (*node.wants, *outs) if one)
            found.append(self.variable(i)[1].index(decided))
        return found

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

    # ------------------------------------------------------------ devices that are alike

    def _places(self, *layouts: Sequence[int]) -> tuple[Placement, ...]:
        """The placements of all these layouts, in order of appearance."""
        all_layouts = self.boxings.numbers.layouts
        return tuple(dict.fromkeys(all_layouts[one].placement for some in layouts for one in some))

    def _numbers(self, layouts: tuple[int, ...], places: tuple[Placement, ...]) -> tuple[int, ...]:
        """The layouts on renumbered devices, numbered over all of `places`: what is alike in two stages gets equal numbers."""
        if not self._unit:
            return layouts
        key = (layouts, places)
        found = self._renumbered.get(key)
        if found is None:
            new = dict(zip(places, renumbered(places, self._unit), strict=True))
            numbers, all_layouts = self.boxings.numbers, self.boxings.numbers.layouts
            found = tuple([numbers.of(Layout(new[all_layouts[one].placement], all_layouts[one].sbp)) for one in layouts])
            self._renumbered[key] = found
        return found

    def _apart(self, value: int, reader: Node) -> tuple[Placement, ...]:
        """Where a value is made and read, but for the numbers of devices; empty where that is one place."""
        made = self._result(value, *self.makers[value]).made
        places = (*self._places(made[:1]), reader.placement)
        return renumbered(places, self._unit) if self._unit and len(set(places)) > 1 else ()

    # ------------------------------------------------------------ the problem

    def _likeness(self) -> tuple[list[Hashable], list[tuple[int, int, Hashable]]]:
        """What sources and nodes start with, and the edges between them."""
        homes = [self._numbers(s.layouts, self._places(s.layouts)) for s in self.sources]
        start: list[Hashable] = [("source", self.boxings.kind_of[s.value], home) for s, home in zip(self.sources, homes, strict=True)]
        start += [(ways.number, *(v in self.fetched for v in node.outs)) for node, ways in zip(self.graph.nodes, self.ways, strict=True)]
        edges: list[tuple[int, int, Hashable]] = []
        for i, node in enumerate(self.graph.nodes, len(self.sources)):
            edges += [(self.makers[v][0], i, (self.makers[v][1], k, self._apart(v, node))) for k, v in enumerate(node.ins)]
        edges += [(self.makers[new][0], self.makers[state][0], ("home", self.makers[new][1]))
                  for new, state in self.choices.homes.items() if new in self.makers]  # fmt: skip
        return start, edges

    def problem(self, alike: Sequence[int]) -> Problem:
        """The problem in which variable alike[i] decides for source or node i."""
        size = Counter(alike)
        seconds, layouts = [], []
        for c, i in enumerate(_first(alike)):
            works, decided = self.variable(i)
            seconds.append(size[c] * works)
            layouts.append(decided)
        movings, sames = self._relations(alike)
        merged = Counter(movings)
        return Problem(
            self.boxings, [layout.sbp for layout in self.boxings.numbers.layouts], tuple(seconds), tuple(layouts),
            tuple(replace(m, times=n) for m, n in merged.items()), tuple(dict.fromkeys(sames)),
        )  # fmt: skip

    def variable(self, i: int) -> tuple[np.ndarray, tuple[tuple[int, ...], ...]]:
        """Seconds of each choice of a source or node, and the layouts it decides."""
        if i < len(self.sources):
            found = self.sources[i].layouts
            return self._copy_seconds(self.sources[i]) if found else np.zeros(1), tuple((one,) for one in found) or ((),)
        ways = self.ways[i - len(self.sources)]
        decided = zip(*ways.wants, *(result.made for result in ways.results), strict=True)
        return np.array(ways.seconds), tuple(decided)

    def _copy_seconds(self, source: _Source) -> np.ndarray:
        """Seconds of the copy of an input from the caller's memory, by layout."""
        if source.value not in self.graph.inputs:
            return np.zeros(len(source.layouts))
        kind, layouts = self.boxings.kinds[self.boxings.kind_of[source.value]], self.boxings.numbers.layouts
        return np.array([self.boxings.seconds(kind, WHOLE, layouts[one]) for one in source.layouts])

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
        if value in self.fetched:
            constants = (*constants, self.boxings.numbers.of(WHOLE))
        state = self.choices.homes.get(value)
        if state in self.choices.free:
            source = self.makers[state][0]
            readers = (*readers, (alike[source], self.sources[source].layouts))
        places = self._places(result.made[:1], constants, *(wants[:1] for _, wants in readers)) if self._unit else ()
        constants, made = self._numbers(constants, places), self._numbers(result.made, places)
        readers = tuple([(v, self._numbers(wants, places)) for v, wants in readers])
        fixed = [wants for _, wants in readers if len(set(wants)) == 1]
        constants = tuple(sorted({*constants, *(wants[0] for wants in fixed)}))
        open_ones = tuple(sorted({(v, wants) for v, wants in readers if len(set(wants)) > 1}))
        if not result.made or not (constants or open_ones):
            return None
        return Moving(result.kind, alike[maker], made, open_ones, constants)

    def _result(self, value: int, maker: int, k: int) -> Result:
        if maker < len(self.sources):
            return Result(self.boxings.kind_of[value], NO_HOME, self.sources[maker].layouts)
        return self.ways[maker - len(self.sources)].results[k]


def _guessed(problem: Problem, given: Mapping[int, int]) -> list[int]:
    """An assignment with these picks, the others near the best."""
    domains = [[given[v]] if v in given else domain for v, domain in enumerate(problem.everything)]
    _, local = least(problem.network(domains, LARGEST), LARGEST)
    return [domain[i] for domain, i in zip(domains, local, strict=True)]


def _first(alike: Sequence[int]) -> list[int]:
    """The first member of each class."""
    found: dict[int, int] = {}
    for i, c in enumerate(alike):
        found.setdefault(c, i)
    return [found[c] for c in range(len(found))]
