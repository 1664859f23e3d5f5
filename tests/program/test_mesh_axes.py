"""Meshes of 1 to 4 axes, axes of size 1, and named axes: the same results, and names that survive every text."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

import oflow as of
from oflow.check.references import read_plan
from oflow.graphtext import format_graph, parse_graph
from tests.program.nets import BATCH, WIDE, Net, whole_numbers

PLAIN = of.placement("cpu", [[0, 1], [2, 3]])
GRID = of.placement("cpu", [[0, 1], [2, 3]], names=("data", "tensor"))
OTHER = of.placement("cpu", [[0, 1], [2, 3]], names=("replica", "model"))


def trained(model: Net, *specs: of.Spec) -> tuple[of.Program, list[np.ndarray]]:
    """The program of a summed squared error, and its losses over three steps of whole numbers."""

    def loss(x, y):
        return of.sum_squared_error(model.down(of.relu(model.up(x))), y)

    program = of.compile(loss, *specs, optimizer=of.optim.SGD(lr=2.0**-3), executor="simulator")
    return program, [program(*batch) for batch in whole_numbers(3)]


def specs(where: of.Placement, sbp: object) -> tuple[of.Spec, of.Spec]:
    return of.spec((BATCH, WIDE), "float64", where, sbp), of.spec((BATCH, 5), "float64", where, sbp)


def expected() -> list[np.ndarray]:
    return trained(Net(), *specs(of.placement("cpu", [0]), of.B))[1]


@pytest.mark.parametrize(
    "mesh", [(1,), (3,), (1, 3), (3, 1), (2, 1, 2), (1, 1, 2), (2, 2, 2), (1, 2, 1, 2), (2, 1, 1, 1), (2, 1, 2, 2), (1, 1, 1, 1)], ids=str
)  # fmt: skip
def test_one_to_four_axes_some_of_size_one(mesh: tuple[int, ...]) -> None:
    """The batch is split by the first axis, the weights by the last, uneven both."""
    where = of.placement("cpu", np.arange(np.prod(mesh)).reshape(mesh).tolist(), names=tuple("abcd"[: len(mesh)]))
    last, model = "abcd"[len(mesh) - 1], Net()
    if len(mesh) > 1:
        model.up.weight.to_global(where, {last: of.S(0)})
        model.down.weight.to_global(where, {last: of.S(1)})
    program, losses = trained(model, *specs(where, {"a": of.S(0)}))
    assert losses == expected()
    assert program.plan.check().deadlock_free


@pytest.mark.parametrize("where", list(itertools.product((PLAIN, GRID, OTHER), repeat=3)), ids=str)
def test_names_do_not_say_where_things_are(where: tuple[of.Placement, ...]) -> None:
    """One mesh under several names, or none, is one mesh; what is printed is the first name given."""
    model = Net()
    model.up.weight.to_global(where[1], {1: of.S(0)})
    model.down.weight.to_global(where[2], {1: of.S(1)})
    program, losses = trained(model, *specs(where[0], {0: of.S(0)}))
    assert losses == expected()
    names = next((one.names for one in where if one.names), ())
    assert {v.layout.placement.names for v in program.graph.values.values() if v.layout and v.layout.placement == GRID} == {names}
    assert {node.placement.names for node in program.graph.nodes if node.placement == GRID} == {names}


def test_names_do_not_leak_into_other_programs() -> None:
    texts = []
    for where in (PLAIN, GRID, PLAIN):
        x, y = specs(where, {0: of.S(0)})
        program = of.compile(lambda a, b: (a.T @ b).to_global(where, {1: of.S(1)}), x, y, executor="simulator")  # noqa: B023
        texts.append(format_graph(program.graph) + of.view.boxings(program.boxings()) + program.plan.to_json())
    assert texts[0] == texts[2] != texts[1]
    assert "data=" not in texts[0] and "cpu:0-3 (data=2,tensor=2)" in texts[1] and "(2,2)" not in texts[1]


def test_names_survive_the_texts() -> None:
    model = Net()
    model.to_global(GRID, {})
    model.up.weight.to_global(GRID, {"tensor": of.S(0)})
    program, _ = trained(model, *specs(GRID, {"data": of.S(0)}))
    for graph in (one for one in program.passes.values() if isinstance(one, of.Graph)):
        text = format_graph(graph)
        again = parse_graph(text)
        assert again == graph and format_graph(again) == text
        assert "(data=2,tensor=2)" in text
    plan = read_plan(program.plan.to_json())
    assert plan == program.plan
    assert {"data=S(0), tensor=B", "data=B, tensor=S(0)"} <= {register.layout for register in plan.registers}
    assert "data=S(0), tensor=B" in of.view.text(plan)
    assert json.loads(json.dumps([one.facts() for one in program.boxings()]))


def test_dicts_are_taken_wherever_an_sbp_is() -> None:
    layer = of.nn.Linear(6, 4)
    layer.to_global(GRID, {"data": of.S(0)})
    layer.bias.to_global(GRID, {})
    assert str(layer.weight.layout) == "(S(0), B)@cpu:0-3 (data=2,tensor=2)" and str(layer.bias.layout).startswith("(B, B)")
    program = of.compile(
        lambda x: of.relu(x).to_global(GRID, {"tensor": of.S(1)}), of.spec((4, 6), "float32", GRID, {"data": of.S(0)}), executor="simulator"
    )
    assert [one.route for one in program.boxings() if one.why == "to_global"] == ["(S(0), B) -> (B, S(1)) @cpu:0-3 (data=2,tensor=2)"]
    x = np.arange(24, dtype="float32").reshape(4, 6)
    assert (program(x) == x).all()


@pytest.mark.parametrize("call", [
    lambda: of.spec((4, 6), "float32", GRID, {"model": of.S(0)}),
    lambda: of.nn.Linear(6, 4).to_global(GRID, {"model": of.S(0)}),
    lambda: of.nn.Linear(6, 4).weight.to_global(GRID, {"model": of.S(0)}),
    lambda: of.compile(lambda x: x.to_global(GRID, {"model": of.S(0)}), of.spec((4, 6))),
], ids=["spec", "module", "parameter", "tensor"])  # fmt: skip
def test_an_axis_that_is_not_there_is_named_at_the_users_line(call) -> None:
    with pytest.raises(of.SbpError, match=r"^test_mesh_axes\.py:\d+: .*has no mesh axis 'model'; it has 'data' of 2, 'ten") as caught:
        call()
    assert caught.value.line == f"test_mesh_axes.py:{call.__code__.co_firstlineno}"
