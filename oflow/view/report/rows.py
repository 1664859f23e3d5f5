"""Devices, streams, actors, groups and registers of a plan as plain columns; no row of the plan is stamped."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oflow.arrays import Tables, durations
from oflow.plan import Plan, at_rank
from oflow.view import style

MOST_ALONE, MOST_GROUPS = 60, 160
"""A plan's picture shows at most so many actors each for itself; above so many groups it folds them further."""


@dataclass(frozen=True, slots=True)
class Group:
    """Actors that one box of the plan's picture stands for: `rows`, of one stage, phase and kind, on `stream` of `devices`."""

    name: str
    stage: int
    phase: str
    kind: str
    devices: str
    stream: str
    rows: tuple[int, ...]


def devices(
    plan: Plan, t: Tables, alike: Mapping[str, Sequence[str]], ran_alike: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:  # fmt: skip
    """alike: the devices that each stands for, itself among them; ran_alike: the same of those that a timeline may draw as one."""
    numbers = {name: number for number, name in enumerate(t.devices)}
    ran_as = {name: numbers[first] for first, all_alike in ran_alike.items() for name in all_alike}
    return [
        {"name": name, "kind": name.partition(":")[0], "arena": plan.arenas.get(name, 0), "state": plan.states.get(name, 0),
         "budget": plan.machine.device(name).memory_nbytes, "alike": style.device_range(alike[name]),
         "ran_as": ran_as.get(name, number)}
        for name, number in numbers.items()
    ]  # fmt: skip


def streams(t: Tables) -> list[dict[str, Any]]:
    parts = [(name.partition("/"), int(device)) for name, device in zip(t.streams, t.stream_device, strict=True)]
    return [{"name": name, "device": device, "kind": stream_kind(where, name)} for (where, _, name), device in parts]


def stream_kind(device: str, stream: str) -> str:
    """compute, comm, copy or host."""
    if device.startswith("host:"):
        return "host"
    return next((kind for kind in ("comm", "copy") if stream.startswith(kind)), "compute")


def actors(plan: Plan, t: Tables, groups: Sequence[Group]) -> dict[str, list[Any]]:
    templates = plan.actor_templates
    template, device = t.template.tolist(), t.stream_device[t.stream]
    kinds = actor_kinds(plan, t)
    group = np.full(len(t.template), -1)
    for number, one in enumerate(groups):
        group[list(one.rows)] = number
    calls = [" ".join(call.op for call in a.calls) for a in templates]
    return {
        "id": list(range(len(template))), "name": [templates[i].name for i in template], "device": device.tolist(),
        "stream": t.stream.tolist(), "stage": [templates[i].stage for i in template], "phase": [templates[i].phase for i in template],
        "kind": kinds, "acts": t.acts.tolist(), "seconds": digits(durations(plan, plan.machine), 4),
        "line": [templates[i].line for i in template], "group": group.tolist(), "calls": [calls[i] for i in template],
        "template": template,
    }  # fmt: skip


def templates_by_node(plan: Plan) -> dict[int, list[int]]:
    """The actor templates that run each node of the logical graph."""
    found: dict[int, list[int]] = {}
    for number, template in enumerate(plan.actor_templates):
        for node in template.nodes:
            found.setdefault(node, []).append(number)
    return found


def actor_kinds(plan: Plan, t: Tables) -> list[str]:
    """The key in `style.KINDS` of each actor row."""
    names = [t.devices[i] for i in t.stream_device[t.stream]]
    return [
        style.kind(name, plan.actor_templates[i].stream, plan.actor_templates[i].phase)
        for name, i in zip(names, t.template.tolist(), strict=True)
    ]


def registers(plan: Plan, t: Tables) -> dict[str, list[Any]]:
    templates = plan.register_templates
    sizes = [len(plan.rank_table[r.group]) for r in templates]
    producer = np.full(len(t.initial), -1)
    out = t.port_out == 1
    producer[t.port_register[out]] = t.port_actor[out]
    consumers: list[list[int]] = [[] for _ in t.initial]
    for register, actor in zip(t.port_register[~out].tolist(), t.port_actor[~out].tolist(), strict=True):
        consumers[register].append(actor)
    lines = [a.line for a in plan.actor_templates]
    slots = np.repeat(np.array([r.slots for r in templates], np.int64), sizes)

    def column(fact: Callable[[int, int], Any]) -> list[Any]:
        return [fact(number, rank) for number, size in enumerate(sizes) for rank in range(size)]

    types = [[str(one) for one in r.types] for r in templates]
    return {
        "id": list(range(len(t.initial))), "name": column(lambda i, _: templates[i].name), "device": t.device.tolist(),
        "type": column(lambda i, rank: at_rank(tuple(types[i]), rank)), "layout": column(lambda i, _: templates[i].layout),
        "slots": slots.tolist(), "initial": t.initial.tolist(), "offset": t.offset.tolist(),
        "nbytes": (slots * t.slot_nbytes).tolist(), "region": column(lambda i, _: templates[i].region),
        "producer": producer.tolist(), "consumers": consumers,
        "line": [lines[t.template[row]] if row >= 0 else "" for row in producer.tolist()],
    }  # fmt: skip


def digits(values: np.ndarray, count: int) -> list[float]:
    """Values with `count` digits each."""
    return [float(f"{value:.{count}g}") for value in values.tolist()]


# ---------------------------------------------------------------- groups


def grouped(plan: Plan, t: Tables) -> list[Group]:
    """The boxes of the plan's picture: the finest of these that has few enough. Every actor; those of one template on devices of a
    kind; those of templates of one name but for numbers (repeated layers); those of one stage and phase."""
    names = [t.devices[i].partition(":")[0] for i in t.stream_device[t.stream]]
    found: dict[Hashable, list[int]] = {}
    for key, most in ((_alone, MOST_ALONE), (_by_template, MOST_GROUPS), (_by_name, MOST_GROUPS), (_by_phase, MOST_GROUPS)):
        found = {}
        for row, (number, kind) in enumerate(zip(t.template.tolist(), names, strict=True)):
            found.setdefault(key(plan, row, number, kind), []).append(row)
        if len(found) <= most:
            break
    kinds = actor_kinds(plan, t)
    return [_group(plan, t, tuple(members), kinds[members[0]]) for members in found.values()]


def _alone(plan: Plan, row: int, number: int, kind: str) -> Hashable:
    return row


def _by_template(plan: Plan, row: int, number: int, kind: str) -> Hashable:
    return number, kind


def _by_name(plan: Plan, row: int, number: int, kind: str) -> Hashable:
    return _folded_name(plan.actor_templates[number].name), _by_phase(plan, row, number, kind)


def _by_phase(plan: Plan, row: int, number: int, kind: str) -> Hashable:
    a = plan.actor_templates[number]
    return a.stage, a.phase, a.stream, kind, plan.rank_table[a.group]


def _group(plan: Plan, t: Tables, members: tuple[int, ...], kind: str) -> Group:
    found = [plan.actor_templates[i] for i in dict.fromkeys(t.template[list(members)].tolist())]
    names = {a.name for a in found}
    folded = {_folded_name(name) for name in names}
    name = found[0].name if len(names) == 1 else next(iter(folded)) if len(folded) == 1 else style.KINDS[kind][0]
    where = style.device_range([t.devices[i] for i in t.stream_device[t.stream[list(members)]]])
    return Group(name, found[0].stage, found[0].phase, kind, where, found[0].stream, members)


def _folded_name(name: str) -> str:
    """A name without its numbers, alike in repeated layers."""
    return re.sub(r"\d+", "#", name)
