"""The question that inference answers, as data: variables with choices, and what they cost together.

A variable is a class of nodes that are alike, or of inputs and parameters (their choice is where they live). Costs are the work of
each choice, the boxings of each value from the layout it is made in to the layouts its readers want (equal wants are served once),
and the rule that state is rewritten where it lives. `network` writes them as tables over chosen parts of the domains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from oflow.compiler.network import LARGEST, Network, Table, elimination
from oflow.sbp import Sbp

Domains = Sequence[Sequence[int]]
"""For each variable the choices that may be taken, by number."""


@dataclass(frozen=True, slots=True)
class Moving:
    """A value: the variable that makes it and in which layout by choice; (variable, wanted layout by choice) of each reader;
    layouts that are wanted in any case. `times`: how many values of the graph this stands for."""

    kind: int
    maker: int
    made: tuple[int, ...]
    readers: tuple[tuple[int, tuple[int, ...]], ...]
    constants: tuple[int, ...]
    times: int = 1


@dataclass(frozen=True, slots=True)
class Same:
    """Two variables whose choices must give these layouts alike."""

    first: int
    of_first: tuple[int, ...]
    second: int
    of_second: tuple[int, ...]


class Moves(Protocol):
    """What boxings cost: a row of seconds by wanted layout, for a kind of value in a layout, all by number."""

    def row(self, kind: int, have: int) -> Mapping[int, float]: ...


@dataclass(frozen=True)
class Weights:
    """What else an assignment takes, in bytes, say: choices[i][c] of choice c of variable i; move(kind, from, to) of a boxing."""

    choices: Sequence[np.ndarray]
    move: Callable[[int, int, int], float]


@dataclass(frozen=True)
class Problem:
    """seconds[i][c]: the work of choice c of variable i, over all that the variable stands for; layouts[i][c]: what it decides.

    sbp: of all layouts, by number.
    """

    moves: Moves
    sbp: Sequence[tuple[Sbp, ...]]
    seconds: tuple[np.ndarray, ...]
    layouts: tuple[tuple[tuple[int, ...], ...], ...]
    movings: tuple[Moving, ...]
    sames: tuple[Same, ...]

    @property
    def everything(self) -> Domains:
        return [range(len(one)) for one in self.seconds]

    @cached_property
    def axes(self) -> int:
        """Mesh axes of the largest mesh."""
        return max(map(len, self.sbp), default=1)

    @cached_property
    def degrees(self) -> list[int]:
        """How many values each variable makes or reads."""
        found = [0] * len(self.seconds)
        for moving in self.movings:
            for v in {moving.maker, *(v for v, _ in moving.readers)}:
                found[v] += 1
        return found

    @cached_property
    def _along(self) -> list[np.ndarray]:
        """By variable, choice and mesh axis: a number for what the choice does there."""
        known: dict[tuple[object, ...], int] = {}
        sbp = self.sbp

        def number(choice: tuple[int, ...], axis: int) -> int:
            return known.setdefault(tuple([sbp[one][axis] if axis < len(sbp[one]) else None for one in choice]), len(known))

        return [np.array([[number(choice, a) for a in range(self.axes)] for choice in choices]) for choices in self.layouts]

    def along(self, picks: Sequence[int], axis: int) -> Domains:
        """The choices that differ from the picked ones on this mesh axis only."""
        others = [a for a in range(self.axes) if a != axis]
        return [np.flatnonzero((one[:, others] == one[pick, others]).all(axis=1)).tolist()
                for one, pick in zip(self._along, picks, strict=True)]  # fmt: skip

    def boxings_of(self, domains: Domains) -> int:
        """How many boxings these choices ask the cost of."""
        asked = set()
        for moving in self.movings:
            made = {moving.made[c] for c in domains[moving.maker]}
            wants = {wants[c] for v, wants in moving.readers for c in domains[v]}.union(moving.constants)
            asked |= {(moving.kind, have, want) for have in made for want in wants}
        return len(asked)

    def held(self, domains: Domains, never: frozenset[int] = frozenset(), largest: int = LARGEST) -> set[int]:
        """Variables that have to be held so that finding the best of these choices makes no larger table; empty: none."""
        sizes = tuple(map(len, domains))
        scopes = self._scopes(domains)
        held: set[int] = set()
        for scope in scopes:  # the table of a value with many readers
            while math.prod([sizes[v] for v in scope if v not in held]) > largest:
                open_ones = [v for v in scope if v not in held and v not in never] or [v for v in scope if v not in held]
                held.add(max(open_ones, key=lambda v: (sizes[v], self.degrees[v], v)))
        rest = [tuple([v for v in scope if v not in held]) for scope in scopes]
        return held | elimination(sizes, rest, largest, never)[1]

    def _scopes(self, domains: Domains) -> list[tuple[int, ...]]:
        pairs = [(m.maker, *(r for r, _ in m.readers)) for m in self.movings] + [(s.first, s.second) for s in self.sames]
        return [_open(pair, domains) for pair in pairs]

    def network(self, domains: Domains, largest: int = LARGEST) -> Network:
        """Tables over these choices. A value with so many readers that its table had more than `largest` entries is written as one
        table a reader, each with an even share of the cost, so that the network only bounds the cost from below."""
        tables = [Table((v,), one[list(domain)]) for v, (one, domain) in enumerate(zip(self.seconds, domains, strict=True))]
        for moving in self.movings:
            tables += self._moving(moving, domains, largest)
        for same in self.sames:
            first, second = ([of[c] for c in domains[v]] for v, of in ((same.first, same.of_first), (same.second, same.of_second)))
            forbidden = np.where(np.array(first)[:, None] == np.array(second), 0.0, np.inf)
            tables.append(_table(domains, [same.first, same.second], forbidden))
        return Network(tuple(map(len, domains)), tuple(tables))

    def cost(self, picks: Sequence[int]) -> float:
        """Seconds per step of an assignment, to the last bit the same for the same problem."""
        if any(same.of_first[picks[same.first]] != same.of_second[picks[same.second]] for same in self.sames):
            return math.inf
        works = [float(one[pick]) for one, pick in zip(self.seconds, picks, strict=True)]
        moved = [moving.times * self.moves.row(moving.kind, made)[want] for moving, made, wants in self._moved(picks) for want in wants]
        return math.fsum(works + moved)

    def _moved(self, picks: Sequence[int]) -> Iterator[tuple[Moving, int, list[int]]]:
        """Each value with the layout it is made in and the others that are wanted, rising."""
        for moving in self.movings:
            made = moving.made[picks[moving.maker]]
            wants = {*(wants[picks[v]] for v, wants in moving.readers), *moving.constants} - {made}
            yield moving, made, sorted(wants)

    def weight(self, weights: Weights, picks: Sequence[int]) -> float:
        """What an assignment takes: its choices, and each boxing once."""
        total = float(sum(one[pick] for one, pick in zip(weights.choices, picks, strict=True)))
        for moving, made, wants in self._moved(picks):
            total += moving.times * sum(weights.move(moving.kind, made, want) for want in wants)
        return total

    def priced(self, weights: Weights, price: float) -> Problem:
        """The problem in which every unit of weight costs `price` seconds more."""
        seconds = tuple(one + price * weight for one, weight in zip(self.seconds, weights.choices, strict=True))
        return replace(self, seconds=seconds, moves=_Priced(self.moves, weights, price))

    def _moving(self, moving: Moving, domains: Domains, largest: int) -> list[Table]:
        made = [moving.made[c] for c in domains[moving.maker]]
        wanted = [(v, [wants[c] for c in domains[v]]) for v, wants in moving.readers]
        entries = len(made) * math.prod(len(one) for _, one in wanted)
        if entries <= largest or len(wanted) < 2:  # readers without a choice are no axes of the table: there may be hundreds
            settled = {wants[0] for _, wants in wanted if len(wants) == 1}.difference(moving.constants)
            open_ones = [one for one in wanted if len(one[1]) > 1]
            return [self._dense(moving, domains, made, open_ones, (*moving.constants, *sorted(settled)), moving.times)]
        share = moving.times / (len(wanted) + bool(moving.constants))
        return [self._dense(moving, domains, made, [one], moving.constants, share) for one in wanted]

    def _dense(
        self, moving: Moving, domains: Domains, made: list[int], wanted: list[tuple[int, list[int]]], constants: tuple[int, ...],
        times: float,
    ) -> Table:  # fmt: skip
        """Costs over maker and readers: each want that no constant and no earlier reader has is paid for."""
        rows = [self.moves.row(moving.kind, have) for have in made]
        count = len(wanted) + 1
        total = np.array([sum([row[constant] for constant in constants]) for row in rows]).reshape([-1] + [1] * (count - 1))
        for i, (_, wants) in enumerate(wanted, 1):
            unserved = [want not in constants for want in wants]
            costs = np.array([[row[want] if paid else 0.0 for want, paid in zip(wants, unserved, strict=True)] for row in rows])
            costs = costs.reshape([len(made), *(len(wants) if j == i else 1 for j in range(1, count))])
            for j, (_, other) in enumerate(wanted[: i - 1], 1):
                if not set(wants).isdisjoint(other):
                    shape = [len(one) if k in (i, j) else 1 for k, one in enumerate((made, *(w for _, w in wanted)))]
                    equal = np.equal.outer(other, wants).reshape(shape)
                    costs = np.where(equal, 0.0, costs)
            total = total + costs
        return _table(domains, [moving.maker, *(v for v, _ in wanted)], times * total)


class _Priced:
    """Boxings whose weight costs seconds."""

    def __init__(self, moves: Moves, weights: Weights, price: float) -> None:
        self.moves, self.weights, self.price = moves, weights, price
        self.rows: dict[tuple[int, int], _PricedRow] = {}

    def row(self, kind: int, have: int) -> Mapping[int, float]:
        if (kind, have) not in self.rows:
            self.rows[kind, have] = _PricedRow(self, kind, have)
        return self.rows[kind, have]


class _PricedRow(dict[int, float]):
    def __init__(self, of: _Priced, kind: int, have: int) -> None:
        super().__init__()
        self.of, self.kind, self.have = of, kind, have

    def __missing__(self, want: int) -> float:
        seconds = self.of.moves.row(self.kind, self.have)[want]
        found = self[want] = seconds + (self.of.price * self.of.weights.move(self.kind, self.have, want) if want != self.have else 0.0)
        return found


def _open(variables: Sequence[int], domains: Domains) -> tuple[int, ...]:
    """Those of the variables that have more than one choice, each once, rising."""
    return tuple(sorted({v for v in variables if len(domains[v]) > 1}))


def _table(domains: Domains, variables: Sequence[int], costs: np.ndarray) -> Table:
    """The table over the open ones of `variables`, of which some may stand twice."""
    once = sorted(set(variables))
    if len(once) < len(variables):
        costs = np.broadcast_to(costs, [len(domains[v]) for v in variables])
        costs = np.einsum(costs, [once.index(v) for v in variables], list(range(len(once))))
    else:
        costs = costs.transpose([variables.index(v) for v in once])
    scope = _open(once, domains)
    return Table(scope, costs.reshape([len(domains[v]) for v in scope]))
