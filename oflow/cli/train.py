"""train and bench: commands that run a program on the batches of its file."""

from __future__ import annotations

import itertools
import json
import math
import operator
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from oflow.cli.files import Given, Options, UsageError, named, opened
from oflow.cli.machine import bench_machine
from oflow.errors import NotFiniteError, OflowError
from oflow.view.style import seconds_text

Report = Callable[[int, float], None]
ROUND, FEWEST_STEPS = 0.01, 8
"""Seconds of a round of steps that is timed for a comparison; the steps of one at least, because the first fill a pipeline."""


def train(args: Namespace, words: list[str], options: Options) -> None:
    """Run build's program over all batches, show the loss, then the metrics of `evaluate`."""
    if words:
        raise UsageError(f"train does not know what {words[0]!r} means; options are key=value")
    with opened(args.file, options) as given:
        feed = _batches(given)
        total = _length(given, feed)
        losses, seconds = _run(given.program, feed, total, args.json)
        _refuse_not_finite(losses)
        if args.save:
            given.program.save(args.save)
        metrics = dict(given.module.evaluate(given.program)) if given.module and given.function("evaluate") else {}
        _summary(losses, seconds, metrics, args.json)


def _batches(given: Given) -> Iterable[Any]:
    if given.program is None:
        raise UsageError(f"{given.path} cannot run: only a .py file has kernels and batches")
    feed: Iterable[Any] = given.call("batches")
    return feed


def _length(given: Given, feed: Iterable[Any]) -> int | None:
    """How many batches there are: their len, else the option ``steps`` of the file's `batches`, else unknown."""
    hint = operator.length_hint(feed, -1)
    if hint >= 0:
        return hint
    parameter = named(given.module.batches).get("steps") if given.module else None
    steps = given.options.get("steps", parameter.default) if parameter else None
    return steps if isinstance(steps, int) else None


def _run(program: Any, feed: Iterable[Any], total: int | None, as_json: bool) -> tuple[list[float], float]:
    losses: list[float] = []
    start = time.perf_counter()
    with _reporter(total, as_json) as report:
        for step, result in enumerate(program.stream(feed), 1):
            losses.append(_loss(result))
            report(step, losses[-1])
    return losses, time.perf_counter() - start


def _loss(result: Any) -> float:
    """The first leaf of what a step returns."""
    leaf = next(iter(result.values())) if isinstance(result, dict) else result[0] if isinstance(result, tuple) else result
    if getattr(leaf, "size", 1) != 1:
        raise OflowError(f"train needs a scalar loss as the first output, the program returns shape {leaf.shape}")
    return float(leaf)


def _refuse_not_finite(losses: list[float]) -> None:
    wrong = next((step for step, loss in enumerate(losses, 1) if not math.isfinite(loss)), None)
    if wrong is not None:
        raise NotFiniteError(f"the loss is {losses[wrong - 1]} from step {wrong} on; try a smaller learning rate")


# ---------------------------------------------------------------- what is shown


def _reporter(total: int | None, as_json: bool) -> AbstractContextManager[Report]:
    """Tells of each step: JSON lines, a progress bar on a terminal, else a line every tenth."""
    if as_json:
        return nullcontext(lambda step, loss: print(json.dumps({"step": step, "loss": loss}), flush=True))
    if sys.stderr.isatty():
        return _Bar(total)
    return nullcontext(_lines(total))


