"""Replay: when each action of a schedule runs if it takes the given times, what ranks wait for, and what they hold meanwhile.

A rank runs its actions in order, each as soon as the one before has ended and its message has arrived. A message leaves at the
end of the action that makes it and arrives `Times.communication` later (at once inside a rank), beside the work of both ranks.
The same as the discrete-event simulator finds for the schedule's plan (`oflow.compiler.schedules.plan`), to the last bit.

Memory is counted in whole stages: a rank with v stages counts each stash 1/v. A stash is held from the start of F to the end of
B, or of W where the backward is split, as the published figures count. That depends on the order alone, not on times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

from oflow.errors import DeadlockError
from oflow.schedule.order import Action, Schedule
from oflow.schedule.times import Times

FREES = ("B", "W")
"""Phases at whose end a stash is freed."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A rank is idle before `before` (None: after its last action), from `start` to `stop` seconds, until `after` has ended.

    after: the action whose message it waits for (None: nothing more to do). under_way: the part of the gap, at its end, in which
    that message is already travelling.
    """

    rank: int
    start: float
    stop: float
    before: Action | None
    after: Action | None
    under_way: float = 0.0

    @property
    def seconds(self) -> float:
        return self.stop - self.start


@dataclass(frozen=True)
class Replay:
    """`starts` and `stops`: seconds of ``schedule.rows[rank][i]``. Shares are of the whole step, ramps included."""

    schedule: Schedule
    times: Times
    starts: tuple[tuple[float, ...], ...]
    stops: tuple[tuple[float, ...], ...]

    @cached_property
    def seconds(self) -> float:
        """Length of the step."""
        return max((row[-1] for row in self.stops if row), default=0.0)

    @cached_property
    def span(self) -> float:
        """The longest that a rank takes from its first start to its last stop, which is what the zero-bubble papers measure."""
        return max((stop[-1] - start[0] for start, stop in zip(self.starts, self.stops, strict=True) if start), default=0.0)

    @cached_property
    def bubbles(self) -> tuple[float, ...]:
        """Idle share of each rank."""
        pairs = zip(self.starts, self.stops, strict=True)
        busy = [sum(stop - start for start, stop in zip(a, b, strict=True)) for a, b in pairs]
        return tuple(1 - seconds / self.seconds if self.seconds else 0.0 for seconds in busy)

    @property
    def bubble(self) -> float:
        """Idle share of all ranks' time."""
        return sum(self.bubbles) / len(self.bubbles) if self.bubbles else 0.0

    @cached_property
    def peaks(self) -> tuple[float, ...]:
        """Most stashes that each rank holds at once, in whole stages."""
        return stash_peaks(self.schedule)

    @property
    def peak(self) -> float:
        return max(self.peaks, default=0.0)

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """Every stretch in which a rank is idle, rank by rank, and what it waits for."""
        ends = {a: t for row, stops in zip(self.schedule.rows, self.stops, strict=True) for a, t in zip(row, stops, strict=True)}
        found = []
        for rank, row in enumerate(self.schedule.rows):
            reached = 0.0
            for action, start, stop in zip(row, self.starts[rank], self.stops[rank], strict=True):
                if start > reached:
                    after = next((n for n in self.schedule.needs(action) if n in ends), None)
                    under_way = start - max(reached, ends[after]) if after else 0.0
                    found.append(Gap(rank, reached, start, action, after, under_way))
                reached = stop
            if reached < self.seconds:
                found.append(Gap(rank, reached, self.seconds, None, None))
        return tuple(found)

    @cached_property
    def critical(self) -> tuple[Action, ...]:
        """The critical path: each action starts when the one before it ends or its message arrives; the last ends the step."""
        graph = Graph(self.schedule, self.times)
        starts = [t for row in self.starts for t in row]
        stops = [t for row in self.stops for t in row]
        return tuple(graph.actions[n] for n in graph.critical(graph.rows, starts, stops))


def replay(schedule: Schedule, times: Times | None = None) -> Replay:
    """Run `schedule` with `times` (default: a unit for F, I and W, no communication).

    Raises DeadlockError, with the cycle, where ranks wait for each other; PlanError where `times` lack a stage.
    """
    times = times or Times()
    graph = Graph(schedule, times)
    starts, stops, complete = graph.run(graph.rows)
    if not complete:
        raise blocked(schedule, [stop >= 0 for stop in stops], graph)
    timed = ([tuple(seconds[n] for n in row) for row in graph.rows] for seconds in (starts, stops))
    return Replay(schedule, times, *map(tuple, timed))


