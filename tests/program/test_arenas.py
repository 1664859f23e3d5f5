"""Arenas are as small as what lives at once in the step, and sharing changes no result."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oflow as of
from oflow.compiler.memory import loads
from tests.program.test_memory import PROGRAMS

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NEAR = 1.05
"""Most that an arena may have over its lower bound."""


@cache
def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def assert_small(plan: of.Plan) -> None:
    bounds = loads(plan)
    for device, nbytes in plan.arenas.items():
        assert bounds[device] <= nbytes <= NEAR * bounds[device], f"{device}: {nbytes:,} bytes, of which {bounds[device]:,} live at once"


@pytest.mark.parametrize("layout", ["single", "data", "tensor", "pipeline"])
def test_arenas_of_the_digits(layout: str) -> None:
    assert_small(example("digits")["build"](layout).plan)


def test_arenas_of_the_gpt() -> None:
    assert_small(example("gpt")["build"]().plan)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_arenas_under_other_schedules(schedule: str) -> None:
    step, _ = PROGRAMS["transformer"](schedule=schedule)
    assert_small(step.plan)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("options", [{"executor": "simulator", "checked": True}, {}], ids=["poisoned", "default"])
def test_sharing_changes_no_result(name: str, options: dict[str, Any]) -> None:
    step, batch = PROGRAMS[name](**options)
    with step:
        for _ in range(3):
            expected = step.graph.evaluate(*batch)
            assert np.allclose(step(*batch), expected, rtol=1e-5)
