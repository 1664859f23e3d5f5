"""What is computed again is the same bits: nets, layouts, schedules, executors, and random programs with random regions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, event, given, note, seed, settings
from hypothesis import strategies as st

import oflow as of
from oflow.errors import SbpError, TraceError
from oflow.native import available
from tests.program.nets import BATCH, LAYOUTS, WIDE, Net, annotate, batches, stage_of
from tests.program.random_cases import Case, run
from tests.program.random_draft import cases

Mark = Callable[[Any], Any]
QUICK, LONG = 12, 2000


class Deep(Net):
    """Two layers with a norm that keeps statistics, dropout, and a weight that is used twice."""

    def __init__(self) -> None:
        super().__init__(lambda inner, outer: of.nn.Linear(inner, outer, dtype="float64"))
        self.norm = of.nn.BatchNorm1d(WIDE, dtype="float64")
        self.drop = of.nn.Dropout(0.3)

    def first(self, x):
        return self.drop(of.gelu(self.up(of.tanh(self.norm(x)))))

    def second(self, h):
        return self.down(of.gelu(of.linear(of.tanh(self.down(h)), of.transpose(self.down.weight))))


def deep(where: str, mark: Mark, norm: bool = True, **options: Any) -> of.Program:
    model = Deep()
    xs, ys = annotate(model, where)
    stage = stage_of(where)
    if where.startswith("pipeline"):
        model.norm.to_global(model.up.bias.layout.placement, of.B)

    def loss(x, y):
        with stage(0):
            h = mark(model.first if norm else lambda x: model.drop(of.gelu(model.up(of.tanh(x)))))(x)
        with stage(1):
            return of.cross_entropy(mark(model.second)(h), y)

    specs = of.spec((BATCH, WIDE), "float64", *xs), of.spec((BATCH,), "int64", *ys)
    return of.compile(loss, *specs, optimizer=of.optim.AdamW(lr=1e-2), **options)


def trained(program: of.Program, steps: int = 3) -> dict[str, np.ndarray]:
    with program:
        losses = [program(*batch) for batch in batches(steps)]
        return {"losses": np.asarray(losses), **program.state_dict()}


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("micro_batches,schedule", [(1, "1f1b"), (4, "1f1b"), (4, "gpipe")])
def test_the_same_bits_in_every_layout_and_schedule(layout: str, micro_batches: int, schedule: str) -> None:
    # batch statistics are a barrier over micro-batches, which gpipe alone waits for
    norm = micro_batches == 1 or schedule == "gpipe"
    options = {"micro_batches": micro_batches, "schedule": schedule, "norm": norm, "executor": "simulator", "kernels": "numpy"}
    plain, again = (deep(layout, mark, checked=True, **options) for mark in (lambda f: f, of.recompute))
    assert len(again.graph.nodes) > len(plain.graph.nodes)
    same(trained(again), trained(plain))


@pytest.mark.skipif(not available(), reason="numba is not installed")
@pytest.mark.parametrize("executor", ["native", "processes", "threads"])
@pytest.mark.parametrize("kernels", ["numpy", "compiled"])
def test_the_same_bits_from_every_executor(executor: str, kernels: str) -> None:
    options = {"micro_batches": 4, "norm": False, "kernels": kernels, "executor": executor}
    same(*(trained(deep("pipeline x data", mark, **options)) for mark in (of.recompute, lambda f: f)))


def test_automatic_layouts() -> None:
    options = {"layout": "auto", "micro_batches": 2, "norm": False}
    same(*(trained(deep("data", mark, **options)) for mark in (of.recompute, lambda f: f)))


@st.composite
def with_regions(draw: Any) -> Case:
    """A random program that learns, with one to three regions that nest or lie apart."""
    case = draw(cases(exact=False, trains=True, most=6))
    places = st.integers(0, len(case.steps))
    found: list[tuple[int, int]] = []
    for _ in range(draw(st.integers(1, 3))):
        start, stop = sorted((draw(places), draw(places)))
        crossing = any(a < start < b < stop or start < a < stop < b for a, b in found)
        if start < stop and not crossing and (start, stop) not in found:
            found.append((start, stop))
    return replace(case, regions=tuple(found))


def check(case: Case, **options: Any) -> None:
    """The case with its regions and these options against the case without."""
    plain = replace(case, regions=())
    try:
        wanted = run(plain)
    except (SbpError, TraceError) as e:
        event(f"refused: {type(e).__name__}")
        assume(False)
    same(run(case, **options), wanted)


def check_many(count: int, number: int, drawn: Any, **options: Any) -> None:
    @settings(
        max_examples=count, deadline=None, print_blob=True, report_multiple_bugs=False, database=None,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @seed(number)
    @given(drawn)
    def every(case: Case) -> None:
        note(f"seed {number}")
        check(case, **options)

    every()


def test_random_programs_with_random_regions() -> None:
    check_many(QUICK, 7, with_regions())


@pytest.mark.slow
def test_many_more_random_programs_with_random_regions() -> None:
    import secrets

    number = secrets.randbits(32)
    print(f"seed {number}")
    check_many(LONG, number, with_regions())
