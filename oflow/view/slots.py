"""Slots and their curve: the table of what changed, the periods that slots can reach, and the picture of both."""

from __future__ import annotations

import math

from oflow.sizing import FULLEST, TOTAL, Sizing, SlotRow, TradeOff
from oflow.view import style
from oflow.view.style import bytes_text, label, rect, seconds_text
from oflow.view.table import table

SHOWN = 24
"""Registers that a table shows, those with most bytes first; --json has all."""
NEAR = 1e-9
"""Share of a period that is no difference."""
WHAT = {
    ("step", TOTAL): "slots", ("micro-batch", TOTAL): "slots", ("step", FULLEST): "live bytes of the fullest device",
    ("micro-batch", FULLEST): "slots of the fullest device",
}  # fmt: skip
"""What the bytes are, by view and measure."""
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720.0, 420.0, 84.0, 30.0, 74.0, 52.0


def sizing_text(sizing: Sizing) -> str:
    """What slots change, the bytes before and after, the period, and how far from the least that may be."""
    saved = 1.0 - sizing.nbytes / sizing.before if sizing.before else 0.0
    proof = "proved least" if sizing.exact else f"other slots save at most {sizing.gap:.2%} of them (down to {sizing.bound:,} bytes)"
    head = f"{WHAT[sizing.per, sizing.of]}: {sizing.before:,} -> {sizing.nbytes:,} bytes ({-saved:+.1%}), {proof}"
    head += f"; period {seconds_text(sizing.period)} a {sizing.per}{_fastest(sizing)}"
    changed = [row for row in sizing.rows if row.before != row.after]
    lines = [
        (row.register, row.line, f"x{row.devices}", bytes_text(row.nbytes), str(row.before), str(row.after), _added(row))
        for row in changed[:SHOWN]
    ]  # fmt: skip
    if len(changed) > SHOWN:
        lines.append((f"and {len(changed) - SHOWN} more", "", "", "", "", "", ""))
    rest = len(sizing.rows) - len(changed)
    foot = f"  {rest} other register{'s' * (rest != 1)} keep{'s' * (rest == 1)} the slots they have\n" if rest else ""
    return f"{head}\n{table(('register', 'line', 'devices', 'a slot', 'before', 'after', 'bytes'), lines)}{foot}"


def _fastest(sizing: Sizing) -> str:
    """How much shorter the period could be, where that was asked or is not known."""
    within = "" if sizing.memory is None else f" within {sizing.memory:,} bytes a device"
    if sizing.memory is None and (sizing.per == "step" or sizing.period > sizing.asked * (1 + NEAR)):
        return ""
    if sizing.period_gap <= NEAR:
        return f", proved least{within}" if within else ""
    return f", other slots save at most {sizing.period_gap:.2%} of it{within} (down to {seconds_text(sizing.fastest)})"


def _added(row: SlotRow) -> str:
    nbytes = (row.after - row.before) * row.nbytes
    return ("+" if nbytes > 0 else "-") + bytes_text(abs(nbytes))


def trade_off_text(found: TradeOff) -> str:
    """The curve as a table, fastest first."""
    now, nbytes = found.current
    lines = [
        (seconds_text(one.period), f"{one.nbytes:,}", f"{one.bound:,}", f"{one.gap:.2%}", bytes_text(one.nbytes)) for one in found.sizings
    ]
    head = f"{WHAT[found.per, found.of]} against period, a {found.per}; now {nbytes:,} bytes"
    head += f" at {seconds_text(now)}" if found.per == "step" else ""
    return f"{head}\n{table(('period', 'bytes', 'at least', 'gap', ''), lines)}"


def trade_off_facts(found: TradeOff) -> dict[str, object]:
    """The curve as plain data."""
    points = [
        {
            "period_seconds": one.period, "nbytes": one.nbytes, "bound_nbytes": one.bound,
            "slots": {row.register: row.after for row in one.rows},
        }
        for one in found.sizings
    ]  # fmt: skip
    return {"per": found.per, "of": found.of, "current": {"period_seconds": found.current[0], "nbytes": found.current[1]}, "points": points}


def sizing_facts(sizing: Sizing) -> dict[str, object]:
    """A sizing as plain data."""
    rows = [
        {"register": r.register, "line": r.line, "devices": r.devices, "slot_nbytes": r.nbytes, "before": r.before, "after": r.after}
        for r in sizing.rows
    ]  # fmt: skip
    return {
        "per": sizing.per, "period_seconds": sizing.period, "asked_seconds": sizing.asked, "before_nbytes": sizing.before,
        "nbytes": sizing.nbytes, "bound_nbytes": sizing.bound, "gap": sizing.gap, "exact": sizing.exact, "registers": rows,
        "of": sizing.of, "bound_seconds": sizing.fastest, "period_gap": sizing.period_gap, "memory_nbytes": sizing.memory,
    }  # fmt: skip


