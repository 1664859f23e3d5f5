"""Boxing from one placement to another: other devices, some in common, the same in another order or mesh; 1-D to 4-D and back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import oflow as of
from oflow.sbp import HOST, Layout, Placement, Planner, layout
from tests.sbp.bounds import between
from tests.sbp.shards import layouts_on, mesh, proved

Shape = tuple[int, ...]
SEED = 77


def choices(rank: int) -> tuple[of.sbp.Sbp, ...]:
    return (of.B, *(of.S(axis) for axis in range(rank)), of.P, of.P("max"), of.P("min"))


def turned(where: Placement) -> Placement:
    return Placement(where.kind, tuple(reversed(where.ranks)), where.mesh)


def transposed(where: Placement) -> Placement:
    ranks = np.array(where.ranks).reshape(where.mesh).T
    return Placement(where.kind, tuple(ranks.ravel().tolist()), ranks.shape)


def check(here: Placement, there: Placement, shape: Shape, sample: int | None = None, dtype: str = "float64") -> None:
    draw, planner = np.random.default_rng(SEED), Planner()
    pairs = list(itertools.product(layouts_on(here, choices(len(shape))), layouts_on(there, choices(len(shape)))))
    if sample is not None and sample < len(pairs):
        print(f"seed {SEED}: {sample} of {len(pairs)} pairs {here} to {there}")
        pairs = [pairs[i] for i in draw.choice(len(pairs), sample, replace=False)]
    for src, dst in pairs:
        moved = proved(planner, src, dst, shape, draw, dtype)
        assert moved <= between(src, dst, shape), (src, dst, shape, planner.route(src, dst, shape, 1))


LINES = [mesh(1), mesh(3), mesh(4), mesh(2, first=9), mesh(4, first=2), mesh(3, first=1), turned(mesh(3)), turned(mesh(4)), HOST]
GRIDS = [mesh(2, 2), mesh(2, 3), mesh(2, 2, first=20), mesh(2, 3, first=2), turned(mesh(2, 2)), transposed(mesh(2, 3)), mesh(3, 2)]


def test_from_line_to_line() -> None:
    for here, there in itertools.permutations(LINES, 2):
        check(here, there, (7, 5))


@pytest.mark.parametrize("shape", [(2, 3), (), (0, 3), (5,)], ids=str)
def test_few_elements_from_line_to_line(shape: Shape) -> None:
    for here, there in itertools.permutations(LINES, 2):
        check(here, there, shape, 12)


def test_between_lines_and_grids() -> None:
    for here, there in [*itertools.product(LINES, GRIDS), *itertools.product(GRIDS, LINES)]:
        check(here, there, (7, 5), 6)


def test_between_grids() -> None:
    for here, there in itertools.permutations(GRIDS, 2):
        check(here, there, (7, 5), 8)
        check(here, there, (4, 6), 4, "int64")


MANY = [mesh(2, 2, 2), mesh(2, 1, 3), mesh(2, 2, 2, first=5), mesh(4, 2), mesh(8), mesh(2, 2, 1, 2), mesh(2, first=7)]


def test_between_meshes_of_three_and_four_axes() -> None:
    for here, there in itertools.permutations(MANY, 2):
        check(here, there, (5, 6), 2)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(7, 5), (2, 3), (12, 4), ()], ids=str)
def test_all_pairs_between_lines_and_grids(shape: Shape) -> None:
    for here, there in itertools.permutations([*LINES, *GRIDS], 2):
        check(here, there, shape, 200)


@pytest.mark.slow
def test_many_pairs_between_more_axes() -> None:
    for here, there in itertools.permutations(MANY, 2):
        check(here, there, (5, 6), 30)


def test_a_line_that_is_a_grid_moves_nothing() -> None:
    """The same shards on the same devices, whatever the mesh is called."""
    line, grid = mesh(4), mesh(2, 2)
    for few, many, shape in [
        (of.B, (of.B, of.B), (5,)), (of.P, (of.P, of.P), (5,)), (of.P("max"), (of.P("max"),) * 2, (5,)), (of.S(0), (of.S(0),) * 2, (8,)),
    ]:  # fmt: skip
        one, other = layout(line, few), layout(grid, many)
        for src, dst in ((one, other), (other, one)):
            assert proved(Planner(), src, dst, shape, np.random.default_rng(1)) == 0


def test_a_sum_is_made_where_its_devices_meet() -> None:
    """Three summands, three copies, one device in common: (3 - 1) T to it and (3 - 1) T from it."""
    src, dst = layout(mesh(3), of.P), layout(mesh(3, first=2), of.B)
    assert proved(Planner(), src, dst, (6,), np.random.default_rng(1)) == 4 * 6


def test_readers_spread_over_replicas() -> None:
    src, dst = layout(mesh(4), of.B), layout(mesh(4, first=8), of.B)
    (step,) = Planner().route(src, dst, (6,), 4).steps
    assert [[p.source for p in pulls] for pulls in step.pulls((6,))] == [[0], [1], [2], [3]]
    within = Layout(mesh(2, 3), (of.B, of.S(0)))
    (step,) = Planner().route(within, Layout(mesh(2, 3), (of.B, of.B)), (6,), 4).steps
    assert [[p.source for p in pulls] for pulls in step.pulls((6,))] == [[0, 1, 2]] * 3 + [[3, 4, 5]] * 3
