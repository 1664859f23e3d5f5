"""Named schedules shaped for given times: never worse than the published order, close to the optimum where that is known."""

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize

from oflow.compiler.schedules import SCHEDULES, find_schedule, named_schedule
from oflow.compiler.schedules.shape import Room
from oflow.errors import PlanError
from oflow.schedule import Schedule, Times, from_csv, replay, verify_schedule
from oflow.schedule.replay import Graph

PUBLISHED = json.loads((Path(__file__).parent / "published_v.json").read_text())
"""Peak, and seconds for each of `times`, of the orders that a published generator makes, by ranks and micro-batches."""
GRID = [(ranks, ranks * k) for ranks in (2, 4, 8, 16) for k in (1, 2, 4, 8)]
SMALL = [(ranks, many) for ranks, many in GRID if ranks * many <= 64]
EQUAL = {
    "equal": Times(), "slower I": Times(1, 1.2, 0.8), "double I": Times(1, 2, 1), "communication 0.1": Times(communication=0.1),
    "communication 0.5": Times(communication=0.5),
}  # fmt: skip


def unequal(stages: int) -> Times:
    """Every stage has times of its own, and messages take a while."""
    rng = random.Random(stages)
    f, i, w = (tuple(round(rng.uniform(0.8, 1.6), 2) for _ in range(stages)) for _ in "FIW")
    return Times(f, i, w, 0.1)


def no_worse_than_published(ranks: int, many: int) -> None:
    for name, entry in SCHEDULES.items():
        published = entry.make(ranks, many)
        for label, times in (EQUAL | {"unequal": unequal(entry.chunks * ranks)}).items():
            made = entry.make(ranks, many, times)
            verify_schedule(made)
            before, after = replay(published, times), replay(made, times)
            assert after.seconds <= before.seconds * (1 + 1e-12) and after.peak <= before.peak, (name, ranks, many, label)
            assert after.span <= before.span * (1 + 1e-12), (name, ranks, many, label)
    for name in ("zero-bubble-v-half", "zero-bubble-v-third"):
        peak, *lengths = PUBLISHED[name][f"{ranks} {many}"]
        for label, seconds in zip(PUBLISHED["times"], lengths, strict=True):
            after = replay(SCHEDULES[name].make(ranks, many, EQUAL[label]), EQUAL[label])
            assert after.peak <= peak and after.seconds <= seconds + 1e-6, (name, ranks, many, label)


@pytest.mark.parametrize(("ranks", "many"), SMALL)
def test_shaped_schedules_are_no_worse_than_the_published_orders(ranks: int, many: int) -> None:
    no_worse_than_published(ranks, many)


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "many"), [case for case in GRID if case not in SMALL])
def test_shaped_schedules_are_no_worse_on_the_whole_grid(ranks: int, many: int) -> None:
    no_worse_than_published(ranks, many)


def test_shaping_is_reproducible_and_helps() -> None:
    times = Times(1, 2, 1, 0.2)
    first, again = (SCHEDULES["zero-bubble-v-half"].make(4, 8, times) for _ in range(2))
    assert first == again
    assert replay(first, times).seconds < 0.97 * replay(SCHEDULES["zero-bubble-v-half"].make(4, 8), times).seconds


def shortest(schedule: Schedule, times: Times, caps: list[int]) -> float:
    """The least length of any order of these actions that keeps to `caps` stashes a rank, as an integer program (HiGHS).

    Variables: the start of every action, the length, and for each two actions of a rank which one comes first. A forward counts
    those forwards of its rank that come before it, less the freeing actions that do.
    """
    graph = Graph(schedule, times)
    room, size = Room(graph, schedule), len(graph.actions)
    pairs = [pair for row in graph.rows for pair in itertools.combinations(row, 2)]
    first = {pair: size + 1 + n for n, pair in enumerate(pairs)}
    width, horizon = size + 1 + len(pairs), replay(schedule, times).seconds
    program = Program(width)
    for n, source in enumerate(graph.source):
        program.at_most({n: 1, size: -1}, -graph.seconds[n])
        for needed, lag in ((source, graph.lag[n]), (room.own[n], 0.0)):
            if needed >= 0:
                program.at_most({needed: 1, n: -1}, -graph.seconds[needed] - lag)
    for (a, b), y in first.items():
        program.at_most({a: 1, b: -1, y: horizon}, horizon - graph.seconds[a])
        program.at_most({b: 1, a: -1, y: -horizon}, -graph.seconds[b])
        if room.line[a] == room.line[b]:
            ahead = graph.actions[a].micro_batch < graph.actions[b].micro_batch
            program.at_most({y: -1 if ahead else 1}, -1 if ahead else 0)
    for row, cap in zip(graph.rows, caps, strict=True):
        counted = {m: room.takes[m] - room.frees[m] for m in row if room.takes[m] or room.frees[m]}
        for n in (n for n in row if room.takes[n]):
            others = {m: factor for m, factor in counted.items() if m != n}
            terms = {first[m, n]: factor for m, factor in others.items() if (m, n) in first}
            terms |= {first[n, m]: -factor for m, factor in others.items() if (n, m) in first}
            program.at_most(terms, cap - 1 - sum(factor for m, factor in others.items() if (n, m) in first))
    return program.least(size, [horizon] * (size + 1) + [1.0] * len(pairs))


