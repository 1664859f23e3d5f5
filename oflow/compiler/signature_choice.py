"""Why values have their layouts: the signatures that were chosen for the operators that make them, and what the next best would have cost.

Inference's problem is asked again, with another choice of one variable and all others free on the same mesh axis. Its costs hold an
annotation's value dear to move; the seconds that are told are those of work and boxings alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from oflow.compiler.assignment import Problem
from oflow.compiler.auto import open_question
from oflow.compiler.cheapest import second_best
from oflow.compiler.options import AUTO, Options
from oflow.compiler.question import Question
from oflow.graph import Graph, SignatureChoice
from oflow.ops import REGISTRY


def signature_choices(graph: Graph, answered: Graph, options: Options, values: Iterable[int]) -> dict[int, SignatureChoice]:
    """The choices that decided the layouts of `values`; without those for which inference had none to make: annotated, or of a boxing.

    graph: before inference; answered: after it.
    """
    question = _question(graph, options)
    makers = graph.producers()
    decided = [v for v in values if v in question.makers and _is_decided(question, v)]
    if not decided:
        return {}
    alike, chosen = question.variables(question.picks_of(answered))
    problem = question.problem(alike)
    loose = replace(graph, values={v: replace(value, fixed=False) for v, value in graph.values.items()})
    plain = _question(loose, replace(options, strict=False, hidden=0.0), question.choices.free).problem(alike)
    return {v: _choice(question, problem, plain, chosen, alike[question.makers[v][0]], v, v in makers) for v in decided}


def _question(graph: Graph, options: Options, free: frozenset[int] | None = None) -> Question:
    if free is None and options.layout == AUTO and not options.zero.stage:  # as `infer_sbp` asks
        return open_question(graph, options)
    return Question(graph, options.machine, free or frozenset(), options.strict, planner=options.planner)


def _is_decided(question: Question, v: int) -> bool:
    place, _ = question.makers[v]
    if place < len(question.sources):
        return v in question.choices.free
    return REGISTRY[question.graph.nodes[place - len(question.sources)].op].lowering != "pull"


def _choice(
    question: Question, problem: Problem, plain: Problem, chosen: Sequence[int], variable: int, value: int, made: bool
) -> SignatureChoice:
    place, _ = question.makers[value]
    layouts = question.boxings.numbers.layouts
    operands = len(question.graph.nodes[place - len(question.sources)].ins) if made else 0

    def text(pick: int) -> str:
        """``S(0),B -> S(0)``; of a source its layout alone."""
        sbp = [layouts[one].sbp_text for one in problem.layouts[variable][pick]]
        return f"{','.join(sbp[:operands])} -> {','.join(sbp[operands:])}" if made else sbp[0]

    works, _ = question.variable(place)
    alike = sum(one == variable for one in question.alike) if len(problem.seconds) < len(question.alike) else 1
    found = SignatureChoice(text(chosen[variable]), float(works[chosen[variable]]), len(works), alike, plain.cost(chosen))
    other = second_best(problem, chosen, variable)
    if other is None or not math.isfinite(problem.cost(other)):
        return found
    seconds = plain.cost(other)
    dear = problem.cost(other) - seconds > problem.cost(chosen) - found.seconds + 1e-9 * seconds
    return replace(found, second=text(other[variable]), second_seconds=seconds, moves_annotated=dear)
