"""Elimination, integer program and likeness, against looking at everything."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from oflow.compiler.assignment import Moving, Problem, Same, Weights
from oflow.compiler.cheapest import cheapest, improved
from oflow.compiler.integer_program import solve
from oflow.compiler.likeness import classes
from oflow.compiler.network import Network, Table, elimination, least
from oflow.sbp import B, P, S

LAYOUTS = [(B, B), (B, S(0)), (S(0), B), (S(0), S(0)), (P, B), (P, S(0))]


def random_network(draw: np.random.Generator, variables: int, tables: int) -> Network:
    sizes = tuple(draw.integers(1, 4, variables).tolist())
    made = []
    for _ in range(tables):
        scope = tuple(sorted(draw.choice(variables, draw.integers(1, 4), replace=False).tolist()))
        costs = draw.integers(0, 9, [sizes[v] for v in scope]).astype(float)
        costs[draw.random(costs.shape) < 0.1] = np.inf
        made.append(Table(scope, costs))
    return Network(sizes, tuple(made))


def brute(cost: object, sizes: tuple[int, ...]) -> float:
    return min(cost(picks) for picks in itertools.product(*map(range, sizes)))  # type: ignore[operator]


@pytest.mark.parametrize("seed", range(40))
def test_elimination_is_exact_and_mini_buckets_bound_it(seed: int) -> None:
    draw = np.random.default_rng(seed)
    network = random_network(draw, 7, 9)
    wanted = brute(network.cost, network.sizes)
    found, picks = least(network)
    assert found == wanted == network.cost(picks), f"seed {seed}"
    for largest in (1, 8, 30):
        bound, guess = least(network, largest)
        assert bound <= wanted <= network.cost(guess), f"seed {seed}"


@pytest.mark.parametrize("seed", range(20))
def test_holding_variables_keeps_tables_small(seed: int) -> None:
    network = random_network(np.random.default_rng(seed), 12, 16)
    for largest in (30, 100):
        order, held = elimination(network.sizes, [t.scope for t in network.tables], largest)
        assert sorted(order) == list(range(12))
        near = {v: {u for t in network.tables if v in t.scope for u in t.scope} - held - {v} for v in range(12)}
        for v in (v for v in order if v not in held):
            assert np.prod([network.sizes[u] for u in (v, *near[v])]) <= largest, f"seed {seed}"
            for u in near[v]:
                near[u] = (near[u] | near[v]) - {u, v}


class Fixed:
    """Costs of boxings, as given."""

    def __init__(self, costs: np.ndarray) -> None:
        self.costs = costs

    def row(self, kind: int, have: int) -> Mapping[int, float]:
        return dict(enumerate(self.costs[kind, have].tolist()))


def random_problem(draw: np.random.Generator, variables: int, values: int) -> Problem:
    """Variables that make and read values in some of six layouts; a value may be read by its own maker's class."""
    costs = draw.integers(1, 9, (2, 6, 6)).astype(float)
    costs[draw.random(costs.shape) < 0.05] = np.inf
    costs[:, range(6), range(6)] = 0
    sizes = draw.integers(1, 5, variables).tolist()
    layouts = [tuple((int(one),) for one in draw.choice(6, n, replace=False)) for n in sizes]

    def by_choice(v: int) -> tuple[int, ...]:
        return tuple(draw.integers(0, 6, sizes[v]).tolist())

    movings = []
    for _ in range(values):
        maker, *readers = draw.integers(0, variables, draw.integers(2, 5)).tolist()
        constants = tuple(draw.integers(0, 6, draw.integers(0, 2)).tolist())
        movings.append(Moving(int(draw.integers(2)), maker, by_choice(maker), tuple((v, by_choice(v)) for v in readers), constants, 2))
    first = tuple(one[0] for one in layouts[0])
    sames = (Same(0, first, 1, (first[0], *by_choice(1)[1:])),)
    seconds = tuple(draw.integers(0, 9, n).astype(float) for n in sizes)
    return Problem(Fixed(costs), LAYOUTS, seconds, tuple(layouts), tuple(movings), sames)


