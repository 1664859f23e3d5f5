"""The proof that registers which share bytes take turns.

Two registers may share bytes when every use of one ends before the next use of the other begins, in all interleavings: that is,
when the act graph has a path. Whose bytes pass to whom is found for all bytes at once, by letting every use take its bytes in
the order of the play. Most of the paths wanted are one stream's order, or an arc into the act that begins (a control register);
for the rest it is counted how far the chain of the act that ends has come, in one pass over the act graph a chain: first within
each device, all devices at once, then over all arcs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from oflow.arrays import Tables, starts
from oflow.check.acts import ActGraph, run_numbers
from oflow.check.blocks import Blocks
from oflow.check.loops import fixed, run
from oflow.check.loops.turns import clock, takeovers
from oflow.check.rates import replayed, windows
from oflow.errors import PlanError

STACK = 3 * 128


class _Windows(NamedTuple):
    """Uses of blocks, in the order of their starts: the block, the turn, the act that takes the bytes to write, the bytes."""

    block: np.ndarray
    turn: np.ndarray
    start: np.ndarray
    low: np.ndarray
    high: np.ndarray


class _Needed(NamedTuple):
    """The orders to be proved: act `end` of one step before act `start` of the step `wraps` later, for these two blocks."""

    end: np.ndarray
    start: np.ndarray
    wraps: np.ndarray
    one: np.ndarray
    other: np.ndarray

    def only(self, which: np.ndarray) -> _Needed:
        return _Needed(*(column[which] for column in self))


class _Chains(NamedTuple):
    """Every act lies on a chain of acts that follow each other: its ordered stream, or else its own actor.

    of (N): the chain of each node, -1 of a rendezvous; place (N): its place there; length: acts of each chain; device: of each.
    """

    of: np.ndarray
    place: np.ndarray
    length: np.ndarray
    device: np.ndarray


def prove_turns(graph: ActGraph, arena: Blocks, *, compiled: bool | None = None) -> None:
    """Raises PlanError, naming both registers and the bytes, unless all blocks that share bytes are proved to take turns."""
    shared = np.flatnonzero(_shares(arena) & (arena.register >= 0))
    if not len(shared):
        return
    uses = _windows(graph, arena, shared)
    needed = _needed(graph, arena, uses, _successions(uses, compiled))
    chains = _chains(graph)
    for proved in (_by_stream, _by_arc, _within_devices(compiled), _by_clocks(compiled)):
        if len(needed.end):
            needed = needed.only(~proved(graph, chains, needed))
    if len(needed.end):
        raise _refusal(graph, arena, needed)


def shared_registers(arena: Blocks) -> list[int]:
    """Register rows that have a byte in common with another."""
    return [int(row) for row in arena.register[np.flatnonzero(_shares(arena) & (arena.register >= 0))]]


def _shares(found: Blocks) -> np.ndarray:
    """Which blocks have a byte in common with another."""
    shift = found.shift[found.device]
    start, stop = found.start + shift, found.stop + shift
    others: np.ndarray = np.searchsorted(np.sort(start), stop) - np.searchsorted(np.sort(stop), start, "right") - 1
    return others > 0


# ---------------------------------------------------------------- whose bytes pass to whom


def _windows(graph: ActGraph, arena: Blocks, shared: np.ndarray) -> _Windows:
    """Turn j of a register with `slots` slots has slot j mod slots, where a step has a multiple of them; else any of them."""
    t = graph.tables
    port = _out_ports(t)[arena.register[shared]]
    turns, slots, k = windows(t)[port], t.slots[port], t.every[port]
    block, turn = np.repeat(shared, turns), run_numbers(turns)
    port, k = np.repeat(port, turns), np.repeat(k, turns)
    start = graph.bases[t.port_actor[port]] + turn * k
    known = np.repeat(turns % slots == 0, turns)
    slots = np.repeat(slots, turns)
    size = (arena.stop[block] - arena.start[block]) // slots
    shift = arena.shift[arena.device[block]]
    low = shift + arena.start[block] + np.where(known, turn % slots * size, 0)
    high = np.where(known, low + size, shift + arena.stop[block])
    order = np.argsort(graph.positions[start], kind="stable")
    return _Windows(*(column[order] for column in (block, turn, start, low, high)))


def _out_ports(t: Tables) -> np.ndarray:
    """(R) the out port that writes each register, -1 where nobody does."""
    found = np.full(len(t.initial), -1)
    outs = np.flatnonzero(t.port_out == 1)
    found[t.port_register[outs]] = outs
    return found


def _successions(uses: _Windows, compiled: bool | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(window, window that has some of its bytes next, whether that is in the next step), of different blocks."""
    edges = np.unique(np.concatenate([uses.low, uses.high]))
    low, high = np.searchsorted(edges, uses.low), np.searchsorted(edges, uses.high)
    leaves = 1 << len(edges).bit_length()
    room = 4 * len(low)
    while True:
        before, after, wraps = (np.zeros(room, np.int64) for _ in range(3))
        count = run(
            takeovers, fixed(np.array([len(low), leaves, room])), fixed(low), fixed(high), fixed(uses.block),
            np.zeros(2 * leaves, np.int64), np.zeros(STACK, np.int64), before, after, wraps, compiled=compiled,
        )  # fmt: skip
        if count >= 0:
            return before[:count], after[:count], wraps[:count]
        room *= 2