class Program:
    """Rows of an integer program; the variables that are at most 1 are whole."""

    def __init__(self, width: int) -> None:
        self.width, self.rows, self.upper = width, [], []

    def at_most(self, terms: dict[int, float], bound: float) -> None:
        row = np.zeros(self.width)
        for column, factor in terms.items():
            row[column] += factor
        self.rows.append(row)
        self.upper.append(bound)

    def least(self, column: int, tops: list[float]) -> float:
        cost = np.zeros(self.width)
        cost[column] = 1
        whole = np.array([top == 1.0 and n > column for n, top in enumerate(tops)], float)
        limits = optimize.LinearConstraint(np.array(self.rows), ub=self.upper)
        found = optimize.milp(cost, integrality=whole, bounds=optimize.Bounds(np.zeros(self.width), tops), constraints=limits)
        assert found.status == 0, found.message
        return float(found.fun)


CASES = [
    ("1f1b", 2, 3), ("zero-bubble-h1", 2, 2), ("zero-bubble-h1", 2, 3), ("zero-bubble-h1", 3, 3),
    ("zero-bubble-h2", 2, 2), ("zero-bubble-h2", 3, 3), ("interleaved", 2, 2), ("zero-bubble-v", 2, 2),
]  # fmt: skip


@pytest.mark.parametrize(("name", "ranks", "many"), CASES)
def test_shaped_schedules_are_the_optimum_of_small_cases(name: str, ranks: int, many: int) -> None:
    for times in (Times(), Times(1, 2, 1), Times(1, 1.2, 0.8, 0.5)):
        entry = SCHEDULES[name]
        published, made = entry.make(ranks, many), entry.make(ranks, many, times)
        graph = Graph(published, times)
        most = Room(graph, published).peaks(graph.rows)
        best = shortest(published, times, most if name == "1f1b" else [max(most)] * ranks)
        assert replay(made, times).seconds == pytest.approx(best, abs=1e-6), times


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("2f2b", 4, 4), "there is no schedule '2f2b'; there are gpipe, 1f1b"),
        (("1f1b", 8, 4), "one stage a rank, 4 stages on 4 ranks or 8 stages on 8 ranks; interleaved, zero-bubble-v"),
        (("zero-bubble", 12, 4), "two stages a rank, 8 stages on 4 ranks or 12 stages on 6 ranks"),
        (("interleaved", 7, 4), "two or more stages a rank, 8 stages on 4 ranks"),
        (("gpipe", 0, 1), "at least one stage"),
    ],
)
def test_stages_that_do_not_fit(asked: tuple[str, int, int], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        named_schedule(*asked, micro_batches=4)


def test_zero_bubble_goes_by_the_number_of_chunks() -> None:
    assert find_schedule("zero-bubble", 4, 4).name == "zero-bubble-h1"
    assert find_schedule("zero-bubble", 8, 4).name == "zero-bubble-v"
    assert find_schedule("interleaved", 12, 4).chunks == 3
    for entry in SCHEDULES.values():
        made = entry.make(3, 4)
        assert tuple(made.homes.values()) == entry.chunk_ranks(3)
        assert made.splits_backward == entry.splits_backward


def test_a_schedule_of_ones_own_must_fit() -> None:
    own = from_csv("0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1\n")
    assert named_schedule(own, 2, 2, 2) is own
    with pytest.raises(PlanError, match=r"\[0, 1\] on 2 ranks and 2 micro-batches, the program has 2 stages on 2 ranks and 4"):
        named_schedule(own, 2, 2, 4)
    with pytest.raises(PlanError, match="0F0 stands after a later"):
        named_schedule(from_csv("0F1,0F0,0B0,0B1\n"), 1, 1, 2)
