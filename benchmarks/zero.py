"""What sharded state and gradient buckets save: a GPT with Adam on 4 and 8 data-parallel devices, from the plan alone.

    python benchmarks/zero.py [--layers 8] [--width 512] [--batch 16] [--micro-batches 4] [--machine two-level]
                              [--precision bfloat16] [--json FILE]

Bytes of state are held against Rajbhandari et al. 2020 (with 4 bytes a parameter, gradient and moment: 12, 4 + 8/d, 4 + 8/d, 12/d a
parameter, gradients apart); bytes moved are those of the listed boxings between devices, per device and parameter; the period is the
proved one. Devices are of kind "cuda", so that nothing is read where it lies. --batch: sequences a device.
"""

from __future__ import annotations

import argparse
import sys
from time import process_time

from auto_layout import Net
from report import Row, options, save, table

import oflow as of

VOCABULARY, WINDOW = 8192, 512
SIZES = (None, 1, 1 << 20, 4 << 20, 25 << 20, 1 << 40, "auto")
MIB = 1 << 20
STAGES = {"0": 0, "1": 1, "2": 2, "3": 3, "3, gathered once a step": {"stage": 3, "gather": "step"}}
HEAD = ("devices", "zero", "buckets", "state MiB", "formula", "arena MiB", "moved B/param", "messages", "period ms", "compiled s")


def program(devices: int, zero: object, given: argparse.Namespace, bucket_nbytes: int | str | None) -> of.Program:
    """The step of a GPT whose weights are whole on all devices, the batch split."""
    where, model = of.placement("cuda", list(range(devices))), Net(given.layers, given.width, VOCABULARY)
    spec = of.spec((given.batch * devices, WINDOW), "int64", where, of.S(0))
    return of.compile(
        lambda x, y: of.cross_entropy(model(x), y), spec, spec, optimizer=of.optim.AdamW(), zero=zero, bucket_nbytes=bucket_nbytes,
        micro_batches=given.micro_batches, machine=given.machine, precision=given.precision or None,
    )  # fmt: skip


def row(devices: int, name: str, size: int | str | None, given: argparse.Namespace) -> Row:
    """State and arena on the fullest device, bytes moved a device and parameter, messages to one device a step, proved period."""
    began = process_time()
    step = program(devices, STAGES[name], given, size)
    took, plan, proof = process_time() - began, step.plan, step.plan.check()
    where = [d for d in plan.devices if d.startswith("cuda")]
    count = sum(step.graph.values[p.value].type.size for p in step.graph.parameters if p.trainable)
    moved = sum(one.nbytes for one in step.boxings() if "host" not in (one.source.placement.kind, one.target.placement.kind))
    shares = {"0": 12.0, "1": 4 + 8 / devices, "2": 4 + 8 / devices}
    return {
        "devices": devices, "zero": name, "buckets": size, "parameters": count,
        "state": max(proof.states[d] for d in where), "formula": count * shares.get(name, 12 / devices),
        "arena": max(proof.arenas[d] for d in where), "moved": moved / devices / count,
        "messages": sum(a.acts * len(a.cost.received) for a in plan.actors if a.device == where[0] and a.phase in ("F", "B", "update")),
        "period": proof.period, "compiled": took,
    }  # fmt: skip


def cells(one: Row) -> tuple[object, ...]:
    size = f"{one['buckets']:,} B" if isinstance(one["buckets"], int) else one["buckets"]
    return (
        one["devices"], one["zero"], size,
        f"{one['state'] / MIB:.2f}", f"{one['formula'] / MIB:.2f}", f"{one['arena'] / MIB:.1f}", f"{one['moved']:.2f}", one["messages"],
        f"{1e3 * one['period']:.3f}", f"{one['compiled']:.1f}",
    )  # fmt: skip


def main(words: list[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    given = options(__doc__, words, layers=8, width=512, batch=16, micro_batches=4, machine="two-level", precision="")
    rows = [row(devices, name, size, given) for devices in (4, 8) for size in (None, "auto") for name in STAGES]
    rows += [row(8, name, size, given) for name in ("0", "1", "2", "3") for size in SIZES[1:-1]]
    print(f"{rows[0]['parameters']:,} parameters")
    print(table([cells(one) for one in rows], HEAD))
    save(given.json, rows)


if __name__ == "__main__":
    main()
