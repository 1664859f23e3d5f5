"""benchmarks/megatron.py: the papers' counts of flops against those of plans, and rows that fit together."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

import megatron
from megatron import RUNS, Run, built, lines, product_flops


@pytest.mark.parametrize("name", RUNS)
def test_rows_are_layouts_that_the_example_can_have(name: str) -> None:
    run = RUNS[name]
    assert run.devices == run.data * run.tensor * run.stages and run.layers % (run.stages * run.chunks) == 0
    assert run.width % run.heads == 0 == run.heads % run.tensor and run.vocabulary % run.tensor == 0
    assert run.batch % (run.data * run.micro_batch) == 0
    assert (run.seconds > 0) != (run.teraflops > 0)


def test_rows_have_the_papers_parameters() -> None:
    """In billions, as they name the models: 12 l h^2 (1 + 13 / 12h) + (V + s) h."""
    for run in RUNS.values():
        h, layers = run.width, run.layers
        billions = (12 * layers * h * h * (1 + 13 / (12 * h)) + (run.vocabulary + run.seq) * h) / 1e9
        named = 1000.0 if run.name.startswith("1T") else float(run.name.split("B")[0])
        assert billions == pytest.approx(named, rel=0.04), run.name


def test_the_utilisation_of_korthikanti_et_al_follows_from_their_seconds() -> None:
    for name, utilisation in (("22B-selective", 0.415), ("175B-selective", 0.514), ("530B-selective", 0.560), ("1T-selective", 0.563)):
        run = RUNS[name]
        assert run.model_flops / run.devices / run.seconds / 312e12 == pytest.approx(utilisation, abs=0.002)


@pytest.mark.parametrize(("recompute", "sequence"), [("blocks", False), ("attention", True)])
def test_a_plan_counts_the_papers_flops(recompute: str, sequence: bool) -> None:
    """All but the last product of a region, which nobody reads in the backward pass: 8 B s h^2 of a layer, or 2 B s^2 h."""
    run = Run("tiny", 4, 32, 2, 2, 1, 1, 2, 4, 2, recompute, sequence, seconds=1.0, seq=16, vocabulary=64)
    plan = built(run, residual=32).plan  # a head as small as this one is cheaper whole on each device where its table is in 16 bits
    assert plan.model_flops == pytest.approx(run.model_flops, rel=1e-12)
    unread = 8.0 * run.seq * run.width**2 if recompute == "blocks" else 2.0 * run.seq**2 * run.width
    assert product_flops(plan) == pytest.approx(run.run_flops - run.batch * run.layers * unread, rel=1e-12)


def test_a_row_that_failed_says_why_beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {**megatron.asdict(RUNS["1.7B"]), "measured": 2.0, "predicted": 1.5, "error": -0.25, "as_run": 1.6, "as_run_error": -0.2,
            "predicted_teraflops": 100.0, "computing": 0.7, "exposed": 0.2, "bubble": 0.1, "nbytes": 2e9,
            "compile_seconds": 3.0}  # fmt: skip
    text = lines([made, {"name": "1008B", "failed": "more than 5 s"}])
    assert "-25.0%" in text and text.endswith("1008B: more than 5 s")
