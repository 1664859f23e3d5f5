"""The one place that writes progress, always on stderr.

    bar     a terminal: see `bar`
    lines   no terminal, or one that cannot move its cursor (TERM=dumb): a line now and then while steps are followed, else nothing
    json    a line of JSON a second while a phase lasts; steps are told by whoever follows them
    none    nothing

A job that is over within the first half second shows nothing. NO_COLOR is obeyed by rich.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal

import msgspec

from oflow.live.figures import PhaseProgress, Progress
from oflow.live.lines import facts, line
from oflow.live.phases import WATCHED, Job

Form = Literal["bar", "lines", "json", "none"]
LATE = 0.5
"""Seconds after which a job is worth showing, and between two looks for a line that is due."""
TOLD = 1.0
"""Seconds between two lines of JSON."""
LOGGED = 15.0
"""Seconds between two lines of a log."""
STILL = ("dumb", "unknown")
"""Terminals that cannot move their cursor."""


def form(*, quiet: bool = False, as_json: bool = False) -> Form:
    """How to show progress here."""
    if quiet or sys.stderr is None:
        return "none"
    if as_json:
        return "json"
    moves = sys.stderr.isatty() and os.environ.get("TERM", "") not in STILL
    return "bar" if moves and importlib.util.find_spec("rich") is not None else "lines"


@contextmanager
def shown(how: Form) -> Iterator[Job]:
    """Show what runs in the block: phases of jobs, and steps that are followed. Of blocks that stand in each other the outer one draws."""
    outer = WATCHED.get()
    if outer is not None:
        yield outer
        return
    job, over = Job(), threading.Event()
    drawer = threading.Thread(target=_DRAWERS[how], args=(job, over), name="oflow progress", daemon=True) if how != "none" else None
    WATCHED.set(job)
    try:
        if drawer is not None:
            drawer.start()
        yield job
    finally:
        over.set()
        WATCHED.set(None)
        if drawer is not None:
            drawer.join()


def _bar(job: Job, over: threading.Event) -> None:
    if not over.wait(LATE):  # rich takes a while to import: what is over soon does without
        from oflow.live.bar import draw

        draw(job, over)


def _lines(job: Job, over: threading.Event) -> None:
    """A line at the first step that is seen, then every LOGGED seconds."""
    told, step = -LOGGED, 0
    while not over.wait(LATE):
        found, now = job.now(), perf_counter()
        if isinstance(found, Progress) and found.step not in (0, step) and now - told >= LOGGED:
            told, step = now, found.step
            print(line(found), file=sys.stderr, flush=True)


def _json(job: Job, over: threading.Event) -> None:
    while not over.wait(TOLD):
        found = job.now()
        if isinstance(found, PhaseProgress):
            print(json_line(found), file=sys.stderr, flush=True)


def json_line(found: Progress | PhaseProgress) -> str:
    """One object on one line; what is not a number (nan, infinity) is null."""
    return msgspec.json.encode(facts(found)).decode()


_DRAWERS: dict[Form, Callable[[Job, threading.Event], None]] = {"bar": _bar, "lines": _lines, "json": _json}
