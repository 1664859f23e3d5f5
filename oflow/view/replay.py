"""A schedule with the durations it takes: one lane a rank, what is under way to it beneath, its bubble and its peak beside it."""

from __future__ import annotations

from oflow.schedule import Action, Replay
from oflow.view import style
from oflow.view.style import label, rect, seconds_text

LEFT, RIGHT, TOP, LANE, STRIP, GAP = 70.0, 150.0, 62.0, 26.0, 5.0, 6.0
LATER = ' fill-opacity=".7"'
"""How a rank's stages after its first are told from it."""


def replay_picture(replay: Replay, *, width: float = 1180.0) -> str:
    """An SVG, `width` pixels wide. A bar's tooltip tells the action, its start and stop; a thin bar is a message under way to the rank,
    from the end of the action that made it; the second and later stages of a rank are paler."""
    schedule = replay.schedule
    scale = (width - LEFT - RIGHT) / (replay.seconds or 1.0)
    messages = _messages(replay)
    pitch = LANE + (STRIP if messages else 0.0) + GAP
    head = (
        f"schedule {schedule.name}: {len(schedule.stages)} stages on {schedule.ranks} ranks, {schedule.micro_batches} micro-batches, "
        f"{seconds_text(replay.seconds)}, bubble {replay.bubble:.1%}, peak {replay.peak:g} stages"
    )
    kinds = sorted({a.phase for row in schedule.rows for a in row} | ({"comm"} if messages else set()))
    body = [label(10, 20, head, size=14, more=' font-weight="600"'), *style.legend(10, 42, kinds)]
    body += _axis(replay.seconds, scale, TOP + schedule.ranks * pitch)
    for rank, row in enumerate(schedule.rows):
        y = TOP + rank * pitch
        body += [label(10, y + 17, f"rank {rank}"), rect(LEFT, y, replay.seconds * scale, LANE, "of-band")]
        first = min((a.stage for a in row), default=0)
        for action, start, stop in zip(row, replay.starts[rank], replay.stops[rank], strict=True):
            body.append(_bar(action, start, stop, y, scale, "" if action.stage == first else LATER))
        for action, start, stop in messages.get(rank, ()):
            title = f"for {action}: under way from {seconds_text(start)} to {seconds_text(stop)}"
            body.append(rect(LEFT + start * scale, y + LANE, max((stop - start) * scale, 0.6), STRIP - 1, "of-comm", title, LATER))
        words = f"bubble {replay.bubbles[rank]:.1%}, peak {replay.peaks[rank]:g}"
        body.append(label(LEFT + replay.seconds * scale + 10, y + 17, words, "of-soft", 11))
    return style.page(width, TOP + schedule.ranks * pitch + 30, body, head)


def _bar(action: Action, start: float, stop: float, y: float, scale: float, more: str) -> str:
    w = max((stop - start) * scale, 0.6)
    title = f"{action}: stage {action.stage}, micro-batch {action.micro_batch}\n{seconds_text(start)} to {seconds_text(stop)}"
    bar = rect(LEFT + start * scale, y, w, LANE, f"of-{action.phase}{' of-gap' if w > 3 else ''}", title, more)
    words = next((text for text in (str(action), str(action.micro_batch)) if len(text) * 6.4 + 2 <= w), "")
    return bar + (label(LEFT + start * scale + w / 2, y + 17, words, "of-on", 10.5, "middle", ' pointer-events="none"') if words else "")


def _messages(replay: Replay) -> dict[int, list[tuple[Action, float, float]]]:
    """What is under way to each rank: who reads it, from when to when. Empty where messages take no time."""
    schedule, times = replay.schedule, replay.times
    ends = {a: t for row, stops in zip(schedule.rows, replay.stops, strict=True) for a, t in zip(row, stops, strict=True)}
    found: dict[int, list[tuple[Action, float, float]]] = {}
    for rank, row in enumerate(schedule.rows):
        for action in row:
            lag = times.forward if action.phase == "F" else times.backward
            before = next((n for n in schedule.needs(action) if n in ends and schedule.homes[n.stage] != rank), None)
            if before is not None and lag:
                found.setdefault(rank, []).append((action, ends[before], ends[before] + lag))
    return found


def _axis(seconds: float, scale: float, bottom: float) -> list[str]:
    made = []
    for tick in style.ticks(seconds):
        x = LEFT + tick * scale
        made.append(f'<line class="of-line" x1="{x:.2f}" y1="{TOP - 4:.0f}" x2="{x:.2f}" y2="{bottom:.0f}"/>')
        made.append(label(x, bottom + 14, seconds_text(tick) if tick else "0 s", "of-soft", 10.5, "middle"))
    return made
