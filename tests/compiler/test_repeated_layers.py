"""Compiling deep nets: equal layers are worked out once, and what the plan holds grows with the layers and no faster."""

from __future__ import annotations

import pytest

import oflow as of
from oflow.compiler.choices import Choices
from oflow.compiler.question import Question
from oflow.graph import Builder, Graph, Node
from oflow.types import TensorType
from tests.compiler.nets import graph, pipeline, plan

GRID = of.placement("cpu", [[0, 1], [2, 3]])


def deep(layers: int) -> of.Program:
    """Megatron pairs in a row, data x tensor parallel, with residuals."""
    pairs = [(of.nn.Linear(64, 256), of.nn.Linear(256, 64)) for _ in range(layers)]
    for up, down in pairs:
        up.weight.to_global(GRID, (of.B, of.S(0)))
        down.weight.to_global(GRID, (of.B, of.S(1)))

    def loss(x, y):
        for up, down in pairs:
            x = x + down(of.gelu(up(x)))
        return of.mse(x, y)

    spec = of.spec((128, 64), "float32", GRID, (of.S(0), of.B))
    return of.compile(loss, spec, spec, optimizer=of.optim.AdamW(lr=1e-3))


@pytest.fixture(scope="module")
def nets() -> dict[int, of.Program]:
    return {layers: deep(layers) for layers in (16, 24)}


def test_equal_layers_share_their_ways(nets: dict[int, of.Program], monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures, layouts and variables: no more for 24 layers than for sixteen."""
    found: dict[int, list[int]] = {}
    for layers in (16, 24):
        program = nets[layers]
        asked: list[Node] = []
        find = Choices._find
        monkeypatch.setattr(Choices, "_find", lambda self, node, asked=asked, find=find: asked.append(node) or find(self, node))
        question = Question(graph(program, "micro_batches"), program.plan.machine)
        monkeypatch.undo()
        found[layers] = [len(asked), len(set(question.ways)), len(question.boxings.numbers.layouts), max(question.alike)]
    assert found[16] == found[24]


def test_layers_get_the_same_layouts(nets: dict[int, of.Program]) -> None:
    made = graph(nets[24], "infer_sbp")
    layouts = [[made.values[v].layout for v in n.outs] for n in made.nodes if n.phase == "F" and n.op == "matmul"]
    assert layouts[0:2] * 24 == layouts


def test_control_registers_grow_with_the_layers(nets: dict[int, of.Program]) -> None:
    """Only who takes bytes over waits for who had them: not every pair that ever shares a byte."""

    controls = sum(t.name.startswith("control.") for t in plan(nets[24], "memory").register_templates)
    assert 0 < controls <= 20 * 24


def test_a_builder_without_nodes_goes_on_with_the_ids() -> None:
    builder = Builder()
    x = builder.value(TensorType((2,)))
    builder.inputs.append(x.id)
    first = builder.node("relu", (x.id,), (x.type,))
    old: Graph = builder.build()
    again = Builder.without_nodes(old)
    assert again.nodes == [] and again.values == old.values
    y = again.value(x.type)
    made = again.node("relu", (x.id,), outs=(first.outs[0],))
    more = again.node("boxing", (first.outs[0],), (x.type,), outs=(y.id,))
    assert (made.id, made.outs) == (first.id + 1, first.outs)
    assert more.outs[0] == y.id and more.outs[1] not in old.values
    again.build()


def test_stages_share_their_variables() -> None:
    """Twice the stages ask no larger a question: what differs is the number of their devices only."""
    found = []
    for stages in (6, 12):
        program = pipeline(stages, 4, ranks=2)
        question = Question(graph(program, "zero"), program.given.machine)
        found.append((len(set(question.alike)), len(question.problem(question.alike).movings)))
    assert found[0] == found[1]
