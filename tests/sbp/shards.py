"""Shards of a logical array in any layout, the array back from its shards, and a boxing run by its kernel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from oflow.ops import REGISTRY
from oflow.sbp import Layout, Placement, Planner, Route, Step, layout

JOIN = {"sum": np.add, "max": np.maximum, "min": np.minimum}
Shards = list[np.ndarray]


def mesh(*sizes: int, first: int = 0, kind: str = "cpu") -> Placement:
    return Placement(kind, tuple(range(first, first + math.prod(sizes))), sizes)


def region(found: Layout, shape: tuple[int, ...], rank: int) -> tuple[slice, ...]:
    return tuple(slice(start, stop) for start, stop in found.box(shape, rank))


def contributions(found: Layout) -> dict[tuple[int, ...], list[int]]:
    """Ranks by their coordinates on the P axes: the shards of one entry together hold one contribution."""
    axes = [i for i, s in enumerate(found.sbp) if s.is_partial]
    groups: dict[tuple[int, ...], list[int]] = {}
    for rank in range(found.placement.size):
        at = found.placement.coordinates(rank)
        groups.setdefault(tuple(at[i] for i in axes), []).append(rank)
    return groups


def _nest(found: Layout) -> list[tuple[str, int]]:
    """Operation and number of ranks of the P axes, outer first."""
    return [(s.op, n) for s, n in zip(found.sbp, found.placement.mesh, strict=True) if s.is_partial]


def _parts(whole: np.ndarray, nest: list[tuple[str, int]], draw: np.random.Generator) -> list[np.ndarray]:
    """Random whole numbers whose nested joins are `whole`, by the coordinates on the P axes."""
    if not nest:
        return [whole]
    (op, n), *inner = nest
    parts = [draw.integers(-9, 10, whole.shape).astype(whole.dtype) for _ in range(n)]
    last = draw.integers(n)
    if op == "sum":
        parts[last] = whole - sum(p for i, p in enumerate(parts) if i != last)
    else:
        parts = [JOIN["min" if op == "max" else "max"](part, whole) for part in parts]
        parts[last] = whole
    return [part for one in parts for part in _parts(one, inner, draw)]


def split(whole: np.ndarray, found: Layout, draw: np.random.Generator) -> Shards:
    """Shards of `whole`; partial ones are random whole numbers that join to it."""
    groups = contributions(found)
    shards: Shards = [np.empty(0)] * found.placement.size
    for part, ranks in zip(_parts(whole, _nest(found), draw), groups.values(), strict=True):
        for rank in ranks:
            shards[rank] = part[region(found, whole.shape, rank)].copy()
    return shards


def join(shards: Sequence[np.ndarray], found: Layout, shape: tuple[int, ...]) -> np.ndarray:
    """The logical array: joins nest, outer mesh axis outermost; replicas are checked to be equal."""
    parts = []
    for ranks in contributions(found).values():
        part, known = np.zeros(shape, shards[0].dtype), np.zeros(shape, bool)
        for rank in ranks:
            at = region(found, shape, rank)
            assert (~known[at] | (part[at] == shards[rank])).all(), f"replicas of {found} differ"
            part[at], known[at] = shards[rank], True
        assert known.all()
        parts.append(part)
    for op, n in reversed(_nest(found)):
        rows = [parts[i : i + n] for i in range(0, len(parts), n)]
        parts = [JOIN[op].reduce(np.stack(row)) for row in rows]
    return parts[0]


def pull(shards: Sequence[np.ndarray], step: Step, shape: tuple[int, ...]) -> tuple[Shards, int]:
    """One step, by the kernel that programs run, and the elements that came from other devices; results start as 99."""
    found, moved = [], 0
    for rank, pulls in enumerate(step.pulls(shape)):
        flat = step.flat and any(s.is_split and n > 1 for s, n in zip(step.dst.sbp, step.dst.placement.mesh, strict=True))
        out = np.full(step.dst.shard_shape(step.shape(shape) if flat else shape, rank), 99, shards[0].dtype)
        sources = list(dict.fromkeys(p.source for p in pulls))
        moves = tuple((sources.index(p.source), p.take, p.put) for p in pulls)
        REGISTRY["boxing"].run(out, *(shards[s] for s in sources), pulls=moves, flat=step.flat, op=step.op)  # type: ignore[misc]
        here, there = step.dst.placement.devices[rank], step.src.placement.devices
        moved += sum(p.size for p in pulls if there[p.source] != here)
        found.append(out)
    return found, moved


def box(shards: Sequence[np.ndarray], way: Route, shape: tuple[int, ...]) -> tuple[Shards, int]:
    """What a route makes of the shards, and the elements that crossed from one device to another."""
    made, moved = list(shards), 0
    for step in way.steps:
        made, more = pull(made, step, shape)
        moved += more
    return made, moved


def layouts_on(where: Placement, sbps: Sequence[object]) -> list[Layout]:
    return [layout(where, combo) for combo in itertools.product(sbps, repeat=len(where.mesh))]  # type: ignore[arg-type]


def proved(planner: Planner, src: Layout, dst: Layout, shape: tuple[int, ...], draw: np.random.Generator, dtype: str = "float64") -> int:
    """Elements that the route moves, after its values were found exact and equal to what was costed."""
    whole = draw.integers(-9, 10, shape).astype(dtype)
    way = planner.route(src, dst, shape, 1)
    made, moved = box(split(whole, src, draw), way, shape)
    assert [m.shape for m in made] == [dst.shard_shape(shape, i) for i in range(dst.placement.size)], (src, dst, shape)
    assert (join(made, dst, shape) == whole).all(), (src, dst, shape, way)
    assert moved == way.nbytes(shape, 1) == sum(step.traffic(shape, 1).nbytes for step in way.steps), (src, dst, shape, way)
    return moved
