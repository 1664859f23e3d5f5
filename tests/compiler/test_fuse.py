"""The fuse pass: which nodes become one, what the backward computes again, where sums go."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oflow as of
from oflow.cli import main
from oflow.compiler.fold import summands
from oflow.compiler.fuse import fuse
from oflow.compiler.options import options
from oflow.compiler.views import views
from oflow.graph import Graph, verify
from oflow.graphtext import format_graph, parse_graph
from oflow.sbp import Layout
from tests.compiler.nets import graph, nodes, plan

ONE, TWO = of.placement("cpu", [0]), of.placement("cpu", [0, 1])
GRID = of.placement("cpu", [[0, 1], [2, 3]])
SGD = of.optim.SGD(lr=0.1)
BIAS_GELU = r"t0 = a0 \+ a1; t1 = t0 \* \(.*tanh.*\)"


def mlp(where: of.Placement = ONE, sbp: Any = of.B, optimizer: Any = SGD, **facts: Any) -> of.Program:
    """Two layers with a GELU between them: x (512, 64), y (512, 32)."""
    up, down = of.nn.Linear(64, 96), of.nn.Linear(96, 32)
    up.to_global(where, of.B)
    down.to_global(where, of.B)
    specs = of.spec((512, 64), "float32", where, sbp), of.spec((512, 32), "float32", where, sbp)
    return of.compile(lambda x, y: of.mse(down(of.gelu(up(x))), y), *specs, optimizer=optimizer, **facts)


def after(f: Callable[..., Any], *specs: of.Spec, **facts: Any) -> Graph:
    """The graph of a function after `fuse`, which has to be a good one and to print and parse back."""
    found = graph(of.compile(f, *specs, **facts), "fuse")
    verify(found)
    assert parse_graph(format_graph(found)) == found
    return found


def texts(found: Graph, phase: str = "") -> list[str]:
    return [n.attributes["expr"] for n in nodes(found, "fused", phase)]


def spec(*shape: int, dtype: str = "float32") -> of.Spec:
    return of.spec(shape, dtype)


CASES: dict[str, Callable[[], of.Program]] = {
    "one device, two micro-batches": lambda: mlp(micro_batches=2),
    "two devices, data parallel": lambda: mlp(TWO, of.S(0)),
}


@pytest.mark.parametrize("case", CASES)
def test_before_and_after(case: str, golden: Any) -> None:
    program = CASES[case]()
    text = "\n".join(f"--- {name}\n{format_graph(graph(program, name))}" for name in ("host", "fuse"))
    golden(f"fuse_{case.replace(', ', '_').replace(' ', '_')}.txt", re.sub(r"test_fuse\.py:\d+", "net.py:1", text))


# ------------------------------------------------------------ groups


def test_bias_and_gelu_are_one_node_and_the_backward_keeps_no_sum() -> None:
    found = graph(mlp(), "fuse")
    (forward, loss), backward = nodes(found, "fused", "F"), nodes(found, "fused", "B")
    assert re.fullmatch(BIAS_GELU, forward.attributes["expr"])
    assert len(forward.outs) == 1, "the sum of product and bias is not kept"
    (gelu_back,) = [n for n in backward if "tanh" in n.attributes["expr"]]
    product, bias = forward.ins
    assert gelu_back.ins[:2] == (product, bias) and len(gelu_back.ins) == 3
    assert gelu_back.attributes["sums"] == (0, 1), "the bias gradient is summed in the same pass"
    assert loss.attributes["sums"] == (0, 2)


def test_a_value_that_a_product_reads_too_is_kept_as_it_is() -> None:
    """tanh's gradient reads tanh's result, which the next layer's weight gradient needs anyway."""
    up, down = of.nn.Linear(4, 6), of.nn.Linear(6, 3)
    found = after(lambda x: of.sum(down(of.tanh(up(x)))), spec(8, 4), optimizer=SGD)
    (forward,) = [t for t in texts(found, "F") if "tanh" in t]
    assert not any("tanh" in t for t in texts(found, "B")) and forward


def test_numbers_are_arguments_of_one_text() -> None:
    found = after(lambda x: (of.exp(x * 2.0 + 1.0), of.exp(x * 3.0 + 1.0)), spec(4, 5))
    (node,) = nodes(found, "fused")
    assert node.attributes["expr"] == "t0 = a0 * n0; t1 = t0 + n1; t2 = exp(t1); t3 = a0 * n2; t4 = t3 + n1; t5 = exp(t4)"
    assert node.attributes["numbers"] == (("n0", 2.0), ("n1", 1.0), ("n2", 3.0))


