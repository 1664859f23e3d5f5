"""One pull step: every consumer copies the regions it needs from the producers that hold them, joining contributions in rank order.

One object, `Reads`, says who reads from whom and does not depend on the shape; with the intervals that the layouts give it
becomes `Traffic`: elements read by every consumer from every producer. Costs are sums over it and the slices that the boxing
kernel copies are its entries that are not empty, so bytes moved are bytes costed.

A device's own copy is read where it has one; else, of the replicas, the one at its own place of the mesh (its place in proportion
where it is none of the producers), so readers spread over replicas. Mesh axes on which both sides stand alike are not looked
along: siblings there hold nothing that is wanted, or what stays theirs.

Partial values: joins nest, the outer mesh axis outermost. A step joins and fills with one operation. A P axis that stays where it
is keeps its contributions apart, and they go to the sibling at the same place; contributions of the others are joined, or given
to one sibling each along new P axes, to one that holds them already if there is one, so B -> P and S -> P move nothing on the
same devices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from oflow.errors import SbpError
from oflow.sbp.layout import Box, Layout, Placement, Sbp

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pull:
    """One consumer's read from one producer: producer position, region in the producer's shard, region in the own shard."""

    source: int
    take: Box
    put: Box

    @property
    def size(self) -> int:
        return math.prod([stop - start for start, stop in self.put])


# ---------------------------------------------------------------- meshes and shards as arrays


@lru_cache(maxsize=4096)
def coordinates(mesh: Shape) -> Array:
    """Mesh coordinates of every position, one row a position."""
    return np.indices(mesh).reshape(len(mesh), math.prod(mesh)).T


@lru_cache(maxsize=16384)
def intervals(mesh: Shape, chain: Shape, n: int) -> tuple[Array, Array]:
    """Start and length, at every position, of its part of an axis of n elements that the mesh axes `chain` split, outer first."""
    places, start, length = coordinates(mesh), np.zeros(math.prod(mesh), np.int64), np.full(math.prod(mesh), n, np.int64)
    for axis in chain:
        small, extra = np.divmod(length, mesh[axis])
        at = places[:, axis]
        start = start + at * small + np.minimum(at, extra)
        length = small + (at < extra)
    return start, length


def chain(sbps: tuple[Sbp, ...], axis: int) -> Shape:
    """The mesh axes that split a tensor axis, outer first."""
    return tuple([i for i, s in enumerate(sbps) if s.kind == "S" and s.axis == axis])


# ---------------------------------------------------------------- two layouts over one grid


@dataclass(frozen=True, slots=True)
class _Sides:
    """Two layouts, their B and P axes cut so that meshes match where they can; axes of size 1 count as B.

    own: position among the producers of every consumer's device, -1 where it is none. at: coordinates among the producers that
    stand for a consumer; to: its own. match: for each producers' axis the consumers' axis that it follows, or -1.
    """

    meshes: tuple[Shape, Shape]
    sbps: tuple[tuple[Sbp, ...], tuple[Sbp, ...]]
    own: Array
    at: Array
    to: Array
    match: Shape
    kept: Shape
    """Producers' axes on which the sides stand alike: P of one operation, or S at the head of a chain."""
    joined: Shape
    """The other P axes of the producers."""
    new: Shape
    """The other P axes of the consumers."""


@lru_cache(maxsize=4096)
def _strides(mesh: Shape) -> list[int]:
    return [math.prod(mesh[i + 1 :]) for i in range(len(mesh))]


