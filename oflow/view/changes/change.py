"""The changes between two plans as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SECTIONS = ("seconds", "bytes", "options", "plan", "boxings", "actors", "registers", "orders", "details")
Facts = Mapping[str, tuple[str, Any]]
"""By name: the unit ("seconds", "bytes", "share" or "") and the value."""
Named = tuple[str, Facts]
"""What a thing is called, and its facts."""


@dataclass(frozen=True, slots=True)
class Field:
    """One fact that differs. unit: "seconds", "bytes", "share" or ""; None: not there."""

    name: str
    before: Any
    after: Any
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What changed of one thing. kind: "added", "removed" or "changed". now: what the second plan calls it, where that is another name."""

    section: str
    name: str
    kind: str
    fields: tuple[Field, ...]
    now: str = ""

    def mirrored(self) -> Change:
        kind = {"added": "removed", "removed": "added"}.get(self.kind, self.kind)
        turned = tuple(Field(f.name, f.after, f.before, f.unit) for f in self.fields)
        return Change(self.section, self.now or self.name, kind, turned, self.name if self.now else "")


@dataclass(frozen=True, slots=True)
class PlanChanges:
    """What changed from one plan to another, in the order of SECTIONS; nothing where the plans are equal."""

    changes: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def section(self, name: str) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.section == name)

    def mirrored(self) -> PlanChanges:
        """The changes the other way round."""
        return PlanChanges(tuple(change.mirrored() for change in self.changes))

    def facts(self) -> dict[str, Any]:
        """As plain data: section -> [{name, change, fields: {name: [before, after]}}]."""
        rows = {section: self.section(section) for section in SECTIONS}
        return {
            section: [
                {"name": c.name, "now": c.now or c.name, "change": c.kind, "fields": {f.name: [f.before, f.after] for f in c.fields}}
                for c in some
            ]
            for section, some in rows.items() if some
        }  # fmt: skip


def changed(first: Facts, second: Facts) -> tuple[Field, ...]:
    names = dict.fromkeys((*first, *second))
    none = ("", None)
    pairs = [(name, first.get(name, none), second.get(name, none)) for name in names]
    return tuple(Field(name, a, b, unit or other) for name, (unit, a), (other, b) in pairs if a != b)


def change_of(section: str, first: Named | None, second: Named | None) -> Iterator[Change]:
    """The change of one thing, if there is one. None: it is not there."""
    known = [one for one in (first, second) if one is not None]
    found = changed(first[1] if first else {}, second[1] if second else {})
    name, now = known[0][0], known[-1][0]
    if len(known) < 2:
        yield Change(section, name, "removed" if first else "added", found)
    elif found:
        yield Change(section, name, "changed", found, now if now != name else "")
