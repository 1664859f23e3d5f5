"""What changed between two plans: nothing of equal ones, the mirror image the other way round, and rows are matched by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

import oflow as of
from oflow.plan import ActorTemplate, Plan, PortTemplate
from oflow.view.changes import Change, changes_text, differences
from oflow.view.changes.matching import matched_actors, unnumbered
from tests.plans import pipeline_1f1b, random_plan
from tests.view.things import rich_plan

Golden = Callable[[str, str], None]


def mlp(depth: int, width: int = 8, more: bool = False) -> of.Program:
    """relu(x w) `depth` times on two devices, the first of them with exp too where there is `more`."""
    two = of.placement("cpu", [0, 1])
    layers = [of.nn.Linear(width, width, bias=False) for _ in range(depth)]

    def loss(x: of.Tensor) -> of.Tensor:  # type: ignore[name-defined]
        for i, layer in enumerate(layers):
            x = of.relu(layer(x))
            x = of.softmax(x) if more and i == 0 else x
        return of.mean(x)

    return of.compile(loss, of.spec((4, width), "float32", two, of.S(0)), optimizer=of.optim.SGD(lr=0.1))


def variants(plan: Plan) -> Iterator[Plan]:
    """The plan with one thing changed."""
    registers, actors = plan.register_templates, plan.actor_templates
    yield replace(plan, register_templates=(replace(registers[0], slots=registers[0].slots + 1), *registers[1:]))
    yield replace(plan, register_templates=(replace(registers[0], layout="S(7)"), *registers[1:]))
    yield replace(plan, actor_templates=(*actors[:-1], replace(actors[-1], priority=7)))
    yield replace(plan, actor_templates=(*actors[:-1], replace(actors[-1], line="other.py:1")))
    yield replace(plan, micro_batches=plan.micro_batches + 1)
    yield replace(plan, scratches={**plan.scratches, "cpu:0/compute": (0, 4096)})
    yield replace(plan, arenas={**plan.arenas, "cpu:0": 12345})


@pytest.mark.parametrize("seed", range(8))
def test_plans_differ_from_others_and_not_from_themselves(seed: int) -> None:
    print(f"seed {seed}")
    plan = random_plan(seed)
    assert not differences(plan, random_plan(seed)) and changes_text(differences(plan, plan)) == "the plans are equal\n"
    for other in (*variants(plan), random_plan(seed + 100)):
        found = differences(plan, other)
        assert found and changes_text(found) != "the plans are equal\n"
        assert differences(other, plan) == found.mirrored() and found.mirrored().mirrored() == found
        everything, few = ([line.split() for line in changes_text(found, all).splitlines()] for all in (True, False))
        assert [line for line in few if line not in everything and line[0] not in ("...", "--all")] == []


def test_numbers_in_names_are_left_out() -> None:
    assert unnumbered("matmul.3..fused.5") == "matmul..fused"
    assert unnumbered("control.adamw_update.31>boxing.56") == "control.adamw_update>boxing"
    assert unnumbered("stash0") == "stash0" and unnumbered("input0.78") == "input0"


@pytest.mark.parametrize("place", [0, 2, 5])
def test_an_actor_more_is_one_actor_more(place: int) -> None:
    """All rows after it have other numbers, and are still the same rows."""
    plan = mlp(3).plan
    new = ActorTemplate("inserted.1", plan.actor_templates[place].group, ())
    moved = [replace(a, name=f"{unnumbered(a.name)}.{100 + i}") for i, a in enumerate(plan.actor_templates)]
    other = replace(plan, actor_templates=(*moved[:place], new, *moved[place:]), order={})
    actors = differences(replace(plan, order={}), other).section("actors")
    assert [(c.kind, c.name) for c in actors] == [("added", "inserted.1 (stage 0 F, compute)")]
    assert [b for a, b in matched_actors(plan, other) if a is not None] == [b for b in range(len(moved) + 1) if b != place]


def test_an_operator_more_leaves_the_others_matched() -> None:
    one, other = mlp(4).plan, mlp(4, more=True).plan
    found = differences(one, other)
    names = [unnumbered(c.name) for c in found.section("registers") if c.kind == "added"]
    assert any("softmax" in name for name in names)
    assert len(found.section("registers")) < len(one.register_templates) / 2
    assert not any(c.kind == "removed" and "weight" in c.name for c in found.changes)


def test_bytes_and_seconds_are_the_plans_own() -> None:
    one, other = mlp(2).plan, mlp(2, width=16).plan
    found = differences(one, other)
    held: dict[str, Change] = {c.name: c for c in found.section("bytes")}
    fields = {f.name: (f.before, f.after) for f in held["cpu:0-1"].fields}
    assert fields["arena"] == (one.arenas["cpu:0"], other.arenas["cpu:0"])
    assert fields["state"] == (one.states["cpu:0"], other.states["cpu:0"])
    assert all(c.kind == "changed" for c in found.section("registers")), "they are the same registers in another size"
    periods = {c.name: c.fields[0] for c in found.section("seconds")}["period"]
    assert np.allclose([periods.before, periods.after], [p.check().period for p in (one, other)])  # type: ignore[attr-defined]


def test_a_plan_that_cannot_run_is_compared_too() -> None:
    plan = pipeline_1f1b(2, 2)
    actor = plan.actor_templates[0]
    stuck = replace(actor, ports=(*actor.ports, PortTemplate(actor.ports[0].register, "in")))
    other = replace(plan, actor_templates=(stuck, *plan.actor_templates[1:]))
    assert "refused" in changes_text(differences(plan, other))


def test_golden_changes(golden: Golden) -> None:
    plan = rich_plan()
    arenas = {"host:0": 128, "cpu:0": 256, "cpu:1": 320}
    fewer = replace(plan, arenas=arenas, actor_templates=plan.actor_templates[:-1], outputs=(), order={})
    slots = replace(fewer.register_templates[1], slots=3, layout="B")
    other = replace(fewer, register_templates=(fewer.register_templates[0], slots, *fewer.register_templates[2:]))
    golden("changes.txt", changes_text(differences(plan, other, options=({"lr": 1}, {"lr": 2}))))
