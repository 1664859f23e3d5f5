"""Which nodes are alike: repeated layers get one answer.

Colour refinement (Weisfeiler and Leman 1968), a few rounds: nodes start alike where they have the same ways to run; then they stay
alike while what they read and who reads them is. So the layers inside a deep net fall together, while the first and the last,
whose surroundings differ, are classes of their own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

ROUNDS = 4


def classes(
    start: Sequence[Hashable], edges: Iterable[tuple[int, int, Hashable]], rounds: int = ROUNDS
) -> list[int]:
    """The class of each node, counted from 0 in order of first appearance.

    start: what must be equal. edges: (from, to, what the edge is); both ends see it.
    """
    around: list[list[tuple[int, Hashable]]] = [[] for _ in start]
    for source, target, what in edges:
        around[source].append((target, ("out", what)))
        around[target].append((source, ("in", what)))
    colours = _numbered(start)
    count = len(set(colours))
    names: dict[Hashable, int] = {}
    kinds = [[(other, names.setdefault(what, len(names))) for other, what in one] for one in around]
    for _ in range(rounds):
        seen = [tuple(sorted([(what, colours[other]) for other, what in one])) for one in kinds]
        colours = _numbered(list(zip(colours, seen, strict=True)))
        if len(set(colours)) == count:
            break
        count = len(set(colours))
    return colours


def _numbered(names: Sequence[Hashable]) -> list[int]:
    found: dict[Hashable, int] = {}
    return [found.setdefault(name, len(found)) for name in names]
