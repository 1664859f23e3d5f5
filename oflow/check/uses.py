"""Which bytes pass from whom to whom: every use of a register takes its bytes in the order of the play, in one pass over all devices.

A use lasts from the act that writes a slot to the last act that reads it. Where its bytes were another register's before, the acts
that end that use must come before the one that begins this: `orders` lists what is to be proved.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

import numpy as np

from oflow.arrays import Tables
from oflow.check.acts import ActGraph, run_numbers
from oflow.check.blocks import Blocks
from oflow.check.loops import fixed, run
from oflow.check.loops.turns import takeovers
from oflow.check.rates import windows

STACK = 3 * 128
MOST = 1 << 24
"""Acts, of all steps that are laid side by side, up to which slots are followed that a step does not go round evenly."""


class Orders(NamedTuple):
    """The orders to be proved: act `end` of one step before act `start` of the step `wraps` later, for these two blocks."""

    end: np.ndarray
    start: np.ndarray
    wraps: np.ndarray
    one: np.ndarray
    other: np.ndarray

    def only(self, which: np.ndarray) -> Orders:
        return Orders(*(column[which] for column in self))


class _Uses(NamedTuple):
    """In the order of their starts: the block, the step, the turn in it, the act that takes the bytes to write, the bytes."""

    block: np.ndarray
    step: np.ndarray
    turn: np.ndarray
    start: np.ndarray
    low: np.ndarray
    high: np.ndarray


def orders(graph: ActGraph, arena: Blocks, shared: np.ndarray, steps: int = 1, *, compiled: bool | None = None) -> Orders:
    """What these blocks, which have bytes in common, need to take turns.

    steps: how many are laid side by side; a register whose slots they do not go round evenly counts as one slot.
    """
    uses = _uses(graph, arena, shared, steps)
    before, after, wraps = _successions(uses, compiled)
    t = graph.tables
    out = _out_ports(t)[arena.register[uses.block[before]]]
    # one order for every reader of what gives way; for the writer itself where nobody reads it
    readers = np.diff(t.reader_start)[out]
    many = np.maximum(readers, 1)
    pair = np.repeat(np.arange(len(before)), many)
    place = t.reader_start[out[pair]] + run_numbers(many)
    port = np.where(readers[pair] > 0, np.append(t.readers, 0)[np.minimum(place, len(t.readers))], out[pair])
    end = graph.bases[t.port_actor[port]] + (uses.turn[before[pair]] + 1) * t.every[port] - 1
    later = wraps * steps + uses.step[after] - uses.step[before]
    return Orders(end, uses.start[after[pair]], later[pair], uses.block[before[pair]], uses.block[after[pair]])


def steps_round(graph: ActGraph, arena: Blocks, shared: np.ndarray) -> int:
    """After how many steps every register writes the slot again that it wrote at first; 1 where that is too many acts to look at."""
    t = graph.tables
    port = _out_ports(t)[arena.register[shared]]
    found, most = 1, MOST // max(len(graph), int(windows(t)[port].sum()), 1)
    for slots, turns in np.unique(np.stack([t.slots[port], windows(t)[port]]), axis=1).T.tolist():
        needed = slots // gcd(slots, turns)
        joint = found * needed // gcd(found, needed)
        found = joint if joint <= most else found
    return found


def sharing(arena: Blocks) -> np.ndarray:
    """The blocks of registers that have a byte in common with another block."""
    start, stop = _spans(arena)
    others: np.ndarray = np.searchsorted(np.sort(start), stop) - np.searchsorted(np.sort(stop), start, "right") - 1
    return np.flatnonzero((others > 0) & (arena.register >= 0))


def unsettled(graph: ActGraph, arena: Blocks, shared: np.ndarray) -> np.ndarray:
    """Those of `shared` that need an order to keep apart. Acts of one stream exclude each other whatever their order, so registers that
    nobody reads, each written in single acts of an actor of its own on one stream, need none if they share with no others."""
    t = graph.tables
    port = _out_ports(t)[arena.register[shared]]
    actor = t.port_actor[port]
    single = (np.diff(t.reader_start)[port] == 0) & (t.every[port] == 1)
    part = _parts(arena, shared)
    key = np.where(single, t.stream[actor], -1)
    blocks = np.bincount(part)
    least, most = np.full(len(blocks), len(t.streams)), np.full(len(blocks), -1)
    np.minimum.at(least, part, key)
    np.maximum.at(most, part, key)
    actors = np.bincount(np.unique(part * len(t.acts) + actor) // len(t.acts))
    settled = (least >= 0) & (least == most) & (blocks == actors)
    return np.asarray(shared[~settled[part]])


def around(arena: Blocks, shared: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Those of `shared` that are joined to `some` by bytes in common, one by way of others."""
    part = _parts(arena, shared)
    return np.asarray(shared[np.isin(part, part[np.isin(shared, some)])])


def _parts(arena: Blocks, shared: np.ndarray) -> np.ndarray:
    """Numbers of the sets of blocks that are joined by bytes in common."""
    start, stop = (column[shared] for column in _spans(arena))
    by_start = np.argsort(start, kind="stable")
    reach = np.maximum.accumulate(stop[by_start])
    part = np.empty(len(shared), np.int64)
    part[by_start] = np.cumsum(np.append(False, start[by_start][1:] >= reach[:-1]))
    return part


def _spans(arena: Blocks) -> tuple[np.ndarray, np.ndarray]:
    shift = arena.shift[arena.device]
    return arena.start + shift, arena.stop + shift


def _uses(graph: ActGraph, arena: Blocks, shared: np.ndarray, steps: int) -> _Uses:
    """Turn j of a register with `slots` slots has slot j mod slots, where the steps have a multiple of them; else any of them."""
    t = graph.tables
    port = _out_ports(t)[arena.register[shared]]
    turns, slots, k = windows(t)[port], t.slots[port], t.every[port]
    size = (arena.stop[shared] - arena.start[shared]) // slots
    known = turns * steps % slots == 0
    begin, end = (column[shared] for column in _spans(arena))
    which = np.repeat(np.arange(len(shared)), turns)
    turn = run_numbers(turns)
    start = graph.bases[t.port_actor[port[which]]] + turn * k[which]
    order = np.argsort(graph.positions[start], kind="stable")
    which, turn, start = np.tile(which[order], steps), np.tile(turn[order], steps), np.tile(start[order], steps)
    step = np.repeat(np.arange(steps), len(order))
    low = begin[which] + np.where(known[which], (step * turns[which] + turn) % slots[which] * size[which], 0)
    return _Uses(shared[which], step, turn, start, low, np.where(known[which], low + size[which], end[which]))


def _out_ports(t: Tables) -> np.ndarray:
    """(R) the out port that writes each register, -1 where nobody does."""
    found = np.full(len(t.initial), -1)
    outs = np.flatnonzero(t.port_out == 1)
    found[t.port_register[outs]] = outs
    return found


def _successions(uses: _Uses, compiled: bool | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(use, use that has some of its bytes next, whether that is after the last of the steps), of different blocks."""
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
