"""One training step through oflow, PyTorch eager, torch.compile and JAX jit, interleaved.

    python benchmarks/train_step.py [--threads 1,2] [--only GPT] [--rounds 9] [--seconds 0.15] [--skip torch.compile]
        [--machine measure] [--json FILE]

Every framework runs in a process of its own with the same mathematics: the same initial weights, the same batches, float32,
Adam, the same number of threads and cores. The processes take turns in an order drawn anew each round; in a turn one trains for
about so many seconds, through `step.stream` in oflow. One thread: CPU seconds; two: seconds on the clock of quiet samples (see
turns.py). Losses of the first steps are compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
from cases import CASES
from report import Row, options, save, seconds_text, table
from turns import Answer, Player, figure, rounds, serve, started, stopwatch

COMPARED = 20
"""Steps whose losses are compared; LIMIT: how far apart they may lie, relative."""
LIMIT = 1e-5
RING = 16
"""Different batches, used in turn."""
MACHINE_SECONDS = 45.0
"""How long the machine is measured for the cost model; "--machine reference" takes the constant preset, a file what is in it."""
CONTESTANTS: dict[str, tuple[str, dict[str, Any], int]] = {
    "oflow": ("step_oflow", {"layout": "one"}, 1),
    "oflow data": ("step_oflow", {"layout": "data"}, 2),
    "oflow tensor": ("step_oflow", {"layout": "tensor"}, 2),
    "oflow auto": ("step_oflow", {"layout": "auto"}, 2),
    "torch eager": ("step_torch", {"compiled": False}, 1),
    "torch.compile": ("step_torch", {"compiled": True}, 1),
    "jax jit": ("step_jax", {}, 1),
}
"""By name: its module, the arguments of its `make`, and from how many threads on it is measured."""
OWN = ("oflow", "oflow data", "oflow tensor", "oflow auto")


def contestant(name: str, case_name: str, threads: int, machine: str = "") -> tuple[Answer, Any]:
    """Answers {"steps": n} with the time and the losses of that many further steps. machine: the file of a measured one."""
    module, given, _ = CONTESTANTS[name]
    if given.get("layout") == "auto" and machine != "reference":
        given = {**given, "machine": machine}
    imported = __import__(module)
    case = CASES[case_name]
    ring, done = case.batches(RING), 0
    train, remark = imported.make(case, threads, **given)

    def answer(question: Answer) -> Answer:
        nonlocal done
        batches = [ring[(done + i) % RING] for i in range(question["steps"])]
        done += len(batches)
        with stopwatch() as took:
            losses = train(batches)
        return {"took": asdict(took), "losses": losses}

    return {"version": imported.VERSION, "remark": remark}, answer


def measure(
    case_name: str, threads: int, least: int, most: int, seconds: float, skip: Sequence[str], machine: str
) -> list[Row]:
    """A row for each contestant that is installed."""
    with ExitStack() as stack:
        wanted = [name for name, (_, _, fewest) in CONTESTANTS.items() if threads >= fewest and name not in skip]
        players = [Player(name, __file__, (name, case_name, str(threads), machine), threads) for name in wanted]
        running = started(stack, players)
        losses = {player.name: player.ask(steps=COMPARED)["losses"] for player in running}
        rounds(running, least, most, seconds)
        base = np.array(losses.get("torch eager") or losses[running[0].name])
        apart = {name: float(np.max(np.abs((np.array(found) - base) / base))) for name, found in losses.items()}
        return [
            {
                "case": case_name, "threads": threads, "name": player.name, "version": player.greeting["version"],
                "remark": player.greeting["remark"], "apart": apart[player.name], "last_loss": losses[player.name][-1],
                **asdict(figure(player)),
            }
            for player in running
        ]  # fmt: skip


def best_own(rows: Sequence[Row]) -> Row:
    """The row that stands for oflow: its only one, or the layout that the cost model chose."""
    own = {row["name"]: row for row in rows if row["name"] in OWN}
    return own.get("oflow auto") or own["oflow"]


def show(rows: Sequence[Row]) -> str:
    own = best_own(rows)["seconds"]
    lines = [
        (
            row["name"], seconds_text(row["seconds"]), f"{seconds_text(row['low'])} - {seconds_text(row['high'])}",
            f"{row['seconds'] / own:.2f}", row["clock"], f"{row['quiet']}/{row['count']}", f"{row['apart']:.0e}", row["remark"],
        )
        for row in rows
    ]  # fmt: skip
    return table(lines, ("", "median", "p10 - p90", "x oflow", "clock", "quiet", "losses apart", ""))


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, threads="1,2", only="", rounds=9, most=25, seconds=0.15, skip="", machine="measure")
    with ExitStack() as stack:
        if given.machine == "measure":
            given.machine = stack.enter_context(measured_machine())
        return run(given)


@contextmanager
def measured_machine() -> Iterator[str]:
    """The name of a file that lasts as long as the context: this machine, measured for its cost model."""
    try:
        import step_oflow
    except ImportError as e:
        print(f"no machine is measured: {e}")
        yield ""
        return
    with NamedTemporaryFile("w", suffix=".json") as file:
        file.write(step_oflow.measured(MACHINE_SECONDS))
        file.flush()
        yield file.name


def run(given: argparse.Namespace) -> int:
    rows: list[Row] = []
    for threads in map(int, given.threads.split(",")):
        for case_name in CASES:
            if any(word in case_name for word in given.only.split(",")):
                print(f"{case_name}, {threads} thread{'s'[: threads - 1]}", flush=True)
                found = measure(case_name, threads, given.rounds, given.most, given.seconds, given.skip.split(","), given.machine)
                print(show(found), flush=True)
                rows += found
                save(given.json, rows)
    apart = [row for row in rows if row["apart"] > LIMIT]
    for row in apart:
        print(f"{row['case']}, {row['name']}: losses are {row['apart']:.1e} from PyTorch's, more than {LIMIT:.0e}")
    return 1 if apart else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[4]), lambda: contestant(sys.argv[2], sys.argv[3], int(sys.argv[4]), *sys.argv[5:]))
    else:
        sys.exit(main(sys.argv[1:]))
