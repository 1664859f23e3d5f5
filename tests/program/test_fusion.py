"""Programs compiled with and without the fuse pass: the same bits of whole numbers, the same numbers to 1e-6, less memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oflow as of
from oflow import compiler
from oflow.check import check
from oflow.graph import Graph
from tests.program.nets import LAYOUTS, batches, classifier, exact, whole_numbers

STEPS = 2


def fuse(graph: Graph, given: compiler.Options) -> Graph:
    """In the place of the pass: changes nothing."""
    return graph


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """without(make): what `make` compiles without the fuse pass."""

    def compiled(make: Any) -> of.Program:
        with monkeypatch.context() as patch:
            passes = tuple(fuse if one.__name__ == "fuse" else one for one in compiler.GRAPH_PASSES)
            patch.setattr(compiler, "GRAPH_PASSES", passes)
            return make()

    return compiled


def trained(program: of.Program, given: list[Any]) -> tuple[list[float], dict[str, np.ndarray]]:
    with program as step:
        losses = [float(step(*batch)) for batch in given]
        return losses, step.state_dict()


@pytest.mark.parametrize("micro_batches", [1, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_bits_of_whole_numbers(layout: str, micro_batches: int, without: Any) -> None:
    def make() -> of.Program:
        return exact(layout, micro_batches=micro_batches)

    (losses, state), (plain, other) = (trained(p, whole_numbers(STEPS)) for p in (make(), without(make)))
    assert losses == plain
    assert state.keys() == other.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("micro_batches", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_numbers(layout: str, micro_batches: int, clip: float | None, without: Any) -> None:
    def make() -> of.Program:
        return classifier(layout, of.optim.AdamW(lr=1e-2, clip_norm=clip), micro_batches=micro_batches)

    fused = make()
    check(fused.plan)
    (losses, state), (plain, other) = (trained(p, batches(STEPS)) for p in (fused, without(make)))
    np.testing.assert_allclose(losses, plain, rtol=1e-6)
    for name, value in state.items():
        np.testing.assert_allclose(value, other[name], rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("layout", ["single", "data3", "grid", "pipeline x data"])
def test_the_fused_graph_evaluates(layout: str) -> None:
    program = classifier(layout, micro_batches=2)
    (batch,) = batches(1)
    with program as step:
        foretold = step.graph.evaluate(*batch)
        np.testing.assert_allclose(step(*batch), foretold, rtol=1e-9)


@pytest.mark.parametrize("options", [{"executor": "simulator", "checked": True}, {"executor": "threads", "kernels": "numpy"}, {}])
def test_every_driver_runs_fused_nodes(options: dict[str, Any]) -> None:
    (batch,) = batches(1)
    with classifier("data", micro_batches=3, **options) as step:
        foretold = step.graph.evaluate(*batch)
        np.testing.assert_allclose(step(*batch), foretold, rtol=1e-9)


def widest(layout: str = "one", **facts: Any) -> of.Program:
    """Four layers with GELU, x (256, 128): most of its bytes are activations and weights of equal size."""
    layers = [of.nn.Linear(128, 128) for _ in range(4)]
    where = of.placement("cpu", [0] if layout == "one" else [0, 1])
    for layer in layers:
        layer.to_global(where, of.B)

    def loss(x: Any, y: Any) -> Any:
        for layer in layers:
            x = of.gelu(layer(x))
        return of.mse(x, y)

    spec = of.spec((256, 128), "float32", where, of.B if layout == "one" else of.S(0))
    return of.compile(loss, spec, spec, optimizer=of.optim.AdamW(lr=1e-3), **facts)


@pytest.mark.parametrize("layout", ["one", "data"])
@pytest.mark.parametrize("micro_batches", [1, 4])
def test_it_needs_no_more_memory_and_fewer_calls(layout: str, micro_batches: int, without: Any) -> None:
    def make() -> of.Program:
        return widest(layout, micro_batches=micro_batches)

    fused, plain = make().plan, without(make).plan
    assert all(fused.arenas[device] <= plain.arenas[device] for device in plain.arenas)
    calls = [sum(len(a.calls) * a.acts * len(plan.rank_table[a.group]) for a in plan.actor_templates) for plan in (fused, plain)]
    assert calls[0] < 0.75 * calls[1]
    assert check(fused).period < check(plain).period
