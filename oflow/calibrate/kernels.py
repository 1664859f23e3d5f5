"""Kernels: seconds of a call, of a row and of a byte by reach, for memory and for every operator with a rate of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from oflow.calibrate.cases import CASES, FUNCTIONS, PAIRS, Bound, Case, bound, given, numbers, rounds_of, routines
from oflow.calibrate.clock import Clock
from oflow.machine import ARITHMETIC, Curve, Kernel
from oflow.ops import REGISTRY
from oflow.ops.elementwise import Elementwise
from oflow.ops.fused import fused_attrs

WIDTH = 256
NARROW = 16
ROWS = 64
SHAPES = ((1, 1), (ROWS * WIDTH // NARROW, NARROW), (ROWS, WIDTH))
"""(rows, width) of the calls near by: one that does next to nothing, narrow rows, wide rows."""
REACHES = tuple(float(1 << power) for power in (14, 16, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27))
"""Bytes between two uses, at which memory is measured; the other kernels at each second but the first."""
COPIES = 16
PAIR_SIZES = (16, 64)
LAST = 1 << 26
"""Bytes that no cache holds, where copies of operands are made to be far."""


def parts() -> int:
    """How many kernels are measured."""
    return len(CASES)


def copies_of(make: Callable[[int], Bound], rows: int, reach: float) -> list[Bound]:
    """Calls on operands of their own that touch `reach` bytes in turn: COPIES at most, of so many rows or a multiple."""
    first = make(rows)
    times = max(1, round(reach / (first.cost.nbytes * COPIES)))
    first = first if times == 1 else make(times * rows)
    return [first, *(make(times * rows) for _ in range(round(reach / first.cost.nbytes) - 1))]


def needed() -> list[str]:
    """The routines of all kernels that are timed here: they are compiled together."""
    calls = [given("add", (numbers(*shape), numbers(shape[-1])), {}) for shape in ((1,), (ROWS, NARROW))]
    calls += [given("add", (numbers(1, WIDTH), numbers(1, WIDTH)), {}), given("fused", (numbers(4), numbers(4)), _many())]
    calls += [given(op, (numbers(4),) * _operands(op), {}) for op in FUNCTIONS.values()]
    calls += [given(case.op, *case.make(rows, width)) for case in CASES for rows, width in SHAPES]
    calls += [given(op, *make(size)) for op, make in PAIRS.items() for size in PAIR_SIZES]
    return routines(calls)


# ---------------------------------------------------------------- memory and plain loops


def _adding(rows: int) -> Bound:
    return bound("add", (numbers(rows, WIDTH), numbers(rows, WIDTH)), {})


def byte_curve(clock: Clock) -> Curve:
    """Seconds a byte of a loop that reads two arrays and writes one, by reach."""
    found = []
    for reach in REACHES:
        copies = copies_of(_adding, 1, reach)
        found.append(clock.seconds(rounds_of(copies)) / sum(c.cost.nbytes for c in copies))
    return Curve(REACHES, tuple(found))


def plain_kernel(clock: Clock, byte: Curve) -> Kernel:
    """What a call and a row of a generated loop take beside their bytes."""
    call = clock.seconds(rounds_of([bound("add", (numbers(1), numbers(1)), {})]))
    rows = bound("add", (numbers(ROWS, NARROW), numbers(NARROW)), {})
    row = (clock.seconds(rounds_of([rows])) - call - rows.cost.nbytes * byte.values[0]) / ROWS
    return Kernel(call, max(0.0, row), byte)


def operation_seconds(clock: Clock, plain: Kernel) -> dict[str, float]:
    """Seconds of scalar operations by kind, in a loop over operands in the nearest cache."""
    size = 2048
    chain = bound("fused", (numbers(size), numbers(size)), _many())
    # an addition and a multiplication that meet are one instruction; in most programs they do not
    each = (clock.seconds(rounds_of([chain])) - plain.call) / max(n for _, n in chain.cost.works[0].operations)
    found = {ARITHMETIC: max(each, 1e-13)}
    for kind, op in FUNCTIONS.items():
        operands = (numbers(size),) * _operands(op)
        found[kind] = max((clock.seconds(rounds_of([bound(op, operands, {})])) - plain.call) / size, each)
    return found


def pair_seconds(clock: Clock, plain: Kernel) -> dict[str, float]:
    """Seconds of the two kinds of operations of each operator in PAIRS, from two sizes: two equations."""
    found: dict[str, float] = {}
    for op, make in PAIRS.items():
        calls = [bound(op, *make(size)) for size in PAIR_SIZES]
        times = [clock.seconds(rounds_of([one])) - plain.call for one in calls]
        (few, some), (same, more) = ([count for _, count in one.cost.works[0].operations] for one in calls)
        second = max(0.0, (times[1] - times[0] * same / few) / (more - some * same / few))
        kinds = [kind for kind, _ in calls[0].cost.works[0].operations]
        found |= zip(kinds, (max(0.0, (times[0] - second * some) / few), second), strict=True)
    return found


def _many() -> dict[str, Any]:
    """The attributes of a group of 48 additions and multiplications in a row."""
    return fused_attrs("y = " + "(" * 24 + "x" + " * x + b)" * 24, ("x", "b"), ("y",))


def _operands(op: str) -> int:
    operator = REGISTRY[op]
    assert isinstance(operator, Elementwise)
    return len(operator.operands)


# ---------------------------------------------------------------- operators


def kernel_rates(clock: Clock) -> Iterator[tuple[str, Kernel]]:
    for case in CASES:
        yield case.op, kernel_rate(clock, case)


def kernel_rate(clock: Clock, case: Case) -> Kernel:
    """From a call of one row, calls of narrow and of wide rows near by, and calls of wide rows from farther and farther."""

    def made(rows: int, width: int) -> Bound:
        operands, attrs = case.make(rows, width)
        return bound(case.op, operands, attrs)

    def near(one: Bound) -> float:
        return clock.seconds(rounds_of([one]))

    smallest, narrow, wide = (made(*shape) for shape in SHAPES)
    call, of_narrow, of_wide = (near(one) for one in (smallest, narrow, wide))
    rows = [one.cost.works[0].rows for one in (narrow, wide)]
    nbytes = [one.cost.nbytes for one in (narrow, wide)]
    # call + rows row + bytes byte, twice: two equations for row and byte
    a, b = of_narrow - call, of_wide - call
    row = max(0.0, (a - b * nbytes[0] / nbytes[1]) / (rows[0] - rows[1] * nbytes[0] / nbytes[1]))
    rest = max(b - rows[1] * row, 0.05 * b) / nbytes[1]
    reaches = [reach for reach in REACHES[4::2] if reach > 2 * nbytes[1]]
    values = [rest]
    for reach in reaches:
        copies = copies_of(lambda rows: made(rows, WIDTH), ROWS, reach)
        whole, fixed = clock.seconds(rounds_of(copies)), sum(call + c.cost.works[0].rows * row for c in copies)
        values.append(max((whole - fixed) / sum(c.cost.nbytes for c in copies), rest))
    return Kernel(call, row, Curve((nbytes[1], *reaches), tuple(values)))


# ---------------------------------------------------------------- several workers


def workers_curve(clock: Clock, make: Callable[[], list[Bound]]) -> float:
    """How many times longer a round takes when every core does one; 1 where there is one core, or NumPy runs it."""
    count = os.cpu_count() or 1
    sides = [make() for _ in range(count)]
    if count == 1 or any(one.compiled is None for side in sides for one in side):
        return 1.0
    alone = clock.seconds(rounds_of(sides[0]))
    return max(1.0, min(clock.together([rounds_of(side) for side in sides])) / alone)


def crowding(clock: Clock) -> Curve:
    """By how much a byte takes longer when all workers move bytes, by reach."""
    found = [workers_curve(clock, lambda reach=reach: copies_of(_adding, 1, reach)) for reach in REACHES[2::2]]  # type: ignore[misc]
    return Curve(REACHES[2::2], tuple(found))
