"""What a program returns: equal to the reference, in the form of the traced function, whatever the layout."""

from __future__ import annotations

import numpy as np
import pytest

import oflow as of
from tests.program.nets import BATCH, FOUR, LAYOUTS, NARROW, ONE, WIDE, Net, annotate, batches, classifier, stage_of


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("micro_batches", [1, 4])
def test_the_loss_is_the_references(layout: str, micro_batches: int) -> None:
    """The reference evaluates the graph node by node with the state of that moment."""
    with classifier(layout, micro_batches=micro_batches, checked=True) as step:
        for x, y in batches(3):
            expected = step.graph.evaluate(x, y)
            np.testing.assert_allclose(step(x, y), expected, rtol=1e-13)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_trains_alike(layout: str) -> None:
    with classifier("single") as single, classifier(layout, micro_batches=2) as other:
        for x, y in batches(6):
            np.testing.assert_allclose(other(x, y), single(x, y), rtol=1e-12)
        for name, value in single.state_dict().items():
            np.testing.assert_allclose(other.state_dict()[name], value, rtol=1e-8, atol=1e-12, err_msg=name)


def test_the_same_program_twice_gives_the_same_bits() -> None:
    runs = []
    for workers in (1, 2):
        with classifier("pipeline x data", micro_batches=4, workers=workers) as step:
            runs.append([step(x, y) for x, y in batches(4)])
    assert runs[0] == runs[1]


def test_a_dict_with_taps() -> None:
    model = Net(lambda a, b: of.nn.Linear(a, b, dtype="float64"))

    def f(x):
        h = of.tap("hidden", of.relu(model.up(x)))
        return {"scores": model.down(h), "largest": of.max(h)}

    with of.compile(f, of.spec((BATCH, WIDE), "float64", FOUR, of.S(0))) as program:
        x = batches(1)[0][0]
        found = program(x)
        expected = program.graph.evaluate(x)
        state = program.state_dict()
    hidden = np.maximum(x @ state["up.weight"].T + state["up.bias"], 0)
    assert list(found) == ["scores", "largest"] == list(expected)
    np.testing.assert_allclose(found["scores"], hidden @ state["down.weight"].T + state["down.bias"], rtol=1e-12)
    assert found["largest"] == hidden.max() or np.isclose(found["largest"], hidden.max(), rtol=1e-14)
    assert list(program.taps) == ["hidden"]
    np.testing.assert_allclose(program.taps["hidden"], hidden, rtol=1e-12)


def test_a_tuple_and_a_single_tensor() -> None:
    two = of.compile(lambda x: (x + 1.0, of.sum(x)), of.spec((5,), "float64", FOUR, of.S(0)))
    one = of.compile(lambda x: x * 2.0, of.spec((2, 3), "float64"))
    with two, one:
        plus, total = two(np.arange(5.0))
        np.testing.assert_array_equal(plus, np.arange(5.0) + 1)
        assert total == 10.0 and total.shape == ()
        assert one(np.ones((2, 3))).sum() == 12.0


def test_results_do_not_change_with_the_next_step() -> None:
    with of.compile(lambda x: x * 2.0, of.spec((3,), "float64")) as program:
        first = program(np.ones(3))
        program(np.zeros(3))
        np.testing.assert_array_equal(first, 2.0)


@pytest.mark.parametrize("layout", ["single", "data", "tensor", "pipeline x data"])
@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_outputs_of_each_sample_with_micro_batches(layout: str, micro_batches: int) -> None:
    """Per-sample outputs are collected along the batch, next to a summed loss."""
    model = Net(lambda a, b: of.nn.Linear(a, b, dtype="float64"))
    xs, ys = annotate(model, layout)
    stage = stage_of(layout)

    def f(x, y):
        with stage(0):
            h = of.gelu(model.up(x))
        with stage(1):
            scores = model.down(h)
            each = of.softmax_cross_entropy(scores, y)
            return of.mean(each), each, scores

    specs = of.spec((BATCH, WIDE), "float64", *xs), of.spec((BATCH,), "int64", *ys)
    program = of.compile(f, *specs, optimizer=of.optim.SGD(lr=0.5), micro_batches=micro_batches, checked=True)
    with program:
        for x, y in batches(2):
            expected = program.graph.evaluate(x, y)
            loss, each, scores = program(x, y)
            assert each.shape == (BATCH,) and scores.shape == (BATCH, NARROW)
            for got, wanted in zip((loss, each, scores), expected, strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-12)
            np.testing.assert_allclose(each.mean(), loss, rtol=1e-13)


def test_a_plan_that_went_through_json_is_the_same_and_is_proved_again() -> None:
    for layout in ("single", "pipeline x tensor"):
        plan = classifier(layout, micro_batches=4).plan
        loaded = of.Plan.from_json(plan.to_json())
        assert loaded == plan
        assert loaded.check() == plan.check()
        assert loaded.simulate(steps=2) == plan.simulate(steps=2)


def test_a_plan_is_reproducible() -> None:
    assert classifier("tensor", micro_batches=2).plan == classifier("tensor", micro_batches=2).plan


def test_a_program_without_inputs_or_parameters_is_no_special_case() -> None:
    model = of.nn.Linear(3, 2, dtype="float64")
    model.to_global(ONE, of.B)
    with of.compile(lambda: of.sum(of.square(model.weight))) as program:
        assert program() == program() == np.float64((program.state_dict()["weight"] ** 2).sum())