def stash_peaks(schedule: Schedule) -> tuple[float, ...]:
    """Most stashes that each rank holds at once, in whole stages."""
    found = []
    for row, chunks in zip(schedule.rows, schedule.chunks, strict=True):
        live = most = 0
        for action in row:
            live += action.phase == "F"
            most = max(most, live)
            live -= action.phase in FREES
        found.append(most / chunks)
    return tuple(found)


class Graph:
    """The actions of a schedule as numbers, for replays by the thousand: what each waits for, how long, and what it takes.

    rows: the schedule's own order. Another order of the same rows may be given to `run`.
    """

    def __init__(self, schedule: Schedule, times: Times) -> None:
        self.actions = [action for row in schedule.rows for action in row]
        number = {action: n for n, action in enumerate(self.actions)}
        ends = list(accumulate(map(len, schedule.rows)))
        self.rows = [list(range(end - len(row), end)) for end, row in zip(ends, schedule.rows, strict=True)]
        homes = schedule.homes
        known = {(stage, phase): times.of(phase, stage) for stage, phase in {(a.stage, a.phase) for a in self.actions}}
        self.seconds = [known[a.stage, a.phase] for a in self.actions]
        self.source: list[int] = []
        self.lag: list[float] = []
        for action in self.actions:
            found = next((n for n in schedule.needs(action) if n in number), None)
            far = found is not None and homes[found.stage] != homes[action.stage]
            self.source.append(-1 if found is None else number[found])
            self.lag.append((times.forward if action.phase == "F" else times.backward) if far else 0.0)

    def run(self, rows: Sequence[Sequence[int]]) -> tuple[list[float], list[float], bool]:
        """Start and stop of each action, and whether all ran: in an order that blocks, the stops of what never ran are -1."""
        source, lag, seconds = self.source, self.lag, self.seconds
        starts, stops = [0.0] * len(seconds), [-1.0] * len(seconds)
        heads, clocks = [0] * len(rows), [0.0] * len(rows)
        waiting: dict[int, list[int]] = {}
        ready, done = list(range(len(rows))), 0
        while ready:
            rank = ready.pop()
            row, time, at = rows[rank], clocks[rank], heads[rank]
            while at < len(row):
                n = row[at]
                before = source[n]
                if before >= 0:
                    if stops[before] < 0:
                        waiting.setdefault(before, []).append(rank)
                        break
                    arrival = stops[before] + lag[n]
                    if arrival > time:
                        time = arrival
                starts[n] = time
                time += seconds[n]
                stops[n] = time
                at += 1
                if n in waiting:
                    ready += waiting.pop(n)
            done += at - heads[rank]
            heads[rank], clocks[rank] = at, time
        return starts, stops, done == len(seconds)

    def critical(self, rows: Sequence[Sequence[int]], starts: Sequence[float], stops: Sequence[float]) -> list[int]:
        """The numbers along a critical path, first to last; where a rank and a message arrive together, the rank is named."""
        before = {n: m for row in rows for m, n in pairwise(row)}
        ends = [row[-1] for row in rows if row]
        if not ends:
            return []
        path = [max(ends, key=lambda n: stops[n])]
        while starts[path[-1]] > 0:
            n = path[-1]
            previous, source = before.get(n, -1), self.source[n]
            path.append(previous if previous >= 0 and stops[previous] == starts[n] else source)
        return path[::-1]


def blocked(schedule: Schedule, done: Sequence[bool], graph: Graph) -> DeadlockError:
    """The error for an order in which the actions that are not `done` wait for each other: the first cycle of them."""
    heads = {rank: left[0] for rank, row in enumerate(graph.rows) if (left := [n for n in row if not done[n]])}

    def reason(n: int) -> tuple[int, str]:
        rank = schedule.homes[graph.actions[n].stage]
        if n != heads[rank]:
            return heads[rank], f"{graph.actions[n]} comes after {graph.actions[heads[rank]]} on rank {rank}"
        return graph.source[n], f"{graph.actions[n]} waits for {graph.actions[graph.source[n]]}"

    first = min(heads)
    path: list[int] = []
    n = heads[first]
    while n not in path:
        path.append(n)
        n = reason(n)[0]
    told = tuple(reason(n)[1] for n in path[path.index(n) :])
    return DeadlockError(
        f"schedule {schedule.name} blocks: rank {first} never gets past {graph.actions[heads[first]]}:\n  " + "\n  ".join(told), cycle=told
    )
