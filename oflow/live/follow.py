"""Results of a program, counted while they pass."""

from __future__ import annotations

import operator
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from oflow.live.figures import Mark, Progress, Reading, kept, progress
from oflow.live.phases import WATCHED

EVERY = 0.1
"""Seconds between two readings at least."""
Meter = Callable[[], Reading | None]


@dataclass(slots=True)
class Following:
    """Counts the results of a run. `progress` may be called from another thread.

    steps: how many there will be. samples, tokens: of a step. meter: reads what the run's session has counted.
    """

    steps: int | None = None
    samples: int | None = None
    tokens: int | None = None
    meter: Meter | None = None
    _began: float = field(default_factory=perf_counter)
    _done: tuple[int, float, Any] = (0, 0.0, None)
    _marks: tuple[Mark, ...] = (Mark(),)
    _first: Reading | None = None

    def through(self, results: Iterable[Any]) -> Iterator[Any]:
        """The same results. While they pass they are what a watched job shows."""
        with self.watched():
            began = self._began
            for done, result in enumerate(results, 1):
                self._done = (done, perf_counter() - began, result)
                if done == 1:  # rates and shares look back to here: what came before is compiling, filling caches and pipelines
                    now = perf_counter() - began
                    self._first = self._read()
                    self._marks = kept(self._marks, Mark(now, done, now, self._first))
                yield result

    @contextmanager
    def watched(self) -> Iterator[None]:
        """This is what a watched job shows."""
        job = WATCHED.get()
        if job is None:
            yield
            return
        before, job.following = job.following, (*job.following, self.progress)
        try:
            yield
        finally:
            job.following = before

    def progress(self) -> Progress:
        """The figures now; what the session has counted is read ten times a second at most."""
        done, ended, result = self._done
        now, last = perf_counter() - self._began, self._marks[-1]
        due = now - last.seconds >= EVERY or last.reading is None
        marks = kept(self._marks, Mark(now, done, ended, self._read() if due else last.reading))
        if due:
            self._marks = marks
        return progress(marks, self.steps, loss_of(result), self.samples, self.tokens)

    def summary(self) -> Progress:
        """The figures of the whole run: rates from its start, busy shares from the end of its first step."""
        done, ended, result = self._done
        marks = (Mark(reading=self._first), Mark(perf_counter() - self._began, done, ended, self._read()))
        return progress(marks, self.steps, loss_of(result), self.samples, self.tokens)

    def _read(self) -> Reading | None:
        return self.meter() if self.meter is not None else None


def loss_of(result: Any) -> float | None:
    """The first leaf of what a step returns, if it is one number."""
    leaf = next(iter(result.values()), None) if isinstance(result, dict) else result[0] if isinstance(result, tuple) else result
    try:
        return float(leaf) if leaf is not None and getattr(leaf, "size", 1) == 1 else None
    except (TypeError, ValueError):
        return None


def length(batches: Iterable[Any]) -> int | None:
    """How many there are, where they know."""
    found = operator.length_hint(batches, -1)
    return found if found >= 0 else None


def followed(results: Generator[Any], following: Following, tell: Callable[[Progress], Any]) -> Iterator[Any]:
    """The same results; `tell` hears of the figures after the first, then at most ten times a second, and at the end."""
    told = -EVERY
    with closing(results):
        for result in following.through(results):
            now = perf_counter()
            if now - told >= EVERY:
                told = now
                tell(following.progress())
            yield result
    tell(following.progress())
