"""A trace's file comes back as the same trace; what is no trace is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from oflow.actors import simulate
from oflow.errors import PlanError
from oflow.trace import Spans, Trace
from tests.plans import chain, pipeline_1f1b

TRACE = simulate(pipeline_1f1b(3, 4), steps=2)


@pytest.mark.parametrize("trace", [TRACE, simulate(chain(3, 2), steps=1, events=False), Trace(Spans.of(()), source="measured")])
def test_a_file_comes_back(trace: Trace) -> None:
    assert Trace.from_json(trace.to_json()) == trace
    assert Trace.from_json(trace.to_json().encode()).to_json() == trace.to_json()


def change(path: str, to: Any) -> Callable[[dict[str, Any]], object]:
    *parts, last = path.split(".")

    def made(data: dict[str, Any]) -> None:
        for part in parts:
            data = data[part]
        data[last] = to(data[last]) if callable(to) else to

    return made


DAMAGE = {
    "another version": change("version", 2), "no steps": change("steps", 0), "steps in words": change("steps", "two"),
    "a column shorter": change("spans.act", lambda c: c[1:]), "an event's column shorter": change("events.slot", lambda c: c[1:]),
    "a stream that is not there": change("spans.streams", lambda c: c[:1]),
    "a negative actor": change("spans.actor", lambda c: [-1, *c[1:]]),
    "an unknown event": change("events.event", lambda c: [3, *c[1:]]),
    "time that runs backwards": change("spans.start", lambda c: [1e9, *c[1:]]),
    "time before the start": change("events.time", lambda c: [-1.0, *c[1:]]),
    "a number that is none": change("spans.stop", lambda c: [None, *c[1:]]),
    "a huge number": change("spans.act", lambda c: [1 << 63, *c[1:]]), "a part missing": lambda data: data.pop("events"),
    "a part too many": lambda data: data["spans"].update(more=[]),
    "Perfetto's events": lambda data: (data.clear(), data.update(traceEvents=[])),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused(name: str) -> None:
    data = json.loads(TRACE.to_json())
    DAMAGE[name](data)
    with pytest.raises(PlanError, match="no trace"):
        Trace.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", b"\xff\xfe", TRACE.to_json()[:-9], TRACE.to_json().replace("0.5", "NaN")])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(PlanError, match="no trace"):
        Trace.from_json(text)
