"""Timelines: who was busy when, from a simulated or measured trace alike. One lane a stream, seconds along the axis."""

from __future__ import annotations

import numpy as np

from oflow.arrays import tables
from oflow.plan import Plan
from oflow.trace import Span, Trace
from oflow.view import style
from oflow.view.style import device_of, device_order, label, rect

MOST = 16
"""Devices up to which each has lanes of its own."""
LEFT, RIGHT, TOP, LANE, GAP = 128.0, 18.0, 62.0, 24.0, 10.0


def window(trace: Trace) -> tuple[float, float]:
    """First start and last stop, in seconds, of what ran on devices (on the host where nothing else ran)."""
    spans = trace.spans
    here = ~np.isin(spans.stream, [number for number, name in enumerate(spans.streams) if name.startswith("host:")])
    spans = spans.take(here) if here.any() else spans
    return float(spans.start.min(initial=np.inf)) if len(spans) else 0.0, float(spans.stop.max(initial=0.0))


def bubbles(trace: Trace) -> dict[str, float]:
    """Idle share (0 to 1) of each device's compute over the trace's window, warm-up and cool-down included.

    A device's compute is its stream ``compute``; a device without one is busy while any of its streams is.
    """
    start, stop = window(trace)
    spans = trace.spans
    streams = {name for name in (spans.streams[i] for i in np.unique(spans.stream)) if not name.startswith("host:")}
    shares = {}
    for device in sorted({device_of(stream) for stream in streams}, key=device_order):
        counted = {f"{device}/compute"} & streams or {s for s in streams if device_of(s) == device}
        numbers = [number for number, stream in enumerate(spans.streams) if stream in counted]
        chosen = np.isin(spans.stream, numbers)
        busy = _union(spans.start[chosen], spans.stop[chosen])
        shares[device] = 1 - busy / (stop - start) if stop > start else 0.0
    return shares


def _union(start: np.ndarray, stop: np.ndarray) -> float:
    """Seconds covered by at least one of the ranges."""
    order = np.lexsort((stop, start))
    start, stop = start[order], stop[order]
    reached = np.maximum.accumulate(stop)
    before = np.concatenate([[-np.inf], reached[:-1]])[: len(reached)]
    return float(np.maximum(stop - np.maximum(start, before), 0.0).sum())


def timeline(trace: Trace, plan: Plan | None = None, *, width: float = 1180.0) -> str:
    """An SVG with one lane a stream, `width` pixels wide. `plan` gives names, colours and micro-batches.

    A bar's tooltip tells the actor, step, micro-batch, start and stop; the bubble share stands beside each device. Of more than MOST
    devices those that ran alike, to the pixel, share the lanes of the first.
    """
    start, stop = window(trace)
    scale = (width - LEFT - RIGHT) / ((stop - start) or 1.0)
    alike = same_runs(trace, plan, 1.0 / scale)
    streams = sorted(
        (s for s in {trace.spans.streams[i] for i in np.unique(trace.spans.stream)} if device_of(s) in alike),
        key=lambda s: (device_order(device_of(s)), not s.endswith("/compute"), s),
    )
    shares, places, y, device = bubbles(trace), {}, TOP, ""
    lanes: list[str] = []
    for stream in streams:
        first = device_of(stream) != device
        y += (GAP if device else 0) + 12 if first else 0
        device, places[stream] = device_of(stream), y
        lanes += _lane(stream, y, width, style.device_range(alike[device]) if first else "", shares.get(device))
        y += LANE
    spans = trace.spans.take(np.isin(trace.spans.stream, [i for i, name in enumerate(trace.spans.streams) if name in places]))
    bars = [_bar(span, plan, places[span.stream], LEFT, start, scale) for span in spans]
    found = {style.kind_of(plan.actors[s.actor]) if plan else _guess(s) for s in spans}
    head = f"{trace.source} timeline: {trace.steps} step{'s' * (trace.steps != 1)} in {style.seconds_text(stop - start)}"
    count = sum(map(len, alike.values()))
    head += f"; {count} devices, those that ran alike as one" if count > len(alike) else ""
    body = [label(10, 20, head, size=14, more=' font-weight="600"'), *style.legend(10, 42, sorted(found))]
    return style.page(width, y + 34, [*body, *lanes, *_axis(stop - start, scale, y), *bars], head)


