"""layout="auto": inputs and parameters without annotation get the home that makes the step cheapest and fits in memory.

Homes are further variables of inference's problem (B or a split on every mesh axis), so data parallelism (a split batch, reduced
gradients), tensor parallelism (split weights) and sharded state (a split home, gathered for use) are answers like any other. Memory
is a side condition: bytes of kept state, of activations kept for the backward pass and of gradients, by devices. A small problem
carries it as rows of the integer program; a large one as a price on bytes (Lagrange; Everett 1963), whose dual is the bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from oflow.compiler.assignment import Problem, Weights
from oflow.compiler.cheapest import Answer, cheapest, second_best
from oflow.compiler.chunks import graph_homes, order_for
from oflow.compiler.integer_program import columns, solve
from oflow.compiler.options import Options
from oflow.compiler.question import Question
from oflow.graph import Graph, time_type
from oflow.sbp import Layout, Placement
from oflow.types import TensorType

LARGEST_PROGRAM = 100_000
"""Columns of the integer program that is worth solving where the user asked for the best layout."""
PRICES = 12


def best_layouts(graph: Graph, options: Options) -> Graph:
    """The graph with the best layouts found."""
    question = open_question(graph, options)
    found = _best(question, options)
    if options.hidden:  # what was minimised is less than the step's work and boxings, so its bound holds
        plain = open_question(graph, replace(options, hidden=0.0))
        alike, picks = plain.variables(found.picks)
        found = replace(found, seconds=plain.problem(alike).cost(picks))
    return question.answered(found)


def open_question(graph: Graph, options: Options) -> Question:
    """The inference problem of the graph in which homes without annotation are open."""
    given = (*graph.inputs, *(p.value for p in graph.parameters))
    free = frozenset(v for v in given if not graph.values[v].fixed)
    return Question(graph, options.machine, free, options.strict, options.hidden, options.planner)


def _best(question: Question, options: Options) -> Answer:
    found = question.best(LARGEST_PROGRAM)
    if not options.saved_nbytes:
        return found
    alike, picks = question.variables(found.picks)
    problem = question.problem(alike)
    limits = [(one, problem.weight(one, picks) - options.saved_nbytes) for one in _bytes(question, alike, options)]
    answer = _within(problem, picks, limits) or _smallest(problem, picks, limits, found.bound)
    return replace(answer, picks=tuple(answer.picks[c] for c in alike))


# ---------------------------------------------------------------- memory

Limit = tuple[Weights, float]
"""Bytes on one device of a placement, and how many there are for them."""
COPIES = 2
"""Slots of what one stream makes and another reads."""


def _bytes(question: Question, alike: Sequence[int], options: Options) -> list[Weights]:
    """By placement, on its first device, which holds the largest shards: state, what one phase keeps for another, what boxings make."""
    graph, layouts = question.graph, question.boxings.numbers.layouts
    phases = {v: node.phase for node in graph.nodes for v in node.outs}
    later = {v for node in graph.nodes for v in node.ins if phases.get(v, node.phase) != node.phase}
    order = order_for(options.schedule, graph_homes(graph), graph.micro_batches)
    empty = [np.zeros(len(question.variable(i)[0])) for i in range(len(question.alike))]
    found: dict[Placement, list[np.ndarray]] = {}

    def add(i: int, kind: TensorType, held: Sequence[int], times: int) -> None:
        for choice, layout in enumerate(layouts[one] for one in held):
            rows = found.setdefault(layout.placement, [one.copy() for one in empty])
            rows[i][choice] += times * _shard_nbytes(layout, kind)

    for i, source in enumerate(question.sources):
        add(i, time_type(graph, source.value), source.layouts, COPIES if source.value in graph.inputs else 1)
    for i, (node, ways) in enumerate(zip(graph.nodes, question.ways, strict=True), len(question.sources)):
        depth = order.stash(node.stage or 0) if node.rate > 1 and node.phase == "F" else 1
        for v, result in zip(node.outs, ways.results, strict=True):
            if v in later:
                add(i, time_type(graph, v), result.made, depth)
    return [
        Weights(_by_class(rows, alike), partial(_copy_nbytes, question, where, {})) for where, rows in found.items()
    ]


def _copy_nbytes(question: Question, where: Placement, known: dict[tuple[int, int], float], kind: int, have: int, want: int) -> float:
    if have == want:
        return 0.0
    if (kind, want) not in known:
        layout = question.boxings.numbers.layouts[want]
        nbytes = COPIES * _shard_nbytes(layout, question.boxings.kinds[kind].type)
        known[kind, want] = nbytes if layout.placement == where else 0.0
    return known[kind, want]


def _shard_nbytes(layout: Layout, kind: TensorType) -> float:
    return float(math.prod(layout.shard_shape(kind.shape, 0)) * kind.itemsize)


def _by_class(nbytes: Sequence[np.ndarray], alike: Sequence[int]) -> list[np.ndarray]:
    found: dict[int, np.ndarray] = {}
    for c, one in zip(alike, nbytes, strict=True):
        found[c] = found[c] + one if c in found else one
    return [found[c] for c in range(len(found))]


def _within(problem: Problem, start: Sequence[int], limits: Sequence[Limit]) -> Answer | None:
    """The cheapest assignment within the limits; None where none was found."""
    if columns(problem, problem.everything) > LARGEST_PROGRAM:
        return _priced(problem, start, limits)
    found = solve(problem, limits)
    if found is None:
        return None
    seconds = problem.cost(found[0])
    return Answer(tuple(found[0]), seconds, min(found[1], seconds), "integer program")


def _priced(problem: Problem, start: Sequence[int], limits: Sequence[Limit]) -> Answer | None:
    """The cheapest assignment that fits, among those that are best at some price of a byte; the price is bisected."""
    weights, room = _together(problem, limits)
    price, low, high = problem.cost(start) / max(1.0, problem.weight(weights, start)), 0.0, 0.0
    best, bound, picks = None, -math.inf, list(start)
    for _ in range(PRICES):
        found = cheapest(problem.priced(weights, price), [picks], 0)
        picks = list(found.picks)
        bound = max(bound, found.bound - price * room)
        fits = all(problem.weight(one, picks) <= most for one, most in limits)
        if fits and (best is None or problem.cost(picks) < problem.cost(best)):
            best = picks
        low, high = (low, price) if fits else (price, high)
        price = (low + high) / 2 if high else 4 * price
    if best is None:
        return None
    seconds = problem.cost(best)
    return Answer(tuple(best), seconds, min(bound, seconds), "priced memory")


def _smallest(problem: Problem, start: Sequence[int], limits: Sequence[Limit], bound: float) -> Answer:
    """The assignment of the fewest bytes: the estimate may be too high, and whether the plan fits its check says, with a table."""
    weights, _ = _together(problem, limits)
    price = 1e6 * problem.cost(start) / max(1.0, problem.weight(weights, start))
    found = cheapest(problem.priced(weights, price), [start], 0)
    return Answer(found.picks, problem.cost(found.picks), bound, "least memory")


def _together(problem: Problem, limits: Sequence[Limit]) -> tuple[Weights, float]:
    """All limits as one, which is weaker."""
    choices = [np.sum([one.choices[i] for one, _ in limits], axis=0) for i in range(len(problem.seconds))]
    return Weights(choices, lambda *move: sum(one.move(*move) for one, _ in limits)), sum(most for _, most in limits)


# ---------------------------------------------------------------- why


@dataclass(frozen=True, slots=True)
class ParameterChoice:
    """Why parameters live where they do: their layout, bytes a device of all of them with their optimizer state, predicted seconds
    of the step, the best other layout on one mesh axis, and what the step would take with it."""

    names: tuple[str, ...]
    layout: Layout
    nbytes: int
    seconds: float
    second: Layout | None
    second_seconds: float

    def __str__(self) -> str:
        several = f" and {len(self.names) - 1} like it" if len(self.names) > 1 else ""
        other = f"; second {', '.join(map(str, self.second.sbp))}: {self.second_seconds:.4g} s" if self.second else ""
        sbp = ", ".join(map(str, self.layout.sbp))
        return f"{self.names[0]}{several}: {sbp}, {self.nbytes:,} bytes a device, step {self.seconds:.4g} s{other}"


def parameter_choices(graph: Graph, answered: Graph, options: Options) -> list[ParameterChoice]:
    """For each trainable parameter whose home was open what was chosen and what came second; parameters that are alike in one line.

    graph: before inference; answered: after it.
    """
    if options.zero.stage:  # the answer has boxings that this graph has not: ask again
        answered = best_layouts(graph, options)
    question = open_question(graph, options)
    alike, chosen = question.variables(question.picks_of(answered))
    problem = question.problem(alike)
    by_class: dict[int, list[int]] = {}
    places = {source.value: i for i, source in enumerate(question.sources)}
    for p in graph.parameters:
        if p.value in question.choices.free and p.trainable:
            by_class.setdefault(alike[places[p.value]], []).append(places[p.value])
    seconds = problem.cost(chosen)
    found = []
    for c, members in by_class.items():
        layouts = [question.boxings.numbers.layouts[one] for one in question.sources[members[0]].layouts]
        other = second_best(problem, chosen, c)
        names = tuple(graph.values[question.sources[i].value].name for i in members)
        found.append(ParameterChoice(
            names, layouts[chosen[c]], _state_bytes(graph, answered, names), seconds,
            layouts[other[c]] if other else None, problem.cost(other) if other else math.inf,
        ))  # fmt: skip
    return found


def _state_bytes(graph: Graph, answered: Graph, names: Sequence[str]) -> int:
    """Bytes on one device of the parameters and of the optimizer state that goes with them."""
    total = 0
    for p in graph.parameters:
        if any(p.name == name or p.name.startswith(f"{name}.") for name in names):
            value = answered.values[p.value]
            if value.layout is not None:
                total += math.prod(value.layout.shard_shape(value.type.shape, 0)) * value.type.itemsize
    return total
