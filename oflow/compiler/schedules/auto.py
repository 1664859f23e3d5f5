"""auto: the shortest schedule for given times that holds no more than it may, of the named ones and of what memory allows between.

Stages may be joined: with 8 stages on 4 ranks a schedule of one chunk a rank takes two neighbours as one. Each named schedule that
the stages allow is shaped for the times; one chunk and the V placement are also shaped for exactly the memory there is, which may
be more or less than a published point takes. So the choice is at least as short as the best named schedule that fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from oflow.compiler.schedules.gpipe import GPIPE
from oflow.compiler.schedules.interleaved import interleaved_by
from oflow.compiler.schedules.named import NamedSchedule
from oflow.compiler.schedules.one_f_one_b import ONE_F_ONE_B, one_f_one_b_order
from oflow.compiler.schedules.shape import best_shaped
from oflow.compiler.schedules.zero_bubble import ZERO_BUBBLE_H1, ZERO_BUBBLE_H2, order_h
from oflow.compiler.schedules.zero_bubble_small import ZERO_BUBBLE_V_HALF, ZERO_BUBBLE_V_THIRD
from oflow.compiler.schedules.zero_bubble_v import ZERO_BUBBLE_V, order_v
from oflow.errors import OutOfMemory, PlanError
from oflow.schedule import Action, Schedule, Times, replay
from oflow.schedule.replay import FREES


@dataclass(frozen=True, slots=True)
class Limit:
    """What a rank may hold: `stashes` whole stages, or `nbytes` where a stash of stage s takes ``stash_nbytes[s]``."""

    stashes: float = math.inf
    nbytes: float = math.inf
    stash_nbytes: tuple[int, ...] = ()

    def held(self, schedule: Schedule) -> int:
        """Bytes on the rank that holds most at once."""
        most = 0
        for row in schedule.rows if self.stash_nbytes else ():
            live = 0
            for action in row:
                live += self.stash_nbytes[action.stage] * (action.phase == "F")
                most = max(most, live)
                live -= self.stash_nbytes[action.stage] * (action.phase in FREES)
        return most

    def cap(self, stages: int, ranks: int, v: int, micro_batches: int) -> int:
        """Stashes of a chunk that every rank may hold whatever chunks they are of, with `stages` dealt out in v chunks a rank."""
        each = stages // ranks // v
        found = min(self.stashes * v, float(micro_batches * v))
        if self.stash_nbytes:
            chunks = [sum(self.stash_nbytes[n : n + each]) for n in range(0, stages, each)]
            found = min(found, self.nbytes / max(1, *chunks))
        return math.floor(found + 1e-9)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A schedule that was tried: its figures with the given times, and whether it keeps to the limit. nbytes: 0 where not asked."""

    schedule: Schedule
    chunks: int
    seconds: float
    bubble: float
    peak: float
    nbytes: int
    fits: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """The schedule taken, and all that were tried, the best first. ``str()`` is the table, with the reason under it."""

    candidates: tuple[Candidate, ...]

    @property
    def best(self) -> Candidate:
        return self.candidates[0]

    @property
    def schedule(self) -> Schedule:
        return self.best.schedule

    def __str__(self) -> str:
        best, second = self.best, next((c for c in self.candidates[1:] if c.fits), None)
        why = f"{best.schedule.name}: the only one that fits"
        if second is not None:
            gain = 1 - best.seconds / second.seconds if second.seconds else 0.0
            by = f"{gain:.1%} shorter than {second.schedule.name}" if gain > 1e-9 else f"as short as {second.schedule.name}"
            why = f"{best.schedule.name} is {by}, with {best.peak:g} stashes against {second.peak:g}"
        return f"{table(self.candidates)}\n{why}"


