"""One machine, measured: the parts in turn, each within its share of the time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from threadpoolctl import threadpool_limits

from oflow import native
from oflow.calibrate.clock import Clock, loops
from oflow.calibrate.host import host_device, overheads
from oflow.calibrate.kernels import byte_curve, crowding, kernel_rates, needed, operation_seconds, pair_seconds, plain_kernel
from oflow.calibrate.kernels import parts as kernel_parts
from oflow.calibrate.products import cold_share, crowded_products, product_rates
from oflow.calibrate.products import parts as product_parts
from oflow.calibrate.workers import handover
from oflow.machine import PLAIN, PRODUCTS, Device, Link, Machine, Products, Rates

Report = Callable[[str, float], None]
"""Told of each part: its name, and the share of all that is done."""
MEASUREMENTS = 580
"""About how many measurements are made; each gets its part of the time, most of which is spent on setting up."""


def measure(seconds: float = 45.0, report: Report | None = None) -> Machine:
    """Measure this machine in about so many seconds. Raises KernelMissing where kernels do not compile."""
    with threadpool_limits(1, user_api="blas"):
        steps = _steps(Clock(max(0.002, 0.5 * seconds / MEASUREMENTS)))
        total = product_parts() + len(PRODUCTS) + kernel_parts() + 4
        for done, part in enumerate(steps):
            if isinstance(part, Machine):
                return part
            if report is not None:
                report(part, min(1.0, done / total))
    raise AssertionError("the steps end with a machine")


def _steps(clock: Clock) -> Iterator[str | Machine]:
    """The names of the parts as they begin, then the machine."""
    yield "compiling"
    native.addresses([*loops(), *needed()])
    yield "memory"
    byte = byte_curve(clock)
    plain = plain_kernel(clock, byte)
    yield "operations"
    operations = operation_seconds(clock, plain) | pair_seconds(clock, plain)
    products: dict[str, Products] = {}
    for name, grid in product_rates(clock, cold_share(clock, byte)):
        yield name
        if grid is not None:
            products[name] = grid
    kernels = {PLAIN: plain}
    for name, kernel in kernel_rates(clock):
        kernels[name] = kernel
        yield name
    yield "workers"
    crowded, workers = crowding(clock), os.cpu_count() or 1
    found = Rates(products, byte, operations, kernels, crowded, crowded_products(clock))
    yield "hand-over"
    link, (act, step) = handover(clock, byte), overheads(clock)
    flops, bandwidth = max(max(grid.rates) for grid in products.values()), 1.0 / max(byte.values)
    core = Device(flops, bandwidth, 0.0, _memory(), act, found)
    yield Machine("measured", {"cpu": core, "host": host_device(core, byte, step)}, Link(*link), workers=workers)


def _memory() -> int:
    """Bytes of memory of the machine; 16 GiB where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 16 << 30
