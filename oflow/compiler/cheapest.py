"""The cheapest assignment of a problem, and a bound that no assignment is below.

Where elimination's tables stay small the answer is exact at once: trees, chains, and most nets on one mesh axis. Otherwise a small
problem is an integer program (HiGHS), and a large one is improved axis by axis: all variables at once, but only choices that differ
from the present ones on one mesh axis (a very large neighbourhood, searched exactly), until no axis has anything better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from oflow.compiler.assignment import Domains, Problem
from oflow.compiler.integer_program import COLUMNS, COLUMNS_OF_ONE_AXIS, columns, solve
from oflow.compiler.network import LARGEST, least

SWEEPS = 8
TRIED = 3
"""First assignments that are improved, where there are several."""
BRANCHES = 200
"""Of the integer program's search: most are solved at the root."""
NEAR = 1 << 16
"""Entries of the largest table in the search of a neighbourhood: many searches, so each has to be quick."""
EQUAL = 1e-9
"""Relative difference of seconds that is none."""
BOUNDED = 1 << 16
"""Boxings (of a kind of value, from a layout, to a layout) that are worth costing for a bound."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A choice for each variable, its seconds per step, a lower bound on all assignments, and how they were found."""

    picks: tuple[int, ...]
    seconds: float
    bound: float
    method: str


def cheapest(problem: Problem, starts: Sequence[Sequence[int]], largest_program: int | None = None) -> Answer:
    """The best assignment found; exact where `bound` equals `seconds`.

    starts: first assignments. largest_program: columns of the largest integer program that is solved (None: what compiling has time for).
    """
    everything = problem.everything
    if largest_program is None:
        largest_program = COLUMNS_OF_ONE_AXIS if problem.axes == 1 else COLUMNS
    bound, first = float(sum(one.min() for one in problem.seconds)), list(starts)
    if problem.boxings_of(everything) <= BOUNDED:
        relaxed, guess = least(problem.network(everything), LARGEST)
        bound, seconds = max(bound, relaxed), problem.cost(guess)
        if seconds <= bound * (1 + EQUAL):
            return Answer(tuple(guess), seconds, seconds, "elimination")
        first.append(guess)
    first.sort(key=problem.cost)
    axes = tuple(range(problem.axes))
    tried = first[: TRIED if len(starts) > 1 else 1]
    ways = product(tried, dict.fromkeys((axes, axes[::-1])))
    seconds, picks = min((improved(problem, *way) for way in ways), key=lambda one: one[0])
    method = "axis by axis"
    if bound < seconds * (1 - EQUAL) and columns(problem, everything) <= largest_program and (found := solve(problem, branches=BRANCHES)):
        method, bound = "integer program", max(bound, found[1])
        if (other := problem.cost(found[0])) < seconds * (1 - EQUAL):
            seconds, picks = other, found[0]
    return Answer(tuple(picks), seconds, min(bound, seconds), method)


def improved(problem: Problem, start: Sequence[int], axes: Sequence[int]) -> tuple[float, list[int]]:
    """Seconds and assignment after no mesh axis alone has anything better; the axes are tried in this order."""
    picks, seconds = list(start), problem.cost(start)
    for _ in range(SWEEPS):
        before = seconds
        for axis in axes:
            for domains in _neighbourhoods(problem, picks, axis):
                _, local = least(problem.network(domains), NEAR)
                found = problem.cost([domain[i] for domain, i in zip(domains, local, strict=True)])
                if found < seconds * (1 - EQUAL):
                    seconds, picks = found, [domain[i] for domain, i in zip(domains, local, strict=True)]
        if not seconds < before * (1 - EQUAL):
            break
    return seconds, picks


def _neighbourhoods(problem: Problem, picks: Sequence[int], axis: int) -> Iterator[Domains]:
    """All choices that differ from the present ones on this axis only; in two parts where they are too many to search at once."""
    domains = problem.along(picks, axis)
    held = problem.held(domains, largest=NEAR)
    yield _narrowed(domains, picks, held)
    if held:
        yield _narrowed(domains, picks, problem.held(domains, frozenset(held), NEAR))


def _narrowed(domains: Domains, picks: Sequence[int], held: set[int]) -> Domains:
    return [[pick] if v in held else domain for v, (domain, pick) in enumerate(zip(domains, picks, strict=True))]


def second_best(problem: Problem, chosen: Sequence[int], variable: int) -> list[int] | None:
    """The best assignment with another choice of a variable on one mesh axis, all others free on that axis; None where there is none."""
    found: list[tuple[float, int, list[int]]] = []
    for axis in range(problem.axes):
        domains = list(problem.along(chosen, axis))
        for pick in domains[variable]:
            if pick == chosen[variable]:
                continue
            forced = [[pick] if v == variable else domain for v, domain in enumerate(domains)]
            _, local = least(problem.network(forced, LARGEST), LARGEST)
            picks = [domain[i] for domain, i in zip(forced, local, strict=True)]
            found.append((problem.cost(picks), pick, picks))
    return min(found)[2] if found else None
