"""Peak memory of a training step in oflow, PyTorch and JAX, and oflow's own bytes against its plan.

    python benchmarks/memory.py [--case "GPT d256"] [--steps 5] [--json FILE]

Peak: how far the resident memory's high-water mark (VmHWM) rises above what was resident after the imports and after the weights
and batches were made as NumPy arrays. Code that is loaded later counts; the library that loads oflow's kernels is imported with it,
as the peers import theirs. "whole": everything the process held at its peak. Planned: arenas and kept state of the plan; allocated:
the bytes of the blocks that the program really made for them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cases import CASES
from report import Row, options, save, table
from turns import Answer, Player, serve

CONTESTANTS: dict[str, tuple[str, dict[str, Any], int]] = {
    "oflow": ("step_oflow", {"layout": "one"}, 1),
    "oflow data, 2 threads": ("step_oflow", {"layout": "data"}, 2),
    "torch eager": ("step_torch", {"compiled": False}, 1),
    "torch eager, 2 threads": ("step_torch", {"compiled": False}, 2),
    "torch.compile": ("step_torch", {"compiled": True}, 1),
    "jax jit": ("step_jax", {}, 1),
}


def resident(kind: str) -> int:
    """Bytes: "VmRSS" now, "VmHWM" the most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) * 1024
    raise OSError(f"the system does not say {kind}")


def contestant(name: str, case_name: str) -> tuple[Answer, Any]:
    """Answers {"steps": n} with the bytes that making the model and n steps of it took at their peak."""
    module, given, threads = CONTESTANTS[name]
    imported = __import__(module)
    case = CASES[case_name]
    weights, batches = case.weights, case.batches(4)

    def answer(question: Answer) -> Answer:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts here
        before = resident("VmRSS")
        planned = _oflow(imported, case, given["layout"], batches, question["steps"]) if "layout" in given else {}
        if not planned:
            train, _ = imported.make(case, threads, **given)
            for i in range(question["steps"]):
                train([batches[i % len(batches)]])
        return {"before": before, "peak": resident("VmHWM") - before, **planned, "weights": sum(w.nbytes for w in weights.values())}

    return {"version": imported.VERSION}, answer


def _oflow(module: Any, case: Any, layout: str, batches: Sequence[Any], steps: int) -> Answer:
    """As a user has it: the program draws its own initial weights in place."""
    program = module.program(case, layout)
    for i in range(steps):
        program(*batches[i % len(batches)])
    blocks = program._opened().memory
    plan = program.plan
    return {
        "arena": sum(plan.arenas.values()), "state": sum(plan.states.values()),
        "allocated_arena": sum(b.nbytes for b in blocks.arenas.values()),
        "allocated_state": sum(b.nbytes for b in blocks.states.values()),
    }  # fmt: skip


def measure(case_name: str, steps: int) -> list[Row]:
    rows = []
    for name, (_, _, threads) in CONTESTANTS.items():
        with ExitStack() as stack:
            player = stack.enter_context(Player(name, __file__, (name, case_name, str(threads)), threads)).greet()
            if player.missing:
                print(f"  {name}: skipped, {player.missing}")
            else:
                rows.append({"name": name, "case": case_name, "threads": threads, **player.ask(steps=steps)})
    return rows


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, case="GPT d256", steps=5)
    case_name = next(name for name in CASES if given.case in name)
    rows = measure(case_name, given.steps)
    base = next((row["peak"] for row in rows if row["name"] == "torch eager"), rows[0]["peak"])
    planned = ("arena", "allocated_arena", "state", "allocated_state")
    lines = [
        (
            row["name"], f"{row['peak'] / 1e6:.1f}", f"{row['peak'] / base:.2f}", f"{(row['before'] + row['peak']) / 1e6:.1f}",
            *(f"{row[key]:,}" if key in row else "" for key in planned),
        )
        for row in rows
    ]  # fmt: skip
    print(f"{case_name}, {rows[0]['weights'] / 1e6:.1f} MB of weights")
    print(table(lines, ("", "peak, MB", "x torch eager", "whole, MB", "arena planned", "allocated", "state planned", "allocated")))
    save(given.json, rows)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[4]), lambda: contestant(sys.argv[2], sys.argv[3]))
    else:
        sys.exit(main(sys.argv[1:]))
