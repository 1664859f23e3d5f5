"""Predicted iteration times beside those that Megatron-LM measured on A100 clusters (Narayanan et al. 2021, Table 1).

    python benchmarks/megatron.py [--rows 1.7,3.6,18.4] [--json FILE]

Each row is `examples/gpt3.py` compiled for the table's number of devices and degrees of parallelism and timed by its exact period on
`of.preset("a100")`. The measured seconds of an iteration are the paper's floating-point operations (its equation 3, which counts
the forward pass twice: activations were computed again) over its achieved flops per second of all devices.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

from report import Row, options, save, seconds_text, table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import gpt3

SEQ, VOCABULARY = 2048, 51200


@dataclass(frozen=True, slots=True)
class Published:
    """A row of the table: billions of parameters, the model, degrees of parallelism, sequences a step, teraflops a device."""

    billions: str
    heads: int
    width: int
    layers: int
    tensor: int
    stages: int
    devices: int
    batch: int
    teraflops: float

    @property
    def flops(self) -> float:
        """Floating-point operations of an iteration, with all activations computed again (equation 3 of the paper)."""
        s, h, n, v = SEQ, self.width, self.layers, VOCABULARY
        return 96.0 * self.batch * s * n * h * h * (1 + s / (6 * h) + v / (16 * n * h))

    @property
    def seconds(self) -> float:
        return self.flops / (self.devices * self.teraflops * 1e12)


PUBLISHED = (
    Published("1.7", 24, 2304, 24, 1, 1, 32, 512, 137), Published("3.6", 32, 3072, 30, 2, 1, 64, 512, 138),
    Published("7.5", 32, 4096, 36, 4, 1, 128, 512, 142), Published("18.4", 48, 6144, 40, 8, 1, 256, 1024, 135),
    Published("39.1", 64, 8192, 48, 8, 2, 512, 1536, 138), Published("76.1", 80, 10240, 60, 8, 4, 1024, 1792, 140),
    Published("145.6", 96, 12288, 80, 8, 8, 1536, 2304, 148),
)  # fmt: skip


def predicted(row: Published, micro_batch: int) -> Row:
    data = row.devices // (row.tensor * row.stages)
    began = process_time()
    facts: dict[str, Any] = {
        "layers": row.layers, "width": row.width, "heads": row.heads, "batch": row.batch, "data": data, "tensor": row.tensor,
        "stages": row.stages, "micro_batch": micro_batch, "recompute": "all", "precision": "bfloat16",
    }  # fmt: skip
    found = gpt3.build(**facts).plan.report()
    return {
        "billions": row.billions, "devices": row.devices, "measured": row.seconds, "predicted": found.period,
        "error": found.period / row.seconds - 1.0, "bubble": found.bubble, "exposed": found.exposed, "compiled": process_time() - began,
    }  # fmt: skip


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, rows="1.7,3.6,7.5,18.4", micro_batch=4)
    chosen = [row for row in PUBLISHED if row.billions in given.rows.split(",")]
    rows = [predicted(row, given.micro_batch) for row in chosen]
    lines = [
        (f"{r['billions']} B", f"{r['devices']:,}", seconds_text(r["measured"]), seconds_text(r["predicted"]), f"{r['error']:+.0%}",
         f"{r['exposed']:.0%}", f"{r['bubble']:.0%}", seconds_text(r["compiled"]))
        for r in rows
    ]  # fmt: skip
    print(table(lines, ("parameters", "devices", "measured", "predicted", "error", "exposed", "bubble", "processor seconds to compile")))
    save(given.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