def table(candidates: Sequence[Candidate]) -> str:
    """One line a candidate: chunks a rank, seconds, bubble, peak in whole stages (and bytes), whether it fits."""
    width = max(len(c.schedule.name) for c in candidates)
    lines = [f"{'schedule':<{width}}  chunks   seconds  bubble   peak  fits"]
    for c in candidates:
        held = f"  {c.nbytes:,} bytes" if c.nbytes else ""
        fits = "yes" if c.fits else "no"
        line = f"{c.schedule.name:<{width}}  {c.chunks:>6}  {c.seconds:>8.4g}  {c.bubble:>6.1%}  {c.peak:>5.4g}  {fits:<4}{held}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def choose_schedule(
    stages: int, ranks: int, micro_batches: int, times: Times | None = None, *, stashes: float | None = None,
    stash_nbytes: int | Sequence[int] = (), limit_nbytes: int | None = None,
) -> Choice:  # fmt: skip
    """The shortest schedule of `stages` on `ranks` that fits.

    stashes: how many whole stages' activations a rank may hold; or limit_nbytes, with stash_nbytes: bytes of a micro-batch's stash
    of each stage, or of every stage alike. Raises PlanError for numbers that do not go together, OutOfMemory, with the table and
    what would fit, where no schedule keeps to the limit.
    """
    times = times or Times()
    if min(stages, ranks, micro_batches) < 1 or stages % ranks:
        raise PlanError(f"{stages} stages on {ranks} ranks, {micro_batches} micro-batches: every rank needs as many stages as the others")
    if (limit_nbytes is None) != (stash_nbytes == () or stash_nbytes == []):
        raise PlanError("a limit in bytes needs both limit_nbytes and stash_nbytes (of each stage)")
    each = (stash_nbytes,) * stages if isinstance(stash_nbytes, int) else tuple(stash_nbytes)
    if each and len(each) != stages:
        raise PlanError(f"stash_nbytes has {len(each)} entries for {stages} stages")
    limit = Limit(math.inf if stashes is None else stashes, math.inf if limit_nbytes is None else limit_nbytes, each)
    found = sorted(
        _candidates(stages, ranks, micro_batches, times, limit), key=lambda c: (not c.fits, round(c.seconds, 12), c.peak, c.chunks)
    )
    if not found[0].fits:
        least = min(found, key=lambda c: (c.nbytes, c.peak))
        asked = f"{limit_nbytes:,} bytes" if limit_nbytes is not None else f"{stashes:g} stashes"
        need = f"{least.nbytes:,} bytes" if limit_nbytes is not None else f"{least.peak:g} stashes"
        raise OutOfMemory(f"no schedule keeps to {asked} a rank; {least.schedule.name} needs least, {need}:\n{table(found)}")
    return Choice(tuple(found))


Maker = Callable[[int, int, Times], Schedule]


def _candidates(stages: int, ranks: int, micro_batches: int, times: Times, limit: Limit) -> Iterator[Candidate]:
    each = stages // ranks
    for v in (n for n in range(1, each + 1) if each % n == 0):
        cap = limit.cap(stages, ranks, v, micro_batches)
        chunk_times = joined_times(times, ranks * v, each // v)
        for made in _schedules(ranks, micro_batches, chunk_times, v, cap):
            schedule = expanded(made, each // v)
            run, held = replay(schedule, times), limit.held(schedule)
            fits = run.peak <= limit.stashes + 1e-9 and held <= limit.nbytes
            yield Candidate(schedule, v, run.seconds, run.bubble, run.peak, held, fits)


def _schedules(ranks: int, micro_batches: int, times: Times, v: int, cap: int) -> Iterator[Schedule]:
    """Schedules of v chunks a rank: the named ones, and those of exactly `cap` stashes of a chunk."""
    entries: list[NamedSchedule] = [interleaved_by(v)] if v > 1 else [GPIPE, ONE_F_ONE_B, ZERO_BUBBLE_H1, ZERO_BUBBLE_H2]
    if v == 2:
        entries += [ZERO_BUBBLE_V, ZERO_BUBBLE_V_HALF, ZERO_BUBBLE_V_THIRD]
    for entry in entries:
        yield entry.make(ranks, micro_batches, times)
    caps = [cap] * ranks
    if v == 1 and cap < ranks:
        yield replace(one_f_one_b_order(ranks, micro_batches, most=max(cap, 1)), name=f"1f1b of {max(cap, 1)}")
    if v == 1 and cap >= 1:
        bases = [order_h(ranks, micro_batches, double=False, most=cap), order_h(ranks, micro_batches, double=True, most=cap)]
        yield replace(best_shaped(bases, times, caps), name=f"zero-bubble of {cap}")
    if v == 2:
        points = [order_v(ranks, micro_batches), *(e.make(ranks, micro_batches) for e in (ZERO_BUBBLE_V_HALF, ZERO_BUBBLE_V_THIRD))]
        bases = [order for order in points if max(round(2 * p) for p in replay(order).peaks) <= cap]
        if bases:
            yield replace(best_shaped(bases, times, caps), name=f"zero-bubble-v of {cap / 2:g}")


# ---------------------------------------------------------------- stages joined to chunks


def joined_times(times: Times, chunks: int, each: int) -> Times:
    """The times of chunks that are `each` neighbouring stages."""

    def sums(phase: str) -> tuple[float, ...]:
        return tuple(sum(times.of(phase, chunk * each + n) for n in range(each)) for chunk in range(chunks))

    return Times(sums("F"), sums("I"), sums("W"), times.communication)


def expanded(schedule: Schedule, each: int) -> Schedule:
    """The schedule of stages of which `each` neighbours are a chunk of `schedule`: forward up the stages, backward down."""
    if each == 1:
        return schedule
    up, down = range(each), range(each - 1, -1, -1)
    rows = (
        tuple(Action(a.stage * each + n, a.phase, a.micro_batch) for a in row for n in (up if a.phase == "F" else down))
        for row in schedule.rows
    )
    return Schedule(schedule.name, tuple(rows))
