"""Devices that are alike: placements that differ only in which of them they name have routes of the same cost.

Devices stand in groups of `unit` consecutive numbers (nodes; 1: all links are alike). Links look the same inside every group, and
between any two, so groups, and the devices in one, may change numbers. So the stages of a pipeline are asked about once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from oflow.sbp.layout import Layout
from oflow.sbp.placement import Placement


@lru_cache(maxsize=65536)
def renumbered(placements: tuple[Placement, ...], unit: int) -> tuple[Placement, ...]:
    """The placements with groups numbered in order of appearance, and so the devices of each group."""
    groups: dict[str, dict[int, tuple[int, dict[int, int]]]] = {}

    def number(kind: str, rank: int) -> int:
        known = groups.setdefault(kind, {})
        place, inside = known.setdefault(rank // unit, (len(known), {}))
        return place * unit + inside.setdefault(rank, len(inside))

    return tuple([Placement(p.kind, tuple([number(p.kind, r) for r in p.ranks]), p.mesh) for p in placements])


@lru_cache(maxsize=65536)
def originals(placements: tuple[Placement, ...], unit: int) -> Mapping[tuple[str, int], int]:
    """By kind and number in `renumbered` the number of the device."""
    pairs = zip(renumbered(placements, unit), placements, strict=True)
    return {(one.kind, n): rank for one, old in pairs for n, rank in zip(one.ranks, old.ranks, strict=True)}


def restored(found: Layout, numbers: Mapping[tuple[str, int], int]) -> Layout:
    """A layout on renumbered devices, on those that they stand for."""
    where = found.placement
    return Layout(Placement(where.kind, tuple([numbers[where.kind, r] for r in where.ranks]), where.mesh), found.sbp)
