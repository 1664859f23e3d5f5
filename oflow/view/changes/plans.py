"""The changes between two plans as data: seconds, bytes, options, boxings, actors, registers, orders. Rows are matched by `matching`.

Actors and registers are those of templates: one for all devices that run the same. Seconds are predicted for each plan's own machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any

import numpy as np

from oflow.boxings import Boxing, folded
from oflow.check.report import report
from oflow.errors import OflowError
from oflow.plan import ActorTemplate, Plan, RegisterTemplate, at_rank, encoded
from oflow.view.changes.matching import CONTROL, Pair, Place, aligned_pairs, matched_actors, matched_registers, unnumbered
from oflow.view.style import device_order, device_range

SECTIONS = ("seconds", "bytes", "options", "plan", "boxings", "actors", "registers", "orders", "details")
Facts = Mapping[str, tuple[str, Any]]
"""By name: the unit ("seconds", "bytes", "share" or "") and the value."""
Named = tuple[str, Facts]
Template = ActorTemplate | RegisterTemplate


@dataclass(frozen=True, slots=True)
class Field:
    """One fact that differs. unit: "seconds", "bytes", "share" or ""; None: not there."""

    name: str
    before: Any
    after: Any
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What changed of one thing. kind: "added", "removed" or "changed". now: what the second plan calls it, where that is another name."""

    section: str
    name: str
    kind: str
    fields: tuple[Field, ...]
    now: str = ""

    def mirrored(self) -> Change:
        kind = {"added": "removed", "removed": "added"}.get(self.kind, self.kind)
        turned = tuple(Field(f.name, f.after, f.before, f.unit) for f in self.fields)
        return Change(self.section, self.now or self.name, kind, turned, self.name if self.now else "")


@dataclass(frozen=True, slots=True)
class PlanChanges:
    """What changed from one plan to another, in the order of SECTIONS; nothing where the plans are equal."""

    changes: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def section(self, name: str) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.section == name)

    def mirrored(self) -> PlanChanges:
        """The changes the other way round."""
        return PlanChanges(tuple(change.mirrored() for change in self.changes))

    def facts(self) -> dict[str, Any]:
        """As plain data: section -> [{name, change, fields: {name: [before, after]}}]."""
        rows = {section: self.section(section) for section in SECTIONS}
        return {
            section: [
                {"name": c.name, "now": c.now or c.name, "change": c.kind, "fields": {f.name: [f.before, f.after] for f in c.fields}}
                for c in some
            ]
            for section, some in rows.items() if some
        }  # fmt: skip


def differences(
    first: Plan, second: Plan, *, options: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
    boxings: tuple[Iterable[Boxing], Iterable[Boxing]] = ((), ()),
) -> PlanChanges:  # fmt: skip
    """What changed from the first plan to the second; that of the second to the first is its mirror image.

    options: what each was compiled with, by name; boxings: the changes of layout of each program, where there are programs.
    """
    texts = [encoded(plan) for plan in (first, second)]
    if texts[0] > texts[1]:  # alignment may depend on the direction: there is one
        return differences(second, first, options=options[::-1], boxings=boxings[::-1]).mirrored()
    given = list(_options(*options))
    if texts[0] == texts[1]:
        return PlanChanges(tuple(given))
    actors, registers = matched_actors(first, second), matched_registers(first, second)
    found = [*_seconds(first, second), *_bytes(first, second), *given, *_plan(first, second)]
    found += _boxings(*(list(folded(one)) for one in boxings))
    found += _rows("actors", first, second, actors, _actor)
    found += _rows("registers", first, second, registers, _register)
    found += [*_orders(first, second, actors), *_details(first, second, actors, registers)]
    return PlanChanges(tuple(found or [_raw(first, second)]))


def _changed(first: Facts, second: Facts) -> tuple[Field, ...]:
    names = dict.fromkeys((*first, *second))
    none = ("", None)
    pairs = [(name, first.get(name, none), second.get(name, none)) for name in names]
    return tuple(Field(name, a, b, unit or other) for name, (unit, a), (other, b) in pairs if a != b)


def _one(section: str, first: Named | None, second: Named | None) -> Iterator[Change]:
    """The change of one thing, if there is one. None: it is not there."""
    known = [one for one in (first, second) if one is not None]
    found = _changed(first[1] if first else {}, second[1] if second else {})
    name, now = known[0][0], known[-1][0]
    if len(known) < 2:
        yield Change(section, name, "removed" if first else "added", found)
    elif found:
        yield Change(section, name, "changed", found, now if now != name else "")


# ---------------------------------------------------------------- the whole plan


def _seconds(first: Plan, second: Plan) -> Iterator[Change]:
    before, after = _report(first), _report(second)
    for name in dict.fromkeys((*before, *after)):
        a, b = before.get(name), after.get(name)
        if a != b:
            unit = "share" if name == "utilisation" else "seconds"
            yield Change("seconds", name, "changed", (Field(name, a, b, unit),))


