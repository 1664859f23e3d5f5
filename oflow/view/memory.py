"""The arenas: every register as a box at its offset, cut into its slots. Registers that share bytes stand side by side."""

from __future__ import annotations

from dataclasses import dataclass

from oflow.plan import Plan, Register
from oflow.view import style
from oflow.view.dot import register_title
from oflow.view.style import label, rect

MOST = 16
"""Devices up to which each has panels of its own."""
HEIGHT, BOX, LEFT, GAP, TOP, ROW_WIDTH = 380.0, 104.0, 62.0, 34.0, 64.0, 1240.0


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes from `start` to `stop` of a region; `lines` are the slot borders within."""

    start: int
    stop: int
    kind: str
    name: str
    title: str
    lines: tuple[int, ...] = ()


def memory(plan: Plan) -> str:
    """An SVG of each device's arena, and of its kept state: offsets upwards in bytes, one box a register. Of more than MOST devices those
    whose regions are the same, register by register, share a panel."""
    tallest = max([*plan.arenas.values(), *plan.states.values(), 1])
    panels = _together([
        (device, region, size, _columns(_pieces(plan, device, region)))
        for device in sorted(plan.devices, key=style.device_order)
        for region, size in (("arena", plan.arenas.get(device, 0)), ("state", plan.states.get(device, 0)))
        if size
    ])  # fmt: skip
    body, bottom, right, scale = list[str](), TOP, 0.0, HEIGHT / tallest
    for row in _rows(panels):
        high, x = max(size for _, _, size, _ in row) * scale, 10.0
        for device, region, size, columns in row:
            body += _panel(device, region, size, columns, x, bottom + high, scale)
            x += _width(columns)
        bottom, right = bottom + high + 50, max(right, x)
    arenas, states = (style.bytes_text(sum(sizes.values())) for sizes in (plan.arenas, plan.states))
    title = f"memory: {arenas} of arenas, {states} of state"
    kinds = sorted({piece.kind for _, _, _, columns in panels for column in columns for piece in column})
    head = [label(10, 20, title, size=14, more=' font-weight="600"'), *style.legend(10, 42, kinds)]
    return style.page(max(right + 30, 480.0), bottom, head + body, title)


_Columns = list[list[_Piece]]
_Region = tuple[str, str, int, _Columns]


def _together(panels: list[_Region]) -> list[_Region]:
    """The panels; of many those that look alike as one, with the names of all their devices."""
    if len({device for device, _, _, _ in panels}) <= MOST:
        return panels
    found: dict[object, list[_Region]] = {}
    for panel in panels:
        looks = tuple((one.start, one.stop, one.kind, one.name, one.lines) for column in panel[3] for one in column)
        found.setdefault((panel[1:3], looks), []).append(panel)
    return [(style.device_range([device for device, _, _, _ in same]), *same[0][1:]) for same in found.values()]


def _width(columns: _Columns) -> float:
    return LEFT + max(len(columns), 1) * BOX + GAP


def _rows(panels: list[_Region]) -> list[list[_Region]]:
    """The panels in rows of at most ROW_WIDTH pixels (one panel, if that alone is wider)."""
    rows: list[list[_Region]] = []
    room = 0.0
    for panel in panels:
        wide = _width(panel[3])
        if not rows or wide > room:
            rows.append([])
            room = ROW_WIDTH
        rows[-1].append(panel)
        room -= wide
    return rows


def _pieces(plan: Plan, device: str, region: str) -> list[_Piece]:
    kept = [r for r in plan.registers if r.device == device and r.region == region and r.type.nbytes]
    found = [_piece(plan, r) for r in kept]
    if region == "arena":
        for stream, (offset, nbytes) in plan.scratches.items():
            if style.device_of(stream) == device and nbytes:
                name = f"scratch {stream.partition('/')[2]}"
                found.append(_Piece(offset, offset + nbytes, "host", name, f"{name}: {nbytes:,} bytes at +{offset}"))
    return sorted(found, key=lambda p: (p.start, -p.stop, p.name))


def _piece(plan: Plan, r: Register) -> _Piece:
    kind = "update" if r.region == "state" else style.kind_of(plan.actors[r.producer]) if r.producer >= 0 else "host"
    borders = tuple(r.offset + i * r.slot_nbytes for i in range(1, r.slots))
    return _Piece(r.offset, r.offset + r.nbytes, kind, f"{r.name} x{r.slots}", register_title(r), borders)


def _columns(pieces: list[_Piece]) -> _Columns:
    """Each piece in the first column whose last piece ends at or before its start."""
    columns: list[list[_Piece]] = []
    for piece in pieces:
        fitting = next((column for column in columns if column[-1].stop <= piece.start), None)
        if fitting is None:
            columns.append([piece])
        else:
            fitting.append(piece)
    return columns


def _panel(device: str, region: str, size: int, columns: _Columns, x: float, base: float, scale: float) -> list[str]:
    left = x + LEFT
    wide = max(len(columns), 1) * BOX
    made = [label(left, base + 18, device, size=12, more=' font-weight="600"')]
    made.append(label(left + 7.6 * len(device) + 8, base + 18, f"{region} {style.bytes_text(size)}", "of-soft", 11))
    made.append(rect(left, base - size * scale, wide, size * scale, "of-band"))
    for tick in _byte_ticks(size, scale):
        at = base - tick * scale
        made.append(label(left - 6, at + 4, style.bytes_text(tick), "of-soft", 10, "end"))
        made.append(f'<line class="of-line" x1="{left - 4:.1f}" y1="{at:.1f}" x2="{left:.1f}" y2="{at:.1f}"/>')
    for column, members in enumerate(columns):
        for piece in members:
            made += _box(piece, left + column * BOX, base, scale)
    return made


def _box(piece: _Piece, x: float, base: float, scale: float) -> list[str]:
    top, height = base - piece.stop * scale, max((piece.stop - piece.start) * scale, 1.0)
    made = [rect(x + 1, top, BOX - 2, height, f"of-{piece.kind} of-gap", piece.title, ' rx="2"')]
    for border in piece.lines if height > 3 * len(piece.lines) else ():
        at = base - border * scale
        ends = f'x1="{x + 1:.1f}" y1="{at:.1f}" x2="{x + BOX - 1:.1f}" y2="{at:.1f}"'
        made.append(f'<line class="of-gap" {ends} stroke-dasharray="3 2"/>')
    if height >= 12:
        slot = (piece.lines[0] - piece.start) * scale if piece.lines else height
        middle = base - piece.start * scale - slot / 2 + 3.5 if slot >= 12 else top + height / 2 + 3.5
        made.append(label(x + 7, middle, style.fit(piece.name, BOX - 12, 10), "of-on", 10, more=' pointer-events="none"'))
    return made


def _byte_ticks(size: int, scale: float) -> list[float]:
    """Powers of two times a round count, at most one every 40 pixels."""
    step = 1.0
    while step * scale < 40:
        step *= 2
    return [i * step for i in range(int(size / step + 1e-9) + 1)]
