"""Texts are deterministic and do not change unnoticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from oflow import view
from oflow.actors import simulate
from oflow.check import check
from oflow.check.references import read_plan
from oflow.compiler.schedules import SCHEDULES, named_schedule
from oflow.graphtext import parse_graph
from oflow.view.grid import steps
from oflow.view.text import WIDE
from tests.plans import chain, pipeline_1f1b, random_plan
from tests.test_graphtext import random_graph, small_graph
from tests.view.things import rich_plan, schedule_1f1b

Golden = Callable[[str, str], None]


def test_golden_plans(golden: Golden) -> None:
    golden("rich_plan.txt", view.text(rich_plan()))
    golden("pipeline.txt", view.text(pipeline_1f1b(2, 4)))


def test_golden_schedule_trace_and_proof(golden: Golden) -> None:
    plan = pipeline_1f1b(2, 2)
    golden("schedule_1f1b.txt", view.text(schedule_1f1b(3, 5)))
    golden("trace.txt", view.text(simulate(plan, steps=1), plan))
    golden("trace_without_plan.txt", view.text(simulate(chain(2, 1), steps=2)))
    golden("proof.txt", view.text(check(plan)))


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_wide_schedule_stands_in_bands_that_hold_every_action_in_its_column(name: str) -> None:
    made = named_schedule(name, 4 * SCHEDULES[name].chunks, 4, 12)
    lines = view.text(made).splitlines()
    assert max(map(len, lines)) <= WIDE
    rows: dict[str, list[str]] = {}
    for rank, _, cells in (line.partition(": ") for line in lines if line.startswith("rank ")):
        rows.setdefault(rank, []).extend(cells.split())
    when = steps(made)
    for rank, row in enumerate(made.rows):
        cells = rows[f"rank {rank}"]
        assert [cells[when[action]] for action in row] == [str(action) for action in row] and len(cells) - cells.count(".") == len(row)


def test_golden_graph(golden: Golden) -> None:
    golden("graph.txt", view.text(small_graph()))


@pytest.mark.parametrize("seed", range(20))
def test_graph_text_parses_back(seed: int) -> None:
    print(f"seed {seed}")
    graph = random_graph(seed)
    assert parse_graph(view.text(graph)) == graph


@pytest.mark.parametrize("seed", range(20))
def test_the_same_plan_prints_the_same(seed: int) -> None:
    print(f"seed {seed}")
    plan = random_plan(seed)
    assert view.text(plan) == view.text(read_plan(plan.to_json())) == view.text(random_plan(seed))
    assert all(f"#{actor.id} {actor.name}" in view.text(plan) for actor in plan.actors)


def test_other_things_are_refused() -> None:
    for show in (view.text, view.svg):
        with pytest.raises(TypeError):
            show("a string")  # type: ignore[operator]
