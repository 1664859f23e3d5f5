"""Training steps while two foreign processes keep both cores busy: how much slower each framework gets.

    python benchmarks/busy.py [--only GPT] [--rounds 7] [--seconds 0.3] [--json FILE]

Two processes count without end; they are stopped (SIGSTOP) in every other turn, so quiet and busy samples of all frameworks are
interleaved. Two threads a framework; seconds on the clock, medians.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

from report import Row, options, save, seconds_text, table
from train_step import CONTESTANTS
from turns import FOREIGN, Player, started

CASES = ("MLP4 64x256", "GPT d128 T64 B4 V1024")
NAMES = ("oflow", "oflow auto", "torch eager", "torch.compile", "jax jit")
LOOP = "while True: pass"


@contextmanager
def burners(count: int = 2) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that count; they are stopped when they come."""
    made = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(count)]
    try:
        for one in made:
            one.send_signal(signal.SIGSTOP)
        yield made
    finally:
        for one in made:
            one.kill()
            one.wait()


def measure(case_name: str, names: Sequence[str], count: int, seconds: float) -> list[Row]:
    script = __file__.replace("busy.py", "train_step.py")
    with ExitStack() as stack:
        players = started(stack, [Player(name, script, (name, case_name, "2"), 2) for name in names])
        for player in players:
            player.turn(seconds)
            player.samples.clear()
        foreign = stack.enter_context(burners())
        found: dict[str, dict[str, list[float]]] = {p.name: {"quiet": [], "busy": []} for p in players}
        others: dict[str, list[float]] = {p.name: [] for p in players}
        for _ in range(count):
            for kind, sent in (("quiet", signal.SIGSTOP), ("busy", signal.SIGCONT)):
                for one in foreign:
                    one.send_signal(sent)
                for player in players:
                    player.turn(seconds)
                    found[player.name][kind].append(player.samples[-1].seconds)
                    if kind == "quiet":
                        others[player.name].append(player.samples[-1].foreign)
        return [
            {
                "case": case_name, "name": name, "quiet": median(times["quiet"]), "busy": median(times["busy"]),
                "slowdown": median(times["busy"]) / median(times["quiet"]), "undisturbed": median(others[name]) < FOREIGN,
            }
            for name, times in found.items()
        ]  # fmt: skip


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, only="", rounds=7, seconds=0.3, names=",".join(NAMES))
    names = [name for name in given.names.split(",") if name in CONTESTANTS]
    rows = [row for case in CASES if given.only in case for row in measure(case, names, given.rounds, given.seconds)]
    lines = [
        (f"{row['case']}, {row['name']}", seconds_text(row["quiet"]), seconds_text(row["busy"]), f"{row['slowdown']:.2f}")
        for row in rows
    ]
    print(table(lines, ("2 threads", "alone", "2 foreign processes", "slower by")))
    save(given.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
