"""The changes between two plans as a screen of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from oflow.view.changes.change import SECTIONS, Change, Field, PlanChanges
from oflow.view.style import bytes_text, seconds_text
from oflow.view.table import table

FEW = {"seconds": 8, "bytes": 4, "options": 6, "plan": 8, "boxings": 4, "actors": 6, "registers": 6, "orders": 3, "details": 3}
"""Lines of each section that are shown, if not all are asked for."""
ADDED = ("devices", "acts", "runs", "an act", "shard", "layout", "slots", "bytes a device", "route", "bytes", "seconds")
"""What is said of a thing that only one plan has."""
WIDEST, PORTS = 60, 4
"""Characters of a value, and ports of an actor, that are shown."""


def changes_text(found: PlanChanges, everything: bool = False) -> str:
    """One line where nothing changed; else each section with its first lines, or `everything`. In a line ``-`` stands for what only
    the first plan has, ``+`` for what only the second has."""
    if not found:
        return "the plans are equal\n"
    shown = [text for name in SECTIONS if (text := _section(name, found.section(name), everything))]
    hidden = not everything and any(len(found.section(name)) > FEW[name] for name in SECTIONS)
    return "\n".join([*shown, "--all shows everything\n"] if hidden else shown)


def _section(name: str, changes: Sequence[Change], everything: bool) -> str:
    if not changes:
        return ""
    kinds = [(sum(c.kind == kind for c in changes), kind) for kind in ("changed", "added", "removed")]
    shown = changes if everything else _largest(changes)[: FEW[name]]
    more = f"  ... and {len(changes) - len(shown)} more\n" if len(shown) < len(changes) else ""
    if name in ("seconds", "bytes", "options", "plan"):
        rows = [(c.name if f.name == c.name else f"{c.name} {f.name}", *_sides(f), _share(f)) for c in shown for f in c.fields]
        return f"{name}\n{table(('', 'before', 'after', ''), rows)}{more}"
    if name == "details":
        lines = [f"  {c.name}: {c.fields[0].before:,} differ" for c in shown]
        return "\n".join(["what else differs, in rows that are the same but for it", *lines]) + f"\n{more}"
    head = f"{name}: {', '.join(f'{count} {kind}' for count, kind in kinds if count)}"
    return "\n".join([head, *map(_line, shown)]) + f"\n{more}"


def _largest(changes: Sequence[Change]) -> list[Change]:
    """Those that change most seconds or bytes first."""
    return sorted(changes, key=_weight, reverse=True)


def _weight(change: Change) -> float:
    if change.section == "seconds":
        return 0.0  # they stand in their order
    return max((abs((f.after or 0) - (f.before or 0)) for f in change.fields if f.unit and _is_number(f)), default=0.0)


def _is_number(field: Field) -> bool:
    return all(one is None or isinstance(one, int | float) for one in (field.before, field.after))


def _line(change: Change) -> str:
    sign = {"changed": " ", "added": "+", "removed": "-"}[change.kind]
    if change.kind != "changed":
        facts = [(f.name, f.after if change.kind == "added" else f.before, f.unit) for f in change.fields if f.name in ADDED]
        return f"{sign} {change.name}: {', '.join(_fact(*fact) for fact in facts if fact[1] not in (None, '', '-'))}"
    parts = [_ports(f) if f.name == "ports" else _both(f) for f in change.fields]
    return f"{sign} {change.name}{f' (now {change.now})' if change.now else ''}: {', '.join(parts)}"


def _both(field: Field) -> str:
    share = _share(field)
    before, after = (f"({side})" if " -> " in side else side for side in _sides(field))
    return f"{field.name} {before} -> {after}" + (f" ({share})" if share else "")


def _ports(field: Field) -> str:
    """The ports that only one side has."""
    gone, new = (Counter((side or "").split(", ")) for side in (field.before, field.after))
    found = [f"{sign}{port}" for sign, ports in (("-", gone - new), ("+", new - gone)) for port in ports]
    more = f" and {len(found) - PORTS} more" if len(found) > PORTS else ""
    return f"ports {', '.join(found[:PORTS]) or 'in another order'}{more}"


def _fact(name: str, value: Any, unit: str) -> str:
    shown = _shown(value, unit)
    if unit == "bytes":
        return f"{shown} bytes{' a device' if name == 'bytes a device' else ''}"
    return {"devices": f"on {shown}", "acts": f"x{shown}", "runs": f"[{shown}]", "slots": f"x{shown}", "an act": f"{shown} an act"}.get(
        name, shown
    )


def _sides(field: Field) -> tuple[str, str]:
    return _shown(field.before, field.unit), _shown(field.after, field.unit)


def _shown(value: Any, unit: str) -> str:
    if value in (None, ""):
        return "none"
    if isinstance(value, str):
        return value if len(value) <= WIDEST else f"{value[: WIDEST - 3]}..."
    if unit == "seconds":
        return seconds_text(value)
    if unit == "bytes":
        return f"{value:,}" if value < 10_000_000 else bytes_text(value)
    if unit == "share":
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _share(field: Field) -> str:
    if not _is_number(field) or not field.before or field.after is None or isinstance(field.before, bool):
        return ""
    share = (field.after - field.before) / field.before
    return f"{share:+.1%}" if abs(share) >= 0.0005 else "under 0.1%" if share else ""
