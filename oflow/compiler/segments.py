"""Whole segments: each stage keeps only what crosses a few places of its forward pass; all between is computed again, at once.

What crosses a place is made before it and read behind it: between two blocks the residual stream, inside a block more. So bytes are
those of the cuts, in the schedule's slots, plus those of the largest segment. The cuts are a shortest path for each bound on a segment:
one about every sqrt(n) of n equal layers where one slot is enough, closer where the schedule keeps fewer (Chen et al. 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from oflow.compiler.stash import Stash

BOUNDS = 24
"""Largest segments that are tried, in equal steps up to all of the stage."""


def all_but_cuts(stages: Sequence[Stash]) -> frozenset[int]:
    """The values to drop so that only ends of segments are kept."""
    return frozenset(v for stage in stages for v in _dropped(stage))


def _dropped(stage: Stash) -> set[int]:
    cuts = _cuts(stage)
    kept = {v for place in _best(stage, cuts) for v in cuts[place]}
    return {
        v for n in stage.nodes for v in n.outs
        if (base := stage.views.get(v, v)) not in kept and not stage.held[base].fixed
    }  # fmt: skip


def _cuts(stage: Stash) -> list[frozenset[int]]:
    """For every place between nodes (and both ends) the values made before it that nodes behind it read, but those kept anyway."""
    ends: dict[int, int] = {}
    for at, n in enumerate(stage.nodes):
        ends.update((stage.views.get(v, v), at) for v in n.ins)
    live: set[int] = set()
    found = [frozenset(live)]
    for at, n in enumerate(stage.nodes):
        live.update(v for v in n.outs if v in stage.held and not stage.held[v].fixed)
        live = {v for v in live if ends.get(v, -1) > at}
        found.append(frozenset(live))
    return found


def _best(stage: Stash, cuts: Sequence[frozenset[int]]) -> list[int]:
    """The places of the cuts to keep."""
    sizes = [0, *accumulate(sum(stage.held[v].nbytes for v in n.outs if v in stage.held) for n in stage.nodes)]
    weights = [sum(stage.held[v].nbytes * stage.held[v].slots for v in cut) for cut in cuts]
    places = np.asarray(sizes)
    bounds = sorted({int(places[-1] * (i + 1) / BOUNDS) for i in range(BOUNDS)})
    found = [(cost + bound, path) for bound in bounds if (way := _path(places, weights, bound)) for cost, path in [way]]
    return min(found)[1] if found else []


def _path(sizes: np.ndarray, weights: Sequence[int], bound: int) -> tuple[int, list[int]] | None:
    """The cheapest cuts (by their place) between which no segment is larger than `bound`, with their bytes; None where there are none."""
    best = np.full(len(sizes), np.inf)
    before = [0] * len(sizes)
    best[0] = 0
    for i in range(1, len(sizes)):
        reach = int(np.searchsorted(sizes, sizes[i] - bound))
        if reach < i:
            before[i] = reach + int(np.argmin(best[reach:i]))
            best[i] = best[before[i]] + weights[i]
    if not np.isfinite(best[-1]):
        return None
    path, i = [], before[-1]
    while i:
        path.append(i)
        i = before[i]
    return int(best[-1]), path[::-1]