def test_equal_groups_have_equal_texts() -> None:
    layers = [of.nn.Linear(6, 6) for _ in range(4)]

    def f(x: Any) -> Any:
        for layer in layers:
            x = of.gelu(layer(x))
        return of.sum(x)

    assert len(set(texts(after(f, spec(8, 6), optimizer=SGD), "F")[:3])) == 1


def test_a_broadcast_operand_is_read_where_it_is() -> None:
    found = after(lambda x, b: of.broadcast_to(b, (8, 6)) * x, spec(8, 6), spec(6))
    assert Counter(n.op for n in found.nodes if n.stream == "compute") == {"fused": 1}
    assert after(lambda b: of.broadcast_to(b, (8, 6)), spec(6)).nodes[1].op == "broadcast_to", "nothing else gives the space"


def test_a_result_of_another_shape_is_not_in_the_group() -> None:
    found = after(lambda x, b: (b * 2.0, x + b * 2.0), spec(8, 6), spec(6))
    assert not texts(found), "the small result would be written eight times"


def test_a_small_value_that_only_the_group_reads_is_computed_in_it() -> None:
    assert texts(after(lambda x, b: x + b * 2.0, spec(8, 6), spec(6))) == ["t0 = a0 * n0; t1 = a1 + t0"]
    large = after(lambda x, b: x + of.exp(of.cos(of.exp(b))), spec(100_000, 64), spec(64))
    assert texts(large) == ["t0 = exp(a0); t1 = cos(t0); t2 = exp(t1)"], "they are not computed again for each of 100,000 rows"


def test_sums_over_trailing_axes_stay_outside() -> None:
    found = after(lambda x: of.sum(x * 2.0, axis=1), spec(8, 6))
    assert [n.op for n in found.nodes if n.stream == "compute"] == ["mul", "sum"]


def test_a_sum_is_not_read_in_its_own_group() -> None:
    found = after(lambda x: of.square(x) / of.sum(of.square(x)), spec(8, 6))
    for node in nodes(found, "fused"):
        assert not set(node.outs) & set(node.ins)
    assert [n.op for n in found.nodes if n.stream == "compute"] == ["fused", "div"]


def test_a_path_that_leaves_a_group_does_not_come_back() -> None:
    """y = x * 2 goes through a softmax and meets x * 2 again: one group of both would wait for itself."""
    found = after(lambda x: of.softmax(x * 2.0) + x * 2.0, spec(8, 6))
    assert [n.op for n in found.nodes if n.stream == "compute"] == ["mul", "softmax", "add"]


def test_dtypes_do_not_mix() -> None:
    found = after(lambda x, y: (x * 2.0, of.cast(x, "float64") * y + 1.0), spec(8), of.spec((8,), "float64"))
    for node in nodes(found, "fused"):
        assert len({found.values[v].type.dtype for v in node.ins}) == 1


def test_bool_values_live_inside() -> None:
    found = after(lambda x: of.where(x > 0.0, x, x * 0.5), spec(8, 6))
    (text,) = texts(found)
    assert text == "t0 = a0 > n0; t1 = a0 * n1; t2 = where(t0, a0, t1)"


def test_stages_and_phases_stay_apart() -> None:
    def f(x: Any) -> Any:
        with of.stage(0):
            h = of.exp(x) * 2.0
        with of.stage(1):
            return of.sum(of.exp(h) * 3.0)

    found = after(f, of.spec((8, 6), "float32", TWO, of.S(0)), micro_batches=4)
    assert [n.stage for n in nodes(found, "fused")] == [0, 1]


def test_a_send_does_not_wait_for_another_streams_result() -> None:
    """`sent` leaves for the other device; what is added to it later comes from there."""
    there = of.placement("cpu", [1])

    def f(x: Any, y: Any) -> Any:
        sent = of.exp(x)
        return sent.to_global(there, of.B), sent * y.to_global(ONE, of.B)

    found = after(f, of.spec((8, 6), "float32", ONE, of.B), of.spec((8, 6), "float32", there, of.B))
    assert not texts(found) or all(len(n.outs) == 1 for n in nodes(found, "fused"))


# ------------------------------------------------------------ sums where they are wanted


