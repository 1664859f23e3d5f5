"""The packer on questions whose answer is known: full rectangles, time by bytes, cut into 150 to 450 buffers.

    python benchmarks/packing.py [--instances 30] [--span 0] [--seed 100] [--json FILE]

Cuts go through a piece (guillotine) or make a pinwheel of five; see tests/compiler/rectangles.py. peak: bytes that the packing needs
over the bound, the largest sum of live bytes; greedy: the same for the first greedy attempt. seconds: processor time. The packing is
proved by `oflow.check.overlap`, which shares no code with the packer. span: how many times the rectangle has, 0: 300, 1000 or 4000.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from time import process_time

from report import Row, options, save, table

import oflow as of
from oflow.check.overlap import check_overlap
from oflow.compiler.packing import load

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
SMALLEST, LARGEST = 150, 450


def measure(seed: int, count: int, span: int) -> Row:
    from tests.compiler.rectangles import cut_rectangle

    buffers = cut_rectangle(seed, count, span)
    bound = load(buffers)
    greedy = check_overlap(buffers, of.pack(buffers, 0))
    began = process_time()
    offsets = of.pack(buffers)
    seconds = process_time() - began
    times = len({time for start, stop, _ in buffers for time in (start, stop)}) - 1
    return {
        "seed": seed, "buffers": len(buffers), "sections": times, "greedy": greedy / bound,
        "peak": check_overlap(buffers, offsets) / bound, "seconds": seconds,
    }  # fmt: skip


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, instances=30, span=0, seed=100)
    of.pack([(0, 1, 1), (1, 2, 1)])
    rows = []
    for i in range(given.instances):
        count = SMALLEST + (LARGEST - SMALLEST) * i // max(given.instances - 1, 1)
        row = measure(given.seed + i, count, given.span)
        rows.append(row)
        print(f"{row['seed']}: {row['buffers']} buffers, {row['peak']:.4f} in {row['seconds']:.1f} s", file=sys.stderr, flush=True)
    lines = [
        (r["seed"], r["buffers"], r["sections"], f"{r['greedy']:.3f}", f"{r['peak']:.4f}", f"{r['seconds']:.1f}") for r in rows
    ]
    print(table(lines, ("seed", "buffers", "sections", "greedy", "peak", "seconds")))
    exact = sum(row["peak"] == 1 for row in rows)
    print(
        f"{exact} of {len(rows)} to the bound exactly; worst {max(r['peak'] for r in rows):.4f} of it; "
        f"longest {max(r['seconds'] for r in rows):.1f} s, together {sum(r['seconds'] for r in rows):.0f} s"
    )
    save(given.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
