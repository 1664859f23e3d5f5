"""The recording of a run, simulated or measured: who acted when, and when slots changed hands.

Kept as columns, because a step of a large plan has millions of acts; `Spans` and `SlotEvents` are sequences of rows made on demand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, NamedTuple, Self, TypeVar, overload

import msgspec
import numpy as np

from oflow.errors import PlanError

Row = TypeVar("Row")


class Span(NamedTuple):
    """One act on a stream: start and stop in seconds from the start of the run; `act` counts from 0 over the run."""

    actor: int
    act: int
    stream: str
    start: float
    stop: float


class SlotEvent(NamedTuple):
    """A slot of a register changed hands: `event` is "write", "full", "free" (at `time` seconds)."""

    time: float
    register: int
    slot: int
    event: str


class Columns(Generic[Row]):
    """Rows as columns of equal length: a sequence. (Not an ABC: `register` is a column.)"""

    __slots__ = ()

    def _arrays(self) -> list[np.ndarray]:
        values = (getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]
        return [value for value in values if isinstance(value, np.ndarray)]

    def __len__(self) -> int:
        return len(self._arrays()[0])

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return next(iter(self.take(np.array([range(len(self))[index]]))))

    def __iter__(self) -> Iterator[Row]:
        raise NotImplementedError

    def take(self, rows: np.ndarray) -> Self:
        """These rows, in this order."""
        return type(self)(*(
            value[rows] if isinstance(value := getattr(self, f.name), np.ndarray) else value for f in fields(self)  # type: ignore[arg-type]
        ))  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


@dataclass(frozen=True, eq=False, slots=True)
class Spans(Columns[Span]):
    """actor, act: int64; stream: number in `streams`; start, stop: float64 seconds."""

    streams: tuple[str, ...]
    actor: np.ndarray
    act: np.ndarray
    stream: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    @staticmethod
    def of(rows: Iterable[Span]) -> Spans:
        rows = list(rows)
        streams = {name: number for number, name in enumerate(dict.fromkeys(span.stream for span in rows))}
        numbers = [np.array(column, np.int64) for column in zip(*((s.actor, s.act, streams[s.stream]) for s in rows), strict=True)]
        times = [np.array(column, np.float64) for column in zip(*((s.start, s.stop) for s in rows), strict=True)]
        return Spans(tuple(streams), *(numbers or [np.empty(0, np.int64)] * 3), *(times or [np.empty(0)] * 2))

    def in_time(self) -> Spans:
        """In order of start, then stop, actor and act."""
        return self.take(np.lexsort((self.act, self.actor, self.stop, self.start)))

    def __iter__(self) -> Iterator[Span]:
        names = [self.streams[number] for number in self.stream.tolist()]
        rows = zip(self.actor.tolist(), self.act.tolist(), names, self.start.tolist(), self.stop.tolist(), strict=True)
        return map(Span._make, rows)


EVENTS = ("write", "full", "free")


@dataclass(frozen=True, eq=False, slots=True)
class SlotEvents(Columns[SlotEvent]):
    """time: float64 seconds; register, slot: int64; event: number in EVENTS."""

    time: np.ndarray
    register: np.ndarray
    slot: np.ndarray
    event: np.ndarray

    @staticmethod
    def of(rows: Iterable[SlotEvent]) -> SlotEvents:
        """These events in order of time."""
        columns = list(zip(*((e.time, e.register, e.slot, EVENTS.index(e.event)) for e in rows), strict=True)) or [()] * 4
        time = np.array(columns[0], np.float64)
        made = SlotEvents(time, *(np.array(column, np.int64) for column in columns[1:]))
        return made.take(np.argsort(time, kind="stable"))

    def __iter__(self) -> Iterator[SlotEvent]:
        events = [EVENTS[number] for number in self.event.tolist()]
        return map(SlotEvent._make, zip(self.time.tolist(), self.register.tolist(), self.slot.tolist(), events, strict=True))


@dataclass(frozen=True, slots=True)
class Trace:
    """The recording of a run, simulated or measured; `source` says which. `seconds` is its length."""

    spans: Spans
    events: SlotEvents = field(default_factory=lambda: SlotEvents.of(()))
    steps: int = 1
    source: str = "simulated"

    @property
    def seconds(self) -> float:
        return float(self.spans.stop.max(initial=0.0))

    def busy(self) -> dict[str, float]:
        """Busy seconds of each stream."""
        spans = self.spans
        seconds = np.bincount(spans.stream, weights=spans.stop - spans.start, minlength=len(spans.streams))
        return dict(zip(spans.streams, seconds.tolist(), strict=True))

    def to_json(self) -> str:
        """As text, which `from_json` reads: the columns as they are, times in seconds."""
        parts = {"spans": _plain(self.spans), "events": _plain(self.events)}
        return msgspec.json.encode({"version": VERSION, "source": self.source, "steps": self.steps, **parts}).decode()

    @staticmethod
    def from_json(text: str | bytes) -> Trace:
        """Raises PlanError for text that is no trace. Whether it is one of a plan is for who lays it over that plan to say."""
        try:
            found = msgspec.json.decode(text, type=_File)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise PlanError(f"this is no trace: {e}; Trace.to_json and oflow view FILE timeline -o NAME.trace write one") from e
        _verify(found)
        spans, events = found.spans, found.events
        numbers = [np.array(column, np.int64) for column in (spans.actor, spans.act, spans.stream)]
        times = [np.array(column, np.float64) for column in (spans.start, spans.stop)]
        handed = [np.array(column, np.int64) for column in (events.register, events.slot, events.event)]
        made = SlotEvents(np.array(events.time, np.float64), *handed)
        return Trace(Spans(tuple(spans.streams), *numbers, *times), made, found.steps, found.source)


# ---------------------------------------------------------------- files

VERSION = 1


class _Spans(msgspec.Struct, forbid_unknown_fields=True):
    streams: list[str]
    actor: list[int]
    act: list[int]
    stream: list[int]
    start: list[float]
    stop: list[float]


class _Events(msgspec.Struct, forbid_unknown_fields=True):
    time: list[float]
    register: list[int]
    slot: list[int]
    event: list[int]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    source: str
    steps: int
    spans: _Spans
    events: _Events


def _plain(columns: Spans | SlotEvents) -> dict[str, Any]:
    found = {f.name: getattr(columns, f.name) for f in fields(columns)}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()}


def _verify(found: _File) -> None:
    """Raises PlanError for columns of unequal length, numbers out of their range, and time that runs backwards."""
    spans, events = found.spans, found.events
    whole = {"actor": spans.actor, "act": spans.act, "stream": spans.stream}
    handed = {"register": events.register, "slot": events.slot, "event": events.event}
    wrong = [name for name, column in (whole | handed).items() if min(column, default=0) < 0 or max(column, default=0) >= 1 << 62]
    wrong += [name for name, column in (("start", spans.start), ("time", events.time)) if min(column, default=0.0) < 0]
    wrong += ["stream"] * (max(spans.stream, default=-1) >= len(spans.streams)) + ["event"] * (max(events.event, default=0) >= len(EVENTS))
    wrong += ["version"] * (found.version != VERSION) + ["steps"] * (found.steps < 1)
    if len({*map(len, whole.values()), len(spans.start), len(spans.stop)}) > 1 or len({*map(len, handed.values()), len(events.time)}) > 1:
        wrong.append("columns of unequal length")
    elif any(start > stop for start, stop in zip(spans.start, spans.stop, strict=True)):
        wrong.append("stop")
    if wrong:
        raise PlanError(f"this is no trace, or a damaged one: {', '.join(dict.fromkeys(wrong))}")
