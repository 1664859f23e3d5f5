"""One training step through oflow, PyTorch eager, torch.compile and JAX jit: ratios of medians.

    python benchmarks/train_step.py [threads=1,2] [rounds=15] [seconds=0.15] [only=GPT] [skip=torch.compile]

Every framework runs in a process of its own with the same mathematics: the same initial weights, the same batches, float32,
AdamW, the same number of threads and cores. The processes take turns, `rounds` times; in a turn one trains for about
`seconds` (the others wait, blocked) and reports seconds per step. Printed is the median of the turns beside oflow's, and how
far the losses of the first steps lie apart; a framework that is not installed is named and left out.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from cases import CASES, Batch

COMPARED = 20
"""Steps whose losses are compared; LIMIT: how far apart they may lie, relative."""
LIMIT = 1e-4
RING = 16
"""Different batches, used in turn."""
CONTESTANTS: dict[str, tuple[str, dict[str, Any], int]] = {
    "oflow": ("step_oflow", {"devices": 1}, 1),
    "oflow, 2 devices": ("step_oflow", {"devices": 2}, 2),
    "torch eager": ("step_torch", {"compiled": False}, 1),
    "torch.compile": ("step_torch", {"compiled": True}, 1),
    "jax jit": ("step_jax", {}, 1),
}
"""By name: its module, the arguments of its `make`, and from how many threads on it is measured."""


# ------------------------------------------------------------ in a framework's process


def serve(name: str, case_name: str, threads: int) -> None:
    """Answer requests on stdin, a line of JSON each: {"steps": n} -> {"seconds": per step, "losses": of these steps}."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints belongs to stderr
    module, given, _ = CONTESTANTS[name]
    try:
        imported = __import__(module)
    except ImportError as e:
        print(json.dumps({"missing": str(e)}), file=answers)
        return
    case = CASES[case_name]
    ring, done = case.batches(RING), 0
    began = perf_counter()
    train: Callable[[Sequence[Batch]], list[float]] = imported.make(case, threads, **given)
    print(json.dumps({"version": imported.VERSION, "made": perf_counter() - began}), file=answers)
    for line in sys.stdin:
        steps = json.loads(line)["steps"]
        batches = [ring[(done + i) % RING] for i in range(steps)]
        began = perf_counter()
        losses = train(batches)
        print(json.dumps({"seconds": (perf_counter() - began) / steps, "losses": losses}), file=answers)
        done += steps


# ------------------------------------------------------------ in the caller's process


class Contestant:
    """A framework's process; use it as a context manager."""

    def __init__(self, name: str, case_name: str, threads: int) -> None:
        count = str(threads)
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), count)
        limits |= {"XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}", "JAX_PLATFORMS": "cpu"}
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve", name, case_name, count],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | limits,
        )  # fmt: skip
        self.hello = self._answer()
        self.steps, self.times = 1, list[float]()
        self.losses = self.run(COMPARED)["losses"] if "missing" not in self.hello else []

    def run(self, steps: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"steps": steps}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def turn(self, seconds: float) -> None:
        took = self.run(self.steps)["seconds"]
        if took * self.steps < seconds / 2:  # not yet long enough to be measured
            self.steps = max(self.steps + 1, int(seconds / took))
            took = self.run(self.steps)["seconds"]
        self.times.append(took)

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit code {self.process.wait()}")
        return dict(json.loads(line))

    def __enter__(self) -> Contestant:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait()


def measure(case_name: str, threads: int, rounds: int, seconds: float, skip: Sequence[str]) -> list[Contestant]:
    """All contestants that are installed, with the times of their turns."""
    with ExitStack() as stack:
        running = []
        for name, (_, _, least) in CONTESTANTS.items():
            if threads < least or name in skip:
                continue
            contestant = stack.enter_context(Contestant(name, case_name, threads))
            if "missing" in contestant.hello:
                print(f"  {name}: skipped, {contestant.hello['missing']}")
            else:
                running.append(contestant)
        for _ in range(rounds):
            for contestant in running:
                contestant.turn(seconds)
    return running


def report(found: list[Contestant]) -> bool:
    """Print one line each; whether the losses agree."""
    own, agree = found[0], True
    for one in found:
        step, apart = median(one.times), float(np.max(np.abs(np.subtract(one.losses, own.losses) / own.losses)))
        agree &= apart <= LIMIT
        low, high = np.percentile(one.times, (10, 90)) * 1e3
        print(
            f"  {one.name:18}{step * 1e3:9.3f} ms  ({low:.3f} to {high:.3f})   oflow / it {median(own.times) / step:6.2f}"
            f"   losses apart {apart:.1e}{'' if apart <= LIMIT else '  NOT EQUAL'}",
            flush=True,
        )
    return agree


def main(words: Sequence[str]) -> int:
    options = {"threads": "1,2", "rounds": "15", "seconds": "0.15", "only": "", "skip": ""}
    options |= dict(word.split("=", 1) for word in words)
    agree, versions = True, dict[str, None]()
    for threads in map(int, options["threads"].split(",")):
        for case_name in CASES:
            if options["only"] in case_name:
                print(f"{case_name}, {threads} thread{'s'[: threads - 1]}", flush=True)
                given = int(options["rounds"]), float(options["seconds"]), options["skip"].split(",")
                found = measure(case_name, threads, *given)
                versions |= dict.fromkeys(one.hello["version"] for one in found)
                agree &= report(found)
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {', '.join(versions)}, {os.cpu_count()} cores")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(serve(sys.argv[2], sys.argv[3], int(sys.argv[4])) if sys.argv[1:2] == ["serve"] else main(sys.argv[1:]))
