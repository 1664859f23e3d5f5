"""Layouts that a route may pass: one Sbp for each mesh axis, nested in any order, on meshes that may be cut at nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

from oflow.sbp.layout import B, Layout, Placement, Sbp
from oflow.sbp.pulls import Shape, chain, intervals

NodesOf = Callable[[Placement], tuple[int, ...] | None]
"""The node of each device of a placement; None where links are all alike."""


@dataclass(frozen=True, slots=True)
class State:
    """A layout in between: one Sbp for each mesh axis of `where`, nested in `order` (outer first). `layout` is what devices hold.

    flat: S(0) splits all elements as one axis.
    """

    where: Placement
    order: Shape
    sbps: tuple[Sbp, ...]
    flat: bool
    layout: Layout = field(compare=False)
    mark: int = field(compare=False)
    """Its hash, because searches look states up much more often than they make them."""

    def __hash__(self) -> int:
        return self.mark

    @property
    def is_whole(self) -> bool:
        """No axis is split, so all elements may as well be seen as one axis."""
        return not any(s.is_split for s in self.sbps)

    @property
    def is_partial(self) -> bool:
        return any(s.is_partial for s in self.sbps)


@lru_cache(maxsize=4096)
def _seen(where: Placement, order: Shape) -> Placement:
    """The same devices with their mesh axes in another order."""
    if order == tuple(range(len(order))):
        return where
    mesh = tuple(where.mesh[a] for a in order)
    strides = [math.prod(where.mesh[a + 1 :]) for a in order]
    positions = [0]
    for n, stride in zip(mesh, strides, strict=True):
        positions = [p + i * stride for p in positions for i in range(n)]
    return Placement(where.kind, tuple([where.ranks[p] for p in positions]), mesh)


@lru_cache(maxsize=65536)
def state_of(where: Placement, order: Shape, sbps: tuple[Sbp, ...], flat: bool) -> State:
    """With the smallest order in which splits of one tensor axis nest alike; axes of size 1 are B."""
    sbps = tuple([B if n == 1 else s for s, n in zip(sbps, where.mesh, strict=True)])
    rest, chosen = list(order), list[int]()
    while rest:
        free = [a for i, a in enumerate(rest) if not (sbps[a].is_split and sbps[a] in [sbps[b] for b in rest[:i]])]
        chosen.append(min(free))
        rest.remove(chosen[-1])
    final, layout = tuple(chosen), Layout(_seen(where, tuple(chosen)), tuple([sbps[a] for a in chosen]))
    flat = flat and any(s.is_split for s in sbps)
    return State(where, final, sbps, flat, layout, hash((where, final, sbps, flat)))


def changed(state: State, changes: tuple[tuple[int, Sbp], ...], flat: bool) -> State:
    """Mesh axes changed one after the other; a new split is the innermost of its tensor axis."""
    sbps, order = list(state.sbps), list(state.order)
    for axis, sbp in changes:
        sbps[axis] = sbp
        order.remove(axis)
        order.append(axis)
    return state_of(state.where, tuple(order), tuple(sbps), flat)


def is_innermost(state: State, axis: int) -> bool:
    """Whether the axis can change without moving what others split of the same tensor axis."""
    inner = state.order[state.order.index(axis) + 1 :]
    return not (state.sbps[axis].is_split and state.sbps[axis] in [state.sbps[a] for a in inner])


# ---------------------------------------------------------------- meshes of two levels


def levels(where: Placement, nodes: tuple[int, ...] | None) -> list[tuple[int, ...]]:
    """The sizes that each mesh axis is cut in: across nodes and inside, where an axis spans whole nodes in order."""
    found = []
    for axis, n in enumerate(where.mesh):
        inner = math.prod(where.mesh[axis + 1 :])
        parts: tuple[int, ...] = (n,)
        if nodes is not None and n > 1:
            changes = {i // inner % n for i in range(where.size) if i // inner % n and nodes[i] != nodes[i - inner]}
            size = min(changes, default=n)
            if 1 < size < n and n % size == 0 and changes == set(range(size, n, size)):
                parts = (n // size, size)
        found.append(parts)
    return found


def _with_levels(found: Layout, cuts: list[tuple[int, ...]]) -> tuple[Shape, tuple[Sbp, ...]]:
    mesh = tuple(n for parts in cuts for n in parts)
    return mesh, tuple(s for s, parts in zip(found.sbp, cuts, strict=True) for _ in parts)


def _fits(found: Layout, cuts: list[tuple[int, ...]], shape: Shape) -> bool:
    """Whether every device holds the same with the axes cut: always along B and P, along splits where parts are as long."""
    mesh, sbps = _with_levels(found, cuts)
    for axis, n in enumerate(shape):
        own = intervals(found.placement.mesh, chain(found.sbp, axis), n)
        if any((a != b).any() for a, b in zip(own, intervals(mesh, chain(sbps, axis), n), strict=True)):
            return False
    return True


def ends(src: Layout, dst: Layout, shape: Shape, nodes: NodesOf) -> tuple[State, State]:
    """Both ends as states, their meshes cut at nodes where that changes nothing."""
    cuts = [levels(each.placement, nodes(each.placement)) for each in (src, dst)]
    fits = [_fits(each, cut, shape) for each, cut in zip((src, dst), cuts, strict=True)]
    if src.placement == dst.placement:
        fits = [all(fits)] * 2
    found = []
    for each, cut, fit in zip((src, dst), cuts, fits, strict=True):
        mesh, sbps = _with_levels(each, cut) if fit else (each.placement.mesh, each.sbp)
        where = each.placement if mesh == each.placement.mesh else Placement(each.placement.kind, each.placement.ranks, mesh)
        found.append(replace(state_of(where, tuple(range(len(mesh))), sbps, False), layout=each))
    return found[0], found[1]
