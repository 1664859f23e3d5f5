"""A stash that waits in the host's memory is the same bits: layouts, schedules, executors, and random programs."""

from __future__ import annotations

from typing import Any

import pytest

import oflow as of
from oflow.native import available
from tests.program.nets import LAYOUTS
from tests.program.random_draft import cases
from tests.program.test_recompute import Mark, check_many, deep, same, trained

PLAIN: Mark = lambda f: f  # noqa: E731


def offloaded(program: of.Program) -> list[str]:
    return [a.name for a in program.plan.actor_templates if a.stream == "prefetch"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("micro_batches,schedule", [(1, "1f1b"), (4, "gpipe")])
def test_the_same_bits_in_every_layout_and_schedule(layout: str, micro_batches: int, schedule: str) -> None:
    options = {"micro_batches": micro_batches, "schedule": schedule, "norm": False, "executor": "simulator", "kernels": "numpy"}
    plain, away = deep(layout, PLAIN, **options), deep(layout, PLAIN, offload="all", checked=True, **options)
    assert bool(offloaded(away)) == (micro_batches == 1 or layout.startswith("pipeline") or schedule == "gpipe")
    same(trained(away), trained(plain))


@pytest.mark.parametrize("layout", ["pipeline", "pipeline x tensor"])
@pytest.mark.parametrize("options", [{"offload": "all"}, {"recompute": "all"}, {"recompute": "all", "offload": "all"}, {}])
def test_the_same_bits_where_the_backward_is_parted(layout: str, options: dict[str, Any]) -> None:
    """Copies belong to I where I needs them, else to W."""
    common: dict[str, Any] = {"micro_batches": 4, "schedule": "zero-bubble", "norm": False, "kernels": "numpy"}
    saved = deep(layout, PLAIN if options else of.recompute, checked=True, executor="simulator", **common, **options)
    assert {n.phase for n in saved.graph.nodes} >= {"F", "I", "W"}
    same(trained(saved), trained(deep(layout, PLAIN, **common)))


@pytest.mark.skipif(not available(), reason="numba is not installed")
@pytest.mark.parametrize("executor", ["native", "processes", "threads"])
def test_the_same_bits_from_every_executor(executor: str) -> None:
    options: dict[str, Any] = {"micro_batches": 4, "schedule": "gpipe", "norm": False, "executor": executor}
    away = deep("pipeline x data", PLAIN, offload="all", **options)
    assert offloaded(away)
    same(trained(away), trained(deep("pipeline x data", PLAIN, **options)))


def test_with_recomputation_and_automatic_layouts() -> None:
    options: dict[str, Any] = {"micro_batches": 4, "schedule": "gpipe", "norm": False}
    both = deep("data", of.recompute, offload="all", layout="auto", **options)
    same(trained(both), trained(deep("data", PLAIN, layout="auto", **options)))


def test_random_programs() -> None:
    check_many(12, 11, cases(exact=False, trains=True, most=6), offload="all")


@pytest.mark.slow
def test_many_more_random_programs() -> None:
    import secrets

    number = secrets.randbits(32)
    print(f"seed {number}")
    check_many(2000, number, cases(exact=False, trains=True, most=6), offload="all")
