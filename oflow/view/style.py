"""What all pictures share: colours of phases, units, and an SVG page that is readable in the dark and in the light.

Colours are plain class rules with a `prefers-color-scheme` override, no CSS variables, so that converters outside browsers
read them too. Every page paints its own background.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from oflow.plan import ActorSpec

KINDS: dict[str, tuple[str, str]] = {
    "F": ("forward", "#3b78c9"),
    "B": ("backward", "#d9782d"),
    "I": ("input gradient", "#c2982b"),
    "W": ("weight gradient", "#2f9561"),
    "comm": ("communication", "#b8487c"),
    "update": ("update", "#7f5fc4"),
    "host": ("host", "#77818f"),
    "data": ("input, parameter, output", "#77818f"),
}
"""What an act does: its name in words and its colour."""

FONT = "ui-sans-serif, system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"
_LIGHT = {"bg": "#ffffff", "ink": "#1d2430", "soft": "#667080", "line": "#d5dae2", "band": "#f4f6f9", "edge": "#9aa4b2"}
_DARK = {"bg": "#14181f", "ink": "#e4e8ee", "soft": "#97a1b0", "line": "#333b48", "band": "#1b212b", "edge": "#6a7587"}


def kind_of(actor: ActorSpec) -> str:
    """The key in KINDS of what an actor does."""
    return kind(actor.device, actor.stream.partition("/")[2], actor.phase)


def kind(device: str, stream: str, phase: str) -> str:
    """The key in KINDS: host actors, the streams that move data, else the phase."""
    if device.startswith("host:"):
        return "host"
    if stream.startswith(("comm", "copy", "offload", "prefetch")):
        return "comm"
    return phase if phase in KINDS else "F"


def device_of(stream: str) -> str:
    return stream.partition("/")[0]


def device_order(device: str) -> tuple[bool, str, int, str]:
    """Sort key: the host last, then by kind and number."""
    kind, _, number = device.partition(":")
    return kind == "host", kind, int(number) if number.isdigit() else 0, device


def device_range(names: Sequence[str]) -> str:
    """``cpu:0-3,6``: the devices of one kind, in order."""
    unique = sorted(set(names), key=device_order)
    kind = unique[0].partition(":")[0]
    numbers = [name.partition(":")[2] for name in unique]
    if len(unique) == 1 or not all(n.isdigit() for n in numbers) or any(name.partition(":")[0] != kind for name in unique):
        return ",".join(unique)
    runs: list[list[int]] = []
    for n in map(int, numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return f"{kind}:" + ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def seconds_text(seconds: float) -> str:
    """Four digits and a unit: ``12.5 us``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)):
        if abs(seconds) >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:.4g} s"


def bytes_text(nbytes: float) -> str:
    """Three digits and a binary unit: ``1.5 KiB``; whole bytes below 1 KiB."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if nbytes >= size:
            return f"{nbytes / size:.3g} {unit}" if nbytes < 1000 * size else f"{nbytes / size:.0f} {unit}"
    return f"{nbytes:g} B"


def widths_of(rows: Sequence[Sequence[str]]) -> list[int]:
    """Of each column of a table in text, its longest cell."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def padded(rows: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """The lines of a table in text: cells flush left, two blanks between columns."""
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def ticks(top: float, count: int = 8) -> list[float]:
    """About `count` round numbers from 0 to `top`."""
    if top <= 0:
        return [0.0]
    power = 1.0
    while power * 10 * count <= top:
        power *= 10
    while power * count > top:
        power /= 10
    step = next(power * m for m in (1, 2, 5, 10) if power * m * count >= top)
    return [i * step for i in range(int(top / step + 1e-9) + 1)]


# ---------------------------------------------------------------- SVG

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(text: str) -> str:
    """`text` in XML; a character that XML does not have becomes U+FFFD."""
    return html.escape(_NOT_XML.sub("\ufffd", text))



def _rules(colours: dict[str, str]) -> str:
    return (
        f".of-bg{{fill:{colours['bg']}}}.of-ink{{fill:{colours['ink']}}}.of-soft{{fill:{colours['soft']}}}"
        f".of-line{{stroke:{colours['line']}}}.of-band{{fill:{colours['band']};stroke:{colours['line']}}}"
        f".of-edge{{stroke:{colours['edge']};fill:none}}.of-tip{{fill:{colours['edge']}}}.of-rim{{stroke:{colours['band']}}}"
    )


def css() -> str:
    kinds = "".join(f".of-{kind}{{fill:{colour}}}" for kind, (_, colour) in KINDS.items())
    fixed = f".of text{{font-family:{FONT}}}.of-on{{fill:#ffffff}}.of-gap{{stroke:#ffffff;stroke-opacity:.55}}"
    fixed += f".of-rim{{paint-order:stroke;stroke-width:3px;stroke-linejoin:round}}{kinds}"
    return f"{fixed}{_rules(_LIGHT)}@media (prefers-color-scheme:dark){{{_rules(_DARK)}}}"


def page(width: float, height: float, body: list[str], title: str) -> str:
    """An SVG document of `width` x `height` pixels that shrinks to the space it is given."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="of" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">\n<style>{css()}</style>\n'
        f'<rect class="of-bg" width="{width:.0f}" height="{height:.0f}"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def rect(x: float, y: float, width: float, height: float, cls: str, title: str = "", more: str = "") -> str:
    shape = f'<rect class="{cls}" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"{more}'
    return f"{shape}><title>{escape(title)}</title></rect>" if title else f"{shape}/>"


def label(x: float, y: float, text: str, cls: str = "of-ink", size: float = 12, anchor: str = "start", more: str = "") -> str:
    return f'<text class="{cls}" x="{x:.2f}" y="{y:.2f}" font-size="{size:g}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def fit(text: str, width: float, size: float = 12) -> str:
    """`text` cut to about `width` pixels; empty where not even two letters fit."""
    room = int(width / (0.58 * size))
    if len(text) <= room:
        return text
    return text[: room - 1] + "…" if room >= 3 else ""


def legend(x: float, y: float, kinds: list[str]) -> list[str]:
    """One coloured square and its word for each of `kinds`, in a row."""
    made = []
    for kind in (k for k in KINDS if k in kinds):
        words = KINDS[kind][0]
        made += [rect(x, y - 9, 11, 11, f"of-{kind}", more=' rx="2"'), label(x + 16, y, words, "of-soft", 11)]
        x += 32 + 6.4 * len(words)
    return made