def _report(plan: Plan) -> dict[str, Any]:
    """See `oflow.check.report`; shares as seconds. Of a plan that cannot run, why."""
    try:
        found = report(plan)
    except OflowError as e:
        return {"period": f"refused: {str(e).splitlines()[0]}"}
    parts = {"computing": found.computing, "exposed communication": found.exposed, "bubble": found.bubble}
    seconds = {"period": found.period, **{name: share * found.period for name, share in parts.items()}}
    return {name: float(f"{n:.9g}") for name, n in seconds.items()} | ({"utilisation": found.utilisation} if found.model_flops else {})


def _bytes(first: Plan, second: Plan) -> Iterator[Change]:
    """Devices whose bytes changed alike are one."""
    received = [_received(plan) for plan in (first, second)]
    alike: dict[tuple[Field, ...], list[str]] = {}
    for device in sorted({*first.devices, *second.devices}, key=device_order):
        sides = []
        for plan, moved in zip((first, second), received, strict=True):
            held = {"arena": plan.arenas.get(device, 0), "state": plan.states.get(device, 0), "received a step": moved.get(device, 0)}
            sides.append({name: ("bytes", n) for name, n in held.items()} if device in plan.devices else {})
        if found := _changed(*sides):
            alike.setdefault(found, []).append(device)
    for found, devices in alike.items():
        here = [any(field is not None for field in side) for side in zip(*((f.before, f.after) for f in found), strict=True)]
        yield Change("bytes", device_range(devices), "added" if not here[0] else "changed" if here[1] else "removed", found)


def _received(plan: Plan) -> dict[str, int]:
    """Bytes that each device receives from others, a step."""
    found: dict[str, float] = {}
    for actor in plan.actor_templates:
        devices = plan.rank_table[actor.group]
        moved = [actor.acts * sum(nbytes for _, nbytes in cost.received) for cost in actor.costs]
        if any(moved):
            for rank, device in enumerate(devices):
                found[device] = found.get(device, 0) + moved[rank if len(moved) > 1 else 0]
    return {device: round(nbytes) for device, nbytes in found.items()}


