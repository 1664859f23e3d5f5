"""Processes that take turns, one a framework: each is measured while the others wait, and says how quiet the machine was.

A script starts a `Player` for each framework and asks it questions, a line of JSON each; the same script, started with the word
``serve``, answers them with `answer`. So frameworks share no thread pool and no allocator, and a slow hour hits all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

Answer = dict[str, Any]
WAITED, FOREIGN = 0.03, 0.05
"""A sample is quiet where this process's threads waited for a core for less than this share of the time, or where other
processes had less than that share of its cores."""
ENOUGH = 7
"""Quiet samples of every player after which more rounds are not needed."""
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


# ------------------------------------------------------------ in a framework's process


@dataclass(slots=True)
class Stopwatch:
    """What a stretch of work took: seconds on the clock, CPU seconds of this process, and the share of other work."""

    seconds: float = 0.0
    cpu: float = 0.0
    waited: float = 0.0
    """Seconds that threads of this process were ready and had no core, over the seconds on the clock."""
    foreign: float = 0.0
    """Core seconds that other processes (and the host of this virtual machine) had, over those there were; steps of 10 ms."""


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    found = Stopwatch()
    busy, waited, cpu, began = _cores_busy(), _waited(), process_time(), perf_counter()
    yield found
    found.seconds, found.cpu = perf_counter() - began, process_time() - cpu
    found.waited = (_waited() - waited) / found.seconds
    others = _cores_busy() - busy - found.cpu
    found.foreign = max(0.0, others) / (found.seconds * len(os.sched_getaffinity(0)))


def _waited() -> float:
    """Seconds that the threads of this process have waited for a core."""
    total = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            total += int(path.read_text().split()[1])
        except (OSError, IndexError):
            continue  # the thread has just ended
    return total * 1e-9


def _cores_busy() -> float:
    """Core seconds in which the cores of this process were not idle, or were taken by the host."""
    own = {f"cpu{n}" for n in os.sched_getaffinity(0)}
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name in own:
            total += sum(map(int, ticks[:8])) - int(ticks[3]) - int(ticks[4])
    return total / os.sysconf("SC_CLK_TCK")


def serve(threads: int, make: Callable[[], tuple[Answer, Callable[[Answer], Answer]]]) -> None:
    """Greet with what `make` found, then answer each question on stdin. Missing packages are a greeting too."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints belongs to stderr
    began = perf_counter()
    try:
        greeting, answer = make()
    except ImportError as e:
        print(json.dumps({"missing": str(e)}), file=answers)
        return
    print(json.dumps({**greeting, "made": perf_counter() - began}), file=answers)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers)


# ------------------------------------------------------------ in the caller's process


def natural(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what makes OpenBLAS take this CPU for another one: some hosts set it so that machines round alike."""
    return {name: value for name, value in environment.items() if name not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}


class Player:
    """A framework's process; use it as a context manager. `samples`: what its turns took, per step."""

    def __init__(self, name: str, script: str, words: Sequence[str], threads: int) -> None:
        limits = dict.fromkeys(THREAD_LIMITS, str(threads))
        limits |= {"XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}", "JAX_PLATFORMS": "cpu"}
        self.name, self.threads = name, threads
        self.process = subprocess.Popen(
            [sys.executable, script, "serve", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=natural(os.environ) | limits,
        )  # fmt: skip
        self.samples: list[Stopwatch] = []
        self.steps = 1
        self.greeting: Answer = {}

    def greet(self) -> Player:
        self.greeting = self._answer()
        return self

    @property
    def missing(self) -> str:
        return str(self.greeting.get("missing", ""))

    def ask(self, **question: Any) -> Answer:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def turn(self, seconds: float, **question: Any) -> None:
        """Measure for about so long; question "steps" says how many steps are done."""
        found = self._steps(question)
        while found.seconds * self.steps < seconds / 2:  # not yet long enough to be measured
            wanted = max(self.steps + 1, int(seconds / found.seconds))
            self.steps = min(wanted, 20 * self.steps)
            found = self._steps(question)
        self.samples.append(found)

    def _steps(self, question: Answer) -> Stopwatch:
        answer = self.ask(steps=self.steps, **question)
        found = Stopwatch(**answer["took"])
        found.seconds /= self.steps
        found.cpu /= self.steps
        return found

    @property
    def quiet(self) -> list[Stopwatch]:
        return [s for s in self.samples if s.waited < WAITED or s.foreign < FOREIGN]

    def _answer(self) -> Answer:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit code {self.process.wait()}")
        return dict(json.loads(line))

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait()


def started(stack: ExitStack, players: Iterable[Player]) -> list[Player]:
    """Those whose framework is installed, ready to be asked; they start side by side."""
    waiting = [stack.enter_context(player) for player in players]
    running = []
    for player in waiting:
        if player.greet().missing:
            print(f"  {player.name}: skipped, {player.missing}")
        else:
            running.append(player)
    return running


def rounds(players: Sequence[Player], least: int, most: int, seconds: float, **question: Any) -> None:
    """Turns in a new order each round, until every player has enough quiet samples; at most `most` rounds."""
    draw = np.random.default_rng(0)
    for number in range(most):
        if number >= least and all(len(player.quiet) >= min(ENOUGH, least) for player in players):
            return
        for i in draw.permutation(len(players)):
            players[i].turn(seconds, **question)


@dataclass(frozen=True, slots=True)
class Figure:
    """Median, 10th and 90th percentile of a player's samples in seconds a step, and what they are worth.

    clock: "cpu" for one thread (other processes then cost nothing but cache), "quiet" for samples in which the machine was, "all"
    where there were fewer than three of those.
    """

    seconds: float
    low: float
    high: float
    clock: str
    count: int
    quiet: int
    waited: float
    foreign: float
    made: float
    samples: list[float] = field(default_factory=list)


def figure(player: Player) -> Figure:
    if player.threads == 1:
        clock, times = "cpu", [s.cpu for s in player.samples]
    elif len(player.quiet) >= 3:
        clock, times = "quiet", [s.seconds for s in player.quiet]
    else:
        clock, times = "all", [s.seconds for s in player.samples]
    low, high = np.percentile(times, (10, 90))
    waited, foreign = (median(getattr(s, name) for s in player.samples) for name in ("waited", "foreign"))
    return Figure(
        median(times), float(low), float(high), clock, len(player.samples), len(player.quiet), waited, foreign,
        float(player.greeting.get("made", 0.0)), times,
    )  # fmt: skip
