"""Streams: equal to repeated calls, back-pressure, errors and `break` drain, no thread stays behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import oflow as of
from oflow.native import available
from tests.program.nets import WIDE, batches, classifier

EXECUTORS: dict[str, dict[str, Any]] = {
    "threads": {"executor": "threads", "workers": 2}, "one thread": {"executor": "threads", "workers": 1},
    "no thread": {"executor": "threads", "workers": 0}, "simulator": {"executor": "simulator"},
}  # fmt: skip
if available():
    EXECUTORS |= {"native": {"executor": "native", "workers": 2}, "native caller": {"executor": "native", "workers": 0}}
    EXECUTORS["processes"] = {"executor": "processes"}
every_executor = pytest.mark.parametrize("options", EXECUTORS.values(), ids=EXECUTORS.keys())


def workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("oflow")]


@every_executor
@pytest.mark.parametrize("layout", ["single", "data", "pipeline x data"])
def test_a_stream_is_repeated_calls(layout: str, options: dict[str, Any]) -> None:
    data = batches(7)
    with classifier(layout, micro_batches=2, **options) as step:
        called = [step(x, y) for x, y in data]
    checked = options["executor"] != "processes"
    with classifier(layout, micro_batches=2, checked=checked, **options) as step:
        assert list(step.stream(data)) == called
    with classifier(layout, micro_batches=2, **options) as step:
        mixed = [step(*data[0]), *step.stream(data[1:4]), step(*data[4]), *step.stream(iter(data[5:]))]
        assert mixed == called


@every_executor
def test_a_slow_consumer_slows_the_iterator(options: dict[str, Any]) -> None:
    """What is in flight is bounded by slots: as much after 100 batches as after a few."""
    taken = 0

    def source() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal taken
        for batch in batches(100):
            taken += 1
            yield batch

    ahead = []
    with classifier("pipeline x data", micro_batches=2, **options) as step:
        for number, _ in enumerate(step.stream(source())):
            ahead.append(taken - number - 1)
    assert taken == 100 and number == 99
    assert max(ahead) <= 8, ahead
    assert max(ahead[50:]) <= max(ahead[:50]) + 2, ahead


@every_executor
def test_arrays_may_be_reused_at_once(options: dict[str, Any]) -> None:
    """The caller's thread copies inputs; the loader may write into the same arrays again."""
    data = batches(6)
    with classifier("data", **options) as step:
        expected = list(step.stream(data))

    def reused() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        x, y = (np.empty_like(a) for a in data[0])
        for bx, by in data:
            x[...], y[...] = bx, by
            yield x, y
            x.fill(np.nan)

    with classifier("data", **options) as step:
        assert list(step.stream(reused())) == expected


@every_executor
def test_an_error_of_the_iterator_surfaces_after_what_was_begun(options: dict[str, Any]) -> None:
    data = batches(6)
    with classifier("pipeline x data", micro_batches=4, **options) as step:
        expected = list(step.stream(data))

    def broken() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield from data[:4]
        raise OSError("the disk is gone")

    with classifier("pipeline x data", micro_batches=4, **options) as step:
        got = []
        with pytest.raises(OSError, match="the disk is gone"):
            for loss in step.stream(broken()):
                got.append(loss)
        assert got == expected[:4]
        assert list(step.stream(data[4:])) == expected[4:]


@every_executor
def test_a_wrong_batch_in_a_stream_is_an_error_of_the_iterator(options: dict[str, Any]) -> None:
    data = batches(3)
    with classifier("data", **options) as step:
        got = []
        with pytest.raises(of.ShapeError, match=r"input 0 is float64\[2, 6\]"):
            for loss in step.stream([data[0], (np.zeros((2, WIDE)), data[1][1]), data[2]]):
                got.append(loss)
        assert len(got) == 1
        assert step.state_dict()["optimizer.step"] == 1


@every_executor
def test_break_drains_and_the_program_goes_on(options: dict[str, Any]) -> None:
    """Every step that took a batch is a whole step, so the state is that of as many calls."""
    data = batches(20)
    taken = 0

    def source() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal taken
        for batch in data:
            taken += 1
            yield batch

    with classifier("pipeline", micro_batches=2, **options) as step:
        for number, _ in enumerate(step.stream(source())):
            if number == 3:
                break
        state = step.state_dict()
        assert 4 <= taken <= 12
        assert state["optimizer.step"] == taken
        after = step(*data[taken])
    with classifier("pipeline", micro_batches=2, **options) as step:
        list(step.stream(data[:taken]))
        assert all((step.state_dict()[name] == value).all() for name, value in state.items())
        assert step(*data[taken]) == after


def test_an_empty_stream() -> None:
    with classifier("single") as step:
        assert list(step.stream([])) == []
        assert step.state_dict()["optimizer.step"] == 0


def test_a_second_loop_inside_a_loop_is_refused_and_harmless() -> None:
    data = batches(4)
    with classifier("data") as step:
        losses = []
        for loss in step.stream(data):
            losses.append(loss)
            with pytest.raises(of.PlanError, match="streaming already"):
                step(*data[0])
        assert len(losses) == 4 and step.state_dict()["optimizer.step"] == 4


@pytest.mark.parametrize("executor", [name for name in ("threads", "native") if name in EXECUTORS])
def test_no_thread_stays_behind(executor: str) -> None:
    gc.collect()
    before = len(workers())
    step = classifier("pipeline x data", micro_batches=2, executor=executor, workers=2)
    step(*batches(1)[0])
    assert len(workers()) == before + (2 if executor == "threads" else 1)  # the native driver's caller is a worker
    step.close()
    assert len(workers()) == before
    step(*batches(1)[0])  # a closed program starts again
    assert step.state_dict()["optimizer.step"] == 2
    step.close()
    step.close()
    assert len(workers()) == before
