"""The first training step of a cold process, phase by phase, with warm kernel caches on disk.

    python benchmarks/cold_start.py [--case "GPT d64"] [--rounds 5] [--json FILE]

Each run is a new process: imports; oflow: compile (trace to proved plan), link (memory, initial weights, kernels loaded from the
cache, workers), first step; JAX: trace, lower and compile (its persistent cache on), first step; PyTorch: making the model, first
step (torch.compile compiles in it; its cache on). Medians of seconds on the clock; every process runs once before it counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from cases import CASES
from report import Row, options, save, table

PHASES = ("imports", "compile", "link", "first step")


def start_oflow(case_name: str, folder: str) -> dict[str, float]:
    marks = [perf_counter()]
    import step_oflow

    case = CASES[case_name]
    batch = case.batches(1)[0]
    marks.append(perf_counter())
    program = step_oflow.program(case, "one")
    marks.append(perf_counter())
    program._allocate()
    marks.append(perf_counter())
    program(*batch)
    marks.append(perf_counter())
    return dict(zip(PHASES, np.diff(marks).tolist(), strict=True))


def start_jax(case_name: str, folder: str) -> dict[str, float]:
    marks = [perf_counter()]
    import jax
    import step_jax

    case = CASES[case_name]
    batch = case.batches(1)[0]
    for name, value in (("dir", folder), ):
        jax.config.update(f"jax_compilation_cache_{name}", value)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    marks.append(perf_counter())
    state = step_jax.initial(case)
    compiled = step_jax.stepper(case).lower(state, *batch).compile()  # type: ignore[attr-defined]
    marks.append(perf_counter())
    _, loss = compiled(state, *batch)
    float(loss)
    marks.append(perf_counter())
    imports, compile, first = np.diff(marks).tolist()
    return {"imports": imports, "compile": compile, "first step": first}


def start_torch(case_name: str, folder: str, compiled: bool = False) -> dict[str, float]:
    marks = [perf_counter()]
    import step_torch

    case = CASES[case_name]
    batch = case.batches(1)[0]
    marks.append(perf_counter())
    train, _ = step_torch.make(case, 1, compiled)
    train([batch])
    marks.append(perf_counter())
    imports, first = np.diff(marks).tolist()
    return {"imports": imports, "first step": first}


def start_compiled(case_name: str, folder: str) -> dict[str, float]:
    return start_torch(case_name, folder, compiled=True)


STARTS: dict[str, Any] = {"oflow": start_oflow, "torch eager": start_torch, "torch.compile": start_compiled, "jax jit": start_jax}


def measure(name: str, case_name: str, folder: str) -> dict[str, float] | None:
    """One cold process; None where its framework is missing."""
    began = perf_counter()
    command = [sys.executable, __file__, "start", name, case_name, folder]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        if "ModuleNotFoundError" in done.stderr:
            return None
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    return {**json.loads(done.stdout.splitlines()[-1]), "whole process": perf_counter() - began}


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, case="GPT d64", rounds=5)
    case_name = next(name for name in CASES if given.case in name)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in STARTS:
            found = [measure(name, case_name, folder) for _ in range(given.rounds + 1)][1:]
            runs = [run for run in found if run is not None]
            if not runs:
                print(f"  {name}: skipped, not installed")
                continue
            phases = {phase: median(run[phase] for run in runs) for phase in runs[0]}
            after = median(sum(run.values()) - run["imports"] - run["whole process"] for run in runs)
            rows.append({"name": name, "case": case_name, "after_imports": after, **phases})
    columns = (*PHASES, "after_imports", "whole process")
    lines = [(row["name"], *(f"{row[c]:.3f}" if c in row else "" for c in columns)) for row in rows]
    print(table(lines, (f"{case_name}, seconds", *(c.replace("_", " ") for c in columns))))
    save(given.json, rows)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["start"]:
        print(json.dumps(STARTS[sys.argv[2]](sys.argv[3], sys.argv[4])))
    else:
        sys.exit(main(sys.argv[1:]))
