"""The examples run and reach what they promise (the whole GPT training is marked slow)."""

import importlib.util
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    return load("digits")


@pytest.fixture(scope="module")
def gpt():
    return load("gpt")


def test_matmul_prints_and_draws_three_plans(tmp_path, monkeypatch, capsys):
    path = FOLDER / "01_matmul.py"
    assert len(path.read_text().splitlines()) < 40
    monkeypatch.setattr(sys, "argv", [str(path), str(tmp_path)])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.count("deadlock-free") == 3
    assert len(list(tmp_path.glob("*.svg"))) == 6


# ------------------------------------------------------------ digits


@pytest.fixture(scope="module")
def trained(digits):
    return {layout: digits.train(layout) for layout in digits.LAYOUTS}


def test_digits_reach_97_percent_in_every_layout(trained):
    assert {layout: metrics["accuracy"] for layout, (_, metrics) in trained.items() if metrics["accuracy"] < 0.97} == {}


def apart(curves):
    """Greatest relative difference of the first 20 losses from those on one device."""
    return max(np.max(np.abs(losses[:20] / curves["single"][:20] - 1)) for losses in curves.values())


def test_digits_curves_agree(digits, trained):
    assert apart({layout: losses for layout, (losses, _) in trained.items()}) < 1e-5
    assert apart({layout: digits.train(layout, "float64", epochs=2)[0] for layout in digits.LAYOUTS}) < 1e-9


def test_digits_tensor_layout_follows_from_two_annotations(digits):
    graph = digits.build("tensor").passes["insert_boxing"]
    homes = {p.name: str(graph.values[p.value].layout).partition("@")[0] for p in graph.parameters}
    assert (homes["up.weight"], homes["down.weight"]) == ("S(0)", "S(1)")
    relu = next(n for n in graph.nodes if n.op == "relu")
    assert str(graph.values[relu.outs[0]].layout) == "S(1)@cpu:0-3", "the hidden layer stays split between the two products"


# ------------------------------------------------------------ gpt


def test_gpt_is_a_proved_pipeline_of_tensor_parallel_stages(gpt):
    program = gpt.build()
    proof = program.plan.check()
    assert proof.deadlock_free
    assert {d for d in program.plan.devices if not d.startswith("host")} == {f"cpu:{i}" for i in range(8)}
    homes = {p.name: str(program.graph.values[p.value].layout) for p in program.graph.parameters}
    for stage in range(4):
        where = f"cpu:{2 * stage}-{2 * stage + 1}"
        assert homes[f"blocks.{stage}.attention.query.weight"] == f"S(0)@{where}"
        assert homes[f"blocks.{stage}.down.weight"] == f"S(1)@{where}"


@pytest.mark.parametrize("schedule, chunks", [("zero-bubble", 1), ("zero-bubble", 2)])
def test_gpt_under_other_schedules(gpt, schedule, chunks):
    program = gpt.build(schedule=schedule, chunks=chunks, layers=4 * chunks, micro_batches=4)
    assert program.plan.check().deadlock_free
    stages = {actor.stage for actor in program.plan.actors if actor.device == "cpu:0"}
    assert stages == ({0} if chunks == 1 else {0, 7}), "down the ranks, and back up"


def test_gpt_learns_and_is_what_the_reference_computes(gpt):
    feed = gpt.batches(steps=10)
    with gpt.build(steps=10) as program:
        expected = program.graph.evaluate(*feed[0])
        losses = [float(loss) for loss in program.stream(feed)]
        assert losses[0] == pytest.approx(float(expected), rel=1e-5)
        assert losses[-1] < losses[0] - 0.5
        found = gpt.evaluate(program, count=32, length=16)
    assert found["bits_per_byte"] < 8 and 3 < found["bigram_bits_per_byte"] < 4
    assert found["sample"].startswith("def ") and len(found["sample"]) > 4


def test_gpt_batches_depend_on_their_number_alone(gpt):
    long, short = gpt.batches(steps=9), gpt.batches(steps=3)
    assert all(np.array_equal(a, b) for a, b in zip(long[2], short[2], strict=True))
    tokens, following = short[0]
    assert np.array_equal(tokens[:, 1:], following[:, :-1])


@pytest.mark.slow
def test_gpt_beats_the_bigram_model_by_a_third_of_a_bit(gpt):
    with gpt.build() as program:
        for _ in program.stream(gpt.batches()):
            pass
        found = gpt.evaluate(program)
    assert found["bits_per_byte"] < found["bigram_bits_per_byte"] - 0.3
