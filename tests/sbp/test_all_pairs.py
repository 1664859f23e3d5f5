"""Every pair of layouts on one mesh, partials that mix operations included: exact values, bytes as costed, and within the bound."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import oflow as of
from oflow.sbp import Layout, Planner, layout
from tests.sbp.bounds import OneMesh
from tests.sbp.shards import box, layouts_on, mesh, proved

Shape = tuple[int, ...]
SEED = 2024


def choices(rank: int) -> tuple[of.sbp.Sbp, ...]:
    return (of.B, *(of.S(axis) for axis in range(rank)), of.P, of.P("max"), of.P("min"))


def check(sizes: Shape, shape: Shape, sample: int | None = None, dtype: str = "float64") -> None:
    """All pairs, or so many of them drawn with a fixed seed."""
    draw = np.random.default_rng(SEED)
    where, planner = mesh(*sizes), Planner()
    found = layouts_on(where, choices(len(shape)))
    pairs = list(itertools.product(found, repeat=2))
    if sample is not None:
        print(f"seed {SEED}: {sample} of {len(pairs)} pairs")
        pairs = [pairs[i] for i in np.sort(draw.choice(len(pairs), sample, replace=False))]
    one_mesh = OneMesh(where, choices(len(shape)), shape)
    for src, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
        bounds = one_mesh.bounds(src.sbp)
        for _, dst in group:
            assert proved(planner, src, dst, shape, draw, dtype) <= bounds[dst.sbp] + 1e-9, (src, dst, planner.route(src, dst, shape, 1))


LINES: list[tuple[int, ...]] = [(1,), (2,), (3,), (4,)]
GRIDS: list[tuple[int, ...]] = [(2, 2), (2, 3)]
SHAPES = [(12, 24), (7, 5), (2, 3), (0, 3), (1, 6), (5,), (), (3, 4, 5)]


@pytest.mark.parametrize("sizes", LINES, ids=str)
def test_all_pairs_on_a_line(sizes: Shape) -> None:
    for shape in SHAPES:
        check(sizes, shape)


@pytest.mark.parametrize("sizes", GRIDS, ids=str)
@pytest.mark.parametrize("shape", [(12, 6), (7, 5)], ids=str)
def test_all_pairs_on_a_grid(sizes: Shape, shape: Shape) -> None:
    check(sizes, shape)


@pytest.mark.parametrize("sizes", GRIDS, ids=str)
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (5,), (), (3, 4, 5)], ids=str)
def test_some_pairs_on_a_grid(sizes: Shape, shape: Shape) -> None:
    check(sizes, shape, min(100, (len(shape) + 4) ** 4))


@pytest.mark.parametrize("sizes,shape,sample", [
    ((2, 2, 2), (7, 5), 200), ((2, 2, 2), (8, 8), 100), ((1, 2, 1), (3, 4), 50), ((2, 1, 3), (5, 7), 50), ((2, 2, 2, 2), (5, 3), 4),
], ids=str)  # fmt: skip
def test_some_pairs_on_more_axes(sizes: Shape, shape: Shape, sample: int) -> None:
    check(sizes, shape, sample)


def test_whole_numbers_too() -> None:
    """Identities of whole numbers are finite, so sums of them may wrap around: none is made."""
    check((2, 2), (7, 5), 100, "int64")
    check((2, 2, 2), (7, 5), 50, "int64")


@pytest.mark.slow
@pytest.mark.parametrize("sizes,shape", [
    *itertools.product(GRIDS, [(2, 3), (0, 3), (5,), (), (3, 4, 5)]), ((2, 2, 2), (7, 5)), ((2, 2, 2), (8, 8)),
], ids=str)  # fmt: skip
def test_all_pairs_on_every_mesh(sizes: Shape, shape: Shape) -> None:
    check(sizes, shape)


@pytest.mark.slow
def test_many_pairs_on_four_axes() -> None:
    check((2, 2, 2, 2), (5, 3), 100)


def test_what_other_systems_cannot_do() -> None:
    """(S0, P) to (S0, S0); S0 of 3 on 2 ranks; 6 over (2, 2) by (S0, S0), which is 2, 1, 2, 1, gathered as 2, 2, 1, 1."""
    draw, planner = np.random.default_rng(3), Planner()
    grid, line = mesh(2, 2), mesh(4)
    assert proved(planner, layout(grid, (of.S(0), of.P)), layout(grid, (of.S(0), of.S(0))), (6, 2), draw) == 12
    assert proved(planner, layout(mesh(2), of.S(0)), layout(mesh(2), of.B), (3,), draw) == 3
    nested, flat = layout(grid, (of.S(0), of.S(0))), layout(line, of.S(0))
    assert [nested.shard_shape((6,), r)[0] for r in range(4)] == [2, 1, 2, 1]
    assert proved(planner, nested, flat, (6,), draw) == 1
    assert proved(planner, nested, Layout(line, (of.B,)), (6,), draw) == 18


def test_joins_nest_with_the_outer_axis_outermost() -> None:
    """The sum of maxima is not the maximum of sums."""
    where, whole = mesh(2, 2), layout(mesh(2, 2), (of.B, of.B))
    shards = [np.array([x]) for x in (1.0, 5.0, 7.0, 2.0)]
    least, most = of.P("min"), of.P("max")
    for sbps, expected in [((of.P, most), 12), ((most, of.P), 9), ((least, most), 5), ((most, least), 2)]:
        made, _ = box(shards, Planner().route(layout(where, sbps), whole, (1,), 8), (1,))
        assert [m[0] for m in made] == [expected] * 4


def test_one_pull_cannot_join_in_another_order() -> None:
    mixed = layout(mesh(2, 2), (of.P, of.P("max")))
    with pytest.raises(of.SbpError, match="no single pull"):
        of.sbp.Step(mixed, layout(mesh(2, 2), (of.B, of.P("max")))).pulls((4,))