def same_runs(trace: Trace, plan: Plan | None, seconds: float) -> dict[str, list[str]]:
    """The devices that acted, each with those that it stands for, itself first: of at most MOST devices each for itself, of more all
    that ran the same actors on the same streams, starting and stopping within `seconds` of it."""
    spans = trace.spans
    streams = [(device_of(name), name.partition("/")[2]) for name in spans.streams]
    devices = sorted({streams[i][0] for i in np.unique(spans.stream).tolist()}, key=device_order)
    if len(devices) <= MOST:
        return {device: [device] for device in devices}
    kinds, numbers = {kind: i for i, (_, kind) in enumerate(streams)}, {device: i for i, device in enumerate(devices)}
    kind = np.array([kinds[kind] for _, kind in streams])[spans.stream]
    device = np.array([numbers.get(device, -1) for device, _ in streams])[spans.stream]
    actor = np.zeros(len(spans), np.int64) if plan is None else tables(plan).template[spans.actor]
    order = np.lexsort((spans.start, spans.act, actor, kind, device))
    what = np.stack([kind, actor, spans.act], axis=1)[order]
    when = np.stack([spans.start, spans.stop], axis=1)[order]
    ends = np.cumsum(np.bincount(device, minlength=len(devices)))
    firsts: dict[bytes, list[tuple[str, np.ndarray]]] = {}
    found: dict[str, list[str]] = {}
    for name, low, high in zip(devices, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        others = firsts.setdefault(what[low:high].tobytes(), [])
        same = next((first for first, times in others if np.abs(times - when[low:high]).max(initial=0.0) <= seconds), None)
        if same is None:
            others.append((name, when[low:high]))
        found.setdefault(same or name, []).append(name)
    return found


def _lane(stream: str, y: float, width: float, devices: str, bubble: float | None) -> list[str]:
    """devices: what stands beside the first lane of a device, with its bubble."""
    name = stream.partition("/")[2]
    made = [rect(LEFT, y, width - LEFT - RIGHT, LANE - 3, "of-band"), label(LEFT - 8, y + 14, name, "of-soft", 11, "end")]
    if devices:
        first = device_of(stream)
        made.append(label(10, y + 14, first, size=12, more=' font-weight="600"'))
        words = ["" if devices == first else devices, "" if bubble is None else f"bubble {bubble:.1%}"]
        made += [label(LEFT, y - 4, ", ".join(filter(None, words)), "of-soft", 10)] if any(words) else []
    return made


def _guess(span: Span) -> str:
    """The kind of a span whose plan is not known: by its stream alone."""
    device, _, stream = span.stream.partition("/")
    if device.startswith("host:"):
        return "host"
    return "comm" if stream.startswith(("comm", "copy")) else "F"


def _bar(span: Span, plan: Plan | None, y: float, left: float, start: float, scale: float) -> str:
    kind, name, words = _guess(span), f"#{span.actor}", f"act {span.act}"
    inside = str(span.act)
    if plan is not None:
        actor = plan.actors[span.actor]
        step, micro_batch = divmod(span.act, actor.acts)
        kind, name, words = style.kind_of(actor), actor.label, f"step {step}, micro-batch {micro_batch}"
        inside = str(micro_batch) if actor.acts > 1 else ""
    took = style.seconds_text(span.stop - span.start)
    title = f"{name}\n{words}\n{style.seconds_text(span.start)} to {style.seconds_text(span.stop)} ({took})"
    x, w = left + max(0.0, span.start - start) * scale, max((span.stop - span.start) * scale, 0.6)
    gap = " of-gap" if w > 3 else ""
    bar = rect(x, y, w, LANE - 3, f"of-{kind}{gap}", title)
    fits = len(inside) * 6.2 + 2 <= w
    centred = ' pointer-events="none"'
    return bar + (label(x + w / 2, y + 14.5, inside, "of-on", 10.5, "middle", centred) if fits and inside else "")


def _axis(seconds: float, scale: float, y: float) -> list[str]:
    made = []
    for tick in style.ticks(seconds):
        x = LEFT + tick * scale
        made.append(f'<line class="of-line" x1="{x:.2f}" y1="{TOP:.0f}" x2="{x:.2f}" y2="{y + 4:.0f}"/>')
        made.append(label(x, y + 18, style.seconds_text(tick) if tick else "0 s", "of-soft", 10.5, "middle"))
    return made
