"""Shards of a logical array in any layout, the array back from its shards, and a boxing run by its kernel."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from oflow.ops import REGISTRY
from oflow.sbp import Layout, Route, Step

JOIN = {"sum": np.add, "max": np.maximum, "min": np.minimum}
Shards = list[np.ndarray]


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


def split(whole: np.ndarray, found: Layout, draw: np.random.Generator) -> Shards:
    """Shards of `whole`; partial ones are random whole numbers that join to it."""
    op = next((s.op for s in found.sbp if s.is_partial), "sum")
    groups = contributions(found)
    parts = [draw.integers(-9, 10, whole.shape).astype(whole.dtype) for _ in groups]
    if op == "sum":
        parts[-1] = whole - sum(parts[:-1])
    else:
        parts = [JOIN["min" if op == "max" else "max"](part, whole) for part in parts]
        parts[-1] = whole
    shards: Shards = [np.empty(0)] * found.placement.size
    for part, ranks in zip(parts, groups.values(), strict=True):
        for rank in ranks:
            shards[rank] = part[region(found, whole.shape, rank)].copy()
    return shards


def join(shards: Sequence[np.ndarray], found: Layout, shape: tuple[int, ...]) -> np.ndarray:
    """The logical array; replicas are checked to be equal."""
    op = next((s.op for s in found.sbp if s.is_partial), "sum")
    parts = []
    for ranks in contributions(found).values():
        part = np.full(shape, np.nan)
        for rank in ranks:
            at = region(found, shape, rank)
            assert (np.isnan(part[at]) | (part[at] == shards[rank])).all(), f"replicas of {found} differ"
            part[at] = shards[rank]
        parts.append(part)
    whole = parts[0]
    for part in parts[1:]:
        whole = JOIN[op](whole, part)
    return whole


def pull(shards: Sequence[np.ndarray], step: Step, shape: tuple[int, ...]) -> Shards:
    """One step, by the kernel that programs run; its results start as NaN."""
    found = []
    for rank, pulls in enumerate(step.pulls(shape)):
        split = any(s.is_split for s in step.dst.sbp)
        out = np.full(step.dst.shard_shape(step.shape(shape) if split else shape, rank), np.nan)
        sources = list(dict.fromkeys(p.source for p in pulls))
        moves = tuple((sources.index(p.source), p.take, p.put) for p in pulls)
        REGISTRY["boxing"].run(out, *(shards[s] for s in sources), pulls=moves, flat=step.flat, op=step.op)  # type: ignore[misc]
        found.append(out)
    return found


def box(shards: Sequence[np.ndarray], way: Route, shape: tuple[int, ...]) -> Shards:
    made = list(shards)
    for step in way.steps:
        made = pull(made, step, shape)
    return made


def all_pairs(layouts: Sequence[Layout]) -> list[tuple[Layout, Layout]]:
    return list(itertools.product(layouts, repeat=2))
