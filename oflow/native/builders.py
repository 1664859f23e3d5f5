"""The processes that compile routines: kept for a while, because numba takes longer to import than a routine to compile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache

Job = tuple[str, str, str]
"""(routine, object file to write, symbol)."""


class Builder:
    """One such process (`oflow.native.build`). It ends by itself when it has had nothing to do for a while, or with this process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "oflow.native.build"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env={**os.environ, **environment},
        )  # fmt: skip

    def ask(self, jobs: Sequence[Job]) -> bool:
        """Hand over jobs; False where the process has ended."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(jobs) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def answer(self) -> str | None:
        """Wait until the jobs are done: "", or what went wrong; None where the process ended before it answered."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line)["error"] if line else None

    def end(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue
        self.process.wait()


@cache
def _kept() -> list[Builder]:
    """The builders of this process."""
    return []


def run(shares: Sequence[Sequence[Job]], environment: Mapping[str, str]) -> list[str]:
    """Have each share of jobs done by a process of its own, side by side; what went wrong."""
    builders = [_asked(jobs, environment) for jobs in shares]
    try:
        answers = [_answer(builder) for builder in builders]
    except BaseException:  # Ctrl-C: nobody wants what they compile any more
        for builder in builders:
            builder.process.kill()
            builder.end()
        raise
    # a process that had waited long may have ended just when it was asked: a fresh one gets its jobs
    again = [_answer(_fresh(jobs, environment)) if answer is None else answer for jobs, answer in zip(shares, answers, strict=True)]
    lost = [jobs for jobs, answer in zip(shares, again, strict=True) if answer is None]
    found = [answer for answer in again if answer]
    return found + [f"the compiling process ended while it had {len(jobs)} routines to compile" for jobs in lost]


def _answer(builder: Builder) -> str | None:
    """Its answer, and keep it for more jobs; None where it has ended."""
    answer = builder.answer()
    if answer is None:
        builder.end()
    else:
        _kept().append(builder)
    return answer


def _asked(jobs: Sequence[Job], environment: Mapping[str, str]) -> Builder:
    while _kept():
        builder = _kept().pop()
        if builder.process.poll() is None and builder.ask(jobs):
            return builder
        builder.end()
    return _fresh(jobs, environment)


def _fresh(jobs: Sequence[Job], environment: Mapping[str, str]) -> Builder:
    made = Builder(environment)
    made.ask(jobs)
    return made


def end() -> None:
    """End the processes that wait for more; the next build starts others."""
    while _kept():
        _kept().pop().end()
