"""Compile time against the number of devices: GPT-3's layers, six a pipeline stage, compiled and proved; nothing is allocated.

    python benchmarks/scale.py [--devices 8,64,512,1024] [--json FILE]

Tensor groups are of 8 devices; 64 are 8 of them in data parallel, more are that many stages (1,024: `examples/gpt3.py` as it is, 96
layers). Every size has 192 micro-batches a step and a process of its own. Seconds are processor seconds of the process and its
children, without imports; peak is the resident set.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import process_time

from report import Row, options, save, table

TENSOR, DATA, LAYERS, MICRO_BATCHES = 8, 8, 6, 192
EXAMPLES = Path(__file__).parent.parent / "examples"


def compiled(devices: int) -> Row:
    sys.path.insert(0, str(EXAMPLES))
    import gpt3

    from oflow.check import fold

    data = min(DATA, devices // TENSOR)
    stages = devices // (TENSOR * data)
    began = _seconds()
    program = gpt3.build(layers=LAYERS * stages, stages=stages, data=data, tensor=TENSOR, batch=MICRO_BATCHES * data)
    seconds = _seconds() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    plan = program.plan
    actors = sum(len(plan.rank_table[template.group]) for template in plan.actor_templates)
    return {
        "devices": devices, "layers": LAYERS * stages, "seconds": seconds, "peak": peak, "roles": len(fold(plan).plan.devices),
        "templates": len(plan.actor_templates), "actors": actors,
    }  # fmt: skip


def _seconds() -> float:
    return process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, devices="8,64,512,1024", one=0)
    if given.one:
        print(json.dumps(compiled(given.one)))
        return 0
    rows = []
    for devices in given.devices.split(","):
        done = subprocess.run([sys.executable, __file__, "--one", devices], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    print(table(
        [[r["devices"], r["layers"], f"{r['seconds']:.1f} s", f"{r['peak'] / 1e9:.2f} GB", r["roles"], r["templates"], f"{r['actors']:,}"]
         for r in rows],
        ("devices", "layers", "processor time", "peak", "roles", "templates", "actors"),
    ))  # fmt: skip
    save(given.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
