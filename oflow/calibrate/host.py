"""What a step takes besides its kernels: the acts of the driver, and the caller's thread, which feeds and fetches.

Whole programs are timed, so small that nothing else takes any time: one with a few acts a step, one with many.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from oflow.calibrate.clock import Clock, Rounds
from oflow.frontend.capture import spec
from oflow.machine import Curve, Device, Kernel, Rates
from oflow.ops import add
from oflow.ops.tensor import Tensor
from oflow.program import Program, compile
from oflow.sbp import B, placement

FEW, MANY = 1, 64
"""Micro-batches of the two programs."""
PATIENCE = 10
"""Times the budget of a measurement, because a step through Python is never twice the same."""


def overheads(clock: Clock) -> tuple[float, float]:
    """(seconds of an act, seconds of the caller's thread a step)."""
    few, many = _program(FEW), _program(MANY)
    with few, many:
        times = [clock.longer(PATIENCE).seconds(_steps(program)) for program in (few, many)]
        acts = [sum(actor.acts for actor in program.plan.actors) for program in (few, many)]
    act = max(0.0, (times[1] - times[0]) / (acts[1] - acts[0]))
    return act, max(0.0, times[0] - acts[0] * act)


def _program(micro_batches: int) -> Program:
    def both(x: Tensor, y: Tensor) -> Tensor:
        made: Tensor = add(x, y)
        return made

    one = spec((MANY,), "float32", placement("cpu", [0]), B)
    return compile(both, one, one, micro_batches=micro_batches)


def _steps(program: Program) -> Rounds:
    batch = (np.ones(MANY, "float32"),) * 2

    def run(count: int) -> None:
        for _ in program.stream(itertools.repeat(batch, count)):
            pass

    return run


def host_device(core: Device, byte: Curve, step: float) -> Device:
    """The caller's thread: it feeds and fetches once a step, each half of the time."""
    assert core.rates is not None
    each = Kernel(step / 2, 0.0, byte)
    rates: Rates = replace(core.rates, kernels={**core.rates.kernels, "feed": each, "fetch": each})
    return replace(core, rates=rates)
