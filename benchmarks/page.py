"""The README's figures from the measured JSON: everything below its mark is made anew.

    python benchmarks/page.py [--results benchmarks/results] [--readme benchmarks/README.md]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from picture import HERE
from report import Row, options, seconds_text
from targets import PARTS, lines
from train_step import best_own

MARK = "<!-- made by page.py from here on -->"


def read(folder: Path) -> dict[str, Any]:
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in PARTS if (folder / f"{name}.json").exists()}


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    every = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in every) + "\n"


def machine(results: dict[str, Any]) -> str:
    """Where and when: facts of each run."""
    first = next(iter(results.values()))["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    dates = sorted(found["machine"]["date"] for found in results.values())
    loads = [found["machine"]["load"][0] for found in results.values()]
    return (
        f"{dates[0]} to {dates[-1]}; {first['cpu']}, {first['cores']} cores{', AVX-512' if first['avx512'] else ''}; Python "
        f"{first['python']}, {versions}. Load average at the ends of the runs: {min(loads)} to {max(loads)} "
        "(the benchmarks themselves count)."
    )


def steps(rows: Sequence[Row]) -> str:
    """Milliseconds by case and contestant."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    made = []
    for case, threads in dict.fromkeys((row["case"], row["threads"]) for row in rows):
        some = {row["name"]: row for row in rows if (row["case"], row["threads"]) == (case, threads)}
        cells = [_cell(some.get(name)) for name in names]
        remark = best_own(list(some.values()))["remark"].partition(";")[0]
        made.append([f"{case}, {threads}T", *cells, remark, f"{max(row['apart'] for row in some.values()):.0e}"])
    return markdown(["ms a step: median (p10 - p90)", *names, "auto chose", "losses apart"], made)


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    mark = {"all": " *", "quiet": "", "cpu": ""}[row["clock"]]
    return f"{row['seconds'] * 1e3:.3g}{mark} ({row['low'] * 1e3:.3g} - {row['high'] * 1e3:.3g})"


def kernels(rows: Sequence[Row]) -> str:
    names = list(rows[0]["seconds"])
    made = [[f"{r['kernel']} {'x'.join(map(str, r['shape']))}", *(seconds_text(r["seconds"][n]) for n in names)] for r in rows]
    return markdown(["one thread, CPU time", *names], made)


def simple(head: Sequence[str], rows: Sequence[Row], *keys: str) -> str:
    return markdown(head, [[_text(row.get(key, "")) for key in keys] for row in rows])


def _text(value: object) -> str:
    if isinstance(value, list):
        return "x".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def sections(results: dict[str, Any]) -> Iterator[str]:
    yield machine(results) + "\n"
    found = lines(results)
    yield markdown(
        ["benchmark", "to reach", "measured", "reached"], [[one.what, one.target, one.found, one.verdict] for one in found]
    )
    rows = {name: found["rows"] for name, found in results.items()}
    if "train_step" in rows:
        yield "![times of others over oflow's](steps.svg)\n\n## One training step\n"
        yield steps(rows["train_step"])
        yield "\\* no quiet samples: all of them.\n"
    if "kernels" in rows:
        yield "## Fused kernels\n"
        yield kernels(rows["kernels"])
    if "overhead" in rows:
        yield "## Overhead an act\n"
        yield markdown(
            ["", "median", "p10", "p90"], [[r["name"], *(seconds_text(r[k]) for k in ("seconds", "low", "high"))] for r in rows["overhead"]]
        )
    if "pipeline" in rows:
        yield "## Pipeline of two workers\n"
        yield simple(["product", "slots", "speed-up", "p10", "p90"], rows["pipeline"], "shape", "slots", "speed_up", "low", "high")
    if "cold_start" in rows:
        yield "## Cold start, seconds\n"
        phases = ("imports", "compile", "link", "first step", "whole process")
        yield simple(["", *phases], rows["cold_start"], "name", *phases)
    if "memory" in rows:
        keys = ("name", "peak", "before", "arena", "state")
        yield "## Peak memory above what was resident after imports, bytes\n"
        yield simple(["", "peak", "resident before", "arena planned", "state planned"], rows["memory"], *keys)
    if "compile_time" in rows:
        yield "## Compile time, seconds\n"
        yield simple(["", "seconds", ""], rows["compile_time"], "name", "seconds", "remark")
    if "sbp" in rows:
        yield "## Inference of an operator's signatures, nothing remembered, eight devices\n"
        yield inference(rows["sbp"])
        yield "## Bytes of changing a layout, over all links\n"
        yield boxings(results["sbp"]["boxing"])


def inference(rows: Sequence[Row]) -> str:
    """CPU time by operator and mesh, and DTensor's over it."""
    meshes = list(dict.fromkeys(_text(row["mesh"]) for row in rows))
    found = {(row["operator"], _text(row["mesh"])): row for row in rows}
    made = []
    for name in dict.fromkeys(row["operator"] for row in rows):
        some = [found[name, mesh] for mesh in meshes]
        ratios = [f"{seconds_text(row['torch'])} x{row['torch'] / row['oflow']:.1f}" if row["torch"] else row["remark"] for row in some]
        made.append([name, some[-1]["signatures"], *(cell for row, ratio in zip(some, ratios, strict=True)
                                                     for cell in (seconds_text(row["oflow"]), ratio))])  # fmt: skip
    return markdown(["", f"signatures on {meshes[-1]}", *(cell for mesh in meshes for cell in (f"oflow, {mesh}", "DTensor"))], made)


def boxings(rows: Sequence[Row]) -> str:
    made = [
        [_text(row["mesh"]), row["pairs"], planner, *(row[planner][key] for key in ("changed", "oflow", "peer")),
         f"x{row[planner]['ratio']:.2f}", row[planner]["less"], row[planner]["more"]]
        for row in rows for planner in ("default", "least") if planner in row
    ]  # fmt: skip
    head = ["mesh", "pairs of layouts", "DTensor's planner", "pairs it changes", "oflow", "DTensor", "", "oflow less", "oflow more"]
    return markdown(head, made)


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, results=str(HERE / "results"), readme=str(HERE / "README.md"))
    path = Path(given.readme)
    written = path.read_text().partition(MARK)[0] if path.exists() else ""
    path.write_text(written + MARK + "\n" + "\n".join(sections(read(Path(given.results)))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