def trade_off_svg(found: TradeOff) -> str:
    """The curve as an SVG: bytes of slots along, period upwards, steps between the points, the bound dashed, the plan as it is."""
    what = "bytes of slots" if found.of == TOTAL else WHAT[found.per, found.of]
    title = f"period against {what}, a {found.per}"
    now = [found.current] if found.per == "step" else []
    slowest = found.sizings[-1].period
    low, high = _range([s.period for s in found.sizings] + [t for t, _ in now])
    least, most = _range([float(b) for s in found.sizings for b in (s.nbytes, s.bound)] + [float(n) for _, n in now])

    def x(nbytes: float) -> float:
        return LEFT + (nbytes - least) / (most - least) * (WIDTH - LEFT - RIGHT)

    def y(seconds: float) -> float:
        return HEIGHT - BOTTOM - (seconds - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    body = [label(10, 20, title, size=14, more=' font-weight="600"')]
    body.append(label(10, 40, f"{bytes_text(found.sizings[0].nbytes)} for the full rate, {seconds_text(found.sizings[0].period)}; "
                      f"{bytes_text(found.sizings[-1].nbytes)} at least, {seconds_text(slowest)}", "of-soft", 11))  # fmt: skip
    body.append(rect(LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM, "of-band"))
    for tick in _ticks(least, most, _binary_step(most - least)):
        body.append(f'<line class="of-line" x1="{x(tick):.1f}" y1="{TOP}" x2="{x(tick):.1f}" y2="{HEIGHT - BOTTOM}"/>')
        body.append(label(x(tick), HEIGHT - BOTTOM + 16, bytes_text(tick), "of-soft", 10, "middle"))
    for tick in _ticks(low, high, [*style.ticks(high - low, 6), high - low][1]):
        body.append(f'<line class="of-line" x1="{LEFT}" y1="{y(tick):.1f}" x2="{WIDTH - RIGHT}" y2="{y(tick):.1f}"/>')
        body.append(label(LEFT - 6, y(tick) + 3.5, seconds_text(tick), "of-soft", 10, "end"))
    along = f"{what} on all devices" if found.of == TOTAL else what
    body.append(label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, along, "of-soft", 11, "middle"))
    body.append(label(10, TOP - 10, "period", "of-soft", 11))
    body.append(_steps([(x(s.bound), y(s.period)) for s in found.sizings], y(high), ' stroke-dasharray="4 3"'))
    body.append(_steps([(x(s.nbytes), y(s.period)) for s in found.sizings], y(high), ' stroke-width="2"'))
    for one in found.sizings:
        words = f"{seconds_text(one.period)}\n{one.nbytes:,} bytes\nat least {one.bound:,} bytes"
        body.append(f'<circle class="of-F" cx="{x(one.nbytes):.1f}" cy="{y(one.period):.1f}" r="4.5"><title>{words}</title></circle>')
    for seconds, nbytes in now:
        words = f"as it is: {seconds_text(seconds)}, {nbytes:,} bytes"
        body.append(f'<circle class="of-B" cx="{x(nbytes):.1f}" cy="{y(seconds):.1f}" r="4.5"><title>{words}</title></circle>')
        body.append(label(x(nbytes) - 8, y(seconds) - 8, "as it is", "of-soft", 11, "end"))
    return style.page(WIDTH, HEIGHT, body, title)


def _steps(points: list[tuple[float, float]], top: float, more: str) -> str:
    """Fewer bytes need the next longer period: a line that goes up at a point's bytes and left at its period."""
    path = f"M{WIDTH - RIGHT:.1f} {points[0][1]:.1f}" + "".join(
        f"H{px:.1f}V{(points[i + 1][1] if i + 1 < len(points) else top):.1f}" for i, (px, _) in enumerate(points)
    )
    return f'<path class="of-edge" d="{path}"{more}/>'


def _range(values: list[float]) -> tuple[float, float]:
    """A range around some values, with room at both ends."""
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.08 or 1.0
    return max(0.0, low - room), high + room


def _ticks(low: float, high: float, step: float) -> list[float]:
    """The multiples of `step` within a range."""
    first = -(-low // step) * step
    return [first + i * step for i in range(int((high - first) / step + 1e-9) + 1)]


def _binary_step(nbytes: float) -> float:
    """A power of two that goes into a range about six times."""
    return float(2 ** max(0, math.ceil(math.log2(nbytes / 6))))
