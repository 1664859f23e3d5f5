"""Every change of layout is listed: bytes are those that the plan's actors receive, causes are lines of the user."""

from __future__ import annotations

import re
from typing import Any

import pytest

import oflow as of
from oflow.boxings import boxings, folded
from oflow.graph import Graph
from tests.program.nets import FOUR, GRID, LAYOUTS, LEFT, RIGHT, classifier, exact


def received(program: of.Program) -> int:
    """Bytes that the actors of a plan receive in a step."""
    return sum(nbytes * actor.acts for actor in program.plan.actors for _, nbytes in actor.cost.received)


CLIPPED = {"optimizer": of.optim.AdamW(lr=1e-3, clip_norm=1.0)}
OPTIONS: tuple[dict[str, Any], ...] = (
    {}, {"micro_batches": 2}, {"micro_batches": 3, "schedule": "gpipe"}, {**CLIPPED, "micro_batches": 4},
)  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(options) or "plain")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_bytes_are_those_of_the_plan(layout: str, options: dict[str, Any]) -> None:
    for net in (exact, classifier):
        program = net(layout, **options)
        found = program.boxings()
        assert sum(one.nbytes for one in found) == received(program)
        assert sum(one.nbytes for one in folded(found)) == received(program)
        assert all(one.moves and one.seconds > 0 and one.moves[-1].layout == one.target for one in found)


def test_the_list_is_the_same_before_fusion_but_for_reads_in_place() -> None:
    program = classifier("tensor")
    before = program.passes["host"]
    assert isinstance(before, Graph)
    listed = {(one.value, one.target): one for one in boxings(before, program.given.machine)}
    for one in program.boxings():
        assert (one.why, one.reader, one.line, one.phase) == (
            (twin := listed[one.value, one.target]).why, twin.reader, twin.line, twin.phase
        )  # fmt: skip


def test_causes_and_lines() -> None:
    weight = of.nn.Linear(6, 4, bias=False, dtype="float64")
    weight.to_global(FOUR, of.S(0))

    def loss(x):
        y = of.relu(weight(x))
        z = y.to_global(FOUR, of.S(0))
        return of.mean(of.exp(z))

    program = of.compile(loss, of.spec((8, 6), "float64", FOUR, of.B), optimizer=of.optim.SGD(lr=0.1), strict=True)
    line = loss.__code__.co_firstlineno
    found = {(one.why, one.name): one for one in program.boxings()}
    asked = found["to_global", "relu"]
    assert (asked.line, asked.made_at, asked.phase, asked.times) == (f"test_boxings.py:{line + 2}", f"test_boxings.py:{line + 1}", "F", 1)
    assert asked.route == "S(1) -> S(0) @cpu:0-3"
    assert asked.nbytes == 8 * 4 * 8 * 3 // 4  # all but a quarter of an all-to-all
    back = next(one for (why, _), one in found.items() if why == "gradient of to_global")
    assert (back.line, back.phase, back.route) == (asked.line, "B", "S(0) -> S(1) @cpu:0-3")
    assert {why for why, _ in found} == {"input", "output", "to_global", "gradient of to_global"}


def test_repeated_layers_are_one_line_with_a_count() -> None:
    class Net(of.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ups = of.nn.ModuleList([of.nn.Linear(8, 16, bias=False) for _ in range(12)])
            self.downs = of.nn.ModuleList([of.nn.Linear(16, 8, bias=False) for _ in range(12)])
            for up, down in zip(self.ups, self.downs, strict=True):
                up.to_global(FOUR, of.S(0))
                down.to_global(FOUR, of.S(1))

        def forward(self, x):
            for up, down in zip(self.ups, self.downs, strict=True):
                x = down(of.relu(up(x))).to_global(FOUR, of.B)
            return x

    program = of.compile(Net(), of.spec((4, 8), "float32", FOUR, of.B))
    (one,) = [one for one in folded(program.boxings()) if one.why == "to_global"]
    assert one.count == 12 and one.nbytes == sum(each.nbytes for each in program.boxings() if each.why == "to_global")
    assert re.search(r"  12 x matmul f32\[4, 8\] +P -> B @cpu:0-3 +to_global at test_boxings\.py:\d+\n", of.view.boxings(program.boxings()))


def test_the_table() -> None:
    program = of.compile(
        lambda x: of.exp(x.to_global(GRID, (of.S(0), of.B))).to_global(LEFT, of.S(1)), of.spec((4, 6), "float32", GRID, (of.P, of.S(1)))
    )
    text = of.view.boxings(program.boxings())
    head, columns, *rows = text.splitlines()
    total, seconds = sum(one.nbytes for one in program.boxings()), sum(one.seconds for one in program.boxings())
    count = len(program.boxings())
    assert head == f"boxings: {count}, {total:,} bytes over all links and {1e6 * seconds:.4g} us a step; all asked for"
    assert columns.split() == ["acts", "bytes", "time", "what", "layouts", "because"]
    assert any("(P, S(1)) -> (S(0), B) @cpu:0-3 (2,2)" in row and "to_global at" in row for row in rows)
    assert any("exp f32[4, 6]" in row and "(S(0), B)@cpu:0-3 (2,2) -> S(1)@cpu:0-1" in row for row in rows)
    assert of.view.boxings(()) == "boxings: none\n"


def test_a_list_from_any_graph_after_the_boxings() -> None:
    """Graphs without reasons, such as those written by hand, are listed too."""
    program = exact("pipeline x data")
    for name in ("insert_boxing", "strict", "host", "fuse"):
        graph = program.passes[name]
        assert isinstance(graph, Graph)
        assert boxings(graph, program.given.machine)
    assert {one.why for one in program.boxings()} == {"input", "output", "reader", "home"}
    moved = [one for one in program.boxings() if one.source.placement == LEFT and one.target.placement == RIGHT and one.phase == "F"]
    assert len(moved) == 1 and not moved[0].asked
