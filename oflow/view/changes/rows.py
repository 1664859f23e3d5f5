"""The changes of actors, registers and orders, of rows that `matching` says are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from itertools import zip_longest

import numpy as np

from oflow.plan import ActorTemplate, Plan, RegisterTemplate, at_rank
from oflow.view.changes.change import Change, Field, Named, change_of
from oflow.view.changes.matching import Pair, unnumbered
from oflow.view.style import device_range

Template = ActorTemplate | RegisterTemplate


def row_changes(section: str, first: Plan, second: Plan, pairs: Sequence[Pair], row: Callable[[Plan, int], Named]) -> Iterator[Change]:
    """The changes of rows; row: its name and facts in a plan."""
    for a, b in pairs:
        yield from change_of(section, None if a is None else row(first, a), None if b is None else row(second, b))


def named_actor(plan: Plan, row: int) -> Named:
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


def named_register(plan: Plan, row: int) -> Named:
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


def order_changes(first: Plan, second: Plan, pairs: Sequence[Pair]) -> Iterator[Change]:
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


def detail_changes(first: Plan, second: Plan, actors: Sequence[Pair], registers: Sequence[Pair]) -> Iterator[Change]:
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
