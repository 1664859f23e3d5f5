"""layout="auto": the best homes, against looking at all of them, under a limit on memory, and beside layouts written by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

import oflow as of
from oflow.compiler.question import Question
from oflow.graph import Graph
from tests.compiler.nets import FOUR, graph

TWO = of.placement("cpu", [0, 1])


def machine(memory: int = 1 << 34, latency: float = 1e-5, bandwidth: float = 1e10) -> of.Machine:
    core = of.Device(flops=1e11, memory_bandwidth=1e10, launch=2e-6, memory_nbytes=memory)
    return of.Machine("test", {"cpu": core, "host": of.Device()}, of.Link(latency, bandwidth))


def pair(batch: int, width: int, homes: tuple[of.sbp.Sbp | None, ...], where: of.Placement = TWO, **facts: object) -> of.Program:
    """Two linear layers; homes of input, target, first and second weight (None: open)."""
    up, down = of.nn.Linear(32, width, bias=False), of.nn.Linear(width, 32, bias=False)
    for weight, home in zip((up.weight, down.weight), homes[2:], strict=True):
        if home is not None:
            weight.to_global(where, home)
    specs = [of.spec((batch, 32), "float32", where, home) for home in homes[:2]]
    facts = {"optimizer": of.optim.SGD(lr=0.1), "layout": "auto", "machine": machine(), **facts}
    return of.compile(lambda x, y: of.mse(down(of.relu(up(x))), y), *specs, **facts)


def seconds(program: of.Program) -> float:
    found = graph(program, "infer_sbp").assignment
    assert found is not None
    assert found.bound == pytest.approx(found.seconds), "proved"
    return found.seconds


def home(program: of.Program, name: str) -> of.Layout:
    found = graph(program, "infer_sbp")
    (value,) = [found.values[p.value] for p in found.parameters if p.name.endswith(name)]
    assert value.layout is not None
    return value.layout


@pytest.mark.parametrize(("batch", "width"), [(8, 512), (4096, 16)])
def test_homes_are_the_best_of_all(batch: int, width: int) -> None:
    """Every home of both weights and both inputs, one by one: none is cheaper, and one of them is what auto found."""
    best = pair(batch, width, (None,) * 4)
    asked = graph(best, "micro_batches")
    open_values = [v for v in (*asked.inputs, *(p.value for p in asked.parameters)) if len(asked.values[v].type.shape) == 2]
    assert len(open_values) == 4
    every = []
    for homes in itertools.product((of.B, of.S(0), of.S(1)), repeat=4):
        layouts = {v: of.Layout(TWO, (home,)) for v, home in zip(open_values, homes, strict=True)}
        values = {v: replace(value, layout=layouts.get(v, value.layout)) for v, value in asked.values.items()}
        every.append(Question(replace(asked, values=values), machine()).best().seconds)
    assert min(every) == pytest.approx(seconds(best), rel=1e-9)


def test_a_small_batch_splits_weights_and_a_large_one_the_batch() -> None:
    small, large = pair(8, 512, (None,) * 4), pair(65536, 8, (None,) * 4)
    assert home(small, "up.weight").sbp == (of.S(0),) and home(small, "down.weight").sbp == (of.S(1),)
    inputs = [large.passes["infer_sbp"].values[v].layout for v in graph(large, "infer_sbp").inputs]
    assert [one.sbp for one in inputs if one] == [(of.S(0),)] * 2


def test_annotations_are_kept() -> None:
    program = pair(8, 512, (of.S(0), None, of.S(1), None))
    assert home(program, "up.weight").sbp == (of.S(1),)
    found = graph(program, "infer_sbp")
    assert next(one.layout.sbp for one in (found.values[v] for v in found.inputs) if one.layout) == (of.S(0),)


def test_the_same_losses_as_by_hand() -> None:
    draw = np.random.default_rng(3)
    x, y = (draw.standard_normal((64, 32)).astype("float32") for _ in range(2))
    programs = [pair(64, 48, (None,) * 4, FOUR), pair(64, 48, (of.B,) * 4, FOUR, layout=None)]
    losses = [[float(program(x, y)) for _ in range(4)] for program in programs]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_memory_limits_are_kept() -> None:
    """Messages are dear and bytes cheap: much is kept whole, until it no longer fits."""

    def compiled(memory: int) -> of.Program:
        layers = [of.nn.Linear(256, 256) for _ in range(4)]

        def loss(x, y):
            for layer in layers:
                x = of.relu(layer(x))
            return of.mse(x, y)

        spec = of.spec((1024, 256), "float32", FOUR)
        return of.compile(loss, spec, spec, optimizer=of.optim.AdamW(lr=1e-3), layout="auto", machine=machine(memory, 1e-3, 1e12))

    def used(program: of.Program) -> int:
        return max(program.plan.arenas[d] + program.plan.states[d] for d in FOUR.devices)

    def took(program: of.Program) -> float:
        found = graph(program, "infer_sbp").assignment
        assert found is not None
        return found.seconds

    free = compiled(1 << 34)
    tight = compiled(int(used(free) * 0.7))
    assert used(tight) <= used(free) * 0.7
    assert took(tight) > took(free)
    with pytest.raises(of.OutOfMemory, match="largest parts"):
        compiled(used(free) // 50)


def test_it_says_what_came_second() -> None:
    program = pair(8, 512, (None, None, None, of.S(1)))
    (choice,) = program.parameter_choices()
    assert choice.layout.sbp == (of.S(0),) and choice.nbytes == 32 * 512 * 4 // 2
    assert choice.second is not None and choice.second.sbp != (of.S(0),)
    assert choice.second_seconds >= choice.seconds == pytest.approx(seconds(program))
    assert "second" in str(choice)


def test_a_wrong_word_is_refused() -> None:
    with pytest.raises(of.PlanError, match=r"layout='best'.*auto"):
        pair(8, 8, (None,) * 4, layout="best")


def test_the_graph_says_how_good_the_answer_is() -> None:
    found: Graph = graph(pair(8, 512, (None,) * 4), "infer_sbp")
    assert found.assignment is not None
    assert "exact (elimination)" in str(found.assignment)
