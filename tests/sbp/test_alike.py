"""Routes do not depend on which of the like devices they run on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

import oflow as of
from oflow.presets import preset
from oflow.sbp import Layout, Placement, Planner
from oflow.sbp.alike import originals, renumbered
from tests.sbp.shards import layouts_on

SHAPE = (12, 8)


def on(first: int) -> Placement:
    return of.placement("cuda", np.arange(first, first + 4).reshape(2, 2).tolist())


def crossings(first: Placement, second: Placement) -> Iterator[tuple[Layout, Layout]]:
    some = (of.B, of.S(0), of.P)
    for src, dst in itertools.product(layouts_on(first, some), layouts_on(second, some)):
        if src != dst:
            yield src, dst


@pytest.mark.parametrize("machine", ["reference", "two-level"])
def test_the_stages_of_a_pipeline_have_the_same_routes(machine):
    planner, links = Planner(preset(machine)), preset(machine)
    for (src, dst), (src_there, dst_there) in zip(crossings(on(0), on(8)), crossings(on(24), on(16)), strict=True):
        here, there = planner.route(src, dst, SHAPE, 4), planner.route(src_there, dst_there, SHAPE, 4)
        assert here.cost == there.cost
        for route, start, goal in ((here, src, dst), (there, src_there, dst_there)):
            assert (route.steps[0].src, route.steps[-1].dst) == (start, goal)
            seconds = sum(links.boxing(step.traffic(SHAPE, 4)) for step in route.steps)
            assert seconds == pytest.approx(route.cost)
            assert all(one.dst == other.src for one, other in itertools.pairwise(route.steps))


def test_groups_and_their_devices_are_numbered_in_order_of_appearance():
    far, near = on(40), of.placement("cuda", [43, 2])
    assert [p.ranks for p in renumbered((far, near), 8)] == [(0, 1, 2, 3), (3, 8)]
    assert originals((far, near), 8) == {("cuda", 0): 40, ("cuda", 1): 41, ("cuda", 2): 42, ("cuda", 3): 43, ("cuda", 8): 2}
    assert [p.ranks for p in renumbered((near, far), 1)] == [(0, 1), (2, 3, 4, 0)]


def test_devices_with_a_model_of_their_own_are_like_no_other():
    machine = preset("two-level")
    special = of.Machine("special", {**machine.devices, "cuda:3": of.Device(flops=1.0)}, machine.link, node_size=8, inter=machine.inter)
    assert (machine.unit(), preset().unit(), special.unit()) == (8, 1, 0)
    src, dst = (Layout(on(first), (of.P, of.B)) for first in (8, 16))
    assert Planner(special).route(src, dst, SHAPE, 4).steps[-1].dst == dst