def _options(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted({*first, *second}):
        if first.get(name) != second.get(name):
            yield Change("options", name, "changed", (Field(name, first.get(name), second.get(name)),))


def _plan(first: Plan, second: Plan) -> Iterator[Change]:
    before, after = _whole(first), _whole(second)
    for name in before:
        if before[name] != after[name]:
            yield Change("plan", name, "changed", (Field(name, before[name], after[name]),))


def _whole(plan: Plan) -> dict[str, Any]:
    control = sum(r.name.startswith(CONTROL) for r in plan.register_templates)
    return {
        "devices": device_range(plan.devices), "micro-batches": plan.micro_batches, "schedule": plan.schedule,
        "machine": plan.machine.name, "model flops": plan.model_flops, "actors": plan.actor_bases[-1],
        "actors by role": len(plan.actor_templates), "registers by role": len(plan.register_templates) - control,
        "control registers by role": control,
        "acts a step": sum(a.acts * len(plan.rank_table[a.group]) for a in plan.actor_templates),
        "inputs": len(plan.inputs), "outputs": ", ".join(name for name, _ in plan.outputs), "format": plan.version,
    }  # fmt: skip


def _boxings(first: Sequence[Boxing], second: Sequence[Boxing]) -> Iterator[Change]:
    rows: list[list[tuple[int, Place]]] = [
        [(i, ((one.stage, one.phase), ((unnumbered(one.name), one.why), str(one.type)))) for i, one in enumerate(some)]
        for some in (first, second)
    ]
    for a, b in aligned_pairs(rows):
        yield from _one("boxings", None if a is None else _boxing(first[a]), None if b is None else _boxing(second[b]))


def _boxing(one: Boxing) -> Named:
    name = f"{one.name} {one.type}, {one.phase}" + (f" of stage {one.stage}" if one.stage is not None else "")
    return name, {
        "route": ("", one.route), "bytes": ("bytes", one.nbytes), "seconds": ("seconds", float(f"{one.seconds:.9g}")),
        "times": ("", one.times), "count": ("", one.count), "because": ("", one.why),
    }  # fmt: skip


# ---------------------------------------------------------------- rows


def _rows(section: str, first: Plan, second: Plan, pairs: Sequence[Pair], row: Callable[[Plan, int], Named]) -> Iterator[Change]:
    for a, b in pairs:
        yield from _one(section, None if a is None else row(first, a), None if b is None else row(second, b))


def _actor(plan: Plan, row: int) -> Named:
    actor = plan.actor_templates[row]
    devices = plan.rank_table[actor.group]
    seconds = max((plan.machine.seconds(at_rank(actor.costs, r), d) for r, d in _ranks(devices, len(actor.costs))), default=0.0)
    ports = [
        f"{p.direction} {unnumbered(plan.register_templates[p.register].name)} {p.mode} every {p.every}" for p in actor.ports
        if p.mode != "control"
    ]  # fmt: skip
    return f"{actor.name} (stage {actor.stage} {actor.phase}, {actor.stream})", {
        "devices": ("", device_range(devices)), "acts": ("", actor.acts), "runs": ("", " ".join(call.op for call in actor.calls)),
        "an act": ("seconds", float(f"{seconds:.9g}")), "priority": ("", actor.priority), "ports": ("", ", ".join(ports)),
    }  # fmt: skip


def _ranks(devices: Sequence[str], entries: int) -> list[tuple[int, str]]:
    """The ranks that may differ: one where all have one entry."""
    return list(enumerate(devices))[: entries if entries > 1 else 1]


def _register(plan: Plan, row: int) -> Named:
    maker = plan.actor_templates[plan.writers[row][0]] if row in plan.writers else None
    register = plan.register_templates[row]
    largest = max(register.types, key=lambda kind: kind.nbytes)
    name = register.name if register.state or maker is None else f"{register.name} (stage {maker.stage} {maker.phase})"
    return name, {
        "devices": ("", device_range(plan.rank_table[register.group])), "shard": ("", str(largest)), "layout": ("", register.layout or "-"),
        "slots": ("", register.slots), "initial tokens": ("", register.initial), "region": ("", register.region),
        "bytes a device": ("bytes", register.slots * largest.nbytes),
    }  # fmt: skip


# ---------------------------------------------------------------- orders and the rest


def _orders(first: Plan, second: Plan, pairs: Sequence[Pair]) -> Iterator[Change]:
    """Streams whose order differs, by matched actors; those of devices with the same change are one."""
    same = {b: a for a, b in pairs if a is not None and b is not None}
    alike: dict[tuple[str, tuple[int, ...], tuple[int, ...]], list[str]] = {}
    templates = [_order_templates(plan) for plan in (first, second)]
    for stream in dict.fromkeys((*first.order, *second.order)):
        device, _, kind = stream.partition("/")
        alike.setdefault((kind, templates[0].get(stream, ()), templates[1].get(stream, ())), []).append(device)
    for (kind, before, after), devices in alike.items():
        mine = tuple(same.get(b, -1 - b) for b in after)
        if before == mine:
            continue
        at = next(i for i, (a, b) in enumerate(zip_longest(before, mine)) if a != b)
        there = Field(f"act {at}", _name_at(first, before, at), _name_at(second, after, at))
        sizes = Field("acts", len(before), len(after))
        parts = (sizes, there) if sizes.before != sizes.after else (there,)
        yield Change("orders", f"{device_range(devices)}/{kind}", "changed", parts)


def _order_templates(plan: Plan) -> dict[str, tuple[int, ...]]:
    bases = np.array(plan.actor_bases)
    return {
        stream: tuple((np.searchsorted(bases, np.array(rows, np.int64), "right") - 1).tolist()) for stream, rows in plan.order.items()
    }


def _name_at(plan: Plan, rows: Sequence[int], at: int) -> str | None:
    return plan.actor_templates[rows[at]].name if at < len(rows) else None


def _details(first: Plan, second: Plan, actors: Sequence[Pair], registers: Sequence[Pair]) -> Iterator[Change]:
    """How many rows that are the same differ in what is not listed: numbers in names, lines, offsets, attributes."""
    sides: list[tuple[str, Sequence[Template], Sequence[Template], Sequence[Pair], set[str]]]
    sides = [
        ("actors", first.actor_templates, second.actor_templates, actors, {"group", "acts", "ports", "priority", "costs", "nodes"}),
        ("registers", first.register_templates, second.register_templates, registers,
         {"group", "types", "slots", "initial", "region", "layout", "value"}),
    ]  # fmt: skip
    for kind, mine, theirs, pairs, listed in sides:
        both = [(mine[a], theirs[b]) for a, b in pairs if a is not None and b is not None]
        names = [f.name for f in fields(ActorTemplate if kind == "actors" else RegisterTemplate) if f.name not in listed]
        for name in names:
            count = sum(getattr(a, name) != getattr(b, name) for a, b in both)
            if count:
                yield Change("details", f"{name} of {kind}", "changed", (Field("differ in", count, count),))


def _raw(first: Plan, second: Plan) -> Change:
    """Plans that differ in nothing that was looked at: the parts of their data that do."""
    names = [f.name for f in fields(Plan) if getattr(first, f.name) != getattr(second, f.name)]
    return Change("details", f"data: {', '.join(names)}", "changed", (Field("differ in", len(names), len(names)),))
