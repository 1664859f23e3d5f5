"""infer SBP: a layout for every value, the user's annotations fixed, the least cost elsewhere.

Each node picks one signature a mesh axis. The cost of a choice is the seconds of the boxings between its operands' layouts and
those it wants, plus its own compute seconds, both times its acts per step; so work is repeated on every rank only where that is
cheaper than moving its result.

Two first choices are tried. Dynamic programming, exact on trees: forward, the least cost of having each value in each layout (a
value's cost is shared evenly by its readers); backward, each node's best choice given its readers' (Viterbi 1967). And the nearest:
what is cheapest given how the operands are made, which keeps the layouts of the inputs flowing. From each, sweeps in both
directions improve one node at a time (iterated conditional modes, Besag 1986) until nothing changes; the cheaper result is taken.

What the user annotated decides where the work happens: moving bytes of an annotated parameter or input on its own devices is
charged many times over (a slice of what is there already moves none).

Equal layers pose equal questions: what a node's choices cost is worked out once for each way to run it and each surrounding
(`_Search.costs`), and a sweep asks only nodes whose surrounding has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from oflow.compiler.boxing_costs import Boxings
from oflow.compiler.choices import NO_HOME, Choices, Ways
from oflow.compiler.options import Options
from oflow.graph import Graph, Node
from oflow.machine import Machine
from oflow.ops import REGISTRY

SWEEPS = 6
Numbers = tuple[int, ...]
"""Layouts by number, sorted."""


def infer_sbp(graph: Graph, options: Options) -> Graph:
    search = _Search(graph, options.machine)
    found = min((search.improved(start) for start in (search.plan_ahead, search.take_nearest)), key=lambda one: one[0])[1]
    layout = search.boxings.numbers.layouts
    made = {v: layout[one] for node, (ways, pick) in zip(graph.nodes, found, strict=True)
            for v, one in zip(node.outs, (result.made[pick] for result in ways.results), strict=True)}  # fmt: skip
    nodes = tuple(
        replace(node, wants=tuple(layout[wants[pick]] for wants in ways.wants))
        for node, (ways, pick) in zip(graph.nodes, found, strict=True)
    )
    values = {v: replace(value, layout=made[v]) if v in made else value for v, value in graph.values.items()}
    return replace(graph, nodes=nodes, values=values)


class _Search:
    """The state of the sweeps: the layout of every value so far and each node's choice. Nodes go by their place in the graph."""

    def __init__(self, graph: Graph, machine: Machine) -> None:
        self.graph = graph
        self.boxings = Boxings(graph, machine)
        self.choices = Choices(self.boxings)
        number, given = self.boxings.numbers.of, (*graph.inputs, *(p.value for p in graph.parameters))
        self.layouts = {v: number(found) for v in given if (found := graph.values[v].layout)}
        self.reads = [tuple(dict.fromkeys(node.ins)) for node in graph.nodes]
        self.makers = {v: i for i, node in enumerate(graph.nodes) for v in node.outs}
        self.readers: dict[int, list[int]] = {v: [] for v in graph.values}
        for i, read in enumerate(self.reads):
            for v in read:
                self.readers[v].append(i)
        self.ways: dict[int, Ways] = {}
        self.picks: dict[int, int] = {}
        self.wanted: dict[int, dict[int, int]] = {}
        """For each value how many of its readers want it in each layout."""
        self.stale = [True] * len(graph.nodes)
        """Nodes whose surrounding has changed since they were asked."""
        self._costs: dict[tuple[object, ...], tuple[int, list[float]]] = {}
        self._ahead: dict[tuple[object, ...], list[float]] = {}

    def improved(self, start: Callable[[], None]) -> tuple[float, list[tuple[Ways, int]]]:
        """Total seconds and each node's choice after sweeps from a first choice have settled."""
        self.picks, self.wanted = {}, {v: {} for v in self.graph.values}
        start()
        self.stale = [True] * len(self.graph.nodes)
        places = range(len(self.graph.nodes))
        for _ in range(SWEEPS):
            if not (self.sweep(reversed(places)) + self.sweep(places)):
                break
        return self.total(), [(self.ways[i], self.picks[i]) for i in places]

    def total(self) -> float:
        """Seconds per step of all work and all boxings; a boxing that several readers want is made once."""
        made = {(v, wants[self.picks[i]]) for i, node in enumerate(self.graph.nodes)
                for v, wants in zip(node.ins, self.ways[i].wants, strict=True)}  # fmt: skip
        made |= {(v, home) for v in self.choices.homes if (home := self.choices.home(v)) != NO_HOME}
        names, moved = self.boxings.numbers.names, []
        for v, want in made:
            if seconds := self.boxings.row(self.boxings.kind_of[v], self.layouts[v])[want]:
                moved.append((f"({v}, {names[want]})", seconds))
        # added in a fixed order, so that equal graphs have equal totals to the last bit
        return sum(seconds for _, seconds in sorted(moved)) + sum(self.ways[i].seconds[pick] for i, pick in self.picks.items())

    # ------------------------------------------------------------ first choices

    def take_nearest(self) -> None:
        """A first choice for every node: what is cheapest given how its operands are made, looking no further."""
        for i, node in enumerate(self.graph.nodes):
            if _is_boxing(node):
                self.ways[i] = self.choices.of_boxing(node, [self.boxings.numbers.layouts[self.layouts[node.ins[0]]]])
            self._choose(i, self.costs(i)[0])

    def plan_ahead(self) -> None:
        """A first choice for every node, by dynamic programming over the graph as if it were a tree."""
        least: dict[int, dict[int, float]] = {v: {found: 0.0} for v, found in self.layouts.items()}
        totals = []
        for i, node in enumerate(self.graph.nodes):
            if _is_boxing(node):
                self.ways[i] = self.choices.of_boxing(node, [self.boxings.numbers.layouts[h] for h in least[node.ins[0]]])
            else:
                self.ways[i] = self.choices.of(node)
            totals.append(self._costs_so_far(i, least))
            for v, result in zip(node.outs, self.ways[i].results, strict=True):
                table = least.setdefault(v, {})
                for made, total in zip(result.made, totals[i], strict=True):
                    table[made] = min(total, table.get(made, total))
        for i in reversed(range(len(self.graph.nodes))):
            both = [so_far + ahead for so_far, ahead in zip(totals[i], self._costs_ahead(i, self._needs(i)), strict=True)]
            self._choose(i, both.index(min(both)))

    def _costs_so_far(self, i: int, least: dict[int, dict[int, float]]) -> list[float]:
        """By choice: the least seconds of the node and all before it, as if it were the root of a tree."""
        totals = list(self.ways[i].seconds)
        for v, operand in zip(self.reads[i], self.ways[i].operands, strict=True):
            readers, row = len(self.readers[v]), self.boxings.row
            from_each = [(before / readers, row(operand.kind, have)) for have, before in least[v].items()]
            arrive = {want: min([before + seconds[want] for before, seconds in from_each]) for want in set(operand.last)}
            totals = [total + arrive[want] for total, want in zip(totals, operand.last, strict=True)]
        return totals

    # ------------------------------------------------------------ sweeps

    def sweep(self, places: Iterable[int]) -> int:
        """Give each node its best choice, all others as they are; returns how many changed."""
        changed = 0
        for i in places:
            if not self.stale[i]:
                continue
            self.stale[i] = False
            best, costs = self.costs(i)
            if costs[best] >= costs[self.picks[i]] * (1 - 1e-9):
                continue
            changed += 1
            self._choose(i, best)
        return changed

    def costs(self, i: int) -> tuple[int, list[float]]:
        """The best choice of a node, and the seconds of each given all others' choices."""
        haves = tuple([self.layouts[v] for v in self.reads[i]])
        others, needs = self._others(i), self._needs(i)
        key = (self.ways[i].number, haves, others, needs)
        found = self._costs.get(key)
        if found is None:
            totals = list(self.ways[i].seconds)
            for operand, have, shared in zip(self.ways[i].operands, haves, others, strict=True):
                row = self.boxings.row(operand.kind, have)
                totals = [total + (0.0 if want in shared else row[want]) for total, want in zip(totals, operand.last, strict=True)]
            totals = [total + ahead for total, ahead in zip(totals, self._costs_ahead(i, needs), strict=True)]
            found = self._costs[key] = totals.index(min(totals)), totals
        return found

    def _costs_ahead(self, i: int, needs: tuple[Numbers, ...]) -> list[float]:
        """By choice: seconds of the boxings to what the readers that have chosen, and the results' homes, need."""
        key = (self.ways[i].number, needs)
        found = self._ahead.get(key)
        if found is None:
            names, found = self.boxings.numbers.names, [0.0] * len(self.ways[i].seconds)
            for result, wanted in zip(self.ways[i].results, needs, strict=True):
                ordered = sorted({*wanted, *([] if result.home == NO_HOME else [result.home])}, key=names.__getitem__)
                rows = [self.boxings.row(result.kind, made) for made in result.made]
                found = [total + sum(row[need] for need in ordered) for total, row in zip(found, rows, strict=True)]
            self._ahead[key] = found
        return found

    # ------------------------------------------------------------ the surrounding of a node

    def _needs(self, i: int) -> tuple[Numbers, ...]:
        """For each result the layouts that its readers want."""
        return tuple([tuple(sorted(self.wanted[v])) for v in self.graph.nodes[i].outs])

    def _others(self, i: int) -> tuple[Numbers, ...]:
        """For each operand the layouts that other readers want, which are there anyway."""
        found = []
        pick = self.picks.get(i)
        for v, operand in zip(self.reads[i], self.ways[i].operands, strict=True):
            own = operand.first[pick] if pick is not None else NO_HOME
            found.append(tuple(sorted([want for want, count in self.wanted[v].items() if count > (want == own)])))
        return tuple(found)

    def _choose(self, i: int, pick: int) -> None:
        """Take a choice, and mark the nodes whose surrounding it changes."""
        ways, before = self.ways[i], self.picks.get(i)
        self.picks[i] = pick
        for v, operand in zip(self.reads[i], ways.operands, strict=True):
            if before is not None and operand.first[before] != operand.first[pick]:
                self._count(v, operand.first[before], -1)
            if before is None or operand.first[before] != operand.first[pick]:
                self._count(v, operand.first[pick], 1)
        for v, result in zip(self.graph.nodes[i].outs, ways.results, strict=True):
            if self.layouts.get(v) != result.made[pick]:
                self.layouts[v] = result.made[pick]
                for reader in self.readers[v]:
                    self.stale[reader] = True
        self.stale[i] = False

    def _count(self, value: int, want: int, change: int) -> None:
        """One reader more or less wants `value` so. Who is the last, or the first but one, matters to the others."""
        counts = self.wanted[value]
        count = counts[want] = counts.get(want, 0) + change
        if not count:
            del counts[want]
        if count + (change < 0) <= 2:
            for reader in self.readers[value]:
                self.stale[reader] = True
            if value in self.makers:
                self.stale[self.makers[value]] = True


def _is_boxing(node: Node) -> bool:
    return REGISTRY[node.op].lowering == "pull"
