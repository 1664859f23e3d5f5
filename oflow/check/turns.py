"""Who shares bytes, and the proof that they take turns.

Two registers may share bytes when every use of one ends before the next use of the other begins, in all interleavings: that is,
when the act graph has a path. Paths are found by vector clocks (Fidge 1988, Mattern 1989) over one step unrolled twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from oflow.check.acts import ActGraph
from oflow.errors import PlanError
from oflow.plan import ActorSpec, Register

CLOCK_ENTRIES = 1 << 25
"""Entries of one table of clocks (128 MiB at most)."""


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes [start, stop) of one region; `register` -1: the scratch of a stream. `owned`: why nobody may share it, or ""."""

    start: int
    stop: int
    label: str
    register: int
    owned: str


@dataclass(frozen=True, slots=True)
class _Window:
    """One use of a register's slot: the act that takes it to write, and the acts after which it is free again."""

    block: Block
    start: int
    ends: tuple[int, ...]


Needed = dict[tuple[int, int, bool], tuple[Block, Block]]
"""(act that ends, act that starts, whether in the next step): the order that must be proved, for these two blocks."""


def sharing_sets(blocks: list[Block]) -> Iterator[list[Block]]:
    """The largest sets of blocks that have a byte in common, two blocks or more."""
    edges = sorted([(b.start, 1, i) for i, b in enumerate(blocks)] + [(b.stop, 0, i) for i, b in enumerate(blocks)])
    active: dict[int, None] = {}
    grown = False
    for _, opens, i in edges:
        if opens:
            active[i], grown = None, True
            continue
        if grown and len(active) > 1:
            yield [blocks[j] for j in active]
        grown = False
        del active[i]


def prove_turns(graph: ActGraph, sharing: list[list[Block]]) -> None:
    """Raises PlanError, naming both registers and the bytes, unless the blocks of each set are proved to take turns."""
    needed: Needed = {}
    for blocks in sharing:
        _turns(graph, blocks, needed)
    _prove(graph, needed)


def _turns(graph: ActGraph, sharing: list[Block], needed: Needed) -> None:
    """Line up the uses of all blocks; where one register's run of uses gives way to another's, the end must precede the start.

    A register's own uses start in order and end in order, so the last end of a run and the first start of the next are enough.
    """
    windows = sorted((w for b in sharing for w in _windows(graph, b)), key=lambda w: graph.positions[w.start])
    for last, after in zip(windows, [*windows[1:], windows[0]], strict=True):
        if last.block is not after.block:
            for end in last.ends:
                needed[end, after.start, after is windows[0]] = (last.block, after.block)


def _windows(graph: ActGraph, block: Block) -> list[_Window]:
    register = graph.plan.registers[block.register]
    producer = graph.plan.actors[register.producer]
    k = graph.everys[producer.id, register.id]
    users = [graph.plan.actors[row] for row in register.consumers] or [producer]
    return [
        _Window(block, graph.bases[producer.id] + j * k, tuple(_last(graph, user, register, j) for user in users))
        for j in range(producer.acts // k)
    ]


def _last(graph: ActGraph, user: ActorSpec, register: Register, turn: int) -> int:
    return graph.bases[user.id] + (turn + 1) * graph.everys[user.id, register.id] - 1


# ---------------------------------------------------------------- proof of the order


def _prove(graph: ActGraph, needed: Needed) -> None:
    chains, places, lengths = _chains(graph)
    wanted = sorted({chains[end] for end, _, _ in needed})
    width = max(1, CLOCK_ENTRIES // (2 * len(graph.owners) + 1))
    for first in range(0, len(wanted), width):
        columns = {chain: i for i, chain in enumerate(wanted[first : first + width])}
        clocks = _clocks(graph, chains, places, lengths, columns)
        for (end, start, wraps), (one, other) in needed.items():
            if chains[end] in columns and not (
                (wraps or end != start) and clocks[int(wraps), start, columns[chains[end]]] > places[end]
            ):
                _refuse(graph, one, other, end, start, wraps)


def _refuse(graph: ActGraph, one: Block, other: Block, end: int, start: int, wraps: bool) -> None:
    later = " of the next step" if wraps else ""
    raise PlanError(
        f"{one.label} [{one.start}, {one.stop}) and {other.label} [{other.start}, {other.stop}) share bytes "
        f"[{max(one.start, other.start)}, {min(one.stop, other.stop)}), but nothing makes {graph.label(start)}{later}, which "
        f"writes the second, wait for {graph.label(end)}, which uses the first; add a control register or move one of them",
        registers=(one.label, other.label),
    )


def _chains(graph: ActGraph) -> tuple[list[int], list[int], list[int]]:
    """Every act lies on a chain of acts that follow each other: its ordered stream, or else its own actor.

    Returns each node's chain (-1: a rendezvous) and place on it, and each chain's length in acts.
    """
    plan, ids = graph.plan, dict[str, int]()
    chains, places, lengths = [-1] * len(graph.owners), [0] * len(graph.owners), list[int]()
    for node in graph.topological:
        if graph.owners[node] >= 0:
            actor = plan.actors[graph.owners[node]]
            key = actor.stream if actor.stream in graph.orders else f"actor {actor.id}"
            chain = ids.setdefault(key, len(ids))
            if chain == len(lengths):
                lengths.append(0)
            chains[node], places[node] = chain, lengths[chain]
            lengths[chain] += 1
    return chains, places, lengths


def _clocks(
    graph: ActGraph, chains: list[int], places: list[int], lengths: list[int], columns: dict[int, int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """(step, node, column) -> how many acts of the column's chain, counted from step 0, have ended once the node has."""
    clocks = np.zeros((2, len(graph.owners), len(columns)), np.int32)
    for step in (0, 1):
        for node in graph.topological:
            row = clocks[step, node]
            for arc in graph.arcs_into[node]:
                if graph.distances[arc] <= step:
                    np.maximum(row, clocks[step - graph.distances[arc], graph.sources[arc]], out=row)
            column = columns.get(chains[node], -1)
            if column >= 0:
                row[column] = max(row[column], places[node] + 1 + step * lengths[chains[node]])
    return clocks
