"""Six fused kernels on one thread: oflow's compiled forms, PyTorch's own kernels, torch.compile, JAX jit, interleaved.

    python benchmarks/kernels.py [--sizes large,cached] [--only GELU] [--rounds 7] [--seconds 0.06] [--json FILE]

CPU seconds of one call, medians; results are compared. Each framework writes where it likes to: oflow into the slot it is given,
the others into what their allocator returns, as in their training steps.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import numpy as np
from kernel_cases import KERNELS, SIZES, summary
from report import Row, options, save, seconds_text, table
from turns import Answer, Player, figure, rounds, serve, started, stopwatch

CONTESTANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "oflow": ("kernels_oflow", {}),
    "torch eager": ("kernels_torch", {"compiled": False}),
    "torch.compile": ("kernels_torch", {"compiled": True}),
    "jax jit": ("kernels_jax", {}),
}
AGREE = 1e-4
"""How far norms of results may lie apart, relative."""


def contestant(name: str) -> tuple[Answer, Any]:
    """Answers {"kernel", "size", "steps"} with the time of that many calls; the first answer about a kernel has its results."""
    module, given = CONTESTANTS[name]
    imported = __import__(module)
    if hasattr(imported, "torch"):
        imported.torch.set_num_threads(1)
    ready: dict[tuple[str, str], Any] = {}

    def answer(question: Answer) -> Answer:
        key = question["kernel"], question["size"]
        if key not in ready:
            ready.clear()  # the memory of one kernel at a time
            call, results, remark = ready[key] = imported.make(*key, **given)
            call()
            return {"results": summary(results()), "remark": remark}
        call = ready[key][0]
        with stopwatch() as took:
            for _ in range(question["steps"]):
                call()
        return {"took": asdict(took)}

    return {"version": imported.VERSION}, answer


def measure(players: Sequence[Player], kernel: str, size: str, most: int, seconds: float) -> Row:
    """Seconds of one call by contestant, with the relative distance of the results from oflow's."""
    first = {player.name: player.ask(kernel=kernel, size=size, steps=1) for player in players}
    for player in players:
        player.steps = 1
        player.turn(seconds, kernel=kernel, size=size)  # memory and caches get warm
        player.samples = []
    rounds(players, most, most, seconds, kernel=kernel, size=size)
    base = np.array(first[players[0].name]["results"])
    apart = {name: float(np.max(np.abs(np.array(found["results"]) / base - 1))) for name, found in first.items()}
    return {
        "kernel": kernel, "size": size, "shape": SIZES[size][kernel], "remark": first[players[0].name]["remark"], "apart": apart,
        "seconds": {player.name: figure(player).seconds for player in players},
        "spread": {player.name: [figure(player).low, figure(player).high] for player in players},
    }  # fmt: skip


def means(rows: Sequence[Row], size: str) -> dict[str, float]:
    """Geometric means of the other's time over oflow's."""
    chosen = [row["seconds"] for row in rows if row["size"] == size]
    others = [name for name in chosen[0] if name != "oflow"]
    return {name: float(np.exp(np.mean([np.log(s[name] / s["oflow"]) for s in chosen]))) for name in others}


def show(rows: Sequence[Row]) -> str:
    names = list(rows[0]["seconds"])
    lines = [
        [
            f"{row['kernel']} {'x'.join(map(str, row['shape']))}",
            *(seconds_text(row["seconds"][name]) for name in names),
            *(f"{row['seconds'][name] / row['seconds']['oflow']:.2f}" for name in names[1:]), row["remark"],
        ]
        for row in rows
    ]  # fmt: skip
    for size in dict.fromkeys(row["size"] for row in rows):
        lines.append([f"geometric mean, {size}", *[""] * len(names), *(f"{m:.2f}" for m in means(rows, size).values()), ""])
    return table(lines, ["one thread, CPU time", *names, *(f"x {name}" for name in names[1:]), ""])


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, sizes="large,cached", only="", rounds=7, seconds=0.06)
    rows: list[Row] = []
    with ExitStack() as stack:
        players = started(stack, [Player(name, __file__, (name,), 1) for name in CONTESTANTS])
        for size in given.sizes.split(","):
            for kernel in KERNELS:
                if given.only in kernel:
                    rows.append(measure(players, kernel, size, given.rounds, given.seconds))
    print(show(rows))
    save(given.json, rows, means={size: means(rows, size) for size in given.sizes.split(",")})
    wrong = [(row["kernel"], name, d) for row in rows for name, d in row["apart"].items() if not d < AGREE]
    for kernel, name, distance in wrong:
        print(f"{kernel}: {name} differs from oflow by {distance:.1e}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(1, lambda: contestant(sys.argv[2]))
    else:
        sys.exit(main(sys.argv[1:]))
