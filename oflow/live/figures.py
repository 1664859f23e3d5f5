"""Progress as data, and the pure functions that make it of what was counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW = 10.0
"""Seconds that rates and shares look back over, or two steps where these take longer."""
EARLY = 0.01
"""Share of a phase below which the time that is left is not told."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a session has counted. seconds: of its clock (virtual time in the simulator). busy: seconds that each device stream has worked.
    slots_in_use: slots that are full or being filled, of `slots`; kept state is left out."""

    seconds: float
    busy: Mapping[str, float]
    slots_in_use: int
    slots: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of a run. seconds: since its start; steps: results that have come, the last of them at `ended`."""

    seconds: float = 0.0
    steps: int = 0
    ended: float = 0.0
    reading: Reading | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run of steps is; None where it is not known.

    step: steps done, of `steps`. loss: of the last. seconds: since the start; seconds_left: to the end, if the rate stays.
    steps_per_second, and samples (rows of the first input) or tokens (its elements, where they are whole numbers in rows): of
    the last 10 s. busy: the share of that time in which each device's busiest stream worked. slots_in_use: of `slots`, now.
    """

    step: int
    steps: int | None
    loss: float | None
    seconds: float
    seconds_left: float | None = None
    steps_per_second: float | None = None
    samples_per_second: float | None = None
    tokens_per_second: float | None = None
    busy: Mapping[str, float] = field(default_factory=dict)
    slots_in_use: int | None = None
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class PhaseProgress:
    """What a long job is at: its phases from the outermost to the innermost, and the share done of the innermost that knows
    it, with the seconds that leaves it. seconds: since the outermost began."""

    phases: tuple[str, ...]
    share: float | None
    seconds: float
    seconds_left: float | None


def kept(marks: tuple[Mark, ...], new: Mark) -> tuple[Mark, ...]:
    """The marks that figures need, `new` the last: one for each number of steps, as far back as the window reaches.

    The start is forgotten once two later steps are known, because the first fills pipelines and caches.
    """
    found = [mark for mark in marks if mark.steps < new.steps] + [new]
    if len(found) > 2 and found[0].steps == 0:
        del found[0]
    old = 0
    while old + 1 < len(found) - 1 and new.seconds - found[old + 1].seconds >= WINDOW and new.steps - found[old + 1].steps >= 2:
        old += 1
    return tuple(found[old:])


def rate(marks: tuple[Mark, ...]) -> float | None:
    """Steps a second between the first mark and the last, both at the end of a step; None before the second step has ended."""
    first, last = marks[0], marks[-1]
    seconds = last.ended - first.ended
    return (last.steps - first.steps) / seconds if last.steps > max(1, first.steps) and seconds > 0 else None


def seconds_left(marks: tuple[Mark, ...], steps: int | None) -> float | None:
    """Until `steps` are done at this rate; what has passed since the last step's end is counted."""
    last, found = marks[-1], rate(marks)
    if steps is None or found is None:
        return None
    return max(0.0, (steps - last.steps) / found - (last.seconds - last.ended)) if last.steps < steps else 0.0


def busy_shares(first: Reading | None, last: Reading | None) -> dict[str, float]:
    """The share of the time between two readings in which each device's busiest stream worked; 0 to 1.

    An act is counted when it ends, so a share is cut off at 1 where one began before.
    """
    if first is None or last is None or last.seconds <= first.seconds:
        return {}
    found: dict[str, float] = {}
    for stream, busy in last.busy.items():
        device = stream.partition("/")[0]
        share = (busy - first.busy.get(stream, 0.0)) / (last.seconds - first.seconds)
        found[device] = max(found.get(device, 0.0), min(1.0, max(0.0, share)))
    return dict(sorted(found.items(), key=lambda one: _number(one[0])))


def _number(device: str) -> tuple[str, int]:
    """Of "cpu:10" cpu and 10."""
    kind, _, number = device.partition(":")
    return kind, int(number) if number.isdecimal() else 0


def progress(marks: tuple[Mark, ...], steps: int | None, loss: float | None, samples: int | None, tokens: int | None) -> Progress:
    """The figures of a run. samples, tokens: of one step."""
    last, found = marks[-1], rate(marks)
    first = next((mark.reading for mark in marks if mark.reading is not None), None)
    now = last.reading
    return Progress(
        last.steps, steps, loss, last.seconds, seconds_left(marks, steps), found,
        None if found is None or samples is None else found * samples, None if found is None or tokens is None else found * tokens,
        busy_shares(first, now), now.slots_in_use if now else None, now.slots if now else None,
    )  # fmt: skip


def phase_seconds_left(share: float | None, seconds: float) -> float | None:
    """Of a phase that did `share` of its work in so many seconds."""
    return None if share is None or share < EARLY else seconds * (1.0 - share) / share
