"""Shaping: a schedule's order made shorter for given times, never holding more stashes on any rank than it may.

Three steps, each kept only where the replay says that it helps: weight gradients wait as long as the memory allows (`postponed`);
ranks that would idle run the next action of their row that is ready and fits into the gap (`filled`); neighbours along the
critical path change places (`improved`). Each is deterministic, and the effort is counted in replayed actions, not in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import pairwise

from oflow.schedule import Action, Schedule, Times, stash_peaks
from oflow.schedule.replay import FREES, Graph

Rows = list[list[int]]
EFFORT = 400_000
"""Actions that the search replays at most, for each schedule."""
TOLERANCES = (0.0, 0.5, 1.0, 2.0)
"""By how much of its own length a filler may delay what is due next."""


def shaped(schedule: Schedule, times: Times, caps: Sequence[int] | None = None, effort: int = EFFORT) -> Schedule:
    """`schedule` in an order that is at least as short with `times`, by its whole length and by its longest rank.

    caps: stashes (of a chunk) that each rank may hold; None: as many as the schedule itself does.
    """
    return best_shaped([schedule], times, caps, effort)


def for_times(published: Schedule, times: Times | None, *others: Schedule) -> Schedule:
    """`published` as it is without `times`, else shaped; every rank may hold as much as the one of `published` that holds most.
    others: orders of the same actions to start from as well."""
    if times is None:
        return published
    most = max(round(peak * v) for peak, v in zip(stash_peaks(published), published.chunks, strict=True))
    return best_shaped([published, *others], times, [most] * published.ranks)


def best_shaped(bases: Sequence[Schedule], times: Times, caps: Sequence[int] | None = None, effort: int = EFFORT) -> Schedule:
    """The shortest that comes of shaping several orders of the same actions; never longer, nor with more stashes on a rank, than
    the first (`caps` aside)."""
    graph = Graph(bases[0], times)
    room = Room(graph, bases[0])
    number = {action: n for n, action in enumerate(graph.actions)}
    orders = [[[number[action] for action in row] for row in base.rows] for base in bases]
    caps = room.peaks(graph.rows) if caps is None else caps
    found, first = graph.rows, measured(graph, graph.rows)
    score = first
    for rows in _orders(graph, room, orders, caps, bases[0].splits_backward):
        new = measured(graph, rows)
        if new < score and no_worse(new, first) and all(p <= cap for p, cap in zip(room.peaks(rows), caps, strict=True)):
            found, score = rows, new
    found = improved(graph, room, found, caps, effort)
    return Schedule(bases[0].name, tuple(tuple(graph.actions[n] for n in row) for row in found))


def _orders(graph: Graph, room: Room, bases: list[Rows], caps: Sequence[int], splits: bool) -> Iterator[Rows]:
    for base in bases:
        yield base
        for start in (base, postponed(graph, room, base, caps)) if splits else (base,):
            for tolerance in TOLERANCES:
                once = filled(graph, room, start, caps, tolerance)
                yield once
                yield filled(graph, room, once, caps, tolerance)


def no_worse(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[0] and one[1] <= other[1]


def measured(graph: Graph, rows: Rows) -> tuple[float, float]:
    """Length of the step, and the longest time from a rank's first start to its last stop; infinite where the order blocks."""
    starts, stops, complete = graph.run(rows)
    if not complete:
        return float("inf"), float("inf")
    spans = [(starts[row[0]], stops[row[-1]]) for row in rows if row]
    return max((stop for _, stop in spans), default=0.0), max((stop - start for start, stop in spans), default=0.0)


class Room:
    """What the order of a rank means for its memory: +1 where F starts, -1 where B or W ends; and the line an action stands in."""

    def __init__(self, graph: Graph, schedule: Schedule) -> None:
        self.takes = [action.phase == "F" for action in graph.actions]
        self.frees = [action.phase in FREES for action in graph.actions]
        self.waits = [action.phase == "W" for action in graph.actions]
        lines = {line: n for n, line in enumerate(dict.fromkeys((a.stage, a.phase) for a in graph.actions))}
        self.line = [lines[a.stage, a.phase] for a in graph.actions]
        """Actions of one line (stage and phase) keep the order of micro-batches."""
        number = {action: n for n, action in enumerate(graph.actions)}
        self.own = [number.get(Action(a.stage, "F", a.micro_batch), -1) if a.phase != "F" else -1 for a in graph.actions]
        """The forward of a backward."""

    def peaks(self, rows: Rows) -> list[int]:
        found = []
        for row in rows:
            live = most = 0
            for n in row:
                live += self.takes[n]
                most = max(most, live)
                live -= self.frees[n]
            found.append(most)
        return found


def postponed(graph: Graph, room: Room, rows: Rows, caps: Sequence[int]) -> Rows:
    """Every W as late as the memory allows: right before the forward that needs its room, or at the end."""
    made = []
    for row, cap in zip(rows, caps, strict=True):
        held: list[int] = []
        new: list[int] = []
        live = taken = 0
        for n in row:
            if room.waits[n]:
                held.append(n)
                continue
            while room.takes[n] and live >= cap and taken < len(held):
                new.append(held[taken])
                live, taken = live - 1, taken + 1
            live += room.takes[n] - room.frees[n]
            new.append(n)
        made.append(new + held[taken:])
    return made


