"""Running the passes: each makes a graph or a plan of the last one's, and a verifier runs after it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from oflow.check import fold
from oflow.check.references import check_references
from oflow.compiler.options import Options
from oflow.compiler.unfold import unfolded
from oflow.graph import Graph, verify
from oflow.live import phase
from oflow.plan import Plan

GraphPass = Callable[[Graph, Options], Graph]
PlanPass = Callable[[Plan, Options], Plan]
Made = dict[str, Graph | Plan]
"""What every pass made, by its name, in order."""


@dataclass(frozen=True, slots=True)
class Passes:
    """Graph to graph, graph to plan, plan to plan. folded: passes that see one device a role."""

    graph: tuple[GraphPass, ...]
    expand: Callable[[Graph, Options], Plan]
    plan: tuple[PlanPass, ...]
    folded: tuple[PlanPass, ...]

    def graphs(self, made: Mapping[str, Graph], given: Options) -> dict[str, Graph]:
        """What each graph pass makes. made: the captured graph, and what the first passes made of it already."""
        made = dict(made)
        graph = list(made.values())[-1]
        verify(graph)
        for graph_pass in self.graph[len(made) - 1 :]:
            with self._at(graph_pass):
                graph = graph_pass(graph, given)
                verify(graph)
            made[graph_pass.__name__] = graph
        return made

    def plans(self, graphs: Mapping[str, Graph], given: Options) -> Made:
        """All that was made, graphs first."""
        with self._at(self.expand):
            plan = self.expand(graphs[self.graph[-1].__name__], given)
            check_references(plan)
        made: Made = {**graphs, "expand": plan}
        for plan_pass in self.plan:
            with self._at(plan_pass):
                plan = made[plan_pass.__name__] = _verified(plan, plan_pass(plan, given))
        roles = fold(plan)
        for plan_pass in self.folded:
            with self._at(plan_pass):
                roles = unfolded(roles, _verified(roles.plan, plan_pass(roles.plan, given)))
                made[plan_pass.__name__] = roles.whole
        return made

    def _at(self, one: Callable[..., Any]) -> AbstractContextManager[None]:
        """The phase of a pass: its name and its place among all."""
        names = [each.__name__ for each in (*self.graph, self.expand, *self.plan, *self.folded)]
        return phase(f"pass {one.__name__} ({names.index(one.__name__) + 1} of {len(names)})")


def _verified(before: Plan, made: Plan) -> Plan:
    if made is not before:
        check_references(made)
    return made


def before(graph_pass: GraphPass, made: Mapping[str, Graph | Plan]) -> dict[str, Graph]:
    """What the passes before this one made."""
    earlier = itertools.takewhile(lambda one: one[0] != graph_pass.__name__, made.items())
    return {name: one for name, one in earlier if isinstance(one, Graph)}


def plan_of(made: Mapping[str, Graph | Plan]) -> Plan:
    """The finished plan: the last that was made."""
    found = list(made.values())[-1]
    assert isinstance(found, Plan)
    return found
