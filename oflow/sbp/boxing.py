"""Boxing: changing a tensor's layout by pull. One object, the `Pull`, gives both the cost and the data movement.

Every consumer copies the slices it needs from the producers that hold them; contributions of partial producers are added in
rank order, so the result does not depend on timing. This works for any two layouts, uneven and nested shards, overlapping and
disjoint placements included. ``P -> B`` goes through an even split of the flattened elements (reduce-scatter, then
all-gather), so it moves 2T(p-1) bytes and not Tp(p-1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from oflow.errors import SbpError
from oflow.sbp.layout import B, Box, Layout, S


@dataclass(frozen=True, slots=True)
class Pull:
    """One consumer's read from one producer: producer position, region in the producer's shard, region in the own shard."""

    source: int
    take: Box
    put: Box

    @property
    def size(self) -> int:
        return math.prod(stop - start for start, stop in self.put)


@dataclass(frozen=True, slots=True)
class Step:
    """One pull of all consumers from all producers. `flat`: both sides are seen as one axis of all elements."""

    src: Layout
    dst: Layout
    flat: bool = False

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (math.prod(shape),) if self.flat else shape

    def pulls(self, shape: tuple[int, ...]) -> tuple[tuple[Pull, ...], ...]:
        """For each consumer rank its pulls, contributions in the rank order of their first holders. shape: the logical tensor's."""
        return _pulls(self.src, self.dst, self.shape(shape))

    def received(self, shape: tuple[int, ...], itemsize: int) -> list[int]:
        """Bytes that each consumer reads from other devices."""
        src, dst = self.src.placement.devices, self.dst.placement.devices
        moved = [0] * len(dst)
        for consumer, source, region, _, _ in _regions(self.src, self.dst, self.shape(shape)):
            if src[source] != dst[consumer]:
                moved[consumer] += itemsize * math.prod([stop - start for start, stop in region])
        return moved

    @property
    def op(self) -> str:
        """What joins contributions to one element, and whose identity fills the rest."""
        return _partial_op(self.src) or _partial_op(self.dst) or "sum"

    def nbytes(self, shape: tuple[int, ...], itemsize: int) -> int:
        """Bytes that cross from one device to another, summed over all links."""
        return sum(self.received(shape, itemsize))

    def busiest_nbytes(self, shape: tuple[int, ...], itemsize: int) -> int:
        """Bytes of the consumer that receives most: consumers read side by side, so this one decides how long it takes."""
        return max(self.received(shape, itemsize))


@dataclass(frozen=True, slots=True)
class Route:
    """The steps from one layout to another; empty when they are equal."""

    steps: tuple[Step, ...]

    def nbytes(self, shape: tuple[int, ...], itemsize: int) -> int:
        return sum(step.nbytes(shape, itemsize) for step in self.steps)


def route(src: Layout, dst: Layout) -> Route:
    """The steps that turn `src` into `dst`, for any two layouts. Raises SbpError where one layout mixes partial operations."""
    if src == dst:
        return Route(())
    given, wanted = _partial_op(src), _partial_op(dst)
    other_op = bool(given and wanted and given != wanted)
    everything_partial = all(s.is_partial for s in src.sbp) and src.placement.size > 1
    to_all = dst.placement.size > 1 and (dst.is_broadcast or other_op)
    if everything_partial and to_all and len(dst.sbp) == 1:
        middle = Layout(dst.placement, (S(0),))
        return Route((Step(src, middle, flat=True), Step(middle, dst, flat=True)))
    if other_op:  # summands are no candidates of a maximum: the value itself has to stand in between
        middle = Layout(dst.placement, tuple(B if s.is_partial else s for s in dst.sbp))
        return Route((*route(src, middle).steps, *route(middle, dst).steps))
    return Route((Step(src, dst),))


