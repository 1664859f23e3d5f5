"""Named schedules shaped for given times against the published orders replayed with the same times: bubble and peak stashes.

    python benchmarks/schedules.py [times] [ranks]        times: one of the names below, or all (default: equal)

Peaks are in whole stages. The published orders of V-Half and V-Min are known by length and peak (tests/schedules/published_v.json).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from oflow.compiler.schedules import SCHEDULES
from oflow.schedule import Times, replay

TIMES = {
    "equal": Times(), "slower I": Times(1, 1.2, 0.8), "double I": Times(1, 2, 1), "communication 0.1": Times(communication=0.1),
    "communication 0.5": Times(communication=0.5),
}  # fmt: skip
KNOWN = json.loads((Path(__file__).parent.parent / "tests/schedules/published_v.json").read_text())


def published(name: str, ranks: int, many: int, label: str) -> tuple[float, float]:
    """Bubble and peak of the published order."""
    if name not in KNOWN:
        made = replay(SCHEDULES[name].make(ranks, many), TIMES[label])
        return made.bubble, made.peak
    peak, *lengths = KNOWN[name][f"{ranks} {many}"]
    busy = 2 * many * sum(TIMES[label].of(phase, 0) for phase in "FIW")
    return 1 - busy / lengths[KNOWN["times"].index(label)], peak


def main(label: str, sizes: list[int]) -> None:
    print(f"times: {label}    published -> ours: bubble of the whole step, peak stashes; seconds of processor time")
    for ranks in sizes:
        for many in (ranks, 2 * ranks, 4 * ranks, 8 * ranks):
            for name, entry in SCHEDULES.items():
                bubble, peak = published(name, ranks, many, label)
                begun = time.process_time()
                made = replay(entry.make(ranks, many, TIMES[label]), TIMES[label])
                taken = time.process_time() - begun
                better = "=" if made.bubble > bubble - 5e-4 else "<"
                figures = f"{bubble:6.1%} -> {made.bubble:6.1%} {better}   {peak:5g} -> {made.peak:5g}   {taken:5.2f} s"
                print(f"P={ranks:<2} M={many:<3} {name:<20} {figures}", flush=True)


if __name__ == "__main__":
    asked = sys.argv[1] if len(sys.argv) > 1 else "equal"
    chosen = [int(sys.argv[2])] if len(sys.argv) > 2 else [2, 4, 8, 16]
    for each in TIMES if asked == "all" else [asked]:
        main(each, chosen)
