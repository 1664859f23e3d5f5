"""Colours of devices: which of them do the same, refined until those of one colour have alike neighbours too (Weisfeiler & Leman 1968)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oflow.arrays import Tables, durations, tables
from oflow.machine import Machine
from oflow.plan import Plan

LARGEST = 1 << 62


def colours(plan: Plan, machine: Machine) -> tuple[int, ...]:
    """One number a device: devices of one number hold the same, for as long, in the same order, and have neighbours of the same numbers."""
    t = tables(plan)
    return _refined(plan, t, _first_colours(plan, t, machine))


def _first_colours(plan: Plan, t: Tables, machine: Machine) -> list[int]:
    """Devices are alike so far where they hold the same, for as long, in the same order. One number a device."""
    device = t.stream_device[t.stream]
    actors = np.stack([t.template, _numbered(durations(plan, machine))])
    sizes = np.diff(plan.register_bases)
    registers = np.stack([np.repeat(np.arange(len(sizes)), sizes), _numbered(t.offset), _numbered(t.nbytes)])
    scratch = _scratch_columns(plan, t)
    held = [_by_device(where, columns, len(t.devices)) for where, columns in ((device, actors), (t.device, registers), (device, scratch))]
    orders = _orders(plan, t)
    facts = [
        (plan.arenas.get(d), plan.states.get(d), machine.device(d).memory_nbytes, d.partition(":")[0], *orders[i], *(h[i] for h in held))
        for i, d in enumerate(t.devices)
    ]
    return _classes(facts)


def _scratch_columns(plan: Plan, t: Tables) -> np.ndarray:
    """(2, A) the template and the most scratch bytes of each actor: one number where all ranks agree."""
    needs = []
    for template in plan.actor_templates:
        size = len(plan.rank_table[template.group])
        most = np.zeros(size, np.int64)
        for scratch in template.scratch:
            most = np.maximum(most, [scratch.offset + kind.nbytes for kind in scratch.types])
        needs.append(most)
    return np.stack([t.template, np.concatenate(needs) if needs else np.zeros(0, np.int64)])


def _orders(plan: Plan, t: Tables) -> list[list[tuple[str, object, bytes]]]:
    """By device: name, scratch region and order (as bytes of template numbers) of its streams."""
    found: list[list[tuple[str, object, bytes]]] = [[] for _ in t.devices]
    templates, where = t.template[t.order], t.stream_device.tolist()
    for stream, name in enumerate(t.streams):
        number, kind = where[stream], name.rpartition("/")[2]
        order = templates[t.order_start[stream] : t.order_start[stream + 1]]
        found[number].append((kind, plan.scratches.get(name), order.tobytes()))
    return [sorted(one, key=lambda fact: fact[0]) for one in found]


def _refined(plan: Plan, t: Tables, found: list[int]) -> tuple[int, ...]:
    """Colours split until the actors of a colour take tokens from the same (template, colour) by the same kinds of port."""
    device = t.stream_device[t.stream]
    ins = np.flatnonzero(t.producer >= 0)
    outs = t.producer[ins]
    reader, writer = t.port_actor[ins], t.port_actor[outs]
    register = np.searchsorted(plan.register_bases, t.port_register[ins], "right") - 1
    kinds = _numbered_rows(t.template[reader], register, t.template[writer], 2 * t.every[ins] + t.sliced[ins], t.every[outs])
    here, there = device[reader], device[writer]
    # an orphan: a port on a register that nobody writes, or that nobody reads
    lone = np.flatnonzero((t.port_out == 0) & (t.producer < 0))
    unwritten = _by_device(device[t.port_actor[lone]], np.stack([t.template[t.port_actor[lone]], t.every[lone]]), len(t.devices))
    found = _classes(list(zip(found, unwritten, strict=True)))
    # registers that lie beside their actors' device, as in the host's memory: one home must not stand for homes of different users
    user, home = device[t.port_actor], t.device[t.port_register]
    apart = np.flatnonzero(user != home)
    users, homes = user[apart], home[apart]
    held = np.searchsorted(plan.register_bases, t.port_register[apart], "right") - 1
    uses = _numbered_rows(t.template[t.port_actor[apart]], held, t.port_out[apart])
    while True:
        role = np.array(found)
        data = _by_device(here, (kinds * len(role) + role[there])[None], len(role))
        credit = _by_device(there, (kinds * len(role) + role[here])[None], len(role))
        used = _by_device(homes, (uses * len(role) + role[users])[None], len(role))
        uses_of = _by_device(users, (uses * len(role) + role[homes])[None], len(role))
        finer = _classes(list(zip(found, data, credit, used, uses_of, strict=True)))
        if len(set(finer)) == len(set(found)):
            return tuple(finer)
        found = finer


def _numbered(column: np.ndarray) -> np.ndarray:
    return np.asarray(np.unique(column, return_inverse=True)[1]).reshape(-1)


def _numbered_rows(*columns: np.ndarray) -> np.ndarray:
    """Equal rows get equal numbers. Columns of numbers >= 0, whose ranges are multiplied, so few of them are large."""
    found = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        width = int(column.max(initial=0)) + 1
        if int(found.max(initial=0)) >= LARGEST // width:
            found = _numbered(found)
        found = found * width + column
    return _numbered(found)


def _by_device(device: np.ndarray, columns: np.ndarray, count: int) -> list[bytes]:
    """For each device the set of its rows of columns, as bytes."""
    rows = _numbered_rows(*columns) if len(columns) > 1 else columns[0]
    most = int(rows.max(initial=0)) + 1
    keys = np.sort(device * most + rows)  # np.unique hashes, which takes several times as long here
    keys = keys[np.diff(keys, prepend=-1) != 0]
    cuts = np.searchsorted(keys, np.arange(1, count) * most)
    return [(part % most).tobytes() for part in np.split(keys, cuts)]


def _classes(facts: Sequence[object]) -> list[int]:
    known: dict[object, int] = {}
    return [known.setdefault(fact, len(known)) for fact in facts]
