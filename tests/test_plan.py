"""Plan: templates alone answer what needs no rows, and `verify` finds what the rows would contradict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oflow.check.references import check_references
from oflow.errors import PlanError
from oflow.plan import ActorTemplate, Call, Plan, PortTemplate, RegisterTemplate
from oflow.presets import preset
from oflow.types import TensorType
from tests.plans import End, PlanBuilder

RANKS = 4
DEVICES = tuple(f"cpu:{i}" for i in range(RANKS))


def ring(**first: object) -> Plan:
    """Every rank makes a shard and reads its neighbour's."""
    next_one = tuple((i + 1) % RANKS for i in range(RANKS))
    actors = (
        ActorTemplate("make", 0, (replace(PortTemplate(0, "out"), **first),)),
        ActorTemplate("read", 0, (PortTemplate(0, "in", peers=next_one),), stream="comm"),
    )
    return Plan(actors, (RegisterTemplate("r", 0, (TensorType((4,)),)),), (DEVICES,), preset())


def test_verifying_and_listing_streams_stamps_no_rows() -> None:
    plan = ring()
    plan = replace(plan, order={"cpu:2/comm": (RANKS + 2,)})
    check_references(plan)
    assert plan.streams == {f"{d}/{s}": (i + n * RANKS,) for n, s in enumerate(("compute", "comm")) for i, d in enumerate(DEVICES)}
    assert not {"actors", "registers"} & set(vars(plan))
    assert [plan.template_of(row) for row in range(2 * RANKS)] == [a.template for a in plan.actors]
    assert plan.streams == {s: tuple(a.id for a in plan.actors if a.stream == s) for s in dict.fromkeys(a.stream for a in plan.actors)}


def test_another_order_keeps_the_rows() -> None:
    plan = ring()
    rows = plan.actors, plan.registers
    other = plan.with_order({"cpu:0/compute": (0,)})
    assert other == replace(plan, order={"cpu:0/compute": (0,)})
    assert (other.actors, other.registers) == rows and other.actors is rows[0]


def test_writers_are_found_by_register() -> None:
    plan = ring()
    assert plan.writers == {0: (0, plan.actor_templates[0].ports[0])}


def test_a_row_with_two_producers_is_refused() -> None:
    plan = ring()
    twice = replace(plan, actor_templates=(*plan.actor_templates, replace(plan.actor_templates[0], name="again")))
    with pytest.raises(PlanError, match="register row 0 has two producers: again@cpu:0 is the second"):
        check_references(twice)
    with pytest.raises(PlanError, match="register row 2 has two producers: make@cpu:3 is the second"):
        check_references(ring(peers=(0, 1, 2, 2)))
    check_references(ring(peers=(1, 0, -1, -1)))


def test_two_ports_on_one_row_are_refused_and_on_two_shards_are_not() -> None:
    plan = ring()

    def read(*peers: tuple[int, ...]) -> Plan:
        ports = tuple(PortTemplate(0, "in", peers=p) for p in peers)
        return replace(plan, actor_templates=(plan.actor_templates[0], ActorTemplate("read", 0, ports)))

    check_references(read((0, 1, 2, 3), (1, 2, 3, 0)))
    check_references(read((0, 1, 2, -1), (1, 2, 3, -1)))
    with pytest.raises(PlanError, match="actor read@cpu:2 has two ports on one register"):
        check_references(read((0, 1, 2, 3), (1, 2, 2, 0)))


@pytest.mark.parametrize("row", [-1, 0, RANKS, 99])
def test_an_order_names_actors_of_its_own_stream(row: int) -> None:
    with pytest.raises(PlanError, match="the order of cpu:1/compute names an actor that does not run there"):
        check_references(replace(ring(), order={"cpu:1/compute": (1, row)}))


def test_attributes_are_frozen_however_they_come() -> None:
    frozen = ((("a", (1, (2,))), ("b", "x")),)
    for given in (frozen, [{"b": "x", "a": [1, [2]]}.items()], ((("b", "x"), ("a", [1, [2]])),), (frozen[0][::-1],)):
        assert Call("op", (), (), tuple(given)).attrs == frozen


def test_a_hand_built_plan_has_its_writers() -> None:
    b, every = PlanBuilder(), (0, 1, "whole")
    b.register("r", "cpu:0")
    ends: list[End] = [every]
    b.actor("a", "cpu:0", outs=ends)
    b.actor("b", "cpu:1", ins=ends)
    assert {r: number for r, (number, _) in b.plan().writers.items()} == {0: 0}
