"""train and bench: commands that run a program on the batches of its file."""

from __future__ import annotations

import itertools
import json
import math
import operator
import signal
import statistics
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oflow.cli.files import Given, Options, UsageError, named, no_words, opened
from oflow.cli.machine import bench_machine
from oflow.cli.tensorboard import recorded, scalars
from oflow.errors import NotFiniteError, OflowError
from oflow.live import Following, Progress, phase
from oflow.live.lines import busy_text, rates
from oflow.live.screen import json_line
from oflow.view.style import seconds_text
from oflow.view.tensorboard import Scalars

ROUND, FEWEST_STEPS = 0.01, 8
"""Seconds of a round of steps that is timed for a comparison; the steps of one at least, because the first fill a pipeline."""


def train(args: Namespace, words: list[str], options: Options) -> None:
    """Run build's program over all batches, then print the loss and the metrics of `evaluate`.

    Ctrl-C lets the steps that were begun end; then there is a summary and, if asked for, a checkpoint, and KeyboardInterrupt goes on.
    """
    no_words("train", words)
    with opened(args.file, options) as given:
        feed = _batches(given)
        following = _following(given, _length(given, feed))
        with recorded(given, args.tensorboard) as record:
            losses, presses = _run(given.program, feed, following, args.json, record)
        done = following.summary()
        _refuse_not_finite(losses)
        if args.save and presses < 2:  # state that may be half updated is not kept
            with phase("save"):
                given.program.save(args.save)
        metrics: dict[str, Any] = {}
        if given.module and given.function("evaluate") and not presses:
            with phase("evaluate"):
                metrics = dict(given.module.evaluate(given.program))
        _summary(done, metrics, args, presses)
    if presses:
        raise KeyboardInterrupt


def _following(given: Given, steps: int | None) -> Following:
    """What counts the program's steps."""
    made = getattr(given.program, "following", Following)(steps)
    assert isinstance(made, Following)
    return made


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


def _run(
    program: Any, feed: Iterable[Any], following: Following, as_json: bool, record: Scalars | None
) -> tuple[list[float], int]:
    """The losses, and how often Ctrl-C was pressed."""
    losses: list[float] = []
    with _interruptible() as presses, suppress(_Again):
        for result in following.through(program.stream(_until(presses, feed))):
            losses.append(_loss(result))
            if as_json or record:
                now = following.progress()
            if as_json:
                print(json_line(now), flush=True)
            if record:
                record(now.step, scalars(now))
    return losses, len(presses)


def _until(presses: list[int], feed: Iterable[Any]) -> Iterator[Any]:
    """The batches until Ctrl-C is pressed."""
    for batch in feed:
        if presses:
            print("stopping after the steps that have begun; Ctrl-C again stops at once", file=sys.stderr)
            return
        yield batch


class _Again(KeyboardInterrupt):
    """Ctrl-C once more: do not wait for the steps that were begun."""


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Ctrl-C adds to the list; the second one raises. Signals belong to the main thread: in another one nothing changes."""
    presses: list[int] = []

    def pressed(number: int, _: object) -> None:
        presses.append(number)
        if len(presses) > 1:
            raise _Again

    if threading.current_thread() is not threading.main_thread():
        yield presses
        return
    before = signal.signal(signal.SIGINT, pressed)
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, before)


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


def _summary(done: Progress, metrics: dict[str, Any], args: Namespace, presses: int) -> None:
    if args.json:
        plain = {name: _plain(value) for name, value in metrics.items()}
        found = {"steps": done.step, "loss": done.loss, "seconds": done.seconds, "busy": done.busy, "interrupted": presses > 0}
        print(json.dumps({**found, "metrics": plain}))
        return
    of = f" of {done.steps}" if presses and done.steps is not None else ""
    each = f" ({seconds_text(done.seconds / done.step)} a step)" if done.step else ""
    loss = f", loss {done.loss:.6g}" if done.loss is not None else ""
    print(f"{done.step}{of} steps in {seconds_text(done.seconds)}{each}{loss}")
    told = [*rates(done)[1:], *filter(None, [busy_text(done.busy)])]
    if told:
        print(", ".join(told))
    if presses and args.save:
        print(f"saved to {args.save} after step {done.step}" if presses < 2 else "not saved: the last steps may be half done")
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
    no_words("bench", words)
    with opened(args.file, options) as given:
        few = few_batches(given)
        feed = itertools.islice(itertools.cycle(few), args.warm_up + args.steps)
        following = Following(args.warm_up + args.steps)
        times = [time.perf_counter() for _ in following.through(given.program.stream(feed))]
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