def test_products_add_to_the_sum_over_micro_batches() -> None:
    program = mlp(micro_batches=4)
    found = graph(program, "fuse")
    weight_gradients = [n for n in nodes(found, "matmul", "B") if found.values[n.outs[0]].time == of.B]
    assert len(weight_gradients) == 2 and all(n.rate == 4 for n in weight_gradients)
    left = nodes(found, "accumulate")
    assert {found.producers()[n.ins[0]].op for n in left} <= {"fused", "mul"}
    ports = [(a, p) for a in plan(program, "expand").actor_templates for p in a.ports if p.mode == "sum"]
    assert all(p.every == 4 for _, p in ports)
    assert sum(a.calls[0].op == "matmul" for a, _ in ports) == 2


def test_updates_read_all_ranks_gradients() -> None:
    program = mlp(TWO, of.S(0))
    found, expanded = graph(program, "fuse"), plan(program, "expand")
    updates = [n for n in nodes(found, "sgd_update") if found.values[n.ins[1]].layout == Layout(TWO, (of.P,))]
    assert len(updates) >= 3, "the weights' at least; a bias may be summed from a whole cotangent"
    actors = {a.nodes[0]: a for a in expanded.actor_templates if a.nodes}
    for node in updates:
        actor = actors[node.id]
        assert [p.peers for p in actor.ports if p.peers] == [(0, 0), (1, 1)]
        assert actor.calls[0].attrs_of(0)["gradients"] == 2
        assert [name for cost in actor.costs for name, _ in cost.received] == ["cpu:1", "cpu:0"]
    moved = {v for n in nodes(found, "boxing") for v in n.ins}
    assert not moved & {n.ins[1] for n in updates}


def test_clipping_reads_them_too() -> None:
    """Two readers: that pays where a message costs less than a call, as in shared memory."""
    near = of.Machine("shared memory", {"cpu": of.Device(), "host": of.Device()}, of.Link(latency=1e-7, bandwidth=1e12))
    found = graph(mlp(TWO, of.S(0), of.optim.AdamW(lr=0.1, clip_norm=1.0), machine=near), "fuse")
    partial = [n.ins[3] for n in nodes(found, "adamw_update") if found.values[n.ins[3]].layout == Layout(TWO, (of.P,))]
    assert partial
    for gradient in partial:
        assert sorted(n.op for n in found.nodes if gradient in n.ins) == ["adamw_update", "sum_squares"]


def test_where_boxing_is_cheaper_it_stays() -> None:
    """A machine whose links are slow: each of eight ranks would read seven whole gradients."""
    slow = of.Machine("slow links", {"cpu": of.Device(), "host": of.Device()}, of.Link(latency=0.0, bandwidth=1e6))
    eight = of.placement("cpu", list(range(8)))
    layer = of.nn.Linear(64, 64)
    layer.to_global(eight, of.B)
    where = of.spec((64, 64), "float32", eight, of.S(0))
    program = of.compile(lambda x: of.sum(layer(x)), where, optimizer=SGD, machine=slow)
    found = graph(program, "fuse")
    assert [n for n in nodes(found, "boxing") if n.stream == "comm"]


def test_summands_of_a_mesh() -> None:
    assert summands(Layout(TWO, (of.P,))) == ((0, 0), (1, 1))
    assert summands(Layout(GRID, (of.P, of.S(0)))) == ((0, 1, 0, 1), (2, 3, 2, 3))
    assert summands(Layout(GRID, (of.S(0), of.P))) == ((0, 0, 2, 2), (1, 1, 3, 3))
    assert summands(Layout(GRID, (of.P, of.P))) == ((0,) * 4, (1,) * 4, (2,) * 4, (3,) * 4)


# ------------------------------------------------------------ other shapes of the same bytes


def heads(x: Any) -> Any:
    """(6, 8) in pairs, each times itself, back again."""
    y = of.reshape(x + 1.0, (6, 4, 2))
    return of.sum(of.reshape(of.softmax(y), (6, 8)) * 2.0, axis=1)