def _partial_op(found: Layout) -> str:
    """The operation that joins the contributions of a layout; empty where there is one contribution."""
    ops = {s.op for s, n in zip(found.sbp, found.placement.mesh, strict=True) if s.is_partial and n > 1}
    if len(ops) > 1:
        raise SbpError(f"{found} mixes partial operations ({', '.join(sorted(ops))}); box it one mesh axis at a time")
    return ops.pop() if ops else ""


def _intersect(a: Box, b: Box) -> Box | None:
    region = tuple((max(p, r), min(q, s)) for (p, q), (r, s) in zip(a, b, strict=True))
    return None if any(start >= stop for start, stop in region) else region


def _relative(region: Box, origin: Box) -> Box:
    return tuple((start - o, stop - o) for (start, stop), (o, _) in zip(region, origin, strict=True))


def _owners(src: Layout) -> list[list[int]]:
    """Producers grouped by contribution: the members of a group hold the same elements (replicas along B axes)."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in range(src.placement.size):
        at = src.placement.coordinates(index)
        key = tuple(-1 if sbp.kind == "B" else c for sbp, c in zip(src.sbp, at, strict=True))
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _replica(owners: list[int], src: Layout, device: str, consumer: int) -> int:
    """Which replica a consumer reads: its own device's if there is one, else spread over the replicas."""
    names = src.placement.devices
    return next((i for i in owners if names[i] == device), owners[consumer % len(owners)])


def _receivers(owners: list[int], number: int, src: Layout, dst: Layout) -> Callable[[int], bool]:
    """A function that says whether a consumer receives contribution `number`: along P axes of `dst` exactly one sibling does.

    The siblings that hold the contribution on their own devices win, so B -> P and S -> P move nothing on the same devices.
    Replicas along B axes decide alike, so that they stay equal.
    """
    names, coordinates = dst.placement.devices, dst.placement.coordinates
    held = {src.placement.devices[i] for i in owners}
    split = [axis for axis, s in enumerate(dst.sbp) if s.is_split]
    partial = [axis for axis, s in enumerate(dst.sbp) if s.is_partial]
    places = [coordinates(i) for i in range(len(names))]
    local: dict[tuple[int, ...], dict[tuple[int, ...], int]] = {}
    for place, name in zip(places, names, strict=True):
        counts = local.setdefault(tuple(place[a] for a in split), {})
        sibling = tuple(place[a] for a in partial)
        counts[sibling] = counts.get(sibling, 0) + (name in held)

    def best(counts: dict[tuple[int, ...], int]) -> tuple[int, ...]:
        siblings = list(counts)
        most = max(siblings, key=counts.__getitem__)
        return most if counts[most] else siblings[number % len(siblings)]

    chosen = {where: best(counts) for where, counts in local.items()}
    return lambda consumer: (
        chosen[tuple(places[consumer][a] for a in split)] == tuple(places[consumer][a] for a in partial)
    )


def _regions(src: Layout, dst: Layout, shape: tuple[int, ...]) -> Iterator[tuple[int, int, Box, Box, Box]]:
    """(consumer, producer, what is read, what the producer holds, what the consumer wants) of every pull, by consumer.

    Contributions come in one order, whichever replicas are read: so replicas of a sum stay equal.
    """
    contributions = _owners(src)
    held = [src.box(shape, owners[0]) for owners in contributions]
    receives = [_receivers(owners, n, src, dst) for n, owners in enumerate(contributions)] if dst.is_partial else []
    for consumer, device in enumerate(dst.placement.devices):
        want = dst.box(shape, consumer)
        for number, (owners, have) in enumerate(zip(contributions, held, strict=True)):
            region = _intersect(want, have)
            if region is not None and (not receives or receives[number](consumer)):
                yield consumer, _replica(owners, src, device, consumer), region, have, want


def _pulls(src: Layout, dst: Layout, shape: tuple[int, ...]) -> tuple[tuple[Pull, ...], ...]:
    found: list[list[Pull]] = [[] for _ in dst.placement.devices]
    for consumer, source, region, have, want in _regions(src, dst, shape):
        found[consumer].append(Pull(source, _relative(region, have), _relative(region, want)))
    return tuple(map(tuple, found))
