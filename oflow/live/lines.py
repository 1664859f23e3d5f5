"""Figures in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from oflow.live.figures import PhaseProgress, Progress

LISTED = 8
"""Devices up to which each one's busy share is shown."""
LONG = 1_000
"""From here on a rate is shown without decimals."""


def facts(found: Progress | PhaseProgress) -> dict[str, Any]:
    """As plain data: the keys of `--json`."""
    return asdict(found)


def rates(found: Progress) -> list[str]:
    """Steps a second and what a step is made of."""
    parts = ((found.steps_per_second, "steps/s"), (found.samples_per_second, "samples/s"), (found.tokens_per_second, "tokens/s"))
    return [f"{_number(value)} {unit}" for value, unit in parts if value is not None]


def busy_text(shares: Mapping[str, float]) -> str:
    """Each device's share; of many the mean, and the one that works least and most."""
    if not shares:
        return ""
    if len(shares) <= LISTED:
        return "busy " + ", ".join(f"{device} {share:.0%}" for device, share in shares.items())
    low, high = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    mean = sum(shares.values()) / len(shares)
    return f"busy {mean:.0%} on {len(shares)} devices (least {low} {shares[low]:.0%}, most {high} {shares[high]:.0%})"


def slots_text(found: Progress) -> str:
    return "" if found.slots_in_use is None else f"slots {found.slots_in_use:,} of {found.slots:,} in use"


def left_text(seconds: float | None) -> str:
    return "" if seconds is None else f"{clock(seconds)} left"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 0:07, 12:03, 3:04:05."""
    whole = round(seconds)
    minutes = f"{whole // 60 % 60:02}" if whole >= 3600 else str(whole // 60)
    hours = f"{whole // 3600}:" if whole >= 3600 else ""
    return f"{hours}{minutes}:{whole % 60:02}"


def line(found: Progress) -> str:
    """One line for a log: step, loss, rates and the time left."""
    of = "" if found.steps is None else f" of {found.steps}"
    loss = "" if found.loss is None else f": loss {found.loss:.6g}"
    return ", ".join([f"step {found.step}{of}{loss}", *rates(found), *filter(None, [left_text(found.seconds_left)])])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= LONG else f"{value:.3g}"
