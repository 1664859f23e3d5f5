"""The passes from the captured graph to boxings, each on a small case."""

from __future__ import annotations

import pytest

import oflow as of
from oflow import compiler
from oflow.check.references import check_references
from oflow.graph import verify
from oflow.sbp import HOST, Layout
from tests.compiler.nets import FOUR, graph, nodes, pipeline, plan

SGD = of.optim.SGD(lr=0.1)


def test_every_pass_leaves_what_it_made() -> None:
    program = pipeline(2, 4)
    assert tuple(program.passes) == compiler.PASSES
    for name, made in program.passes.items():
        if isinstance(made, of.Plan):
            check_references(made)
        else:
            verify(made)
            assert all(n.line for n in made.nodes), name


def test_capture_remembers_the_users_lines() -> None:
    layer = of.nn.Linear(3, 4)

    def f(x):
        h = layer(x)
        return of.sum(h)

    first = f.__code__.co_firstlineno
    captured = graph(of.compile(f, of.spec((2, 3))), "capture")
    assert [(n.op, n.line) for n in captured.nodes] == [
        ("matmul", f"test_graph_passes.py:{first + 1}"),
        ("add", f"test_graph_passes.py:{first + 1}"),
        ("sum", f"test_graph_passes.py:{first + 2}"),
    ]
    assert [p.name for p in captured.parameters] == ["weight", "bias"]


def test_place_gives_stages_the_devices_of_their_parameters() -> None:
    placed = graph(pipeline(3, 2, ranks=2), "place")
    for node in placed.nodes:
        assert node.placement is not None and node.stage is not None
        assert node.placement.ranks == (2 * node.stage, 2 * node.stage + 1)


def test_place_deals_devices_out_to_stages_without_annotation() -> None:
    layers = of.nn.Linear(8, 8), of.nn.Linear(8, 8)

    def f(x):
        with of.stage(0):
            h = layers[0](x)
        with of.stage(1):
            return of.sum(layers[1](h))

    placed = graph(of.compile(f, of.spec((4, 8), "float32", FOUR, of.S(0))), "place")
    assert {(n.stage, n.placement.ranks) for n in placed.nodes if n.placement} == {(0, (0, 1)), (1, (2, 3))}
    homes = {p.name: placed.values[p.value].layout for p in placed.parameters}
    assert set(map(str, homes.values())) == {"B@cpu:0-1", "B@cpu:2-3"}


def test_differentiate_keeps_line_stage_and_placement() -> None:
    found = graph(pipeline(2, 1), "differentiate")
    forward = {(n.line, n.stage) for n in found.nodes if n.phase == "F"}
    backward = [n for n in found.nodes if n.phase == "B"]
    assert backward and {(n.line, n.stage) for n in backward} <= forward
    assert all(p.gradient is not None for p in found.parameters)
    order = [n.phase for n in found.nodes]
    assert order == sorted(order, reverse=True)  # all of F, then all of B


def test_a_value_used_twice_adds_its_gradients() -> None:
    layer = of.nn.Linear(4, 4, bias=False)
    found = graph(of.compile(lambda x: of.sum(layer(layer(x))), of.spec((2, 4)), optimizer=SGD), "differentiate")
    (weight,) = found.parameters
    made = found.producers()[weight.gradient]
    assert made.op == "add" and [found.producers()[v].op for v in made.ins] == ["matmul", "matmul"]


def test_without_an_optimizer_there_is_no_backward() -> None:
    layer = of.nn.Linear(4, 4)
    assert {n.phase for n in of.compile(lambda x: layer(x), of.spec((2, 4))).graph.nodes} == {"F"}


def test_optimize_adds_counter_state_and_one_update_a_parameter() -> None:
    layer = of.nn.Linear(4, 4)
    adamw = of.optim.AdamW(lr=0.1, clip_norm=1.0)
    found = graph(of.compile(lambda x: of.sum(layer(x)), of.spec((2, 4)), optimizer=adamw), "optimize")
    names = {p.name for p in found.parameters}
    assert names == {"weight", "bias", "weight.m", "weight.v", "bias.m", "bias.v", "optimizer.step"}
    assert all(p.update is not None for p in found.parameters)
    assert len(nodes(found, "adamw_update")) == 2 and len(nodes(found, "sum_squares")) == 2
    assert all(n.phase == "update" for n in found.nodes[-3:])