@lru_cache(maxsize=16384)
def _cut(found: Layout, sizes: Shape) -> tuple[Shape, tuple[Sbp, ...]]:
    """The mesh with axes of size 1 left out and B and P axes cut at these strides (of both meshes, from the inside out)."""
    mesh: list[int] = []
    sbps: list[Sbp] = []
    for n, stride, sbp in zip(found.placement.mesh, _strides(found.placement.mesh), found.sbp, strict=True):
        ends = [stride, n * stride] if sbp.is_split else [c for c in sizes if stride <= c <= n * stride]
        parts = [high // low for low, high in itertools.pairwise(ends)]
        mesh += reversed([p for p in parts if p > 1])
        sbps += [sbp] * sum(p > 1 for p in parts)
    return tuple(mesh), tuple(sbps)


@lru_cache(maxsize=4096)
def _common_cuts(src: Placement, dst: Placement) -> tuple[Shape, Shape]:
    """The strides at which the axes of either mesh may be cut: those of both where each divides the next, else its own."""
    own = [tuple(sorted({1, *_strides(each.mesh), each.size})) for each in (src, dst)]
    both = tuple(sorted({*own[0], *own[1]}))
    fits = src.size == dst.size and all(b % a == 0 for a, b in itertools.pairwise(both))
    return (both, both) if fits else (own[0], own[1])


def _own(here: Placement, there: Placement) -> Array:
    if here.kind != there.kind:
        return np.full(there.size, -1)
    if here.ranks == there.ranks:
        return np.arange(here.size)
    known = {rank: i for i, rank in enumerate(here.ranks)}
    return np.array([known.get(rank, -1) for rank in there.ranks])


@lru_cache(maxsize=4096)
def _places(src: Placement, dst: Placement, here: Shape, there: Shape) -> tuple[Array, Array, Array, Shape]:
    """own, at, to and match of `_Sides`, which do not depend on what the mesh axes do."""
    own = _own(src, dst)
    stand = np.where(own >= 0, own, np.arange(len(own)) * src.size // len(own))
    at, to = coordinates(here)[stand], coordinates(there)
    return own, at, to, _match(at, to, here, there)


def _match(at: Array, to: Array, here: Shape, there: Shape) -> Shape:
    """For each producers' axis an axis of consumers whose coordinate decides its own, one to one; -1 where there is none."""
    found: list[int] = []
    for a, n in enumerate(here):
        own = at[:, a]
        free = [b for b, m in enumerate(there) if m == n and b not in found] if len(set(own.tolist())) == n else []
        found.append(next((b for b in free if len(set((own * n + to[:, b]).tolist())) == n), -1))
    return tuple(found)


def _kept(sides: tuple[tuple[Sbp, ...], tuple[Sbp, ...]], at: Array, to: Array, match: Shape) -> Shape:
    found = [a for a, b in enumerate(match) if b >= 0 and sides[0][a].is_partial and sides[0][a] == sides[1][b]]
    for axis in {s.axis for s in sides[0] if s.is_split}:
        for a, b in zip(chain(sides[0], axis), chain(sides[1], axis), strict=False):
            if match[a] != b or (at[:, a] != to[:, b]).any():
                break
            found.append(a)
    return tuple(sorted(found))


@lru_cache(maxsize=16384)
def _sides(src: Layout, dst: Layout) -> _Sides:
    cuts = _common_cuts(src.placement, dst.placement)
    (here, given), (there, wanted) = _cut(src, cuts[0]), _cut(dst, cuts[1])
    own, at, to, match = _places(src.placement, dst.placement, here, there)
    kept = _kept((given, wanted), at, to, match)
    joined = tuple([a for a, s in enumerate(given) if s.is_partial and a not in kept])
    same = [match[a] for a in kept]
    new = tuple([b for b, s in enumerate(wanted) if s.is_partial and b not in same])
    return _Sides((here, there), (given, wanted), own, at, to, match, kept, joined, new)


# ---------------------------------------------------------------- which pulls mean the same value


@lru_cache(maxsize=65536)
def pullable(src: Layout, dst: Layout) -> bool:
    """Whether one pull brings a value from `src` to `dst`.

    Joins may overtake the kept P axes inside them only where the operations are the same, since others do not commute. A new P
    axis around kept ones of another operation fills whole rows with its identity, which their joins must give back (maxima and
    minima do, sums only zero), and takes no part of a join.
    """
    sides = _sides(src, dst)
    joined, new = sides.joined, sides.new
    given, wanted = sides.sbps
    if len({given[a].op for a in joined} | {wanted[b].op for b in new}) > 1:
        return False
    kept = [k for k in sides.kept if given[k].is_partial]
    if any(given[k].op != given[a].op for a in joined for k in kept if k > a):
        return False
    places = [sides.match[k] for k in kept]
    if places != sorted(places) and len({given[k].op for k in kept}) > 1:
        return False
    around = [(wanted[b].op, given[k].op) for b in new for k in kept if sides.match[k] > b]
    return all(outer == inner or (inner != "sum" and not joined) for outer, inner in around)


def joining(src: Layout, dst: Layout) -> str:
    """The operation that a pull joins contributions with, and whose identity fills the rest. Raises SbpError where one pull cannot."""
    if not pullable(src, dst):
        raise SbpError(f"no single pull turns {src} into {dst}: its joins nest in another order; ask for their route")
    sides = _sides(src, dst)
    ops = [sides.sbps[0][a].op for a in sides.joined] + [sides.sbps[1][b].op for b in sides.new]
    return ops[0] if ops else "sum"


# ---------------------------------------------------------------- who reads from whom


@dataclass(frozen=True, slots=True)
class Reads:
    """source: (consumers, contributions) the producer that a consumer reads a contribution from, by its position, contributions in
    rank order. far: where that is another device. takes: whether the consumer takes it at all (None: all do).
    """

    source: Array
    far: Array
    takes: Array | None


@lru_cache(maxsize=2048)
def reads(src: Layout, dst: Layout) -> Reads:
    sides = _sides(src, dst)
    mesh, given = sides.meshes[0], sides.sbps[0]
    source = np.zeros((len(sides.own), 1), np.int32)
    for a, (n, stride) in enumerate(zip(mesh, _strides(mesh), strict=True)):
        one = given[a].kind == "B" or a in sides.kept
        choices = sides.at[:, a : a + 1].astype(np.int32) if one else np.arange(n, dtype=np.int32)[None, :]
        source = (source[:, :, None] + stride * choices[:, None, :]).reshape(len(source), -1)
    far = source != sides.own[:, None]
    takes = _takes(sides, source, far) if sides.new else None
    return Reads(source, far, takes)


def _raveled(mesh: Shape, places: Array, axes: Sequence[int]) -> Array:
    found = np.zeros(len(places), np.int64)
    for a in axes:
        found = found * mesh[a] + places[:, a]
    return found


def _takes(sides: _Sides, source: Array, far: Array) -> Array:
    """Which consumers take which contributions along new P axes: exactly one sibling does, the one that holds most of it.

    Replicas along B axes decide alike, so that they stay equal, and so do ranks that differ on kept P axes, which keeps the rows of
    an outer join together. What no sibling holds is dealt out in turn.
    """
    mesh, wanted = sides.meshes[1], sides.sbps[1]
    new = sides.new
    sibling = _raveled(mesh, sides.to, new)
    siblings = math.prod([mesh[b] for b in new])
    region = _raveled(mesh, sides.to, [b for b, s in enumerate(wanted) if s.is_split])
    _, first, group = np.unique(region, return_index=True, return_inverse=True)
    counts = np.zeros((len(first), siblings, source.shape[1]), np.int64)
    np.add.at(counts, (group, sibling), ~far)
    here = coordinates(sides.meshes[0])[source[first]]
    number = np.zeros(source[first].shape, np.int64)
    for a, s in enumerate(sides.sbps[0]):
        if s.is_split or (s.is_partial and a not in sides.kept):
            number = number * sides.meshes[0][a] + here[..., a]
    best = np.where(counts.max(1) > 0, counts.argmax(1), number % siblings)
    return np.asarray(best[group] == sibling[:, None])


# ---------------------------------------------------------------- how much


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one pull moves. elements: (consumers, contributions) how many are read, of `itemsize` bytes each, from the producers
    `source`; moved: the bytes of them that come from other devices.
    """

    src: Layout
    dst: Layout
    elements: Array
    source: Array
    moved: Array
    itemsize: int

    @property
    def nbytes(self) -> int:
        """Bytes that cross from one device to another, summed over all links."""
        return int(self.moved.sum())


def traffic(src: Layout, dst: Layout, shape: Shape, itemsize: int) -> Traffic:
    """What the pull from `src` to `dst` of a tensor of this shape moves."""
    who = reads(src, dst)
    elements = _elements(src, dst, shape, who)
    return Traffic(src, dst, elements, who.source, elements * (who.far * itemsize), itemsize)


def _elements(src: Layout, dst: Layout, shape: Shape, who: Reads) -> Array:
    """Elements read by every consumer from every producer: the product over the axes of what their intervals share."""
    common: Array = np.full((who.source.shape[0], 1), 1, np.int64)
    for axis, n in enumerate(shape):
        split, wanted = chain(src.sbp, axis), chain(dst.sbp, axis)
        low, length = intervals(dst.placement.mesh, wanted, n) if wanted else (None, None)
        if not split:
            common = common * (n if length is None else length[:, None])
            continue
        start, size = intervals(src.placement.mesh, split, n)
        start, size = start[who.source], size[who.source]
        if low is not None and length is not None:
            ends = np.minimum(start + size, (low + length)[:, None])
            size = np.maximum(ends - np.maximum(start, low[:, None]), 0)
        common = common * size
    if who.takes is not None:
        return np.asarray(common * who.takes)
    return common if common.shape == who.source.shape else np.broadcast_to(common, who.source.shape)


def pulls(src: Layout, dst: Layout, shape: Shape) -> tuple[tuple[Pull, ...], ...]:
    """For each consumer its pulls, contributions in rank order. Raises SbpError where one pull cannot do it."""
    joining(src, dst)
    who = reads(src, dst)
    consumers, slots = np.nonzero(_elements(src, dst, shape, who))
    producers = who.source[consumers, slots]
    sides = [(src, producers), (dst, consumers)]
    lows, highs = zip(*(_corners(side, at, shape) for side, at in sides), strict=True)
    start, stop = np.maximum(*lows), np.minimum(*highs)
    takes, puts = (np.stack([start - low, stop - low], axis=-1).tolist() for low in lows)
    found: list[list[Pull]] = [[] for _ in dst.placement.ranks]
    for consumer, source, take, put in zip(consumers.tolist(), producers.tolist(), takes, puts, strict=True):
        found[consumer].append(Pull(source, tuple(map(tuple, take)), tuple(map(tuple, put))))
    return tuple(map(tuple, found))


def _corners(side: Layout, positions: Array, shape: Shape) -> tuple[Array, Array]:
    """(positions, axes) starts and stops of what these positions hold."""
    parts = [intervals(side.placement.mesh, chain(side.sbp, axis), n) for axis, n in enumerate(shape)]
    found = np.empty((2, len(positions), len(shape)), np.int64)
    for axis, (start, length) in enumerate(parts):
        found[0, :, axis], found[1, :, axis] = start[positions], (start + length)[positions]
    return found[0], found[1]
