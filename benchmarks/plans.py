"""Plans built by hand for measuring the runtime alone: chains of actors, with empty kernels or with products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oflow.actors.native import Compiled
from oflow.arrays import Linked, starts, tables
from oflow.check.references import check_references
from oflow.native import addresses
from oflow.plan import ActorTemplate, Arg, Call, Plan, PortTemplate, RegisterTemplate, aligned
from oflow.presets import preset
from oflow.types import TensorType

EMPTY = "def kernel(block):\n    return 0\n"
"""A routine that does nothing."""


def chain(
    actors: int, slots: int, *, devices: Sequence[int], ordered: bool, shape: tuple[int, ...] = (16,), weight: int = 0
) -> Plan:  # fmt: skip
    """A chain: actor i runs on ``cpu:devices[i]``, reads what i - 1 wrote. The first reads nothing, the last is read by nobody.

    ordered: one stream a device, in the order of the chain; else a stream an actor, so that any ready one may go.
    weight: columns of a square matrix that each actor multiplies its input (`shape`) by; 0: no kernel.
    """
    table = tuple((f"cpu:{d}",) for d in sorted(set(devices)))
    data, square = TensorType(shape), TensorType((weight, weight))
    used = {group: 0 for group in range(len(table))}
    kept = dict(used)
    registers, made = [], []

    def register(name: str, group: int, kind: TensorType, count: int, initial: int = 0, state: str = "") -> int:
        totals = kept if state else used
        offset = totals[group]
        totals[group] += count * aligned(kind.nbytes)
        region = "state" if state else "arena"
        registers.append(RegisterTemplate(name, group, (kind,), count, initial, (offset,), region, state))
        return len(registers) - 1

    data_rows = [register(f"x{i}", devices[max(i - 1, 0)], data, slots, initial=int(i == 0)) for i in range(actors + 1)]
    for i, group in enumerate(devices):
        first = weight > 0 and i == 0
        ins = [PortTemplate(data_rows[i], "in", 0 if first else 1, "whole", (0,))] if i or weight else []
        calls: tuple[Call, ...] = ()
        if weight:
            ins.append(PortTemplate(register(f"w{i}", group, square, 1, 1, f"w{i}"), "in", 0, "whole", (0,)))
            calls = (Call("matmul", (Arg("port", 2),), (Arg("port", 0), Arg("port", 1)), ((("spec", "m k, k n -> m n"),),)),)
        ports = (*ins, PortTemplate(data_rows[i + 1], "out", 1, "whole", (0,)))
        stream = "compute" if ordered else f"stream{i}"
        made.append(ActorTemplate(f"a{i}", group, ports, calls, stream=stream, stage=group, priority=i))
    rows = {f"cpu:{d}/compute": tuple(i for i in range(actors) if devices[i] == d) for d in sorted(set(devices))}
    plan = Plan(
        tuple(made), tuple(registers), table, preset(), rows if ordered else {},
        {table[g][0]: n for g, n in used.items()}, {table[g][0]: n for g, n in kept.items()},
    )  # fmt: skip
    check_references(plan)
    return plan


def shares(plan: Plan, workers: int) -> list[list[str]]:
    """Streams of each worker: device d's go to worker d mod workers."""
    found: list[list[str]] = [[] for _ in range(workers)]
    for stream in plan.streams:
        found[int(stream.partition("/")[0].partition(":")[2]) % workers].append(stream)
    return found


class EmptyPrograms(Compiled):
    """Every actor as one call of a compiled routine that does nothing."""

    def __init__(self, plan: Plan) -> None:
        self.tables = tables(plan)
        actors = len(plan.actors)
        ones, none = np.ones(actors, np.int64), np.zeros(0, np.int64)
        self.called = 0 * ones
        self.words = np.zeros(1, np.int64)
        self.linked = Linked(
            starts(ones), ones * addresses([EMPTY])[EMPTY], 0 * ones, -ones, ones * self.words.ctypes.data, np.cumsum(ones), 0 * ones,
            starts(0 * ones), none, none, none, none, none, self.words,
        )  # fmt: skip

    def python(self, row: int, first: int, last: int, act: int, slots: tuple[int, ...]) -> None:
        raise AssertionError("no call is Python's")

    def failure(self, row: int, call: int, act: int, slots: tuple[int, ...], status: int) -> BaseException:
        raise AssertionError("an empty kernel does not fail")


def rows_of_ranks(templates: int, ranks: int, slots: int = 2) -> Plan:
    """Templates in a row, each on all ranks: actor (i, r) reads what (i - 1, r) and (i - 1, r + 1) wrote. A stream a rank, in order."""
    table = (tuple(f"cpu:{r}" for r in range(ranks)),)
    across = tuple((r + 1) % ranks for r in range(ranks))
    data = TensorType((16,))
    size = slots * aligned(data.nbytes)
    registers = tuple(RegisterTemplate(f"x{i}", 0, (data,), slots, 0, (i * size,)) for i in range(templates))
    actors = []
    for i in range(templates):
        ins = [PortTemplate(i - 1, "in"), PortTemplate(i - 1, "in", peers=across)] if i else []
        actors.append(ActorTemplate(f"a{i}", 0, (*ins, PortTemplate(i, "out")), priority=i))
    order = {f"{device}/compute": tuple(range(r, templates * ranks, ranks)) for r, device in enumerate(table[0])}
    return Plan(tuple(actors), registers, table, preset(), order, dict.fromkeys(table[0], templates * size))
