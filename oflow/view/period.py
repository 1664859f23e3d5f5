"""What a plan's period hangs on: its critical cycle, and the changes that would shorten it, ranked."""

from __future__ import annotations

from collections.abc import Sequence

from oflow.sizing import Forecast
from oflow.view.style import bytes_text, seconds_text
from oflow.view.table import table


def help_text(found: Sequence[Forecast]) -> str:
    """One line a change: the new period, the share that is saved, what its slots take, and what is critical then."""
    if not found:
        return "no single change on the critical cycle shortens the period: another cycle is as long\n"
    lines = [
        (seconds_text(f.period), f"{f.gain:.2%}", f.what, bytes_text(f.nbytes) if f.nbytes else "", _short(f.bound)) for f in found
    ]
    return f"what would help most, each alone:\n{table(('period', 'saved', 'change', 'for', 'then bound by'), lines)}"


def _short(bound: str) -> str:
    first, _, rest = bound.partition(" + ")
    return f"{first} and {rest.count(' + ') + 1} more" if rest else first


def help_facts(found: Sequence[Forecast]) -> list[dict[str, object]]:
    """The ranked changes as plain data."""
    return [
        {"change": f.what, "period_seconds": f.period, "gain": f.gain, "slot_nbytes": f.nbytes, "bound": f.bound} for f in found
    ]
