"""How long things take as they grow: a table and a picture of what the four benchmarks below measured, put into the README.

    python benchmarks/operators.py --json benchmarks/results/operators.json        compile time against operators
    python benchmarks/scale.py --json benchmarks/results/scale.json                compile time against devices
    python benchmarks/check.py --json benchmarks/results/check.json                the proof against actors
    python benchmarks/simulate.py --json benchmarks/results/simulate.json          simulation against acts
    python benchmarks/growth.py [--results benchmarks/results] [--readme benchmarks/README.md]

A curve whose results are missing stays out. The picture is benchmarks/growth.svg, both axes logarithmic.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from picture import HERE, STYLE
from report import Row, options, seconds_text

BEGIN, END = "<!-- made by growth.py from here -->", "<!-- made by growth.py up to here -->"
COLOURS = ("#3b78c9", "#d9782d", "#2f9561", "#b8487c", "#7f5fc4", "#c2982b")
LEFT, TOP, WIDTH, HEIGHT, RIGHT, BOTTOM = 64, 40, 520, 330, 300, 46
Point = tuple[float, float]
CASES = {
    "layers": "layers, one device", "layers-data": "layers, two devices",
    "irregular": "random graph, one device", "irregular-data": "random graph, two devices",
}  # fmt: skip
"""What the cases of operators.py are."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds by size; `unit` is what the size counts."""

    name: str
    unit: str
    points: tuple[Point, ...]


def curves(folder: Path) -> list[Curve]:
    """Those whose results are there and have two points or more."""
    found = []
    for file, unit, size, seconds, name in SOURCES:
        path = folder / f"{file}.json"
        rows = json.loads(path.read_text())["rows"] if path.exists() else []
        named: dict[str, list[Point]] = {}
        for row in rows:
            if row.get(size) and row.get(seconds):
                named.setdefault(name(row), []).append((float(row[size]), float(row[seconds])))
        found += [Curve(label, unit, tuple(sorted(points))) for label, points in named.items() if len(points) > 1]
    return found


SOURCES: tuple[tuple[str, str, str, str, Callable[[Row], str]], ...] = (
    ("operators", "operators", "operators", "seconds", lambda row: f"compile, {CASES.get(row['name'], row['name'])}"),
    ("scale", "devices", "devices", "seconds", lambda row: "compile, GPT-3 layers on devices"),
    ("check", "actors", "actors", "all", lambda row: f"check, {row['loops']} loops"),
    ("check", "actors", "actors", "period", lambda row: f"period, {row['loops']} loops"),
    ("simulate", "acts", "acts", "compiled", lambda row: "simulate, compiled loop"),
    ("simulate", "acts", "acts", "python", lambda row: "simulate, actors in Python"),
)
"""File, what its sizes count, keys of size and seconds, and the curve's name."""


def table(found: Sequence[Curve]) -> str:
    lines = ["| | counted | seconds of processor time | growth |", "| --- | --- | --- | --- |"]
    for curve in found:
        cells = ", ".join(f"{size:,.0f}: {seconds_text(seconds)}" for size, seconds in curve.points)
        (small, fast), (large, slow) = curve.points[0], curve.points[-1]
        power = math.log(slow / fast) / math.log(large / small)
        lines.append(f"| {curve.name} | {curve.unit} | {cells} | size^{power:.2f} |")
    return "\n".join(lines)


def draw(found: Sequence[Curve]) -> str:
    """An SVG document."""
    sizes = [size for curve in found for size, _ in curve.points]
    times = [seconds for curve in found for _, seconds in curve.points]
    across, up = (_decades(min(values), max(values)) for values in (sizes, times))

    def x(size: float) -> float:
        return LEFT + WIDTH * (math.log10(size) - across[0]) / (across[-1] - across[0])

    def y(seconds: float) -> float:
        return TOP + HEIGHT * (1 - (math.log10(seconds) - up[0]) / (up[-1] - up[0]))

    body = [f'<rect class="bg" width="{LEFT + WIDTH + RIGHT}" height="{TOP + HEIGHT + BOTTOM}"/>']
    body.append(f'<text x="{LEFT}" y="22">Seconds of processor time by size (operators, devices, actors, acts)</text>')
    for power in across:
        at = x(10.0**power)
        body.append(f'<path class="line" d="M{at:.1f} {TOP}V{TOP + HEIGHT}"/>')
        body.append(f'<text class="soft" x="{at:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{10**power:,}</text>')
    for power in up:
        at = y(10.0**power)
        body.append(f'<path class="line" d="M{LEFT} {at:.1f}H{LEFT + WIDTH}"/>')
        body.append(f'<text class="soft" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{seconds_text(10.0**power)}</text>')
    for number, curve in enumerate(found):
        colour, dash = COLOURS[number % len(COLOURS)], ' stroke-dasharray="5 3"' if number >= len(COLOURS) else ""
        path = "L".join(f"{x(size):.1f} {y(seconds):.1f}" for size, seconds in curve.points)
        body.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        body += [f'<circle cx="{x(size):.1f}" cy="{y(seconds):.1f}" r="3" fill="{colour}"/>' for size, seconds in curve.points]
        at = TOP + 8 + 22 * number
        body.append(f'<path d="M{LEFT + WIDTH + 14} {at}h18" stroke="{colour}" stroke-width="2"{dash}/>')
        body.append(f'<text x="{LEFT + WIDTH + 38}" y="{at + 4}">{curve.name}</text>')
    size = f'width="{LEFT + WIDTH + RIGHT}" height="{TOP + HEIGHT + BOTTOM}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>\n' + "\n".join(body) + "\n</svg>\n"


def _decades(low: float, high: float) -> list[int]:
    """The powers of ten around an interval, two at least."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return list(range(first, max(last, first + 1) + 1))


def main(words: Sequence[str]) -> int:
    given = options(__doc__, words, results=str(HERE / "results"), readme=str(HERE / "README.md"))
    found = curves(Path(given.results))
    if not found:
        print(f"no results in {given.results}; run the benchmarks above first")
        return 1
    readme = Path(given.readme)
    readme.with_name("growth.svg").write_text(draw(found))
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{BEGIN}\n\n{table(found)}\n\n![seconds by size](growth.svg)\n\n{END}{after}")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
