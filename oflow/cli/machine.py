"""``oflow bench machine``: measure this machine; and which machine other commands predict times for."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

from oflow import machine as machines
from oflow.calibrate import measure
from oflow.cli.files import Options, UsageError
from oflow.live import phase
from oflow.machine import PLAIN, Curve, Machine, Rates
from oflow.plan import Plan
from oflow.presets import preset

SHOWN_PRODUCTS = ((16, 64, 64), (64, 64, 64), (64, 256, 256), (256, 256, 256), (256, 1024, 256), (256, 1024, 1024))
KIB = 1 << 10


def bench_machine(args: Namespace, words: list[str], options: Options) -> None:
    """Measure, store, and print what was found."""
    if words or options:
        raise UsageError(f"bench machine does not know what {[*words, *options][0]!r} means; it has -o FILE and --seconds S")
    part, share = "", 0.0

    def report(name: str, done: float) -> None:
        nonlocal part, share
        part, share = name, done

    with phase(lambda: f"measuring {part}", lambda: share):
        found = measure(args.seconds, report)
    path = machines.save(found, args.output)
    rates = found.devices["cpu"].rates
    assert rates is not None
    facts = machine_facts(found, rates)
    if args.json:
        print(json.dumps({"file": str(path), **facts}))
        return
    _tables(found, rates)
    print(f"wrote {path}" + ("" if args.output else "; of.compile(machine='measured') and oflow simulate --machine measured use it"))


def machine_facts(found: Machine, rates: Rates) -> dict[str, object]:
    return {
        "gflops": {"x".join(map(str, shape)): _gflops(rates, shape) for shape in SHOWN_PRODUCTS},
        "gbytes_per_second": {str(int(size)): 1e-9 / value for size, value in _points(rates.byte)},
        "message_nanoseconds": found.link.latency * 1e9, "handed_gbytes_per_second": found.link.bandwidth * 1e-9,
        "act_nanoseconds": found.devices["cpu"].act * 1e9, "call_nanoseconds": rates.kernels[PLAIN].call * 1e9,
        "workers": found.workers, "crowded_products": rates.crowded_products,
    }  # fmt: skip


def _points(curve: Curve) -> list[tuple[float, float]]:
    return list(zip(curve.sizes, curve.values, strict=True))


def _gflops(rates: Rates, shape: tuple[int, int, int]) -> float:
    return next(iter(rates.products.values())).rate(*shape) * 1e-9


def _tables(found: Machine, rates: Rates) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    products = Table("m x k x n", *(name.partition(".")[2] for name in rates.products), title="matrix products, GF/s, one core")
    for m, n, k in SHOWN_PRODUCTS:
        products.add_row(f"{m} x {k} x {n}", *(f"{grid.rate(m, n, k) * 1e-9:.0f}" for grid in rates.products.values()))
    memory = Table("touched between two uses", "GB/s, one core", f"{found.workers} workers", title="memory")
    for size, value in _points(rates.byte):
        shown = f"{size / KIB:,.0f} KiB" if size < KIB * KIB else f"{size / KIB / KIB:,.0f} MiB"
        memory.add_row(shown, f"{1e-9 / value:.0f}", f"x {1 / rates.crowded.at(size):.2f} each")
    kernels = Table("kernel", "ns a call", "ns a row", "GB/s near", "GB/s far", title="kernels")
    for name, kernel in rates.kernels.items():
        near, far = (f"{1e-9 / kernel.byte.values[at]:.1f}" for at in (0, -1))
        kernels.add_row(name, f"{kernel.call * 1e9:.1f}", f"{kernel.row * 1e9:.2f}", near, far)
    for table in (products, memory, kernels):
        console.print(table)
    console.print(
        f"message between workers {found.link.latency * 1e9:.0f} ns, bytes of another core {found.link.bandwidth * 1e-9:.1f} GB/s, "
        f"an act {found.devices['cpu'].act * 1e9:.0f} ns; products of all workers at once take x {rates.crowded_products:.2f}"
    )


def machine_of(name: str | None, plan: Plan) -> Machine:
    """The machine of `--machine`: a preset's name or a file of `oflow bench machine -o`; the plan's own where none is given."""
    if name is None:
        return plan.machine
    return machines.load(name) if Path(name).suffix == ".json" else preset(name)
