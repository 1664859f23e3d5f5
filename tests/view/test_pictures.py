"""Pictures are well-formed, complete and readable in the dark; they load nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from oflow import view
from oflow.actors import simulate
from oflow.check import check
from oflow.graph import Graph
from oflow.plan import Plan
from oflow.trace import Span, Spans, Trace
from oflow.view.timeline import MOST, same_runs
from tests.plans import chain, diamond, gpipe, pipeline_1f1b, random_plan
from tests.test_graphtext import random_graph, small_graph
from tests.view.things import rich_plan, schedule_1f1b

SVG = "{http://www.w3.org/2000/svg}"
PLANS = {
    "rich": rich_plan(), "pipeline": pipeline_1f1b(3, 4), "gpipe": gpipe(2, 3), "diamond": diamond(1), "chain": chain(3, 2, 2),
}  # fmt: skip


def tips(svg: str) -> list[str]:
    """All tooltips; parsing proves that the text is XML."""
    return [e.text or "" for e in ElementTree.fromstring(svg).iter(f"{SVG}title")]


def numbers_are_finite(svg: str) -> None:
    for element in ElementTree.fromstring(svg).iter():
        for name in ("x", "y", "width", "height", "d", "x1", "y1", "x2", "y2"):
            assert not re.search(r"nan|inf", element.get(name, "")), (element.tag, element.attrib)
        assert not element.get("width", "0").startswith("-"), element.attrib


def adapts(svg: str) -> None:
    assert "prefers-color-scheme:dark" in svg.replace(" ", "")


@pytest.mark.parametrize("name", PLANS)
def test_plan_pictures(name: str) -> None:
    plan = PLANS[name]
    made = view.svg(plan, "lanes")
    numbers_are_finite(made)
    adapts(made)
    assert all(any(actor.label in tip for tip in tips(made)) for actor in plan.actors)
    numbers_are_finite(view.memory(plan))
    adapts(view.memory(plan))


@pytest.mark.parametrize("seed", range(30))
def test_random_plans_have_pictures(seed: int) -> None:
    print(f"seed {seed}")
    plan = random_plan(seed)
    numbers_are_finite(view.svg(plan, "lanes"))
    numbers_are_finite(view.memory(plan))
    assert view.dot(plan).count(" -> ") == sum(len(r.consumers) for r in plan.registers if r.producer >= 0)


@pytest.mark.parametrize("seed", range(15))
def test_graph_pictures(seed: int) -> None:
    print(f"seed {seed}")
    numbers_are_finite(view.svg(random_graph(seed), "lanes"))


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("thing", [*PLANS.values(), small_graph()], ids=lambda t: type(t).__name__)
def test_graphviz_accepts_the_text(thing: Plan | Graph) -> None:
    subprocess.run(["dot", "-Tcanon"], input=view.dot(thing), capture_output=True, text=True, check=True)
    ElementTree.fromstring(view.svg(thing, "dot"))


def test_dot_has_devices_streams_and_what_moves() -> None:
    text = view.dot(rich_plan())
    for part in ("cpu:0", "cpu:1", "host:0", "compute", "copy_in", "x.1", "S(0)", "32 B", "16 B"):
        assert part in text, part
    assert text == view.dot(rich_plan())


@pytest.mark.parametrize("name", PLANS)
def test_timeline(name: str) -> None:
    plan = PLANS[name]
    trace = simulate(plan, steps=2)
    for made in (view.timeline(trace, plan), view.timeline(trace)):
        numbers_are_finite(made)
        adapts(made)
        assert len(tips(made)) >= len(trace.spans)
    shown = tips(view.timeline(trace, plan))
    for actor in plan.actors:
        assert sum(actor.label in tip for tip in shown) == 2 * actor.acts


def equal_times(plan: Plan) -> Plan:
    """Forward and backward take one second each, updates none."""
    times = {"F": 1.0, "B": 1.0, "update": 0.0}
    actors = tuple(replace(a, costs=(replace(a.costs[0], seconds=times[a.phase]),)) for a in plan.actor_templates)
    return replace(plan, actor_templates=actors)


def runs(devices: int, late: float = 0.0) -> Trace:
    """Two acts on each device, the second of the last device `late` seconds late."""
    return Trace(Spans.of([
        Span(number, act, f"cpu:{number}/compute", act + late * (number == devices - 1) * act, act + 0.5)
        for number in range(devices) for act in (0, 1)
    ]))  # fmt: skip


def test_devices_that_ran_alike_share_lanes_where_there_are_many() -> None:
    assert len(same_runs(runs(MOST), None, 0.0)) == MOST
    found = same_runs(runs(MOST + 1), None, 0.0)
    assert {first: len(alike) for first, alike in found.items()} == {"cpu:0": MOST + 1}
    made = view.timeline(runs(MOST + 1))
    assert f"cpu:0-{MOST}, bubble" in made and len(tips(made)) == 2
    late = runs(MOST + 1, 0.1)
    assert [len(alike) for alike in same_runs(late, None, 0.2).values()] == [MOST + 1]
    assert [len(alike) for alike in same_runs(late, None, 0.05).values()] == [MOST, 1]
    assert len(tips(view.timeline(late))) == 4


def test_an_empty_run_has_a_timeline() -> None:
    numbers_are_finite(view.timeline(Trace(Spans.of(())), chain(2, 1)))
    assert view.bubbles(Trace(Spans.of(()))) == {}


@pytest.mark.parametrize(("stages", "micro_batches"), [(1, 3), (2, 2), (4, 4), (4, 16), (5, 3)])
@pytest.mark.parametrize("make", [pipeline_1f1b, gpipe])
def test_bubble_share_is_the_analytic_one(make: Callable[[int, int], Plan], stages: int, micro_batches: int) -> None:
    plan = equal_times(make(stages, micro_batches))
    trace = simulate(plan, steps=1)
    shares = view.bubbles(trace)
    expected = (stages - 1) / (micro_batches + stages - 1)
    assert shares == pytest.approx(dict.fromkeys(plan.devices, expected))
    assert view.timeline(trace, plan).count(f"{expected:.1%}") == stages


def test_devices_that_hold_the_same_share_a_panel_where_there_are_many() -> None:
    def repeated(devices: int) -> Plan:
        plan = chain(3, 2)
        names = tuple(f"cpu:{i}" for i in range(devices))
        alone = tuple(replace(one, ports=tuple(replace(port, peers=()) for port in one.ports)) for one in plan.actor_templates)
        arenas = dict.fromkeys(names, next(iter(plan.arenas.values())))
        return replace(plan, actor_templates=alone, rank_table=(names,), order={}, arenas=arenas)

    assert view.memory(repeated(MOST)).count(">arena ") == MOST
    made = view.memory(repeated(MOST + 1))
    assert made.count(">arena ") == 1 and f"cpu:0-{MOST}" in made


def test_memory_shows_every_register_slot_and_scratch() -> None:
    plan = rich_plan()
    shown = tips(view.memory(plan))
    for register in plan.registers:
        assert any(register.label in tip for tip in shown) == bool(register.type.nbytes), register.label
    assert sum("scratch" in tip for tip in shown) == 2


def test_notebooks_show_everything() -> None:
    plan = pipeline_1f1b(2, 2)
    for thing in (plan, simulate(plan, steps=1), small_graph(), schedule_1f1b(2, 3)):
        assert ElementTree.fromstring(view.repr_svg(thing)).tag == f"{SVG}svg"
    shown = ElementTree.fromstring(view.plan_html(plan, small_graph()))
    assert [e.text for e in shown.iter("summary")] == ["plan", "graph", "timeline", "memory"]
    assert len(list(shown.iter(f"{SVG}svg"))) == 4
    assert not list(shown.iter("script"))


def test_a_proof_in_a_notebook_has_every_device_and_stream() -> None:
    plan = rich_plan()
    proof = check(plan)
    cells = [[cell.text for cell in row] for row in ElementTree.fromstring(view.proof_html(proof)).iter("tr")]
    assert [row[0] for row in cells] == ["device", *proof.arenas, "stream", *proof.busy]
    assert [f"{proof.arenas[d]:,}" for d in proof.arenas] == [row[1] for row in cells[1 : 1 + len(proof.arenas)]]


def test_a_plan_too_large_for_a_notebook_says_what_shows_it() -> None:
    shown = view.plan_html(gpipe(200, 1))
    assert "<svg" not in shown and "of.view.html" in shown


def test_golden_pictures(golden: Callable[[str, str], None]) -> None:
    """Exact, so that a change of a picture is seen by whoever makes it: --update-golden, then look at the file."""
    plan = pipeline_1f1b(2, 2)
    golden("plan.svg", view.svg(plan, "lanes"))
    golden("graph.svg", view.svg(small_graph(), "lanes"))
    golden("timeline.svg", view.timeline(simulate(plan, steps=1), plan))
    golden("memory.svg", view.memory(rich_plan()))
    golden("schedule.svg", view.svg(schedule_1f1b(3, 4)))
