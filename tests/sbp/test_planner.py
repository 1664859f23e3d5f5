"""The planner against all short sequences of layouts, on links of one level and of two; its cost is what plans charge."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import oflow as of
from oflow.actors import simulate
from oflow.machine import Device, Link, Machine, pull_costs
from oflow.presets import preset
from oflow.sbp import BYTES, Layout, Links, Placement, Planner, Step, Traffic, pullable, route
from tests.sbp.shards import layouts_on, mesh
from tests.test_machine import measured

Shape = tuple[int, ...]
Point = tuple[Layout, bool]
"""A layout, and whether it splits all elements as one axis."""
TWO_LEVELS = preset("two-level")


def points(where: Placement, sbps: tuple[of.sbp.Sbp, ...]) -> list[Point]:
    """Every layout on the mesh, and those whose splits nest in another order; splits of axes and of all elements."""
    found: list[Point] = []
    axes = range(len(where.mesh))
    for order in itertools.permutations(axes):
        ranks = np.array(where.ranks).reshape(where.mesh).transpose(order)
        seen = Placement(where.kind, tuple(ranks.ravel().tolist()), ranks.shape)
        for each in layouts_on(seen, sbps):
            splits = [s for s in each.sbp if s.is_split]
            if order != tuple(axes) and len(set(splits)) == len(splits):
                continue
            found.append((each, False))
            if splits and all(s.axis == 0 for s in splits):
                found.append((each, True))
    return list(dict.fromkeys(found))


def cost(a: Point, b: Point, links: Links, shape: Shape) -> float:
    """Of one pull; infinite where it does not mean the same value."""
    flat = a[1] or b[1]
    mixed = flat and any(any(s.is_split for s in each.sbp) and not is_flat for each, is_flat in (a, b))
    if a == b or mixed or not pullable(a[0], b[0]):
        return np.inf
    return links.boxing(Step(a[0], b[0], flat).traffic(shape, 4))


def least(single: np.ndarray, steps: int) -> np.ndarray:
    """The least cost from point to point in at most so many steps."""
    best = single
    for _ in range(steps - 1):
        best = np.minimum(best, np.array([(row[:, None] + single).min(0) for row in best]))
    return best


def ops(*found: Layout) -> frozenset[str]:
    return frozenset(s.op for each in found for s in each.sbp if s.is_partial)


CASES = [((2, 2), (7, 5)), ((2, 2), (1024, 768)), ((2, 3), (96, 64)), ((4,), (33, 8)), ((4,), (512, 512))]
SPLITS = (of.B, of.S(0), of.S(1))


@pytest.mark.parametrize("links", [BYTES, preset(), TWO_LEVELS], ids=["bytes", "reference", "two levels"])
@pytest.mark.parametrize("sizes,shape", CASES, ids=str)
@pytest.mark.parametrize("sbps,steps", [(SPLITS, 4), ((*SPLITS, of.P), 2), ((*SPLITS[:2], of.P, of.P("max")), 2)], ids=str)
def test_no_short_sequence_of_layouts_is_cheaper(
    links: Links, sizes: Shape, shape: Shape, sbps: tuple[of.sbp.Sbp, ...], steps: int
) -> None:
    """Of layouts between whose operations source or target have. What moves nothing in one pull is one pull, though two may share
    the work that it leaves on each device."""
    found, planner = points(mesh(*sizes), sbps), Planner(links)
    single = np.array([[cost(a, b, links, shape) for b in found] for a in found])
    best: dict[frozenset[str], np.ndarray] = {}
    for (i, (src, flat)), (j, (dst, other)) in itertools.permutations(enumerate(found), 2):
        if flat or other or src.placement != mesh(*sizes) or dst.placement != mesh(*sizes):
            continue
        have = ops(src, dst)
        if have not in best:
            known = np.array([ops(each) <= have for each, _ in found])
            best[have] = least(np.where(known[:, None] & known[None, :], single, np.inf), steps)
        way = planner.route(src, dst, shape, 4)
        if way.nbytes(shape, 4) or not pullable(src, dst):
            assert way.cost <= best[have][i, j] * (1 + 1e-9), (src, dst, way, best[have][i, j])
        else:
            assert len(way.steps) == 1


def test_the_cost_is_the_sum_over_the_steps() -> None:
    for links in (BYTES, preset(), TWO_LEVELS):
        for src, dst in itertools.product(layouts_on(mesh(2, 3), (of.B, of.S(0), of.P)), repeat=2):
            way = route(src, dst, (64, 3), 4, links)
            assert way.cost == pytest.approx(sum(links.boxing(step.traffic((64, 3), 4)) for step in way.steps))


def test_the_planner_charges_what_plans_charge() -> None:
    """Acts of a step run side by side on their devices, so it takes as long as its longest act."""
    where = mesh(3)
    for machine in (preset(), TWO_LEVELS):
        for src, dst in itertools.permutations(layouts_on(where, (of.B, of.S(0), of.S(1), of.P)), 2):
            step = of.compile(
                lambda x, dst=dst: x.to_global(where, dst.sbp), of.spec((50, 7), "float32", where, src.sbp), machine=machine
            )
            actors = step.plan.actors
            longest: dict[str, float] = {}
            for span in simulate(step.plan, machine).spans:
                name = actors[span.actor].name
                if name.startswith("boxing") and span.stream.endswith("comm"):
                    longest[name] = max(longest.get(name, 0.0), span.stop - span.start)
            assert sum(longest.values()) == pytest.approx(route(src, dst, (50, 7), 4, machine).cost), (src, dst)


def test_every_kind_of_machine_charges_a_step_like_its_longest_act() -> None:
    """Constants, nodes, links and devices of their own, measured rates."""
    named = Machine("named", {"cpu": Device(), "cpu:1": Device(memory_bandwidth=1e9)}, Link(), {"cpu:0>cpu:2": Link(1e-3, 1e6)})
    pairs = itertools.permutations(layouts_on(mesh(2, 2), (of.B, of.S(0), of.P)), 2)
    for (src, dst), machine in itertools.product(pairs, (preset(), TWO_LEVELS, named, measured())):
        for step in Planner(machine).route(src, dst, (50, 7), 4).steps:
            found = step.traffic((50, 7), 4)
            acts = zip(step.dst.placement.devices, pull_costs(found), strict=True)
            assert machine.boxing(found) == pytest.approx(max(machine.seconds(act, device) for device, act in acts))


def test_the_cheapest_of_equal_cost_moves_less_and_has_fewer_steps() -> None:
    class Free:
        """Links that cost nothing."""

        def boxing(self, traffic: Traffic) -> float:
            return 0.0

        def boxing_floor(self, traffic: Traffic, dealt: bool) -> float:
            return -1.0

        def unit(self) -> int:
            return 1

        def nodes(self, where: Placement) -> None:
            return None

    for src, dst in itertools.permutations(layouts_on(mesh(2, 2), (of.B, of.S(0), of.P)), 2):
        free, fewest = Planner(Free()).route(src, dst, (8, 8), 4), route(src, dst, (8, 8), 4)
        assert free.nbytes((8, 8), 4) == fewest.cost
        assert len(free.steps) <= len(fewest.steps)


def test_routes_do_not_depend_on_what_was_asked_before() -> None:
    pairs = list(itertools.permutations(layouts_on(mesh(2, 2), (of.B, of.S(0), of.P)), 2))
    planner = Planner(preset())
    known = {pair: planner.route(*pair, (6, 4), 4) for pair in pairs}
    assert planner.route(*pairs[3], (6, 4), 4) is known[pairs[3]]
    for pair in reversed(pairs):
        assert Planner(preset()).route(*pair, (6, 4), 4) == known[pair]


# ---------------------------------------------------------------- two levels

BIG = (4096, 1024)


def spans_nodes(step: Step) -> bool:
    crossed = [
        (source // 8, consumer // 8)
        for consumer, pulls in zip(step.dst.placement.ranks, step.pulls(BIG), strict=True)
        for source in (step.src.placement.ranks[p.source] for p in pulls)
    ]
    return any(a != b for a, b in crossed)


@pytest.mark.parametrize("where", [mesh(2, 8), mesh(16), mesh(4, 8), mesh(32)], ids=str)
@pytest.mark.parametrize("op", [of.P, of.P("max")], ids=str)
def test_a_sum_over_nodes_is_made_in_nodes_first(where: Placement, op: of.sbp.Sbp) -> None:
    """Reduce-scatter inside, all-reduce across, all-gather inside; on a line of devices too, though it names no nodes."""
    src, dst = Layout(where, (op,) * len(where.mesh)), Layout(where, (of.B,) * len(where.mesh))
    way = route(src, dst, BIG, 4, TWO_LEVELS)
    assert [spans_nodes(step) for step in way.steps] in ([False, True, True, False], [False, True, False])
    assert way.steps[0].dst.is_partial and not way.steps[-2].dst.is_partial
    flat = sum(TWO_LEVELS.boxing(step.traffic(BIG, 4)) for step in route(src, dst, BIG, 4).steps)
    assert way.cost < 0.6 * flat


@pytest.mark.parametrize("where", [mesh(2, 8), mesh(16)], ids=str)
def test_on_links_of_one_level_a_sum_is_made_by_all_at_once(where: Placement) -> None:
    src, dst = Layout(where, (of.P,) * len(where.mesh)), Layout(where, (of.B,) * len(where.mesh))
    for links in (BYTES, preset()):
        way = route(src, dst, (1 << 14, 1 << 12), 4, links)
        assert [str(step.dst.sbp[0]) for step in way.steps] == ["S(0)", "B"] and not any(step.dst.is_partial for step in way.steps)


def test_gathers_and_spreads_over_nodes_cross_once() -> None:
    """An all-gather of shards that two nodes hold, and copies of one node's tensor to another node, where one pull crosses 8 times."""
    where, nbytes = mesh(16), BIG[0] * BIG[1] * 4
    for src, dst in [
        (Layout(where, (of.S(0),)), Layout(where, (of.B,))), (Layout(mesh(8), (of.S(0),)), Layout(mesh(8, first=8), (of.B,))),
    ]:  # fmt: skip
        way = route(src, dst, BIG, 4, TWO_LEVELS)
        crossing = [step for step in way.steps if spans_nodes(step)]
        assert len(crossing) == 1 and crossing[0].nbytes(BIG, 4) < 2 * nbytes
        assert way.cost < 0.5 * TWO_LEVELS.boxing(Step(src, dst).traffic(BIG, 4))


# ---------------------------------------------------------------- programs

MIXED = [
    ((of.P, of.P("max")), (of.S(0), of.B)), ((of.P("max"), of.P), (of.P, of.P("min"))), ((of.B, of.S(0)), (of.P, of.P("max"))),
    ((of.P("min"), of.S(1)), (of.P, of.P)),
]  # fmt: skip


@pytest.mark.parametrize("given,wanted", MIXED, ids=str)
def test_programs_take_and_make_partials_that_mix_operations(given: tuple[of.sbp.Sbp, ...], wanted: tuple[of.sbp.Sbp, ...]) -> None:
    where, x = mesh(2, 2), np.random.default_rng(4).integers(-9, 10, (7, 5)).astype("float32")
    for executor in ("simulator", None):
        program = of.compile(lambda x: x.to_global(where, wanted), of.spec((7, 5), "float32", where, given), executor=executor)
        assert (program(x) == x).all()
