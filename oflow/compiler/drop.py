"""Which values to drop from the stash so that a device has room, at the least seconds for making them again: an integer program.

After Checkmate (Jain et al. 2020), by parts of the backward pass instead of single nodes, and with the forward pass run once. Columns:
keep[v], value v is kept for the backward pass; made[n, t], node n has run again by part t of it; held[n, t], its results are in
memory in part t although the backward pass itself has read them for the last time, because another copy has not.

    what the backward reads in part t is kept or made by then      keep[v] + made[n, t] >= 1
    what a copy reads is kept or made by then                      keep[u] + made[m, t] >= made[n, t]
    bytes in every part                                            slots keep + made + held + the backward's own <= room
    least                                                          seconds made[n, last]

Stages that share devices are one program.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from oflow.compiler.stash import Again, Held, Stash

EXACT = 500
"""Columns up to which the optimum is proved; larger programs stop within so much of it, or after so many branches."""
GAP, BRANCHES = 0.02, 50
Term = tuple[int, float]


class Choice(NamedTuple):
    """dropped: values that are not kept. seconds: that making them again takes a step."""

    dropped: frozenset[int]
    seconds: float


def kept_nbytes(stages: Sequence[Stash]) -> dict[str, int]:
    """The most bytes of stash and backward pass on each device, with everything kept."""
    found: dict[str, int] = {}
    for device in sorted({d for s in stages for h in s.held.values() for d in h.devices}):
        kept = sum(h.nbytes * h.slots for s in stages for v, h in s.held.items() if device in h.devices and _is_kept(s, v))
        found[device] = kept + max((max(s.own.get(device, (0,))) for s in stages), default=0)
    return found


def _is_kept(stage: Stash, v: int) -> bool:
    """Whether a value is in the stash of the program as it is."""
    return stage.held[v].fixed or any(stage.views.get(read, read) == v for read in stage.first)


def least_seconds(stages: Sequence[Stash], room: Mapping[str, int]) -> Choice | None:
    """The choice of least seconds that leaves every device listed within its room; None where none does."""
    dropped: set[int] = set()
    seconds = 0.0
    for group in _together(stages):
        limits = {d: n for d, n in room.items() if any(d in h.devices for s in group for h in s.held.values())}
        if limits:
            found = _Program(group, limits).solve()
            if found is None:
                return None
            dropped |= found.dropped
            seconds += found.seconds
    return Choice(frozenset(dropped), seconds)


def _together(stages: Sequence[Stash]) -> list[list[Stash]]:
    """Groups of stages that have devices in common."""
    groups: list[tuple[set[str], list[Stash]]] = []
    for stage in stages:
        devices = {d for h in stage.held.values() for d in h.devices}
        mine = [g for g in groups if g[0] & devices]
        groups = [g for g in groups if not g[0] & devices]
        groups.append((devices.union(*(g[0] for g in mine)), [s for g in mine for s in g[1]] + [stage]))
    return [members for _, members in groups]


class _Program:
    """Columns and rows while they are written."""

    def __init__(self, stages: Sequence[Stash], room: Mapping[str, int]) -> None:
        self.costs: list[float] = []
        self.whole: list[bool] = []
        self.rows: list[tuple[list[Term], float]] = []
        """Terms, and the least sum."""
        self.keep: dict[int, int] = {}
        self.made: dict[int, int] = {}
        """First column of a node's parts, by node."""
        self.stages = stages
        for stage in stages:
            self._columns(stage)
        held = [self._rows(stage) for stage in stages]
        self._memory(held, room)

    def _column(self, cost: float = 0.0, whole: bool = True) -> int:
        self.costs.append(cost)
        self.whole.append(whole)
        return len(self.costs) - 1

    def _columns(self, stage: Stash) -> None:
        for v, held in stage.held.items():
            if not held.fixed:
                self.keep[v] = self._column()
        for n in stage.nodes:
            self.made[n.node.id] = len(self.costs)
            for part in range(stage.parts):
                self._column(n.seconds if part == stage.parts - 1 else 0.0)

    def _rows(self, stage: Stash) -> dict[tuple[int, int], int]:
        """What must hold in a stage; returns the columns of `held`, by node and part."""
        makers = {v: n for n in stage.nodes for v in n.outs}
        readers: dict[int, list[Again]] = {}
        for n in stage.nodes:
            for v in n.ins:
                if v in makers and makers[v] is not n:
                    readers.setdefault(makers[v].node.id, []).append(n)
        for v, part in stage.first.items():
            self._there(stage, makers, v, part, [], 1.0)
        held: dict[tuple[int, int], int] = {}
        for n in stage.nodes:
            start = self.made[n.node.id]
            for part in range(stage.parts):
                if part:
                    self.rows.append(([(start + part, 1.0), (start + part - 1, -1.0)], 0.0))
                for v in n.ins:
                    self._there(stage, makers, v, part, [(start + part, -1.0)], 0.0)
                if part < min((stage.first[v] for v in n.outs if v in stage.first), default=stage.parts):  # not before it is read
                    asking = [(self.made[r.node.id] + part, 1.0) for r in readers.get(n.node.id, ())]
                    self.rows.append(([*asking, (start + part, -1.0)], 0.0))
            last = max((stage.last[v] for v in n.outs if v in stage.last), default=-1)
            for part in range(last + 1, stage.parts):
                if readers.get(n.node.id) and sum(stage.held[v].nbytes for v in n.outs if v in stage.held):
                    held[n.node.id, part] = self._waits(stage, n, readers[n.node.id], part)
        return held

    def _there(self, stage: Stash, makers: Mapping[int, Again], v: int, part: int, terms: list[Term], least: float) -> None:
        """Value `v` is kept, or made again by this part."""
        base = stage.views.get(v, v)
        if base not in self.keep:
            return
        found = [(self.keep[base], 1.0), *terms]
        if v in makers:
            found.append((self.made[makers[v].node.id] + part, 1.0))
        self.rows.append((found, least))

    def _waits(self, stage: Stash, n: Again, readers: Sequence[Again], part: int) -> int:
        """The column that says that the copy is still held in this part: some reader's copy is to come in it or later.

        A copy that may write over what it reads needs no memory of its own beside it.
        """
        column = self._column(whole=False)
        for reader in readers:
            start = self.made[reader.node.id]
            terms = [(column, 1.0), (self.made[n.node.id] + part, -1.0), (start + stage.parts - 1, -1.0)]
            before = part if reader.over.intersection(n.outs) else part - 1
            self.rows.append((terms + ([(start + before, 1.0)] if before >= 0 else []), -1.0))
        return column

    def _memory(self, held: Sequence[Mapping[tuple[int, int], int]], room: Mapping[str, int]) -> None:
        written: set[object] = set()
        for device, limit in room.items():
            kept = {v: h for s in self.stages for v, h in s.held.items() if device in h.devices}
            always = sum(h.nbytes * h.slots for h in kept.values() if h.fixed)
            scale = 1.0 / max(1, limit, always)
            terms = [(self.keep[v], -scale * h.nbytes * h.slots) for v, h in kept.items() if not h.fixed]
            for stage, waits in zip(self.stages, held, strict=True):
                for part in range(stage.parts):
                    copies = self._copies(stage, waits, kept, part, scale)
                    least = scale * (always + stage.own.get(device, (0,) * stage.parts)[part] - limit)
                    row = (tuple(terms), tuple(copies), least)
                    if row in written:  # devices alike
                        continue
                    written.add(row)
                    self.rows.append(([*terms, *copies], least))

    def _copies(self, stage: Stash, waits: Mapping[tuple[int, int], int], kept: Mapping[int, Held], part: int, scale: float) -> list[Term]:
        """What copies hold in one part on a device that has the values `kept`."""
        found: list[Term] = []
        for n in stage.nodes:
            nbytes = sum(kept[v].nbytes for v in n.outs if v in kept)
            last = max((stage.last[v] for v in n.outs if v in stage.last), default=-1)
            column = self.made[n.node.id] + part if part <= last else waits.get((n.node.id, part), -1)
            if nbytes and column >= 0:
                found.append((column, -scale * nbytes))
        return found

    def solve(self) -> Choice | None:
        from scipy.optimize import Bounds, LinearConstraint, milp  # takes 0.2 s to import
        from scipy.sparse import csr_array

        terms = [term for row, _ in self.rows for term in row]
        starts = np.cumsum([0, *(len(row) for row, _ in self.rows)])
        matrix = csr_array(([f for _, f in terms], [c for c, _ in terms], starts), shape=(len(self.rows), len(self.costs)))
        matrix.sum_duplicates()
        whole = np.asarray(self.whole)
        unit = max((c for c, w in zip(self.costs, self.whole, strict=True) if w), default=0.0) or 1.0
        small = len(self.costs) <= EXACT
        found = milp(
            np.asarray(self.costs) / unit, integrality=whole.astype(float), bounds=Bounds(0, np.where(whole, 1.0, math.inf)),
            constraints=LinearConstraint(matrix, [least for _, least in self.rows], np.inf),
            options={"mip_rel_gap": 1e-9} if small else {"mip_rel_gap": GAP, "node_limit": BRANCHES},
        )  # fmt: skip
        return None if found.x is None else self._read(found.x)

    def _read(self, x: np.ndarray) -> Choice:
        dropped: set[int] = set()
        seconds = 0.0
        for stage in self.stages:
            again = {v for n in stage.nodes if x[self.made[n.node.id] + stage.parts - 1] > 0.5 for v in n.outs}
            seconds += sum(n.seconds for n in stage.nodes if again.intersection(n.outs))
            for v in again:
                column = self.keep.get(stage.views.get(v, v))
                if column is not None and x[column] < 0.5:
                    dropped.add(v)
        return Choice(frozenset(dropped), seconds)
