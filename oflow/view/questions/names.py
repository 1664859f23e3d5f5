"""Which names a pattern means: the whole name, its end (``weight`` of ``up.weight``), its name without numbers, or a glob."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from oflow.errors import OflowError
from oflow.view.changes.matching import unnumbered

NEAR = 6
"""Names that are listed where one is not known."""
Known = Sequence[tuple[int, tuple[str, ...]]]
"""Rows with their names, the usual one first."""


class Unknown(OflowError):
    """Nothing has this name."""


def rows_of(kind: str, pattern: str, known: Known) -> list[int]:
    """The rows that `pattern` means: those of that very name, else those whose names end with it or match it. ``NAME@DEVICE`` is NAME.

    Raises Unknown, which lists near names, where there is none.
    """
    wanted = pattern.partition("@")[0]
    for fits in (_equal, _ends, _globbed):
        found = [row for row, names in known if any(fits(name, wanted) for name in names)]
        if found:
            return found
    raise Unknown(_unknown(kind, pattern, wanted, known))


def _equal(name: str, wanted: str) -> bool:
    return name == wanted


def _ends(name: str, wanted: str) -> bool:
    return bool(wanted) and (name.endswith((f".{wanted}", f"/{wanted}")) or unnumbered(name) == wanted)


def _globbed(name: str, wanted: str) -> bool:
    return fnmatchcase(name, wanted)


def _unknown(kind: str, pattern: str, wanted: str, known: Known) -> str:
    usual = list(dict.fromkeys(names[0] for _, names in known))
    within = [name for name in usual if wanted and wanted.lower() in name.lower()]
    ends = {name.rpartition(".")[2]: name for name in usual}
    close = get_close_matches(wanted, usual, NEAR, 0.5) + [ends[end] for end in get_close_matches(wanted, ends, NEAR, 0.6)]
    near = list(dict.fromkeys((*within, *close)))[:NEAR]
    if not usual:
        return f"there is no {kind} {pattern!r}: the plan has none"
    listed = f"near are {', '.join(near)}" if near else f"there are {len(usual)}, such as {', '.join(usual[:NEAR])}"
    return f"there is no {kind} {pattern!r}; {listed}. A name may be its end (weight) or a pattern in quotes ('*weight*')"