def test_simplify_merges_equal_nodes_and_drops_dead_ones() -> None:
    def f(x):
        of.exp(x)  # nobody reads it
        return of.sum(of.square(x)) + of.sum(of.square(x))

    program = of.compile(f, of.spec((4,), "float64"))
    before, after = graph(program, "optimize"), graph(program, "simplify")
    assert [n.op for n in before.nodes].count("square") == 2
    assert sorted(n.op for n in after.nodes) == ["add", "square", "sum"]


def test_simplify_keeps_taps_and_buffers() -> None:
    class Counter(of.nn.Module):
        def __init__(self):
            super().__init__()
            self.count = of.nn.Buffer((), "float64")

    module = Counter()

    def f(x):
        of.tap("twice", x * 2.0)
        module.count = module.count + 1.0
        return of.sum(x)

    found = graph(of.compile(f, of.spec((4,), "float64")), "simplify")
    assert sorted(n.op for n in found.nodes) == ["add", "assign", "mul", "sum"]


def test_micro_batches_are_a_time_axis() -> None:
    """Inputs S(0), parameters B, activations S(0), loss and gradients P, joined once a step."""
    found = graph(pipeline(2, 4), "micro_batches")
    times = {v: value.time for v, value in found.values.items()}
    assert found.micro_batches == 4
    assert {times[v] for v in found.inputs} == {of.S(0)}
    assert {times[p.value] for p in found.parameters} == {of.B}
    for node in nodes(found, "matmul", "F") + nodes(found, "gelu"):
        assert node.rate == 4 and times[node.outs[0]] == of.S(0)
    joined = nodes(found, "accumulate")
    assert {times[n.ins[0]] for n in joined} == {of.P} and {times[n.outs[0]] for n in joined} == {of.B}
    assert len(joined) == 2 * 2 + 1  # weights, biases, the loss
    assert {n.rate for n in found.nodes if n.phase == "update"} == {1}


def test_per_sample_outputs_are_collected_not_summed() -> None:
    program = of.compile(lambda x: x * 2.0, of.spec((8, 3)), micro_batches=4)
    found = graph(program, "micro_batches")
    (join,) = nodes(found, "accumulate")
    assert found.values[join.ins[0]].time == of.S(0)
    port = next(p for a in plan(program, "expand").actor_templates for p in a.ports if p.every == 4 and p.direction == "out")
    assert port.mode == "slice"


def test_insert_boxing_brings_every_operand_where_it_is_wanted() -> None:
    for program in (pipeline(2, 4, ranks=2), pipeline(2, 1)):
        inferred, boxed = graph(program, "infer_sbp"), graph(program, "insert_boxing")
        wants = {n.id: n.wants for n in inferred.nodes}
        for node in boxed.nodes:
            assert node.wants == ()
            if node.op not in ("boxing",):
                assert tuple(boxed.values[v].layout for v in node.ins) == wants[node.id], node
        moves = [(n.ins[0], boxed.values[n.outs[0]].layout) for n in nodes(boxed, "boxing")]
        assert len(moves) == len(set(moves)), "an equal change is made once"


@pytest.mark.parametrize("annotated", [True, False])
def test_a_layout_change_asked_for_is_made_or_free(annotated: bool) -> None:
    here = of.S(0) if annotated else of.B
    program = of.compile(lambda x: x.to_global(FOUR, here), of.spec((8, 3), "float32", FOUR, of.B))
    assert len(nodes(graph(program, "insert_boxing"), "boxing")) == int(annotated)


def test_host_brings_inputs_in_and_outputs_out() -> None:
    found = graph(pipeline(2, 4, ranks=2), "host")
    whole = Layout(HOST, (of.B,))
    assert {found.values[v].layout for v in found.inputs} == {whole}
    assert {found.values[v].layout for _, v in found.outputs} == {whole}
    assert {n.rate for n in found.nodes if n.stream == "copy_in"} == {4}
    assert {n.rate for n in found.nodes if n.stream == "copy_out"} == {1}
