"""Calibration: what is measured is a machine, close to what is measured again, and compiled kernels are timed as they run."""

import numpy as np
import pytest

from oflow import machine as machines
from oflow.calibrate import measure
from oflow.calibrate.cases import CASES, bound, given, numbers, rounds_of
from oflow.calibrate.clock import Clock
from oflow.calibrate.kernels import byte_curve, copies_of, kernel_rate, needed
from oflow.calibrate.products import product
from oflow.calibrate.workers import message_seconds
from oflow.machine import PRODUCTS
from oflow.native import available
from oflow.ops import REGISTRY

pytestmark = pytest.mark.skipif(not available(), reason="numba is not installed")
QUICK = Clock(0.002)


@pytest.mark.slow
def test_a_measured_machine_is_one(tmp_path) -> None:
    parts = []
    found = measure(3.0, lambda part, share: parts.append((part, share)))
    assert machines.load(machines.save(found, tmp_path / "m.json")) == found
    assert [share for _, share in parts] == sorted(share for _, share in parts) and parts[-1][1] <= 1
    rates = found.devices["cpu"].rates
    assert rates is not None and {case.op for case in CASES} <= rates.kernels.keys()
    big, small = (rates.products[PRODUCTS[0]].rate(n, n, n) for n in (256, 4))
    assert big > small


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_every_case_is_a_call_of_its_operator(case) -> None:
    for rows, width in ((1, 1), (6, 4)):
        call = given(case.op, *case.make(rows, width))
        assert call.cost.works[0].kernel == case.op and call.cost.nbytes > 0
        rounds_of([bound(case.op, *case.make(rows, width))])(2)


def test_copies_touch_what_they_say() -> None:
    copies = copies_of(lambda rows: bound("add", (numbers(rows, 256), numbers(rows, 256)), {}), 1, float(1 << 20))
    assert sum(c.cost.nbytes for c in copies) == pytest.approx(1 << 20, rel=0.1)
    assert len(copies) <= 32


def test_products_of_every_layout_are_the_kernel_they_are_named_after() -> None:
    for kernel in PRODUCTS:
        assert product(8, 16, 32, kernel).cost.works[0].kernel == kernel
        assert product(8, 16, 32, kernel).cost.works[0].shape == (1, 8, 16, 32)


def test_a_kernel_takes_longer_for_more() -> None:
    case = next(case for case in CASES if case.op == "softmax")
    found = kernel_rate(QUICK, case)
    assert found.call > 0 and all(value > 0 for value in found.byte.values)
    curve = byte_curve(QUICK)
    assert curve.values[-1] > curve.values[0]


def test_a_round_is_timed_per_round() -> None:
    size = 1 << 14
    one = bound("add", (numbers(size), numbers(size)), {})
    single, double = QUICK.seconds(rounds_of([one])), QUICK.seconds(rounds_of([one, one]))
    assert 1.2 < double / single < 4


def test_messages_take_some_time() -> None:
    assert 0 < message_seconds(QUICK) < 1e-2


def test_what_is_needed_is_compiled_together() -> None:
    assert len(needed()) > len(CASES)


def test_operators_of_cases_exist_and_kernels_see_ordinary_numbers() -> None:
    assert {case.op for case in CASES} <= REGISTRY.keys()
    assert np.all(numbers(3000) > 0.2)