def test_a_reshape_between_operators_makes_no_call() -> None:
    program = of.compile(heads, spec(6, 8))
    expanded = plan(program, "expand")
    assert [a.calls[0].op for a in expanded.actor_templates if a.stream == "compute"] == ["add", "softmax", "mul", "sum"]
    (softmax,) = [a for a in expanded.actor_templates if a.calls and a.calls[0].op == "softmax"]
    assert [str(t) for t in softmax.calls[0].ins[0].types] == ["f32[6, 4, 2]"]
    x = np.random.default_rng(0).normal(size=(6, 8)).astype("float32")
    np.testing.assert_allclose(program(x), program.graph.evaluate(x), rtol=1e-6)
    assert of.Plan.from_json(program.plan.to_json()) == program.plan


def test_a_reshape_of_uneven_shards_is_a_view_of_each() -> None:
    four = of.placement("cpu", [0, 1, 2, 3])
    program = of.compile(heads, of.spec((6, 8), "float32", four, of.S(0)), executor="simulator", checked=True)
    x = np.random.default_rng(1).normal(size=(6, 8)).astype("float32")
    np.testing.assert_allclose(program(x), program.graph.evaluate(x), rtol=1e-6)


def test_a_reshape_that_leaves_the_device_is_a_copy() -> None:
    for f in (lambda x: of.reshape(x * 2.0, (8, 6)), lambda x: (of.reshape(x, (8, 6)).to_global(TWO, of.S(1)), x)):
        program = of.compile(f, of.spec((6, 8), "float32", TWO, of.S(0)))
        assert not views(program.graph)


def test_a_plan_with_a_wrong_view_is_refused() -> None:
    text = of.compile(heads, spec(6, 8)).plan.to_json()
    assert '"shape":[6,4,2]' in text
    with pytest.raises(of.PlanError, match="not what it has"):
        of.Plan.from_json(text.replace('"shape":[6,4,2]', '"shape":[600,4,2]', 1))


# ------------------------------------------------------------ the whole pass


def test_fusing_twice_changes_nothing_more() -> None:
    found = graph(mlp(micro_batches=2), "fuse")
    again = fuse(found, options())
    assert [n.op for n in again.nodes] == [n.op for n in found.nodes]


def test_explain_shows_it(tmp_path: Any, capsys: Any) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "import oflow as of\n\ndef build(**options):\n    return of.compile(lambda x: of.exp(x * 2.0), of.spec((4, 5)))\n"
    )
    assert main(["explain", str(file), "--after", "fuse"]) == 0
    assert "fused" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(12))
def test_random_elementwise_graphs(seed: int) -> None:
    """Fused, the graph gives the same bits where nothing is summed, and 1e-5 where it is."""
    draw = np.random.default_rng(seed)
    print(f"seed {seed}")
    f, shapes = random_function(draw)
    program = of.compile(f, *(spec(*shape) for shape in shapes))
    inputs = [draw.uniform(0.5, 2.0, shape).astype("float32") for shape in shapes]
    from oflow.backends import evaluate

    before, fused = (evaluate(graph(program, name), {}, inputs) for name in ("host", "fuse"))
    for name, value in before.items():
        np.testing.assert_allclose(fused[name], value, rtol=1e-5, err_msg=f"seed {seed}")
        if value.shape == (6, 5):
            np.testing.assert_array_equal(fused[name], value, err_msg=f"seed {seed}")
    got = program(*inputs)
    for value, mine in zip(before.values(), got, strict=True):
        np.testing.assert_allclose(mine, value, rtol=2e-5, err_msg=f"seed {seed}")


def random_function(draw: np.random.Generator) -> tuple[Callable[..., Any], list[tuple[int, ...]]]:
    """A function of three tensors that makes a few from them and returns some."""
    shapes: list[tuple[int, ...]] = [(6, 5), (6, 5), (5,)]
    choices = draw.integers(0, 7, 14), draw.integers(0, 1000, (14, 2))

    def f(*given: Any) -> Any:
        values = list(given)
        for what, (i, j) in zip(*choices, strict=True):
            a, b = values[i % len(values)], values[j % len(values)]
            if len(a.shape) == 0 or len(b.shape) == 0:
                b = a
            made = [
                lambda a=a, b=b: a + b, lambda a=a, b=b: of.minimum(a * 0.5, b), lambda a=a, b=b: a * 1.5 - b,
                lambda a=a: of.tanh(a), lambda a=a, b=b: of.where(a > b, a, b), lambda a=a: of.sum(a, axis=0),
                lambda a=a: of.softmax(a) if len(a.shape) else a * 2.0,
            ]  # fmt: skip
            values.append(made[what]())
        return tuple(values[len(given) :])

    return f, shapes


