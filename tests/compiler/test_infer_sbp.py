"""Layouts found from annotations: Megatron's from two weights, data parallelism from the inputs."""

from __future__ import annotations

import pytest

import oflow as of
from oflow.compiler.choices import Choices
from oflow.graph import Graph, Node
from oflow.sbp import Layout
from tests.compiler.nets import FOUR, graph, nodes


def megatron(micro_batches: int = 1, width: int = 256, **options: object) -> of.Program:
    up, down = of.nn.Linear(64, width), of.nn.Linear(width, 64)
    up.weight.to_global(FOUR, of.S(0))
    down.weight.to_global(FOUR, of.S(1))

    def loss(x, y):
        return of.mse(down(of.gelu(up(x))), y)

    spec = of.spec((128, 64), "float32", FOUR, of.B)
    return of.compile(loss, spec, spec, optimizer=of.optim.AdamW(lr=1e-3), micro_batches=micro_batches, **options)


def sbp(found: Graph, value: int) -> of.sbp.Sbp:
    made = found.values[value].layout
    assert made is not None
    return made.sbp[0]


def reduces(found: Graph, phase: str) -> list[Node]:
    """Boxings of partial activations that end the sum: the first step of an all-reduce, or a reduce-scatter."""
    return [n for n in nodes(found, "boxing", phase) if sbp(found, n.ins[0]).is_partial and n.stream == "comm"]


@pytest.mark.parametrize("micro_batches", [1, 4])
@pytest.mark.parametrize("width", [256, 1024])
def test_column_then_row_split_is_found_from_the_weights(micro_batches: int, width: int) -> None:
    program = megatron(micro_batches, width)
    found = graph(program, "infer_sbp")
    first, second = nodes(found, "matmul", "F")
    assert sbp(found, first.outs[0]) == of.S(1)
    (hidden,) = nodes(found, "gelu")
    assert sbp(found, hidden.outs[0]) == of.S(1)
    assert sbp(found, second.outs[0]) == of.P
    boxed = graph(program, "insert_boxing")
    state = {p.value for p in boxed.parameters}
    forward = [n for n in nodes(boxed, "boxing", "F") if n.stream == "comm" and n.ins[0] not in state]
    assert len(reduces(boxed, "F")) == 1
    activations = {sbp(boxed, n.ins[0]) for n in forward}
    assert of.S(1) not in activations, "the hidden activation is never moved"


def test_the_weights_stay_where_they_were_put() -> None:
    """No boxing reads a weight that is split, and its update and optimizer state have its layout."""
    boxed = graph(megatron(4), "insert_boxing")
    for p in boxed.parameters:
        if p.name.startswith(("up.weight", "down.weight")):
            assert sbp(boxed, p.value).is_split
            assert boxed.values[p.value].layout == boxed.values[p.update].layout
            assert not [n for n in nodes(boxed, "boxing") if n.ins[0] == p.value]


def test_data_parallel_moves_gradients_only() -> None:
    up, down = of.nn.Linear(64, 256), of.nn.Linear(256, 64)
    spec = of.spec((4096, 64), "float32", FOUR, of.S(0))  # a batch so large that moving activations would cost more
    loss = lambda x, y: of.mse(down(of.gelu(up(x))), y)  # noqa: E731
    program = of.compile(loss, spec, spec, optimizer=of.optim.SGD(lr=0.1), micro_batches=8)
    boxed = graph(program, "insert_boxing")
    for node in nodes(boxed, "matmul", "F") + nodes(boxed, "gelu"):
        assert sbp(boxed, node.outs[0]) == of.S(0)
    moved = {boxed.values[n.ins[0]].type.shape for n in nodes(boxed, "boxing") if sbp(boxed, n.ins[0]).is_partial}
    assert {(256, 64), (64, 256)} <= moved
    assert all(n.rate == 1 for n in nodes(boxed, "boxing") if sbp(boxed, n.ins[0]).is_partial), "joined once a step, then moved"


def test_annotations_are_kept() -> None:
    def f(x):
        a = of.tap("a", x.to_global(FOUR, of.S(1)))
        return of.sum(of.exp(a).to_global(FOUR, of.S(0)))

    program = of.compile(f, of.spec((8, 12), "float32", FOUR, of.B))
    found = graph(program, "infer_sbp")
    targets = [found.values[n.outs[0]].layout for n in nodes(found, "boxing")]
    assert targets == [Layout(FOUR, (of.S(1),)), Layout(FOUR, (of.S(0),))]


def test_inference_is_reproducible() -> None:
    assert graph(megatron(4), "infer_sbp") == graph(megatron(4), "infer_sbp")


def test_a_mesh_combines_data_and_tensor_parallelism() -> None:
    grid = of.placement("cpu", [[0, 1], [2, 3]])
    up, down = of.nn.Linear(64, 256), of.nn.Linear(256, 64)
    up.weight.to_global(grid, (of.B, of.S(0)))
    down.weight.to_global(grid, (of.B, of.S(1)))
    spec = of.spec((128, 64), "float32", grid, (of.S(0), of.B))
    loss = lambda x, y: of.mse(down(of.gelu(up(x))), y)  # noqa: E731
    found = graph(of.compile(loss, spec, spec, optimizer=of.optim.SGD(lr=0.1)), "infer_sbp")
    first, second = nodes(found, "matmul", "F")
    assert found.values[first.outs[0]].layout == Layout(grid, (of.S(0), of.S(1)))
    assert found.values[second.outs[0]].layout == Layout(grid, (of.S(0), of.P))


@pytest.mark.parametrize("micro_batches", [1, 4])
@pytest.mark.parametrize("asked", [of.B, of.S(0)])
def test_on_one_device_whole_layouts_cost_as_little_as_all_ways_to_run(
    asked: of.sbp.Sbp, micro_batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = of.placement("cpu", [0])

    def inferred() -> Graph:
        layer = of.nn.Linear(16, 16)
        layer.to_global(one, of.B)
        spec = of.spec((8, 16), "float32", one, asked)
        program = of.compile(
            lambda x, y: of.mse(of.softmax(of.gelu(layer(x))), y), spec, spec, optimizer=of.optim.AdamW(), micro_batches=micro_batches
        )  # fmt: skip
        return graph(program, "infer_sbp")

    found = inferred()
    weighed: list[bool] = []

    def everything(self: Choices, *given: object, **words: object) -> None:
        begin(self, *given, **words)
        weighed.append(self._open)
        self._open = True

    begin = Choices.__init__
    monkeypatch.setattr(Choices, "__init__", everything)
    wanted = inferred()
    assert weighed == [asked != of.B], "only where something but B was asked for is there a choice"
    assert found == wanted and found.assignment == wanted.assignment
