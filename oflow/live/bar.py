"""The bar on a terminal: frames of a job, drawn by rich from a thread of its own, wiped away for whatever else is written there."""

from __future__ import annotations

import os
import sys
import threading
from time import perf_counter
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from oflow.live.figures import PhaseProgress, Progress
from oflow.live.lines import busy_text, clock, left_text, rates, slots_text
from oflow.live.phases import Job

FRAME = 0.5
"""Seconds between two frames: a frame takes most of a millisecond of a core that others want."""
AWAY = 0.5
"""Seconds for which the bar stays away when something else was written."""
BAR = 24
"""Its width in characters."""
THEN, OTHERS = " > ", 24
"""Between two phases; characters that share, time and time left take at most."""


def draw(job: Job, over: threading.Event) -> None:
    """Draw until `over` is set; then the terminal is as it was."""
    bar = Bar(job)
    streams = {name: stream for name in ("stdout", "stderr") if (stream := getattr(sys, name)) is not None and stream.isatty()}
    for name, stream in streams.items():
        setattr(sys, name, _Aside(stream, bar))
    try:
        bar.draw()
        while not over.wait(FRAME):
            bar.draw()
    finally:
        for name, stream in streams.items():
            if isinstance(getattr(sys, name), _Aside):
                setattr(sys, name, stream)
        bar.wipe()


class Bar:
    """What stands on the terminal now."""

    def __init__(self, job: Job) -> None:
        self._job, self._owner = job, os.getpid()
        self._console = Console(file=sys.stderr)
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._away = 0.0

    def draw(self) -> None:
        with self._lock:
            if perf_counter() < self._away:
                return
            now = self._job.now()
            if isinstance(now, PhaseProgress) and not now.phases:
                return
            found = frame(now, self._console.width)
            if self._live is None:
                self._live = Live(
                    found, console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False,
                    vertical_overflow="crop",
                )  # fmt: skip
                self._live.start(refresh=True)
            else:
                self._live.update(found, refresh=True)

    def wipe(self) -> None:
        """Make room; the bar comes back after a while. A worker process that writes has no bar."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            self._away = perf_counter() + AWAY
            live, self._live = self._live, None
            if live is not None:
                live.stop()


class _Aside:
    """A stream of the terminal: the bar makes room for what is written."""

    def __init__(self, stream: TextIO, bar: Bar) -> None:
        self._stream, self._bar = stream, bar

    def write(self, text: str) -> int:
        self._bar.wipe()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


# ---------------------------------------------------------------- a frame


def frame(found: Progress | PhaseProgress, width: int) -> Group:
    """One line for phases, two for steps, cut off at the width of the terminal (of phases the outer ones go first)."""
    if isinstance(found, PhaseProgress):
        told = ["" if found.share is None else f"{found.share:.0%}", clock(found.seconds), left_text(found.seconds_left)]
        return Group(_row(_innermost(found.phases, width - BAR - OTHERS), found.share, told))
    of = "" if found.steps is None else f"/{found.steps}"
    loss = "" if found.loss is None else f"loss {found.loss:.5g}"
    done = min(1.0, found.step / found.steps) if found.steps else None
    second = ", ".join(filter(None, [slots_text(found), busy_text(found.busy)]))
    return Group(
        _row(f"step {found.step}{of}", done, [loss, left_text(found.seconds_left) or clock(found.seconds), *rates(found)]),
        Text(second, style="dim", no_wrap=True, overflow="ellipsis"),
    )


def _innermost(phases: tuple[str, ...], room: int) -> str:
    """As many of the phases as there is room for, from the innermost on, and that one in any case."""
    found = phases[-1]
    for one in reversed(phases[:-1]):
        if len(found) + len(one) + len(THEN) > room:
            break
        found = f"{one}{THEN}{found}"
    return found


def _row(words: str, share: float | None, parts: list[str]) -> Table:
    """Words, a bar where the share is known, and what is known beside it."""
    row = Table.grid(padding=(0, 1))
    bar = [] if share is None else [ProgressBar(total=1.0, completed=share, width=BAR)]
    texts = [Text(part, no_wrap=True) for part in parts if part]
    row.add_row(Text(words, style="bold", no_wrap=True, overflow="ellipsis"), *bar, *texts)
    return row