def _needed(
    graph: ActGraph, arena: Blocks, uses: _Windows, found: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> _Needed:
    """One order for every reader of what gives way (for the writer itself where nobody reads it)."""
    t = graph.tables
    before, after, wraps = found
    out = _out_ports(t)[arena.register[uses.block[before]]]
    readers = np.diff(t.reader_start)[out]
    many = np.maximum(readers, 1)
    pair = np.repeat(np.arange(len(before)), many)
    place = t.reader_start[out[pair]] + run_numbers(many)
    port = np.where(readers[pair] > 0, np.append(t.readers, 0)[np.minimum(place, len(t.readers))], out[pair])
    k = t.every[port]
    end = graph.bases[t.port_actor[port]] + (uses.turn[before[pair]] + 1) * k - 1
    one, other = uses.block[before[pair]], uses.block[after[pair]]
    return _Needed(end, uses.start[after[pair]], wraps[pair], one, other)


# ---------------------------------------------------------------- proofs of the order

Proof = Callable[[ActGraph, _Chains, _Needed], np.ndarray]
"""Which of the orders it shows."""


def _chains(graph: ActGraph) -> _Chains:
    t = graph.tables
    key = np.where(replayed(t)[t.stream], t.stream, len(t.streams) + np.arange(len(t.stream)))
    names, number = np.unique(key, return_inverse=True)
    of = np.full(len(graph), -1)
    acting = graph.owners >= 0
    of[acting] = number.reshape(-1)[graph.owners[acting]]
    order = graph.topological[of[graph.topological] >= 0]
    by_chain = order[np.argsort(of[order], kind="stable")]
    length = np.bincount(of[order], minlength=len(names))
    place = np.zeros(len(graph), np.int64)
    place[by_chain] = run_numbers(length)
    device = np.zeros(len(names), np.int64)
    device[number.reshape(-1)] = t.stream_device[t.stream] if len(t.stream) else 0
    return _Chains(of, place, length, device)


def _by_stream(graph: ActGraph, chains: _Chains, needed: _Needed) -> np.ndarray:
    """Both acts are on one chain."""
    same = chains.of[needed.end] == chains.of[needed.start]
    proved: np.ndarray = same & ((needed.wraps > 0) | (chains.place[needed.end] < chains.place[needed.start]))
    return proved


def _by_arc(graph: ActGraph, chains: _Chains, needed: _Needed) -> np.ndarray:
    """The act that begins waits for an act of the other's chain that is no earlier."""
    start, arcs = _into(graph, graph.waiters)
    counts = (start[1:] - start[:-1])[needed.start]
    pair = np.repeat(np.arange(len(counts)), counts)
    arc = arcs[start[needed.start[pair]] + run_numbers(counts)]
    source, steps = graph.sources[arc], needed.wraps[pair] - graph.distances[arc]
    later = (steps > 0) | ((steps == 0) & (chains.place[source] >= chains.place[needed.end[pair]]))
    fits = (chains.of[source] == chains.of[needed.end[pair]]) & later
    proved = np.zeros(len(counts), bool)
    proved[pair[fits]] = True
    return proved


def _into(graph: ActGraph, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if targets is graph.targets:
        return graph.arcs_into
    return starts(np.bincount(targets, minlength=len(graph))), np.argsort(targets, kind="stable")


def _within_devices(compiled: bool | None) -> Proof:
    def proved(graph: ActGraph, chains: _Chains, needed: _Needed) -> np.ndarray:
        """Paths that stay on one device; the first chain of every device in one pass, then the second of each, and so on."""
        wanted = np.unique(chains.of[needed.end])
        by_device = wanted[np.argsort(chains.device[wanted], kind="stable")]
        number = np.full(len(chains.length), -1)
        number[by_device] = run_numbers(np.unique(chains.device[by_device], return_counts=True)[1])
        kept = np.flatnonzero(
            (chains.of[graph.sources] >= 0) & (chains.device[chains.of[graph.sources]] == chains.device[chains.of[graph.waiters]])
        )
        columns = ((number[chains.of] == n) & (chains.of >= 0) for n in range(int(number.max()) + 1))
        together = chains.device[chains.of[needed.end]] == chains.device[chains.of[needed.start]]
        return _counted(graph, chains, needed, columns, kept, graph.waiters, together, compiled)

    return proved


def _by_clocks(compiled: bool | None) -> Proof:
    def proved(graph: ActGraph, chains: _Chains, needed: _Needed) -> np.ndarray:
        """Any path; a pass for every chain."""
        columns = (chains.of == chain for chain in np.unique(chains.of[needed.end]))
        every = np.arange(len(graph.sources))
        return _counted(graph, chains, needed, columns, every, graph.targets, np.ones(len(needed.end), bool), compiled)

    return proved


def _counted(
    graph: ActGraph, chains: _Chains, needed: _Needed, columns: Iterable[np.ndarray], arcs: np.ndarray, targets: np.ndarray,
    asked: np.ndarray, compiled: bool | None,
) -> np.ndarray:  # fmt: skip
    """columns: the nodes that each pass counts; arcs: those that are followed, to their `targets`; asked: the orders in question."""
    nodes = len(graph)
    into = arcs[np.argsort(targets[arcs], kind="stable")]
    start = fixed(starts(np.bincount(targets[arcs], minlength=nodes)))
    order, sources, distances = fixed(graph.topological), fixed(graph.sources[into]), fixed(graph.distances[into])
    length = fixed(np.append(chains.length, 0)[chains.of])
    proved = np.zeros(len(needed.end), bool)
    for counted in columns:
        ended = np.zeros(2 * nodes, np.int64)
        place = fixed(np.where(counted, chains.place + 1, 0))
        run(clock, fixed(np.array([nodes])), order, start, sources, distances, place, length, ended, compiled=compiled)
        mine = counted[needed.end] & asked
        reached = ended[needed.wraps * nodes + needed.start] > chains.place[needed.end]
        proved |= mine & reached & ((needed.wraps > 0) | (needed.end != needed.start))
    return proved


def _refusal(graph: ActGraph, arena: Blocks, needed: _Needed) -> PlanError:
    """In the words of the first order that nothing makes."""
    end, start, wraps, one, other = (int(column[0]) for column in needed)
    later = " of the next step" if wraps else ""
    (a, b), (c, d) = ((int(arena.start[block]), int(arena.stop[block])) for block in (one, other))
    names = arena.label(one), arena.label(other)
    return PlanError(
        f"{names[0]} [{a}, {b}) and {names[1]} [{c}, {d}) share bytes [{max(a, c)}, {min(b, d)}), "
        f"but nothing makes {graph.label(start)}{later}, which writes the second, wait for {graph.label(end)}, which uses the first; "
        "add a control register or move one of them",
        registers=names,
    )
