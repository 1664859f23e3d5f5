"""A net of exact operators on whole numbers gives the same bits in every layout, schedule and driver.

The reference is computed here in rational numbers, so the equality also says that no rounding took place anywhere.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

import oflow as of
from tests.program.nets import LAYOUTS, exact, whole_numbers

STEPS = 2
DRIVERS: dict[str, dict[str, Any]] = {
    "1 thread": {"workers": 1},
    "2 threads, checked": {"workers": 2, "checked": True},
    "the caller's thread": {"workers": 0},
    "simulator, checked": {"executor": "simulator", "checked": True},
}
LATE_BACKWARD = {
    1: "0F0,0F1,0F2,0B0,0F3,0B1,0B2,0B3\n",
    2: "0F0,0F1,0F2,0B0,0F3,0B1,0B2,0B3\n1F0,1F1,1B0,1B1,1F2,1F3,1B2,1B3\n",
}


def rational(array: np.ndarray) -> np.ndarray:
    return np.vectorize(Fraction, otypes=[object])(array)


@cache
def reference() -> tuple[tuple[Fraction, ...], dict[str, np.ndarray]]:
    """The losses of two steps and the weights after them, in rational numbers."""
    w = {name: rational(value) for name, value in exact("single").state_dict().items() if name != "optimizer.step"}
    losses = []
    for x, y in [tuple(map(rational, batch)) for batch in whole_numbers(STEPS)]:
        z = x @ w["up.weight"].T + w["up.bias"]
        h = np.where(z > 0, z, 0)
        error = h @ w["down.weight"].T + w["down.bias"] - y
        losses.append((error * error).sum())
        back = np.where(z > 0, 2 * error @ w["down.weight"], 0)
        gradients = {"down.weight": 2 * error.T @ h, "down.bias": 2 * error.sum(0)}
        gradients |= {"up.weight": back.T @ x, "up.bias": back.sum(0)}
        w = {name: w[name] - g / 8 for name, g in gradients.items()}
    return tuple(losses), w


def schedules(layout: str) -> list[tuple[str, dict[str, Any]]]:
    custom = of.Schedule.from_csv(LATE_BACKWARD[2 if layout.startswith("pipeline") else 1], "late backward")
    return [
        ("1f1b", {"micro_batches": 1}),
        ("gpipe", {"micro_batches": 2, "schedule": "gpipe"}),
        ("1f1b", {"micro_batches": 4}),
        ("csv", {"micro_batches": 4, "schedule": custom}),
    ]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_bits(layout: str, driver: str) -> None:
    """Two of the four schedules, so that every two of layout, schedule and driver meet; all three with ``-m slow``."""
    turn = LAYOUTS.index(layout) + list(DRIVERS).index(driver)
    check(layout, driver, [schedules(layout)[(turn + i) % 4] for i in (0, 1)])


@pytest.mark.slow
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_bits_in_every_combination(layout: str, driver: str) -> None:
    check(layout, driver, schedules(layout))


def check(layout: str, driver: str, cases: list[tuple[str, dict[str, Any]]]) -> None:
    losses, weights = reference()
    for name, options in cases:
        with exact(layout, **options, **DRIVERS[driver]) as step:
            got = [step(x, y) for x, y in whole_numbers(STEPS)]
            state = step.state_dict()
        where = f"{name} {options['micro_batches']}"
        assert [Fraction(float(loss)) for loss in got] == list(losses), where
        assert state.pop("optimizer.step") == STEPS
        assert state.keys() == weights.keys()
        for key, value in state.items():
            assert (rational(value) == weights[key]).all(), (where, key)


def test_the_reference_itself_is_exercised() -> None:
    """Both steps change every weight, and the numbers are no longer whole: a lost micro-batch or shard would show."""
    losses, weights = reference()
    assert losses[0] != losses[1]
    assert any(Fraction(x).denominator > 8 for x in weights["up.weight"].flat)
    with exact("single") as step:
        before = step.state_dict()
    assert all((rational(before[name]) != weights[name]).any() for name in weights)
