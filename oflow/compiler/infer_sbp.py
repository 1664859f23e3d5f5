"""infer SBP: a layout for every value, the user's annotations fixed, the least cost elsewhere.

Each node picks one signature a mesh axis. The cost of a choice is the seconds of the boxings between its operands' layouts and
those it wants, plus its own compute seconds, both times its acts per step; so work is repeated on every rank only where that is
cheaper than moving its result. `question` writes this as an assignment problem, `cheapest` finds the least sum over the whole graph
and says what no assignment can be below.

What the user annotated decides where the work happens: moving bytes of an annotated parameter or input on its own devices is
charged many times over (a slice of what is there already moves none).
"""

from __future__ import annotations

from oflow.compiler.auto import best_layouts
from oflow.compiler.options import Options
from oflow.compiler.question import Question
from oflow.graph import Graph


def infer_sbp(graph: Graph, options: Options) -> Graph:
    """Raises SbpError where state cannot be rewritten where it lives."""
    if options.layout == "auto" and not options.zero.stage:  # else `zero` has asked already and fixed the homes
        return best_layouts(graph, options)
    question = Question(graph, options.machine, strict=options.strict, planner=options.planner)
    return question.answered(question.best())
