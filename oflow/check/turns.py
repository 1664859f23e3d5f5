"""The proof that registers which share bytes take turns.

Two registers may share bytes when every use of one ends before the next use of the other begins, in all interleavings: that is,
when the act graph has a path. Most of the paths wanted (see `uses`) are one stream's order, or an arc into the act that begins (a
control register); for the rest it is counted how far the chain of the act that ends has come (Fidge 1988, Mattern 1989):
* along the arcs of one device, for all devices in one pass over the act graph, once for each of a device's chains;
* where the act that ends is on another device, along the arcs that come from its chain and then those of the device that waits; a
  pass for each chain that a device asks about, again for all devices together;
* along all arcs, a pass for every chain that is still asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from oflow.arrays import starts
from oflow.check.acts import ActGraph, by_number, run_numbers
from oflow.check.blocks import Blocks
from oflow.check.loops import fixed, run
from oflow.check.loops.turns import clock
from oflow.check.rates import replayed
from oflow.check.uses import Orders, around, orders, sharing, steps_round, unsettled
from oflow.errors import PlanError


class _Chains(NamedTuple):
    """Every act lies on a chain of acts that follow each other: its ordered stream, or else its own actor.

    of (N): the chain of each node, -1 of a rendezvous; place (N): its place there; length: acts of each chain, 0 at last, for the node of
    a rendezvous; device: of each, -1 at last.
    """

    of: np.ndarray
    place: np.ndarray
    length: np.ndarray
    device: np.ndarray

    def device_of(self, nodes: np.ndarray) -> np.ndarray:
        return np.asarray(self.device[self.of[nodes]])


class _Pass(NamedTuple):
    """One pass of clocks: by node, how many acts of the chain that is counted have ended once it has (before step 0: none or less), how
    many more a step, and which orders it decides."""

    counted: np.ndarray
    more: np.ndarray
    asked: np.ndarray


def prove_turns(graph: ActGraph, arena: Blocks, *, compiled: bool | None = None) -> None:
    """Raises PlanError, naming both registers and the bytes, unless all blocks that share bytes are proved to take turns."""
    shared = sharing(arena)
    if len(shared):
        shared = unsettled(graph, arena, shared)
    if not len(shared):
        return
    missing = _unproved(graph, orders(graph, arena, shared, compiled=compiled), compiled)
    if len(missing.end):
        # perhaps only because a register that steps do not go round evenly was taken as one slot: follow its slots
        some = around(arena, shared, np.union1d(missing.one, missing.other))
        steps = steps_round(graph, arena, some)
        if steps > 1:
            missing = _unproved(graph, orders(graph, arena, some, steps, compiled=compiled), compiled)
    if len(missing.end):
        raise _refusal(graph, arena, missing)


def _unproved(graph: ActGraph, needed: Orders, compiled: bool | None) -> Orders:
    chains = _chains(graph)
    for proved in (_by_stream, _by_arc, _within_devices(compiled), _into_devices(compiled), _by_clocks(compiled)):
        if len(needed.end):
            needed = needed.only(~proved(graph, chains, needed))
    return needed


# ---------------------------------------------------------------- proofs of the order

Proof = Callable[[ActGraph, _Chains, Orders], np.ndarray]
"""Which of the orders it shows."""


def _chains(graph: ActGraph) -> _Chains:
    t = graph.tables
    key = np.where(replayed(t)[t.stream], t.stream, len(t.streams) + np.arange(len(t.stream)))
    names, number = np.unique(key, return_inverse=True)
    of = np.full(len(graph), -1)
    acting = graph.owners >= 0
    of[acting] = number.reshape(-1)[graph.owners[acting]]
    order = graph.topological[of[graph.topological] >= 0]
    by_chain = order[by_number(of[order], len(names))]
    length = np.bincount(of[order], minlength=len(names))
    place = np.zeros(len(graph), np.int64)
    place[by_chain] = run_numbers(length)
    device = np.full(len(names) + 1, -1)
    device[number.reshape(-1)] = t.stream_device[t.stream] if len(t.stream) else 0
    return _Chains(of, place, np.append(length, 0), device)


def _by_stream(graph: ActGraph, chains: _Chains, needed: Orders) -> np.ndarray:
    """Both acts are on one chain."""
    same = chains.of[needed.end] == chains.of[needed.start]
    proved: np.ndarray = same & ((needed.wraps > 0) | (chains.place[needed.end] < chains.place[needed.start]))
    return proved


def _by_arc(graph: ActGraph, chains: _Chains, needed: Orders) -> np.ndarray:
    """The act that begins waits for an act of the other's chain that is no earlier."""
    wanted = np.zeros(len(graph), bool)
    wanted[needed.start] = True
    arcs = np.flatnonzero(wanted[graph.waiters])
    arcs = arcs[np.argsort(graph.waiters[arcs], kind="stable")]
    waiters = graph.waiters[arcs]
    first = np.searchsorted(waiters, needed.start)
    counts = np.searchsorted(waiters, needed.start, "right") - first
    pair = np.repeat(np.arange(len(counts)), counts)
    arc = arcs[first[pair] + run_numbers(counts)]
    source, steps = graph.sources[arc], needed.wraps[pair] - graph.distances[arc]
    later = (steps > 0) | ((steps == 0) & (chains.place[source] >= chains.place[needed.end[pair]]))
    fits = (chains.of[source] == chains.of[needed.end[pair]]) & later
    proved = np.zeros(len(counts), bool)
    proved[pair[fits]] = True
    return proved


