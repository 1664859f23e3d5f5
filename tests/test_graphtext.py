"""A graph's text parses back to an equal graph."""

from __future__ import annotations

import math
import random

import pytest

from oflow.errors import OflowError
from oflow.graph import Builder, Graph, Node, Parameter, Value
from oflow.graphtext import format_graph, parse_graph
from oflow.sbp import B, Layout, P, Placement, S
from oflow.types import TensorType, freeze

CPU4 = Placement("cpu", (0, 1, 2, 3), (4,))
GRID = Placement("cpu", (0, 2, 4, 6), (2, 2))


def small_graph() -> Graph:
    b = Builder()
    x = b.value(TensorType((512, 64)), name="x", time=S(0), layout=Layout(CPU4, (S(0),)), fixed=True)
    w = b.value(TensorType((64, 256)), layout=Layout(CPU4, (B,)))
    b.inputs.append(x.id)
    b.parameters.append(Parameter("up.weight", w.id, "uniform", freeze({"low": -0.1, "high": 0.1})))
    b.micro_batches = 8
    with b.at(line="mlp.py:14", stage=0, placement=CPU4):
        h = b.node("matmul", (x.id, w.id), [TensorType((512, 256))], rate=8)
        r = b.node("relu", h.outs, [TensorType((512, 256))], rate=8)
    b.outputs.append(("loss", r.outs[0]))
    return b.build()


def test_the_form() -> None:
    assert format_graph(small_graph()) == (
        "graph: 8 micro-batches\n"
        'input %0: f32[512, 64] "x" t:S(0) S(0)@cpu:0-3 fixed\n'
        'parameter %1: f32[64, 256] B@cpu:0-3 = uniform(high=0.1, low=-0.1)   # "up.weight" trainable\n'
        "%2: f32[512, 256] = matmul(%0, %1)   # mlp.py:14 stage 0 F x8 at cpu:0-3\n"
        "%3: f32[512, 256] = relu(%2)   # mlp.py:14 stage 0 F x8 at cpu:0-3\n"
        'output "loss" %3\n'
    )


def random_text(rng: random.Random) -> str:
    return "".join(rng.choice('ab.:/ %#=,"\\\n\0é stage x8') for _ in range(rng.randint(0, 8)))


def random_literal(rng: random.Random, depth: int = 0) -> object:
    kind = rng.randrange(8 if depth < 2 else 7)
    number = rng.uniform(-1, 1) * 10.0 ** rng.randint(-20, 20)
    plain = (None, True, rng.randint(-9, 9), number, math.inf, -math.inf, random_text(rng))
    return plain[kind] if kind < 7 else tuple(random_literal(rng, depth + 1) for _ in range(rng.randint(0, 3)))


def random_layout(rng: random.Random) -> Layout:
    place = rng.choice((CPU4, GRID, Placement("cuda", (5, 3), (2,))))
    return Layout(place, tuple(rng.choice((S(0), S(1), B, P, P("max"))) for _ in place.mesh))


def random_graph(seed: int) -> Graph:
    rng = random.Random(seed)
    values: dict[int, Value] = {}

    def value() -> int:
        id = rng.choice([i for i in range(200) if i not in values])
        kind = TensorType(tuple(rng.randint(0, 9) for _ in range(rng.randint(0, 3))), rng.choice(("float32", "int64", "bool")))
        values[id] = Value(
            id, kind, random_text(rng), rng.choice((None, S(0), B, P, P("min"))), rng.choice((None, random_layout(rng))),
            rng.random() < 0.5,
        )  # fmt: skip
        return id

    inputs = tuple(value() for _ in range(rng.randint(0, 2)))
    kept = [value() for _ in range(rng.randint(0, 2))]
    nodes: list[Node] = []
    for number in range(rng.randint(0, 6)):
        ins = tuple(rng.choice(list(values)) for _ in range(rng.randint(0, 3))) if values else ()
        attrs = freeze({name: random_literal(rng) for name in rng.sample("abc", rng.randint(0, 3))})
        nodes.append(
            Node(
                number + rng.choice((0, 10)), rng.choice(("add", "reduce_sum", "my.op")), ins,
                tuple(value() for _ in range(rng.randint(0, 3))), attrs, rng.choice((None, 0, 3)),
                rng.choice(("F", "B", "update")), rng.choice((1, 8)), rng.choice((None, CPU4, GRID)),
                rng.choice(("compute", "comm")), rng.choice(("", "a.py:3", random_text(rng))),
                tuple(random_layout(rng) for _ in range(rng.randint(0, 2))),
            )
        )  # fmt: skip
    some = list(values) or [value()]
    parameters = tuple(
        Parameter(
            random_text(rng), v, "normal", freeze({"std": random_literal(rng)}), rng.random() < 0.5,
            rng.choice((None, *some)), rng.choice((None, *some)),
        )
        for v in kept
    )  # fmt: skip
    defined = [*inputs, *kept, *(v for n in nodes for v in n.outs)]
    parameters = tuple(p if p.update in (None, *defined) else Parameter(p.name, p.value) for p in parameters)
    outputs = tuple((random_text(rng), rng.choice(defined)) for _ in range(2)) if defined else ()
    value()  # one that nobody makes
    return Graph(tuple(nodes), values, inputs, outputs, parameters, rng.randint(1, 16))


@pytest.mark.parametrize("seed", range(300))
def test_text_parses_back(seed: int) -> None:
    print(f"seed {seed}")
    graph = random_graph(seed)
    assert parse_graph(format_graph(graph)) == graph


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "starts with"),
        ("graph: 1 micro-batches\n%0: f32[2] = ones()   # a.py:1 F\n%0: f32[2] = ones()   # a.py:1 F", "made twice"),
        ("graph: 1 micro-batches\nnonsense", "line 2"),
        ("graph: 1 micro-batches\n%1: f32[2] = relu(%0)   # a.py:1 F", "before it is made"),
        ("graph: 1 micro-batches\n%1: f9[2] = ones()   # a.py:1 F", "tensor type"),
    ],
)
def test_text_that_is_no_graph_is_refused(text: str, part: str) -> None:
    with pytest.raises(OflowError, match=part):
        parse_graph(text)
