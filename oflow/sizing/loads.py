"""What is made small: the bytes of slots on all devices, or the bytes that live at once on the fullest one.

A load is a sum of slots' bytes and of bytes that nobody chooses; a flow's bytes are those of its largest load. On all devices together
there is one load. Of the fullest device there is one for each device and moment of a stream's order: a register whose bytes may be
shared lives, with all its slots, at least from the first to the last act of the stream that touches it, every other one all the time.
Whoever lays the plan out has these bytes live at once (`compiler.memory.loads`), so no arena is smaller.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from oflow.check import fold
from oflow.plan import Plan, PortTemplate, scratch_nbytes

TOTAL, FULLEST = "total", "fullest"
MEASURES = (TOTAL, FULLEST)


class Load(NamedTuple):
    """`fixed` bytes and, of (buffer, bytes of one slot) pairs, all slots."""

    fixed: int
    buffers: tuple[tuple[int, int], ...]


def loads_of_devices(plan: Plan, chosen: Sequence[int]) -> tuple[Load, ...]:
    """Loads of all devices at all moments; `chosen`: the register template of each buffer. Devices that do the same count once."""
    folded, number = fold(plan).plan, {row: b for b, row in enumerate(chosen)}
    shared = _sharing(folded)
    return tuple(dict.fromkeys(load for device in devices_of(folded) for load in _of_device(folded, device, shared, number)))


def slots_of_devices(plan: Plan, chosen: Sequence[int]) -> tuple[Load, ...]:
    """The load of each device where all slots are used all the time, as in the steady state of micro-batches."""
    found: dict[str, list[tuple[int, int]]] = {}
    for buffer, row in enumerate(chosen):
        template = plan.register_templates[row]
        for device in plan.rank_table[template.group]:
            found.setdefault(device, []).append((buffer, template.slot_nbytes))
    return tuple(dict.fromkeys(Load(0, tuple(held)) for held in found.values()))


def devices_of(plan: Plan) -> list[str]:
    """The devices that have a memory of their own to fill: all but the hosts."""
    return [device for device in plan.devices if not device.startswith("host:")]


def _of_device(plan: Plan, device: str, shared: set[int], number: dict[int, int]) -> Iterator[Load]:
    rows = [r for r, t in enumerate(plan.register_templates) if device in plan.rank_table[t.group]]
    always, passing = [r for r in rows if r not in shared and not plan.register_templates[r].ring], shared.intersection(rows)
    kept = sum(n for stream, n in scratch_nbytes(plan).items() if stream.rpartition("/")[0] == device) + _rings(plan, rows)
    yield _load(plan, kept, always, number)
    for stream, order in plan.order.items():
        if stream.rpartition("/")[0] == device:
            for live in _moments(_spans(plan, order, passing)):
                yield _load(plan, kept, [*always, *live], number)


def _load(plan: Plan, kept: int, rows: Sequence[int], number: dict[int, int]) -> Load:
    templates = plan.register_templates
    fixed = sum(templates[r].slots * templates[r].slot_nbytes for r in rows if r not in number)
    return Load(kept + fixed, tuple(sorted((number[r], templates[r].slot_nbytes) for r in rows if r in number)))


def _rings(plan: Plan, rows: Sequence[int]) -> int:
    """Bytes of rings, which have their place all the time."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for template in (plan.register_templates[r] for r in rows):
        if template.ring:
            spans.setdefault(template.ring, []).append((template.offsets[0], template.offsets[0] + template.slot_nbytes))
    return sum(max(stop for _, stop in found) - min(start for start, _ in found) for found in spans.values())


def _sharing(plan: Plan) -> set[int]:
    """Register templates whose bytes may be shared: written in the step, by and for actors of their own device, empty between steps."""
    uses: dict[int, list[tuple[int, PortTemplate]]] = {}
    for actor in plan.actor_templates:
        for port in actor.ports:
            uses.setdefault(port.register, []).append((actor.group, port))
    return {
        row
        for row, found in uses.items()
        if not plan.register_templates[row].initial and not plan.register_templates[row].ring
        and plan.register_templates[row].region == "arena" and any(port.direction == "out" for _, port in found)
        and all(not port.peers and group == plan.register_templates[row].group for group, port in found)
    }  # fmt: skip


def _spans(plan: Plan, order: Sequence[int], rows: set[int]) -> dict[int, tuple[int, int]]:
    """Where in an order the first and the last act stand that touch each of these registers, of those that are touched."""
    ends: dict[int, tuple[int, int]] = {}
    number = {row: plan.template_of(row) for row in dict.fromkeys(order)}
    for at, row in enumerate(order):
        ends[number[row]] = ends.get(number[row], (at, at))[0], at
    found: dict[int, tuple[int, int]] = {}
    for template, (first, last) in ends.items():
        for port in plan.actor_templates[template].ports:
            if port.register in rows:
                known = found.get(port.register, (first, last))
                found[port.register] = min(known[0], first), max(known[1], last)
    return found


def _moments(spans: dict[int, tuple[int, int]]) -> Iterator[list[int]]:
    """The sets of registers that live at once and are part of no larger one."""
    starts = sorted({first for first, _ in spans.values()})
    lasts = sorted({last for _, last in spans.values()})
    for number, at in enumerate(starts):
        ended = lasts[bisect_left(lasts, at)]
        if number + 1 == len(starts) or ended < starts[number + 1]:  # else all of them live on when the next one comes
            yield [r for r, (first, last) in spans.items() if first <= at <= last]
