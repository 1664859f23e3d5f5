"""Compile time: a GPT of 96 layers to a proved plan, beside JAX; a million physical actors stamped and checked for order.

    python benchmarks/compile_time.py [--layers 96] [--actors 1000000] [--limit 120] [--jax yes] [--json FILE]

The GPT is small (d 64, T 32, B 2): its shape hardly matters here. JAX traces, lowers and compiles its training step; after
`limit` seconds it is stopped. The million actors are a plan of 1000 templates on 1000 ranks, each reading its own rank and the
next one; "stamped" is the plan as arrays, "checked" one step played in the compiled loop over those arrays.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from time import perf_counter

from cases import Gpt
from report import Row, options, save, seconds_text, table

RANKS = 1000


def compile_oflow(layers: int) -> Row:
    import step_oflow

    began = perf_counter()
    made = step_oflow.program(Gpt(64, 32, 2, 256, layers=layers), "one")
    seconds = perf_counter() - began
    return {"seconds": seconds, "remark": f"{len(made.graph.nodes)} nodes, {len(made.plan.actors)} actors"}


def compile_jax(layers: int) -> Row:
    import jax.numpy as jnp
    import step_jax

    case = Gpt(64, 32, 2, 256, layers=layers)
    state = step_jax.initial(case)
    x, y = (jnp.array(a) for a in case.batches(1)[0])
    began = perf_counter()
    traced = step_jax.stepper(case).lower(state, x, y)  # type: ignore[attr-defined]
    lowered = perf_counter()
    traced.compile()
    return {"seconds": perf_counter() - began, "remark": f"of it {lowered - began:.1f} s to trace and lower"}


def stamp(actors: int) -> Row:
    """Seconds to stamp and to check; resident bytes at the peak of the process."""
    from plans import rows_of_ranks

    from oflow.actors import rehearse
    from oflow.arrays import tables

    plan = rows_of_ranks(actors // RANKS, RANKS)
    rehearse(rows_of_ranks(2, 4))  # loads the compiled loop
    gc.collect()
    began = perf_counter()
    made = tables(plan)
    stamped = perf_counter()
    rehearse(plan, made)
    checked = perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": checked - began, "stamped": stamped - began, "checked": checked - stamped, "peak": peak,
        "remark": f"{len(made.acts)} actors, {len(made.every)} ports; stamped {stamped - began:.2f} s, checked {checked - stamped:.2f} s, "
        f"peak {peak / 1e6:.0f} MB",
    }  # fmt: skip


PARTS = {"oflow": compile_oflow, "jax": compile_jax, "stamp": stamp}


def measure(part: str, size: int, limit: float) -> Row:
    """Run a part in a process of its own."""
    command = [sys.executable, __file__, "part", part, str(size)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"seconds": None, "remark": f"stopped after {limit:.0f} s"}
    if done.returncode:
        return {"seconds": None, "remark": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, layers=96, actors=1_000_000, limit=120.0, jax="yes")
    parts = {
        f"GPT of {given.layers} layers, oflow: plan built and proved": ("oflow", given.layers),
        f"GPT of {given.layers} layers, JAX: lowered and compiled": ("jax", given.layers),
        f"{given.actors:,} actors: stamped and checked": ("stamp", given.actors),
    }
    rows = [
        {"name": name, **measure(part, size, given.limit)}
        for name, (part, size) in parts.items()
        if part != "jax" or given.jax == "yes"
    ]
    lines = [(row["name"], seconds_text(row["seconds"]) if row["seconds"] else "-", row["remark"]) for row in rows]
    print(table(lines, ("", "seconds", "")))
    save(given.json, rows)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["part"]:
        print(json.dumps(PARTS[sys.argv[2]](int(sys.argv[3]))))
    else:
        sys.exit(main(sys.argv[1:]))
