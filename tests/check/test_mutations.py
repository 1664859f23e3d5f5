"""Compiled plans made a little wrong: what hangs, clashes or gives other numbers is refused, by the name of what is wrong."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest

import oflow as of
from oflow.check import check
from oflow.errors import PlanError
from oflow.program import Program
from tests.check.mutations import MUTATIONS, harm, results
from tests.program.nets import exact, whole_numbers

NETS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("data", {"micro_batches": 3}), ("tensor", {}), ("tensor3", {"micro_batches": 2}), ("grid", {"micro_batches": 3}),
    ("pipeline", {"micro_batches": 3, "schedule": "1f1b"}), ("pipeline x data", {"micro_batches": 2, "schedule": "gpipe"}),
    ("pipeline x tensor", {"micro_batches": 3, "schedule": "1f1b"}), ("pipeline, 3 and 1 ranks", {"micro_batches": 2}),
)  # fmt: skip


@cache
def program(number: int) -> tuple[Program, Any, list[np.ndarray]]:
    """A program, three steps of inputs, and what comes of them: the loss of the first is that of the graph on one device."""
    layout, options = NETS[number]
    made, batches = exact(layout, **options), whole_numbers(3)
    wanted = results(made, made.plan, batches)
    assert np.array_equal(wanted[0], made.graph.evaluate(*batches[0]))
    return made, batches, wanted


def mutants(seeds: range) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in seeds:
        rng = random.Random(seed)
        made, batches, wanted = program(seed % len(NETS))
        mutation = MUTATIONS[seed // len(NETS) % len(MUTATIONS)]
        found = mutation(rng, made.plan)
        if found is None or found[0] == made.plan:
            counts["nothing to change"] += 1
            continue
        plan, touched = found
        try:
            check(plan)
        except PlanError as e:
            text = f"{type(e).__name__}: {e}"
            assert any(name in text for name in touched), f"seed {seed}: {mutation.__name__} of {touched}: {text}"
            counts["refused"] += 1
            continue
        wrong = harm(made, plan, batches, wanted, seed)
        assert not wrong, f"seed {seed}: {mutation.__name__} of {touched} was accepted, but it {wrong}"
        counts["harmless"] += 1
        counts[f"harmless {mutation.__name__}"] += 1
    return counts


@pytest.mark.parametrize("seeds", [range(144), pytest.param(range(1000, 4000), marks=pytest.mark.slow)], ids=["sample", "slow"])
def test_what_is_wrong_is_refused_by_name(seeds):
    counts = mutants(seeds)
    print(dict(counts))
    assert counts["refused"] > len(seeds) // 3 and counts["harmless"] > 0, counts


def test_a_tensor_without_elements_needs_no_source():
    where = of.placement("cpu", [0, 1])
    assert of.compile(lambda x: -x, of.spec((0, 5), "float64", where, of.B)).plan.check().deadlock_free