def _lines(total: int | None) -> Report:
    """About ten lines over the run; with an unknown number of steps at 1, 2, 5, 10, 20, 50, ..."""

    def round_number(step: int) -> bool:
        return str(step).rstrip("0") in ("1", "2", "5")

    def report(step: int, loss: float) -> None:
        due = round_number(step) if total is None else step in (1, total) or step % max(1, total // 10) == 0
        if due:
            print(f"step {step}{f' of {total}' if total else ''}: loss {loss:.6g}", flush=True)

    return report


class _Bar(AbstractContextManager[Report]):
    """A rich progress bar with step, loss and time left, on stderr."""

    def __init__(self, total: int | None) -> None:
        columns = (
            MofNCompleteColumn(), BarColumn(), TextColumn("loss {task.fields[loss]:.5g}"), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task("train", total=total, loss=math.nan)

    def __enter__(self) -> Report:
        self._progress.start()
        return lambda step, loss: self._progress.update(self._task, completed=step, loss=loss)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _summary(losses: list[float], seconds: float, metrics: dict[str, Any], as_json: bool) -> None:
    loss = losses[-1] if losses else None
    if as_json:
        plain = {name: _plain(value) for name, value in metrics.items()}
        print(json.dumps({"steps": len(losses), "loss": loss, "seconds": seconds, "metrics": plain}))
        return
    each = f" ({seconds_text(seconds / len(losses))} a step)" if losses else ""
    print(f"{len(losses)} steps in {seconds_text(seconds)}{each}" + (f", loss {loss:.6g}" if loss is not None else ""))
    for name, value in metrics.items():
        text = f"{value:.6g}" if isinstance(_plain(value), float) else str(value)
        print(f"{name}:\n{text}" if "\n" in text else f"{name}: {text}")


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as Python values."""
    return value.tolist() if hasattr(value, "tolist") else value


# ---------------------------------------------------------------- bench


def bench(args: Namespace, words: list[str], options: Options) -> None:
    """Time N steps on a few batches of the file, read beforehand; print the median step and acts per second."""
    if args.file == "machine":
        bench_machine(args, words, options)
        return
    if words:
        raise UsageError(f"bench does not know what {words[0]!r} means; options are key=value")
    with opened(args.file, options) as given:
        few = few_batches(given)
        feed = itertools.islice(itertools.cycle(few), args.warm_up + args.steps)
        times = [time.perf_counter() for _ in given.program.stream(feed)]
        laps = [stop - start for start, stop in itertools.pairwise(times)][max(0, args.warm_up - 1) :]
        median, acts = statistics.median(laps), sum(actor.acts for actor in given.plan.actors)
        facts = {"steps": len(laps), "median_seconds": median, "best_seconds": min(laps), "acts_per_second": acts / median}
        if args.json:
            print(json.dumps({**facts, "acts_per_step": acts}))
        else:
            print(f"{len(laps)} steps: median {seconds_text(median)}, best {seconds_text(min(laps))} a step")
            print(f"{acts} acts a step, {acts / median:,.0f} acts a second")


def few_batches(given: Given) -> list[Any]:
    """A few batches of the file."""
    few = list(itertools.islice(_batches(given), 8))
    if not few:
        raise UsageError(f"{given.path}: batches(...) has none")
    return few


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of a step, and the share of the time in which a thread of this process waited for a core that others had."""

    seconds: float
    waited: float


def measured_step(given: Given, seconds: float = 3.0) -> Measured:
    """The step of the running program: the median of the quietest quarter of many short rounds of steps, which overlap."""
    few = few_batches(given)

    def lap(steps: int) -> Measured:
        start, before = time.perf_counter(), waited_seconds()
        for _ in given.program.stream(itertools.islice(itertools.cycle(few), steps)):
            pass
        took = time.perf_counter() - start
        return Measured(took / steps, (waited_seconds() - before) / took)

    first = min(lap(len(few)).seconds for _ in range(3))
    steps = max(FEWEST_STEPS, int(ROUND / first))
    laps = [lap(steps)]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(laps) < 5:
        laps.append(lap(steps))
    quiet = sorted(laps, key=lambda one: one.waited)[: -(-len(laps) // 4)]
    return Measured(statistics.median(one.seconds for one in quiet), statistics.mean(one.waited for one in quiet))


def waited_seconds() -> float:
    """Seconds for which threads of this process were ready to run and had no core; 0 where the system does not tell."""
    found = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError, ValueError, IndexError):  # the thread may have ended
            found += int(path.read_text().split()[1])
    return found * 1e-9
