"""Every benchmark, one after the other, then the README's tables and picture from what they measured.

    python benchmarks/run_all.py [--quick yes] [--only train_step,kernels] [--results benchmarks/results]

Under 25 minutes on two quiet cores; --quick yes takes few rounds, to see that everything runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import page
import picture
from report import options
from turns import natural

RUNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "train_step": (("--rounds", "7", "--most", "11"), ("--rounds", "3", "--most", "3", "--seconds", "0.05", "--machine", "reference")),
    "kernels": ((), ("--rounds", "3", "--seconds", "0.02")),
    "overhead": ((), ("--rounds", "3", "--seconds", "0.02")),
    "pipeline": ((), ("--rounds", "3", "--seconds", "0.02")),
    "memory": ((), ("--steps", "2")),
    "compile_time": ((), ("--jax", "no")),
    "cold_start": ((), ("--rounds", "1")),
    "busy": ((), ("--rounds", "2", "--seconds", "0.1")),
    "sbp": ((), ("--rounds", "3")),
}
"""By benchmark: words of a full run and of a quick one."""


def main(words: Sequence[str]) -> int:
    places = {"results": str(page.HERE / "results"), "readme": str(page.HERE / "README.md")}
    given = options(__doc__, words, quick="no", only=",".join(RUNS), **places)
    failed = []
    for name in given.only.split(","):
        began = perf_counter()
        print(f"== {name}", flush=True)
        command = [sys.executable, str(page.HERE / f"{name}.py"), "--json", str(Path(given.results) / f"{name}.json")]
        if subprocess.run([*command, *RUNS[name][given.quick == "yes"]], env=natural(os.environ)).returncode:
            failed.append(name)
        print(f"== {name}: {perf_counter() - began:.0f} s\n", flush=True)
    if (Path(given.results) / "train_step.json").exists():
        picture.main(["--results", given.results, "--out", str(Path(given.readme).parent / "steps.svg")])
    page.main(["--results", given.results, "--readme", given.readme])
    if failed:
        print(f"not as they should be: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
