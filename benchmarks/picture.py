"""The picture of the README: how many times longer the peers take than oflow, from the measured JSON of `train_step.py`.

    python benchmarks/picture.py [--results benchmarks/results] [--out benchmarks/steps.svg]
"""

from __future__ import annotations

import html
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from report import Row, options
from train_step import OWN, best_own

HERE = Path(__file__).resolve().parent
COLOURS = {"torch eager": "#d9782d", "torch.compile": "#c2982b", "jax jit": "#2f9561"}
STYLE = (
    "text{font-family:ui-sans-serif,system-ui,'Segoe UI','DejaVu Sans',sans-serif;font-size:12px;fill:#1d2430}"
    ".bg{fill:#fff}.soft{fill:#667080;font-size:11px}.line{stroke:#d5dae2}.own{stroke:#3b78c9;stroke-width:2}"
    "@media (prefers-color-scheme:dark){text{fill:#e4e8ee}.bg{fill:#14181f}.soft{fill:#97a1b0}.line{stroke:#333b48}}"
)
LEFT, WIDTH, BAR, GAP, TOP = 330, 560, 11, 12, 58
TICKS = (0.5, 1, 2, 4, 8, 16, 32)


def groups(rows: Sequence[Row]) -> list[tuple[str, dict[str, float]]]:
    """For each case and number of threads the peers' time over oflow's."""
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row["case"], row["threads"]), []).append(row)
    made = []
    for (case, threads), some in sorted(found.items(), key=lambda item: item[0][1]):
        own = best_own(some)["seconds"]
        ratios = {row["name"]: row["seconds"] / own for row in some if row["name"] not in OWN}
        busy = " (machine busy)" if any(row["clock"] == "all" for row in some) else ""
        made.append((f"{case}, {threads} thread{'s'[: threads - 1]}{busy}", ratios))
    return made


def draw(rows: Sequence[Row]) -> str:
    """An SVG document; the scale is logarithmic."""
    made = groups(rows)
    top = max((ratio for _, ratios in made for ratio in ratios.values()), default=2.0)
    ticks = [t for t in TICKS if t <= top * 1.3]

    def x(ratio: float) -> float:
        low, high = math.log(ticks[0]), math.log(max(top * 1.15, ticks[-1]))
        return LEFT + WIDTH * (math.log(max(ratio, ticks[0])) - low) / (high - low)

    body, y = _legend(), TOP
    for label, ratios in made:
        body.append(f'<text x="{LEFT - 10}" y="{y + BAR * len(ratios) / 2 + 4:.0f}" text-anchor="end">{html.escape(label)}</text>')
        for name, ratio in ratios.items():
            body.append(
                f'<rect x="{min(x(ratio), x(1)):.1f}" y="{y}" width="{abs(x(ratio) - x(1)):.1f}" height="{BAR - 1}" '
                f'fill="{COLOURS.get(name, "#7f5fc4")}"/>'
                f'<text class="soft" x="{max(x(ratio), x(1)) + 4:.1f}" y="{y + BAR - 2}">{ratio:.2f}</text>'
            )
            y += BAR
        y += GAP
    grid = [
        f'<line class="{"own" if t == 1 else "line"}" x1="{x(t):.1f}" x2="{x(t):.1f}" y1="{TOP - 6}" y2="{y}"/>'
        f'<text class="soft" x="{x(t):.1f}" y="{TOP - 10}" text-anchor="middle">{t:g}</text>'
        for t in ticks
    ]
    width = LEFT + WIDTH + 60
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}" role="img" '
        f'aria-label="Time of a training step over oflow\'s">\n<style>{STYLE}</style>\n'
        f'<rect class="bg" width="{width}" height="{y}"/>\n' + "\n".join(grid + body) + "\n</svg>\n"
    )


def _legend() -> list[str]:
    body, x = ['<text x="10" y="18">One training step: the time of others over oflow\'s (right of 1: oflow is faster)</text>'], 500.0
    for name, colour in COLOURS.items():
        body.append(f'<rect x="{x}" y="9" width="11" height="11" fill="{colour}"/><text class="soft" x="{x + 16}" y="18">{name}</text>')
        x += 100
    return body


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, results=str(HERE / "results"), out=str(HERE / "steps.svg"))
    rows = json.loads((Path(given.results) / "train_step.json").read_text())["rows"]
    Path(given.out).write_text(draw(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
