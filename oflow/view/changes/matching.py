"""Which rows of two plans are the same: those of equal names but for numbers, in the same stage, phase and stream, in their order.

Numbers in names count nodes and values, so one node more renames all that follow. Names without numbers are aligned instead, each
stage, phase and stream for itself, as a text is aligned with an edited one (Ratcliff and Metzener 1988, `difflib`). Kept state has
the name that the user gave it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from oflow.plan import Plan

Pair = tuple[int | None, int | None]
"""Places of one thing in the first and the second plan; None where it is not there."""
Place = tuple[Hashable, tuple[Hashable, Hashable]]
"""Where a row stands (rows are aligned only with those that stand alike); what it is called there, with what tells it from others of
that name (the shapes it makes), which is looked at first."""
CONTROL = "control."


@lru_cache(maxsize=1 << 16)
def unnumbered(name: str) -> str:
    """``matmul.3..fused.5`` as ``matmul..fused``."""
    return re.sub(r"\.\d+(?=[.>@]|$)", "", name)


def matched_actors(first: Plan, second: Plan) -> list[Pair]:
    """Pairs of actor templates, in the order of the first plan, then what only the second has."""
    return aligned_pairs([_actors(plan) for plan in (first, second)])


def matched_registers(first: Plan, second: Plan) -> list[Pair]:
    """Pairs of register templates but for control registers, which hold nothing and are counted instead."""
    return aligned_pairs([_registers(plan) for plan in (first, second)])


def _actors(plan: Plan) -> list[tuple[int, Place]]:
    found: list[tuple[int, Place]] = []
    for i, a in enumerate(plan.actor_templates):
        shapes = tuple([plan.register_templates[p.register].shape for p in a.ports if p.direction == "out" and p.mode != "control"])
        found.append((i, ((a.stage, a.phase, a.stream), (unnumbered(a.name), shapes))))
    return found


def _registers(plan: Plan) -> list[tuple[int, Place]]:
    found: list[tuple[int, Place]] = []
    for i, register in enumerate(plan.register_templates):
        if register.state:
            found.append((i, (("state", register.state), (register.name, ()))))
        elif not register.name.startswith(CONTROL):
            maker = plan.actor_templates[plan.writers[i][0]] if i in plan.writers else None
            where = (maker.stage, maker.phase, maker.stream) if maker else ()
            found.append((i, (where, (unnumbered(register.name), register.shape))))
    return found


Row = tuple[int, tuple[Hashable, Hashable]]


def aligned_pairs(rows: Sequence[Iterable[tuple[int, Place]]]) -> list[Pair]:
    """Of two lists of (row, place) which rows are the same."""
    groups: dict[Hashable, tuple[list[Row], list[Row]]] = {}
    for side in (0, 1):
        for row, (where, names) in rows[side]:
            groups.setdefault(where, ([], []))[side].append((row, names))
    found = [pair for mine, theirs in groups.values() for pair in _aligned(mine, theirs, loose=False)]
    return sorted(found, key=lambda pair: (pair[0] is None, pair[1] if pair[0] is None else pair[0]))


def _aligned(mine: Sequence[Row], theirs: Sequence[Row], loose: bool) -> list[Pair]:
    """loose: by name alone, of what lies between rows that are the same in all."""
    names = [[name[0] if loose else name for _, name in side] for side in (mine, theirs)]
    if names[0] == names[1]:
        return [(a, b) for (a, _), (b, _) in zip(mine, theirs, strict=True)]
    found: list[Pair] = []
    for kind, a, b, c, d in SequenceMatcher(None, names[0], names[1], autojunk=False).get_opcodes():
        if kind == "equal":
            found += [(mine[i][0], theirs[j][0]) for i, j in zip(range(a, b), range(c, d), strict=True)]
        elif not loose:
            found += _aligned(mine[a:b], theirs[c:d], loose=True)
        else:
            found += [(mine[i][0], None) for i in range(a, b)] + [(None, theirs[j][0]) for j in range(c, d)]
    return found
