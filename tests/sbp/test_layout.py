"""Balanced splits, nested shards, and the texts of Sbp, Placement, Layout and Signature."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oflow as of
from oflow.sbp import Layout, Sbp, Signature, layout, split_range
from oflow.types import TensorType

SBP = st.one_of(st.integers(0, 12).map(of.S), st.sampled_from([of.B, of.P, of.P("max"), of.P("min")]))


@st.composite
def placements(draw: st.DrawFn) -> of.Placement:
    mesh = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    size = int(np.prod(mesh))
    ranks = draw(st.lists(st.integers(0, 99), min_size=size, max_size=size, unique=True))
    return of.Placement(draw(st.sampled_from(["cpu", "cuda", "host"])), tuple(ranks), mesh)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    where = draw(placements())
    return Layout(where, tuple(draw(SBP) for _ in where.mesh))


def sizes(n: int, parts: int) -> list[int]:
    return [stop - start for start, stop in (split_range(n, parts, i) for i in range(parts))]


def test_balanced_splits_of_the_facts() -> None:
    assert sizes(20, 6) == [4, 4, 3, 3, 3, 3]
    assert sizes(2, 3) == [1, 1, 0]


@given(st.integers(0, 1000), st.integers(1, 40))
def test_a_split_covers_everything_once_and_is_balanced(n: int, parts: int) -> None:
    ranges = [split_range(n, parts, i) for i in range(parts)]
    assert [stop for _, stop in ranges[:-1]] == [start for start, _ in ranges[1:]]
    assert (ranges[0][0], ranges[-1][1]) == (0, n)
    assert sizes(n, parts) == sorted(sizes(n, parts), reverse=True)
    assert max(sizes(n, parts)) - min(sizes(n, parts)) <= 1


def shard_sizes(found: Layout, n: int) -> list[int]:
    return [found.shard_shape((n,), i)[0] for i in range(found.placement.size)]


def test_nested_shards_differ_from_a_flat_split() -> None:
    grid, line = of.placement("cpu", [[0, 1], [2, 3]]), of.placement("cpu", [0, 1, 2, 3])
    assert shard_sizes(layout(grid, (of.S(0), of.S(0))), 6) == [2, 1, 2, 1]
    assert shard_sizes(layout(line, of.S(0)), 6) == [2, 2, 1, 1]


@pytest.mark.parametrize("a,b", [(2, 2), (2, 3), (3, 2)])
def test_adjacent_splits_merge_exactly_when_the_facts_say_so(a: int, b: int) -> None:
    grid, line = of.Placement("cpu", tuple(range(a * b)), (a, b)), of.placement("cpu", list(range(a * b)))
    for n in range(60):
        same = shard_sizes(layout(grid, (of.S(0), of.S(0))), n) == shard_sizes(layout(line, of.S(0)), n)
        assert same == (n % (a * b) in (0, 1, a * b - 1)), n


def test_axes_are_applied_from_the_outside_in() -> None:
    grid = of.placement("cpu", [[0, 1, 2], [3, 4, 5]])
    inner = layout(grid, (of.B, of.S(0)))
    assert [inner.box((7,), i) for i in range(6)] == [((0, 3),), ((3, 5),), ((5, 7),)] * 2
    outer = layout(grid, (of.S(0), of.B))
    assert [outer.box((7,), i) for i in range(6)] == [((0, 4),)] * 3 + [((4, 7),)] * 3
    both = layout(grid, (of.S(1), of.S(0)))
    assert both.box((6, 5), 4) == ((2, 4), (3, 5))
    assert all(layout(grid, (of.P, of.B)).box((7,), i) == ((0, 7),) for i in range(6))


@given(layouts(), st.lists(st.integers(0, 30), min_size=13, max_size=13).map(tuple))
def test_splits_of_any_mesh_cover_every_element_once_a_replica(found: Layout, shape: tuple[int, ...]) -> None:
    """Per axis: the lengths of the shards add up to the axis times the number of replicas and siblings along it."""
    for axis, n in enumerate(shape):
        total = sum(found.shard_shape(shape, i)[axis] for i in range(found.placement.size))
        splits = [m for s, m in zip(found.sbp, found.placement.mesh, strict=True) if s == of.S(axis)]
        assert total == n * found.placement.size // int(np.prod(splits, dtype=int))


@given(SBP)
def test_an_sbp_parses_back(sbp: Sbp) -> None:
    assert Sbp.parse(str(sbp)) == sbp


@given(placements())
def test_a_placement_parses_back(where: of.Placement) -> None:
    assert of.Placement.parse(str(where)) == where
    assert [where.devices[i] for i in range(where.size)] == [f"{where.kind}:{r}" for r in where.ranks]
    assert sorted(where.coordinates(i) for i in range(where.size)) == sorted(itertools.product(*map(range, where.mesh)))


@given(layouts())
def test_a_layout_parses_back(found: Layout) -> None:
    assert Layout.parse(str(found)) == found


@given(st.lists(SBP, max_size=4).map(tuple), st.lists(SBP, min_size=1, max_size=3).map(tuple))
def test_a_signature_parses_back(ins: tuple[Sbp, ...], outs: tuple[Sbp, ...]) -> None:
    assert Signature.parse(str(Signature(ins, outs))) == Signature(ins, outs)


@given(st.lists(st.integers(0, 99), max_size=5).map(tuple), st.sampled_from(["float32", "float64", "int64", "bool", "uint8"]))
def test_a_type_parses_back(shape: tuple[int, ...], dtype: str) -> None:
    assert TensorType.parse(str(TensorType(shape, dtype))) == TensorType(shape, dtype)


def test_what_prints_how() -> None:
    assert [str(s) for s in (of.S(0), of.B, of.P, of.P("max"), of.P("min"))] == ["S(0)", "B", "P", "P(max)", "P(min)"]
    assert str(layout(of.placement("cpu", [[0, 1], [2, 3]]), (of.S(0), of.B))) == "(S(0), B)@cpu:0-3 (2,2)"
    assert str(of.placement("cpu", [0, 2])) == "cpu:0,2"
    assert str(Signature((of.S(0), of.B), (of.S(0),))) == "S(0),B -> S(0)"


@pytest.mark.parametrize("text", ["S", "S(-1)", "S(x)", "Q", "P(mean)", "", "B B"])
def test_what_is_no_sbp(text: str) -> None:
    with pytest.raises(of.SbpError, match="write S"):
        Sbp.parse(text)


@pytest.mark.parametrize("text", ["cpu", "cpu:", "0-3", "cpu:0-3 (3,2)", "cpu:1,1"])
def test_what_is_no_placement(text: str) -> None:
    with pytest.raises(of.PlacementError):
        of.Placement.parse(text)


def test_negative_axes_and_other_partials_are_refused() -> None:
    with pytest.raises(of.SbpError, match="count axes from 0"):
        of.S(-1)
    with pytest.raises(of.SbpError, match="not an Sbp"):
        of.P("mean")
