"""What one pass changed: its graph or plan as lines without row numbers, compared with those of the pass before it.

Values keep their numbers through the passes, so a graph's own text is compared, without the numbers of nodes. A plan's rows are numbered
anew by most passes: its lines name actors and registers instead, one for all devices that run the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from itertools import groupby

from oflow.boxings import bucket_of
from oflow.graph import Graph
from oflow.graphtext import format_graph
from oflow.plan import ActorTemplate, Plan, PortTemplate, RegisterTemplate
from oflow.view.style import bytes_text, device_order, device_range, seconds_text

_NUMBER = re.compile(r" node \d+$")
AROUND = 1
"""Lines that stay the same and are shown beside a change."""


@dataclass(frozen=True, slots=True)
class PassChanges:
    """before, after: counts by what is counted (of a graph nodes, values, ...; of a plan actors, bytes, ...); those of both are comparable
    where `comparable`: a graph that becomes a plan is not compared line by line. lines: a unified diff, without its head. equal: the
    pass left all as it was, also what no line shows (the works in an actor's cost, say)."""

    name: str
    previous: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    lines: tuple[str, ...]
    comparable: bool = True
    equal: bool = False

    @property
    def added(self) -> int:
        return sum(line.startswith("+") for line in self.lines)

    @property
    def removed(self) -> int:
        return sum(line.startswith("-") for line in self.lines)

    def summary(self) -> str:
        """``fuse: 83 -> 62 nodes, ...`` and how many lines came and went."""
        names = [name for name in self.after if name in self.before] or list(self.after)
        if not self.comparable:
            names = [*self.before, *self.after]
        counts = [_count(name, self.before.get(name), self.after.get(name)) for name in names]
        told = f"{self.added} line{'s' * (self.added != 1)} added, {self.removed} removed"
        if not self.lines:
            told = "nothing changed" if self.equal else "nothing that is shown here changed"
        return f"{self.name}{f' (after {self.previous})' if self.previous else ''}: {', '.join(filter(None, counts))}; {told}"


def _count(name: str, before: int | None, after: int | None) -> str:
    def shown(number: int) -> str:
        return bytes_text(number) if "bytes" in name else f"{number:,}"

    noun = name.removeprefix("bytes ") if after != 1 else re.sub(r"^(\w+)s\b", r"\1", name)
    if before == after or before is None or after is None:
        return f"{shown(after if after is not None else before or 0)} {noun}"
    return f"{shown(before)} -> {shown(after)} {noun}"


def pass_changes(passes: Mapping[str, Graph | Plan], name: str) -> PassChanges:
    """What the pass changed of what the one before it made. `passes`: what every pass made, by name, in order (`Program.passes`)."""
    names = list(passes)
    place = names.index(name)
    previous = names[place - 1] if place else ""
    after, before = passes[name], passes[previous] if place else None
    same = before is None or type(before) is type(after)
    lines = unified_diff(_lines(before) if before is not None and same else [], _lines(after), lineterm="", n=AROUND)
    kept = tuple(line for line in lines if not line.startswith(("---", "+++")))
    return PassChanges(name, previous, _counts(before) if before is not None else {}, _counts(after), kept, same, before == after)


def _counts(thing: Graph | Plan) -> dict[str, int]:
    if isinstance(thing, Graph):
        placed = sum(value.layout is not None for value in thing.values.values())
        buckets = {node.attributes["bucket"] for node in thing.nodes if bucket_of(node)}
        found = {"nodes": len(thing.nodes), "values": len(thing.values), "values with a layout": placed}
        return found | {"parameters": len(thing.parameters)} | ({"buckets": len(buckets)} if buckets else {})
    return {
        "actors by role": len(thing.actor_templates), "registers by role": len(thing.register_templates),
        "actors": thing.actor_bases[-1], "slots": sum(r.slots * len(thing.rank_table[r.group]) for r in thing.register_templates),
        "bytes of slots": sum(_slot_nbytes(thing, r) for r in thing.register_templates), "bytes of arenas": sum(thing.arenas.values()),
    }  # fmt: skip


def _slot_nbytes(plan: Plan, register: RegisterTemplate) -> int:
    """Bytes of all slots on all devices."""
    each = len(plan.rank_table[register.group]) if len(register.types) == 1 else 1
    return register.slots * each * sum(kind.nbytes for kind in register.types)


# ---------------------------------------------------------------- lines


def _lines(thing: Graph | Plan) -> list[str]:
    if isinstance(thing, Plan):
        return list(_plan_lines(thing))
    return [_NUMBER.sub("", line) for line in format_graph(thing).splitlines()]


def _plan_lines(plan: Plan) -> Iterator[str]:
    for actor in plan.actor_templates:
        yield _actor_line(plan, actor)
        yield from (_port_line(plan, port) for port in actor.ports)
    for register in plan.register_templates:
        yield _register_line(plan, register)
    orders = {stream: tuple([plan.template_of(row) for row in rows]) for stream, rows in plan.order.items()}
    alike: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for stream, rows in orders.items():
        device, _, kind = stream.partition("/")
        alike.setdefault((kind, rows), []).append(device)
    for (kind, rows), devices in alike.items():
        runs = ((row, len(list(run))) for row, run in groupby(rows))
        names = (plan.actor_templates[row].name + (f"*{n}" if n > 1 else "") for row, n in runs)
        yield f"order of {device_range(devices)}/{kind}: {' '.join(names)}"
    for device in sorted(plan.arenas, key=device_order):
        yield f"arena of {device}: {plan.arenas[device]:,} bytes"


def _actor_line(plan: Plan, actor: ActorTemplate) -> str:
    device = plan.rank_table[actor.group][0]
    facts = (
        f"stage {actor.stage} {actor.phase} on {device_range(plan.rank_table[actor.group])}/{actor.stream}", f"x{actor.acts}",
        f"priority {actor.priority}" if actor.priority else "", f"[{' '.join(call.op for call in actor.calls)}]" if actor.calls else "",
        f"{seconds_text(plan.machine.seconds(actor.costs[0], device))} an act", f"# {actor.line}" if actor.line else "",
    )  # fmt: skip
    return f"actor {actor.name}: {'  '.join(filter(None, facts))}"


def _port_line(plan: Plan, port: PortTemplate) -> str:
    every = {0: " kept for the run", 1: ""}.get(port.every, f" every {port.every}")
    mode = "" if port.mode == "whole" else f" {port.mode}"
    return f"  {port.direction:<3} {plan.register_templates[port.register].name}{every}{mode}{' of peers' if port.peers else ''}"


def _register_line(plan: Plan, register: RegisterTemplate) -> str:
    kinds = " | ".join(dict.fromkeys(map(str, register.types)))
    places = f"+{register.offsets[0]}" if len(register.offsets) == 1 else "+" + ",".join(map(str, register.offsets[:4]))
    start = f", {register.initial} initial" if register.initial else ""
    where = device_range(plan.rank_table[register.group])
    return f"register {register.name}: {kinds} x{register.slots} {register.layout or '-'} on {where} {register.region}{places}{start}"
