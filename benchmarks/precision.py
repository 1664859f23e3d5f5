"""Mixed precision: planned bytes, bytes moved between devices, losses and time of a GPT's training step, by precision and layout.

    python benchmarks/precision.py [--layers 4] [--width 128] [--steps 20] [--json FILE]

Bytes are those of the plan's proof, the largest device. CPU kernels compute in float32 whatever they keep, so 16 bits cost time here;
seconds are processor time a step.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import process_time

from cases import Gpt
from report import Row, options, save, table
from step_oflow import program

from oflow.boxings import boxings

PRECISIONS = (None, "bfloat16", "float16")


def measure(case: Gpt, layout: str, precision: str | None, steps: int) -> Row:
    made = program(case, layout, precision=precision)
    proof = made.plan.check()
    moved = sum(one.nbytes for one in boxings(made.graph, made.plan.machine))
    batches = case.batches(steps)
    losses = [float(loss) for loss in made.stream(batches[:1])]
    began = process_time()
    losses += [float(loss) for loss in made.stream(batches[1:])]
    return {
        "layout": layout, "precision": precision or "float32", "arena": max(proof.arenas.values()), "state": max(proof.states.values()),
        "moved": moved, "loss": losses[-1], "seconds": (process_time() - began) / (steps - 1),
    }  # fmt: skip


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, layers=4, width=128, steps=20)
    case = Gpt(given.width, 64, 4, 1024, layers=given.layers)
    rows = [measure(case, layout, precision, given.steps) for layout in ("one", "data", "tensor") for precision in PRECISIONS]
    lines = [
        (
            f"{row['layout']}, {row['precision']}", f"{row['arena'] / 1e6:.1f}", f"{row['state'] / 1e6:.1f}", f"{row['moved'] / 1e6:.2f}",
            f"{row['loss']:.4f}", f"{row['seconds'] * 1e3:.1f}",
        )
        for row in rows
    ]  # fmt: skip
    print(table(lines, ("layout, precision", "arena MB", "state MB", "moved MB", "last loss", "ms a step")))
    save(given.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