def _within_devices(compiled: bool | None) -> Proof:
    def proved(graph: ActGraph, chains: _Chains, needed: Orders) -> np.ndarray:
        """Paths that stay on one device; the first chain of every device in one pass, then the second of each, and so on."""
        together = chains.device_of(needed.end) == chains.device_of(needed.start)
        number = _numbered_within(chains.device, np.unique(chains.of[needed.end[together]]), len(chains.device))

        def passes() -> Iterator[_Pass]:
            for n in range(int(number.max(initial=-1)) + 1):
                counted = number[chains.of] == n
                yield _own(chains, counted, counted[needed.end] & together)

        return _counted(graph, chains, needed, passes(), _local(graph, chains), graph.waiters, compiled)

    return proved


def _into_devices(compiled: bool | None) -> Proof:
    def proved(graph: ActGraph, chains: _Chains, needed: Orders) -> np.ndarray:
        """Paths that go from another device's chain by one arc to the device of the act that begins, and stay there; the first of the
        chains that each device asks about in one pass, then the second of each, and so on."""
        chain, device = chains.of[needed.end], chains.device_of(needed.start)
        apart = chains.device_of(needed.end) != device
        width = len(chains.device)
        asked, which = np.unique(device * width + chain, return_inverse=True)
        apart_pairs = np.unique(which.reshape(-1)[apart])
        number = _numbered_within(asked // width, apart_pairs, len(asked))
        kept = chains.of[graph.sources] >= 0
        arcs = np.flatnonzero(kept & (chains.device_of(graph.sources) != chains.device_of(graph.waiters)))
        sources, waiters, distances = graph.sources[arcs], graph.waiters[arcs], graph.distances[arcs]

        def passes() -> Iterator[_Pass]:
            for n in range(int(number.max(initial=-1)) + 1):
                mine = asked[number == n]
                wanted = np.full(len(graph.tables.devices), -1)
                wanted[mine // width] = mine % width
                from_chain = chains.of[sources] == wanted[chains.device_of(waiters)]
                ended = chains.place[sources] + 1 - distances * chains.length[chains.of[sources]]
                counted = np.full(len(graph), np.iinfo(np.int64).min)
                np.maximum.at(counted, waiters[from_chain], ended[from_chain])
                met = counted > np.iinfo(np.int64).min
                more = np.where(met, chains.length[wanted[chains.device_of(np.arange(len(graph)))]], 0)
                yield _Pass(np.where(met, counted, 0), more, (number[which.reshape(-1)] == n) & apart)

        return _counted(graph, chains, needed, passes(), _local(graph, chains), graph.waiters, compiled)

    return proved


def _by_clocks(compiled: bool | None) -> Proof:
    def proved(graph: ActGraph, chains: _Chains, needed: Orders) -> np.ndarray:
        """Any path; a pass for every chain."""
        ended = chains.of[needed.end]
        passes = (_own(chains, chains.of == chain, ended == chain) for chain in np.unique(ended))
        return _counted(graph, chains, needed, passes, np.arange(len(graph.sources)), graph.targets, compiled)

    return proved


def _numbered_within(part: np.ndarray, some: np.ndarray, count: int) -> np.ndarray:
    """(count) 0, 1, ... for `some` of each part, -1 for all others."""
    by_part = some[np.argsort(part[some], kind="stable")]
    number = np.full(count, -1)
    number[by_part] = run_numbers(np.unique(part[by_part], return_counts=True)[1])
    return number


def _own(chains: _Chains, counted: np.ndarray, asked: np.ndarray) -> _Pass:
    """A pass that counts the acts of these nodes."""
    counted = counted & (chains.of >= 0)
    return _Pass(np.where(counted, chains.place + 1, 0), np.where(counted, chains.length[chains.of], 0), asked)


def _local(graph: ActGraph, chains: _Chains) -> np.ndarray:
    """Arcs between acts of one device."""
    kept = chains.of[graph.sources] >= 0
    return np.flatnonzero(kept & (chains.device_of(graph.sources) == chains.device_of(graph.waiters)))


def _counted(
    graph: ActGraph, chains: _Chains, needed: Orders, passes: Iterator[_Pass], arcs: np.ndarray, targets: np.ndarray,
    compiled: bool | None,
) -> np.ndarray:  # fmt: skip
    """arcs: those that are followed, to their `targets`."""
    nodes, steps = len(graph), int(needed.wraps.max(initial=0)) + 1
    into = arcs[by_number(targets[arcs], nodes)]
    start = fixed(starts(np.bincount(targets[arcs], minlength=nodes)))
    order, sources, distances = fixed(graph.topological), fixed(graph.sources[into]), fixed(graph.distances[into])
    proved = np.zeros(len(needed.end), bool)
    for one in passes:
        ended = np.zeros(steps * nodes, np.int64)
        run(
            clock, fixed(np.array([nodes, steps])), order, start, sources, distances, fixed(one.counted), fixed(one.more), ended,
            compiled=compiled,
        )  # fmt: skip
        reached = ended[needed.wraps * nodes + needed.start] > chains.place[needed.end]
        proved |= one.asked & reached & ((needed.wraps > 0) | (needed.end != needed.start))
    return proved


def _refusal(graph: ActGraph, arena: Blocks, needed: Orders) -> PlanError:
    """In the words of the first order that nothing makes; if there is one, of acts that no stream keeps apart."""
    t, ends, begins = graph.tables, graph.owners[needed.end], graph.owners[needed.start]
    first = int(np.argmax((t.stream[ends] != t.stream[begins]) | (ends == begins)))
    end, start, wraps, one, other = (int(column[first]) for column in needed)
    later = " of the next step" if wraps == 1 else f" {wraps} steps later" if wraps else ""
    (a, b), (c, d) = ((int(arena.start[block]), int(arena.stop[block])) for block in (one, other))
    names = arena.label(one), arena.label(other)
    return PlanError(
        f"{names[0]} [{a}, {b}) and {names[1]} [{c}, {d}) share bytes [{max(a, c)}, {min(b, d)}), "
        f"but nothing makes {graph.label(start)}{later}, which writes the second, wait for {graph.label(end)}, which uses the first; "
        "add a control register or move one of them",
        registers=names,
    )
