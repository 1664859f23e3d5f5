"""The loops of an elementwise kernel: axes of the iteration space, joined where every array steps through them alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Loops:
    """Sizes of the joined axes, the innermost last, and for each array its step along each of them, in elements (0: repeated)."""

    sizes: Shape
    steps: tuple[Shape, ...]


def loops(space: Shape, arrays: Sequence[Shape]) -> Loops:
    """Loops over `space` for contiguous arrays, whose shapes have as many axes as the space and size 1 where they repeat."""
    patterns = [tuple(shape[axis] == 1 for shape in arrays) for axis in range(len(space))]
    sizes: list[int] = []
    repeats: list[tuple[bool, ...]] = []
    for size, pattern in zip(space, patterns, strict=True):
        if size == 1:
            continue
        if repeats and repeats[-1] == pattern:
            sizes[-1] *= size
        else:
            sizes.append(size)
            repeats.append(pattern)
    if not sizes:
        sizes, repeats = [1], [(False,) * len(arrays)]
    steps = []
    for array in range(len(arrays)):
        kept = [1 if pattern[array] else size for size, pattern in zip(sizes, repeats, strict=True)]
        steps.append(tuple(0 if repeats[i][array] else math.prod(kept[i + 1 :]) for i in range(len(sizes))))
    return Loops(tuple(sizes), tuple(steps))
