"""What a route may move at most, in elements over all links, computed without the planner: the bounds its module states."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from heapq import heappop, heappush

import numpy as np

from oflow.sbp import B, Layout, Placement, Sbp
from tests.sbp.shards import contributions, region

Shape = tuple[int, ...]


def table(src: Sbp, dst: Sbp, p: int, total: int) -> float:
    """The cost of one mesh axis of p devices on its own devices: FACTS of boxing, first column."""
    if src == dst or p == 1:
        return 0
    if src.is_split and dst.is_split:
        return total * (p - 1) / p
    if src.is_partial:
        return (1 if dst.is_split or dst.is_partial else 2) * total * (p - 1)
    return total * (p - 1) if src.is_split and dst == B else 0


def replaced(sbps: tuple[Sbp, ...], axis: int, sbp: Sbp) -> tuple[Sbp, ...]:
    return (*sbps[:axis], sbp, *sbps[axis + 1 :])


def _changes_alone(sbps: tuple[Sbp, ...], after: tuple[Sbp, ...], axis: int, mesh: Shape) -> bool:
    """Whether nothing inside `axis` splits what it splits, and joins inside it let its own pass, or give its identity back."""
    inner = {s for s, n in zip(sbps[axis + 1 :], mesh[axis + 1 :], strict=True) if n > 1}
    old, new = sbps[axis], after[axis]
    joins = {s.op for s in inner if s.is_partial}
    if (old.is_partial and joins - {old.op}) or (new.is_partial and "sum" in joins - {new.op}):
        return False
    return not any(s.is_split and s in inner for s in (old, new))


class OneMesh:
    """The least sum over changes of one mesh axis at a time, each at the table's cost on the sub-tensors of its groups."""

    def __init__(self, where: Placement, choices: tuple[Sbp, ...], shape: Shape) -> None:
        self.where, self.choices, self.shape = where, choices, shape
        self._groups: dict[tuple[Sbp, ...], int] = {}

    def elements(self, sbps: tuple[Sbp, ...]) -> int:
        """Elements of all shards together."""
        if sbps not in self._groups:
            found = Layout(self.where, sbps)
            self._groups[sbps] = sum(math.prod(found.shard_shape(self.shape, r)) for r in range(self.where.size))
        return self._groups[sbps]

    def changes(self, sbps: tuple[Sbp, ...]) -> Iterator[tuple[float, tuple[Sbp, ...]]]:
        mesh = self.where.mesh
        for axis, sbp in itertools.product(range(len(mesh)), self.choices):
            after = replaced(sbps, axis, sbp)
            if after != sbps and (mesh[axis] == 1 or _changes_alone(sbps, after, axis, mesh)):
                total = self.elements(replaced(sbps, axis, B)) // mesh[axis]
                yield table(sbps[axis], sbp, mesh[axis], total), after

    def bounds(self, start: tuple[Sbp, ...]) -> dict[tuple[Sbp, ...], float]:
        """To every other layout."""
        found = {start: 0.0}
        waiting: list[tuple[float, int, tuple[Sbp, ...]]] = [(0.0, 0, start)]
        serial = itertools.count(1)
        while waiting:
            cost, _, sbps = heappop(waiting)
            if cost > found[sbps]:
                continue
            for more, after in self.changes(sbps):
                if cost + more < found.get(after, math.inf):
                    found[after] = cost + more
                    heappush(waiting, (cost + more, next(serial), after))
        return found


def _held(found: Layout, shape: Shape) -> np.ndarray:
    """(ranks, elements) whether a rank holds an element."""
    held = np.zeros((found.placement.size, *shape), bool)
    for rank in range(found.placement.size):
        held[(rank, *region(found, shape, rank))] = True
    return held.reshape(found.placement.size, -1)


def not_local(src: Layout, dst: Layout, shape: Shape) -> int:
    """Elements that consumers want of a source that is not partial and do not hold; one sibling along P axes, the best, wants each."""
    have, want = _held(src, shape), _held(dst, shape)
    places = {device: rank for rank, device in enumerate(src.placement.devices)}
    missing = want.copy()
    for rank, device in enumerate(dst.placement.devices):
        if device in places:
            missing[rank] &= ~have[places[device]]
    return int(np.min([missing[ranks].sum(0) for ranks in contributions(dst).values()], axis=0).sum())


def replicas(found: Layout) -> int:
    return math.prod(n for s, n in zip(found.sbp, found.placement.mesh, strict=True) if s == B)


def summands(found: Layout) -> int:
    return math.prod(n for s, n in zip(found.sbp, found.placement.mesh, strict=True) if s.is_partial)


def is_mixed(found: Layout) -> bool:
    return len({s.op for s, n in zip(found.sbp, found.placement.mesh, strict=True) if s.is_partial and n > 1}) > 1


def between(src: Layout, dst: Layout, shape: Shape) -> int:
    """From one placement to another."""
    if summands(src) == 1 and not is_mixed(dst):
        return not_local(src, dst, shape)
    return (summands(src) + replicas(dst) - 1) * math.prod(shape)
