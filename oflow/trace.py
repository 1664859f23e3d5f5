"""The recording of a run, simulated or measured: who acted when, and when slots changed hands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """One act on a stream: start and stop in seconds from the start of the run; `act` counts from 0 over the run."""

    actor: int
    act: int
    stream: str
    start: float
    stop: float


@dataclass(frozen=True, slots=True)
class SlotEvent:
    """A slot of a register changed hands: `event` is "write", "full", "free" (at `time` seconds)."""

    time: float
    register: int
    slot: int
    event: str


@dataclass(frozen=True, slots=True)
class Trace:
    """The recording of a run, simulated or measured; `source` says which. `seconds` is its length."""

    spans: tuple[Span, ...]
    events: tuple[SlotEvent, ...] = ()
    steps: int = 1
    source: str = "simulated"

    @property
    def seconds(self) -> float:
        return max((s.stop for s in self.spans), default=0.0)

    def busy(self) -> dict[str, float]:
        """Busy seconds of each stream."""
        found: dict[str, float] = {}
        for span in self.spans:
            found[span.stream] = found.get(span.stream, 0.0) + span.stop - span.start
        return found
