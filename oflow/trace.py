"""The recording of a run, simulated or measured: who acted when, and when slots changed hands.

Kept as columns, because a step of a large plan has millions of acts; `Spans` and `SlotEvents` are sequences of rows made on demand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, NamedTuple, Self, TypeVar, overload

import numpy as np

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
