"""Phases: a long job names what it is at, and how far it is can be asked for.

Nothing is counted or drawn here. A job that nobody watches costs one look at a variable a phase; one that is watched is asked at most
some times a second, from the thread that draws, so a share is a function that reads what the job counts anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter

from oflow.live.figures import PhaseProgress, Progress, phase_seconds_left

Share = Callable[[], float]
Name = str | Callable[[], str]


@dataclass(frozen=True, slots=True)
class Phase:
    """share: the share done, None where nobody can know."""

    name: Name
    share: Share | None
    began: float


@dataclass(slots=True)
class Job:
    """What is watched: the phases that have begun and not ended, or steps that are followed, innermost last."""

    began: float = field(default_factory=perf_counter)
    phases: tuple[Phase, ...] = ()
    following: tuple[Callable[[], Progress], ...] = ()

    def now(self) -> Progress | PhaseProgress:
        """What to show: the steps that are followed, until the first has come and otherwise the phases."""
        following, phases = self.following, self.phases
        found = following[-1]() if following else None
        if found is not None and (found.step or not phases):
            return found
        return phase_progress(phases, self.began, perf_counter())


WATCHED: ContextVar[Job | None] = ContextVar("oflow_watched_job", default=None)


@contextmanager
def phase(name: Name, share: Share | None = None) -> Iterator[None]:
    """The block, or the function that this decorates, is a phase of this name.

    share: returns the share done, 0 to 1. It, and a name that is a function, are called from another thread.
    """
    job = WATCHED.get()
    if job is None:
        yield
        return
    before = job.phases
    job.phases = (*before, Phase(name, share, perf_counter()))
    try:
        yield
    finally:
        job.phases = before


def phase_progress(phases: tuple[Phase, ...], began: float, now: float) -> PhaseProgress:
    """The innermost share that is known counts; the time left is that phase's. Seconds: of the outermost phase, else of the job."""
    began = phases[0].began if phases else began
    for one in reversed(phases):
        share = _asked(one)
        if share is not None:
            return PhaseProgress(_names(phases), share, now - began, phase_seconds_left(share, now - one.began))
    return PhaseProgress(_names(phases), None, now - began, None)


def _names(phases: tuple[Phase, ...]) -> tuple[str, ...]:
    return tuple(one.name if isinstance(one.name, str) else one.name() for one in phases)


def _asked(one: Phase) -> float | None:
    """Its share; None where it is not known, or the phase ended while it was asked."""
    with suppress(Exception):
        return None if one.share is None else min(1.0, max(0.0, float(one.share())))
    return None
