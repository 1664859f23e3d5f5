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
    names = ("data", "tensor", "héc_2")[: len(mesh)] if draw(st.booleans()) else ()
    return of.Placement(draw(st.sampled_from(["cpu", "cuda", "host"])), tuple(ranks), mesh, names)


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
    again = of.Placement.parse(str(where))
    assert again == where and again.names == where.names
    assert eval(where.code, {"of": of}) == where if where.kind != "host" else True
    assert [where.devices[i] for i in range(where.size)] == [f"{where.kind}:{r}" for r in where.ranks]
    assert sorted(where.coordinates(i) for i in range(where.size)) == sorted(itertools.product(*map(range, where.mesh)))


@given(layouts())
def test_a_layout_parses_back(found: Layout) -> None:
    again = Layout.parse(str(found))
    assert again == found and str(again) == str(found)
    assert layout(*eval(f"({found.code})", {"of": of})) == found


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
    with pytest.raises(of.SbpError, match=r"^test_layout.py:\d+: P\('median'\) is not an Sbp; partials are P, P\('max'\) and P\('min'\)$"):
        of.P("median")


def test_a_mean_is_a_sum_with_its_factor() -> None:
    for refused in (lambda: of.P("mean"), lambda: Sbp.parse("P(mean)")):
        with pytest.raises(of.SbpError, match=r"a mean is P, the sum of values that hold their factor 1/n already: of\.mean"):
            refused()
    where = of.placement("cpu", [0, 1])
    mean = of.compile(lambda x: of.mean(x).to_global(where, of.P), of.spec((4, 3), "float64", where, of.S(0)), executor="simulator")
    assert [str(one.source) for one in mean.boxings() if one.why == "output"] == ["P@cpu:0-1"]
    assert mean(np.arange(12.0).reshape(4, 3)) == 5.5


# ---------------------------------------------------------------- names

GRID = of.placement("cpu", [[0, 1], [2, 3]], names=("data", "tensor"))


def test_names_print_and_parse() -> None:
    assert str(GRID) == "cpu:0-3 (data=2,tensor=2)"
    assert str(of.placement("cpu", [0, 2], names="data")) == "cpu:0,2 (data=2)"
    assert str(layout(GRID, {"tensor": of.S(1)})) == "(B, S(1))@cpu:0-3 (data=2,tensor=2)"
    assert layout(GRID, {"tensor": of.S(1)}).sbp_text == "data=B, tensor=S(1)"
    assert layout(GRID, {"tensor": of.P("max")}).code == (
        'of.placement("cpu", [[0, 1], [2, 3]], names=("data", "tensor")), {"tensor": of.P("max")}'
    )


def test_a_dict_names_the_axes_that_are_not_b() -> None:
    assert layout(GRID, {"data": of.S(0)}).sbp == (of.S(0), of.B)
    assert layout(GRID, {"tensor": of.P, "data": of.S(1)}).sbp == (of.S(1), of.P)
    assert layout(GRID, {}).sbp == (of.B, of.B)
    assert layout(GRID, {1: of.S(0)}) == layout(GRID, {"tensor": of.S(0)}) == layout(GRID, (of.B, of.S(0)))
    assert layout(of.placement("cpu", [[0, 1], [2, 3]]), {0: of.S(0)}).sbp == (of.S(0), of.B)


def test_names_are_labels_of_what_is_equal_without_them() -> None:
    plain, other = of.placement("cpu", [[0, 1], [2, 3]]), of.placement("cpu", [[0, 1], [2, 3]], names=("replica", "model"))
    assert GRID == plain == other and len({GRID, plain, other}) == 1
    assert layout(GRID, {"data": of.S(0)}) == layout(plain, (of.S(0), of.B)) == layout(other, {"replica": of.S(0)})
    assert of.placement("cpu", [0, 1, 2, 3]) != GRID and of.placement("cpu", [[0, 2], [1, 3]], names=("data", "tensor")) != GRID
    assert str(layout(plain, {0: of.S(0)}).labelled([layout(GRID, {})])) == "(S(0), B)@cpu:0-3 (data=2,tensor=2)"
    assert str(layout(GRID, {}).labelled([])) == "(B, B)@cpu:0-3 (2,2)"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("data",), "a mesh of 2 axes (2, 2) needs 2 names, got 1: data"),
        (("a", "b", "c"), "needs 2 names, got 3: a, b, c"),
        ("data", "needs 2 names, got 1: data"),
        (("data", "data"), "mesh axes need different names, got 'data' twice"),
        (("data", "2nd"), "a mesh axis is named by a word such as 'data', got '2nd'"),
        (("data", 3), "a mesh axis is named by a word such as 'data', got 3"),
    ],
)
def test_names_that_do_not_fit(names: object, message: str) -> None:
    with pytest.raises(of.PlacementError) as caught:
        of.placement("cpu", [[0, 1], [2, 3]], names=names)  # type: ignore[arg-type]
    assert message in str(caught.value) and caught.value.line.startswith("test_layout.py:")


def test_axes_that_are_not_there() -> None:
    with pytest.raises(of.SbpError, match=r"cpu:0-3 \(data=2,tensor=2\) has no mesh axis 'model'; it has 'data' of 2, 'tensor' of 2$"):
        layout(GRID, {"model": of.S(0)})
    with pytest.raises(of.SbpError, match=r"has no mesh axis 'data'; it has 0 of 2; names are given by of\.placement\(kind, ranks, names"):
        layout(of.placement("cpu", [0, 1]), {"data": of.S(0)})
    with pytest.raises(of.SbpError, match=r"names a mesh axis of .* twice"):
        layout(GRID, {"data": of.S(0), 0: of.B})
    with pytest.raises(of.SbpError, match=r"'S\(0\)' is not an Sbp; write of\.S\(0\)"):
        layout(GRID, "S(0)")  # type: ignore[arg-type]


def test_a_mesh_has_one_to_four_axes() -> None:
    assert of.placement("cpu", [[[[0], [1]]]], names=tuple("abcd")).mesh == (1, 1, 2, 1)
    with pytest.raises(of.PlacementError, match=r"^test_layout.py:\d+: a mesh has 1 to 4 axes, got 5: \(1, 1, 1, 1, 2\)$"):
        of.placement("cpu", [[[[[0, 1]]]]])


@pytest.mark.parametrize("text", ["cpu:0-3 (data=2)", "cpu:0-3 (data=2,2)", "cpu:0-3 (a=2,a=2)", "cpu:0-3 (2nd=2,b=2)", "cpu:0-1 (=2)"])
def test_names_that_do_not_parse(text: str) -> None:
    with pytest.raises(of.PlacementError):
        of.Placement.parse(text)