def by_hand(problem: Problem, picks: tuple[int, ...]) -> float:
    """The cost of an assignment from the definition."""
    total = sum(one[pick] for one, pick in zip(problem.seconds, picks, strict=True))
    for m in problem.movings:
        have = m.made[picks[m.maker]]
        wants = {wants[picks[v]] for v, wants in m.readers} | set(m.constants)
        total += m.times * sum(problem.moves.row(m.kind, have)[want] for want in wants)
    return total if all(s.of_first[picks[s.first]] == s.of_second[picks[s.second]] for s in problem.sames) else np.inf


@pytest.mark.parametrize("seed", range(40))
def test_every_way_to_solve_finds_the_least(seed: int) -> None:
    draw = np.random.default_rng(seed)
    problem = random_problem(draw, 6, 7)
    sizes = tuple(map(len, problem.seconds))
    for picks in itertools.islice(itertools.product(*map(range, sizes)), 0, None, 7):
        assert problem.cost(picks) == pytest.approx(by_hand(problem, picks)), f"seed {seed}"
    wanted = brute(lambda picks: by_hand(problem, picks), sizes)
    network = problem.network(problem.everything, 4)
    assert least(network)[0] <= wanted + 1e-9, "even shares bound the cost"
    found = solve(problem)
    if wanted == np.inf:
        assert found is None
        return
    assert found is not None
    assert problem.cost(found[0]) == pytest.approx(wanted) == pytest.approx(found[1]), f"seed {seed}"
    answer = cheapest(problem, [[0] * len(sizes)])
    assert answer.seconds == pytest.approx(wanted) == pytest.approx(answer.bound), f"seed {seed}"
    assert improved(problem, answer.picks, [0, 1])[0] == pytest.approx(wanted)


@pytest.mark.parametrize("seed", range(10))
def test_readers_without_a_choice_are_no_axes_of_a_table(seed: int) -> None:
    """A mask that hundreds of layers draw from the same numbers: all but a few of its readers are held at once."""
    draw = np.random.default_rng(seed)
    problem = random_problem(draw, 150, 0)
    readers = tuple((v, tuple(draw.integers(0, 6, len(one)).tolist())) for v, one in enumerate(problem.seconds) if v)
    made = tuple(draw.integers(0, 6, len(problem.seconds[0])).tolist())
    problem = replace(problem, movings=(Moving(0, 0, made, readers, (), 2),), sames=())
    domains = [list(range(len(one))) if v < 4 else [0] for v, one in enumerate(problem.seconds)]
    rest = (0,) * (len(problem.seconds) - 4)
    wanted = min(by_hand(problem, (*picks, *rest)) for picks in itertools.product(*domains[:4]))
    assert least(problem.network(domains))[0] == pytest.approx(wanted), f"seed {seed}"


@pytest.mark.parametrize("seed", range(25))
def test_a_limit_is_kept_at_the_least_cost(seed: int) -> None:
    draw = np.random.default_rng(seed)
    problem = random_problem(draw, 5, 6)
    weigh = draw.integers(0, 5, (6, 6)).astype(float)
    weigh[range(6), range(6)] = 0
    weights = Weights([draw.integers(0, 9, len(one)).astype(float) for one in problem.seconds], lambda _, a, b: float(weigh[a, b]))
    everything = list(itertools.product(*(range(len(one)) for one in problem.seconds)))
    finite = [(by_hand(problem, picks), problem.weight(weights, picks)) for picks in everything]
    finite = [one for one in finite if one[0] < np.inf]
    for most in sorted({weight for _, weight in finite})[:6:2]:
        wanted = min(cost for cost, weight in finite if weight <= most)
        found = solve(problem, [(weights, most)])
        assert found is not None and problem.weight(weights, found[0]) <= most, f"seed {seed}"
        assert problem.cost(found[0]) == pytest.approx(wanted), f"seed {seed}"
        for price in (0.1, 1.0, 10.0):
            relaxed = cheapest(problem.priced(weights, price), [found[0]])
            assert relaxed.bound - price * most <= wanted + 1e-9, "a price bounds from below"


def test_likeness_is_local() -> None:
    """In a chain of equal nodes the ends are apart, as far as they are seen, and the middle is one class."""
    found = classes(["node"] * 20, [(i, i + 1, 0) for i in range(19)], rounds=3)
    assert len(set(found[3:-3])) == 1
    assert len(set(found)) == 7
    assert classes(["a", "b", "a"], [], 4) == [0, 1, 0]