# ---------------------------------------------------------------- filling gaps


def filled(graph: Graph, room: Room, rows: Rows, caps: Sequence[int], tolerance: float, window: int = 0) -> Rows:
    """The order in which ranks run if one that would idle takes the next action of its row that is ready instead.

    It takes one that ends before the action due next can start, or so little later as `tolerance` of its own length says; a
    forward only where the rest of the row, left as it is, still stays within the cap. What is left of a live order stays live.
    """
    window = window or 4 * len(rows) + 8
    return _Filling(graph, room, rows, caps, tolerance, window).rows()


class _Filling:
    """One run in virtual time; `left` are the rows still to run."""

    def __init__(self, graph: Graph, room: Room, rows: Rows, caps: Sequence[int], tolerance: float, window: int) -> None:
        self.graph, self.room, self.caps, self.tolerance, self.window = graph, room, caps, tolerance, window
        self.left = [list(reversed(row)) for row in rows]
        self.made: Rows = [[] for _ in rows]
        self.live, self.free = [0] * len(rows), [0.0] * len(rows)
        self.stops = [-1.0] * len(graph.seconds)
        rank_of = {n: rank for rank, row in enumerate(rows) for n in row}
        self.wakes: list[list[tuple[int, float]]] = [[] for _ in graph.seconds]
        for n, source in enumerate(graph.source):
            if source >= 0 and (rank_of[source] != rank_of[n]):
                self.wakes[source].append((rank_of[n], graph.lag[n]))

    def rows(self) -> Rows:
        events = [(0.0, rank) for rank in range(len(self.left))]
        while events:
            time, rank = heappop(events)
            if self.free[rank] > time or not self.left[rank]:
                continue
            n = self._choice(rank, time)
            if n < 0:
                continue
            stop = self.stops[n] = self.free[rank] = time + self.graph.seconds[n]
            self.made[rank].append(n)
            self.live[rank] += self.room.takes[n] - self.room.frees[n]
            heappush(events, (stop, rank))
            for other, lag in self.wakes[n]:
                heappush(events, (stop + lag, other))
        return [made + left[::-1] for made, left in zip(self.made, self.left, strict=True)]

    def _arrival(self, n: int) -> float:
        """When `n` can start; infinite while nobody knows."""
        source = self.graph.source[n]
        if source < 0:
            return 0.0
        return self.stops[source] + self.graph.lag[n] if self.stops[source] >= 0 else float("inf")

    def _choice(self, rank: int, time: float) -> int:
        """Takes out of the row what to run now (-1: nothing)."""
        left = self.left[rank]
        due = self._arrival(left[-1])
        if due <= time:
            return left.pop()
        room, live, cap = self.room, self.live[rank], self.caps[rank]
        most, seen = live, set[int]()
        for at in range(len(left) - 1, max(-1, len(left) - 1 - self.window), -1):
            n = left[at]
            if room.line[n] not in seen and at < len(left) - 1 and (not room.takes[n] or most < cap) and self._fits(n, time, due):
                del left[at]
                return n
            seen.add(room.line[n])
            live += room.takes[n]
            most = max(most, live)
            live -= room.frees[n]
        return -1

    def _fits(self, n: int, time: float, due: float) -> bool:
        seconds = self.graph.seconds[n]
        own = self.room.own[n]
        return self._arrival(n) <= time and time + seconds <= due + self.tolerance * seconds and (own < 0 or self.stops[own] >= 0)


# ---------------------------------------------------------------- local search


def improved(graph: Graph, room: Room, rows: Rows, caps: Sequence[int], effort: int) -> Rows:
    """Swaps neighbours that follow each other without a gap on the critical path, as long as that helps (Van Laarhoven, Aarts,
    Lenstra 1992: only such swaps can shorten a step), until `effort` actions were replayed."""
    size = max(1, len(graph.seconds))
    rows, left = [list(row) for row in rows], effort // size
    score = measured(graph, rows)
    tried = set[tuple[int, int]]()
    while left > 0:
        better = False
        for rank, at in _swaps(graph, room, rows):
            row = rows[rank]
            pair = row[at], row[at + 1]
            if pair in tried or left <= 0:
                continue
            tried.add(pair)
            row[at], row[at + 1] = pair[1], pair[0]
            new = (float("inf"),) * 2 if room.peaks([row])[0] > caps[rank] else measured(graph, rows)
            left -= 1
            if no_worse(new, score) and new != score:
                score, better = new, True
                tried.clear()
                break
            row[at], row[at + 1] = pair
        if not better:
            break
    return rows


def _swaps(graph: Graph, room: Room, rows: Rows) -> Iterator[tuple[int, int]]:
    """Rank and place of neighbours on the critical path that may change places."""
    starts, stops, _ = graph.run(rows)
    place = {n: (rank, at) for rank, row in enumerate(rows) for at, n in enumerate(row)}
    for one, other in pairwise(graph.critical(rows, starts, stops)):
        (rank, at), (rank_of_other, _) = place[one], place[other]
        bound = graph.source[other] == one or room.own[other] == one or room.line[one] == room.line[other]
        if rank == rank_of_other and not bound:
            yield rank, at
