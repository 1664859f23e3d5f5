"""A cost network: variables with finite domains, and tables of costs over some of them. `least` finds the cheapest assignment.

Elimination is exact (bucket elimination, Dechter 1999; on a tree it is Viterbi's dynamic programming): a variable is removed by
minimising it out of the sum of the tables that know it, the one whose sum is smallest first. Where a sum would be larger than
`LARGEST`, mini-buckets (Dechter and Rish 2003) give a lower bound instead: the tables are minimised in groups that fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop, heappush

import numpy as np

LARGEST = 1 << 20
"""Entries of the largest table that elimination may make."""

Scope = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """costs[i, j, ...] of the variables of `scope` (rising) having the values i, j, ...; infinity forbids."""

    scope: Scope
    costs: np.ndarray


@dataclass(frozen=True)
class Network:
    """`sizes` of the domains of the variables 0, 1, ..., and the tables whose sum is the cost."""

    sizes: tuple[int, ...]
    tables: tuple[Table, ...]

    def cost(self, assignment: Sequence[int]) -> float:
        """The sum over all tables, to the last bit the same for the same network."""
        return math.fsum(float(t.costs[tuple([assignment[v] for v in t.scope])]) for t in self.tables)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """All variables, in the order in which elimination makes small tables."""
        return elimination(self.sizes, [t.scope for t in self.tables])[0]


def elimination(
    sizes: Sequence[int], scopes: Iterable[Scope], largest: float = math.inf, never: frozenset[int] = frozenset()
) -> tuple[tuple[int, ...], set[int]]:
    """An order to eliminate all variables in (greedy: the smallest table next), and which have to be held at one value so that no
    table has more than `largest` entries: those in most tables first, `never` some (which may then make larger tables)."""
    near: dict[int, set[int]] = {v: set() for v in range(len(sizes))}
    for scope in scopes:
        for v in scope:
            near[v].update(scope)
    for v, others in near.items():
        others.discard(v)
    held: set[int] = set()
    order = [v for v, others in near.items() if not others]
    for v in order:
        del near[v]

    weight = {v: math.prod([sizes[other] for other in others]) * sizes[v] for v, others in near.items()}
    queue = [(w, v) for v, w in weight.items()]
    heapify(queue)
    while queue:
        least_entries, chosen = heappop(queue)
        if weight.get(chosen) != least_entries:
            continue
        candidates = [v for v in (chosen, *near[chosen]) if v not in never] if least_entries > largest else []
        if candidates:
            chosen = max(candidates, key=lambda v: (len(near[v]), v))
            held.add(chosen)
        order.append(chosen)
        around = near.pop(chosen)
        del weight[chosen]
        for v in around:
            near[v].discard(chosen)
            weight[v] //= sizes[chosen]
            if not candidates:
                new = around - near[v]
                new.discard(v)
                near[v] |= new
                weight[v] *= math.prod([sizes[other] for other in new])
            heappush(queue, (weight[v], v))
    return tuple(order), held


def least(network: Network, largest: float = math.inf) -> tuple[float, list[int]]:
    """A cost that no assignment is below, and an assignment. Without `largest` the cost is the assignment's, the least there is.

    largest: entries of the largest table that is made. Where a variable's tables have a larger sum they are minimised in groups,
    so that the cost is a bound and the assignment a guess; it has the least cost if the network says that it costs the bound.
    """
    waiting: dict[int, list[Table]] = {v: [] for v in range(len(network.sizes))}
    place = {v: i for i, v in enumerate(network.order)}
    constant = _file(network.tables, waiting, place)
    removed = []
    for v in network.order:
        tables = waiting.pop(v)
        removed.append((v, tables))
        for group in _groups(tables, network.sizes, largest):
            scope, total = _sum(group, network.sizes)
            axis = scope.index(v)
            constant += _file([Table((*scope[:axis], *scope[axis + 1 :]), total.min(axis=axis))], waiting, place)
    found = [0] * len(network.sizes)
    for v, tables in reversed(removed):
        if tables and network.sizes[v] > 1:
            found[v] = int(np.sum([_slice(table, v, found) for table in tables], axis=0).argmin())
    return constant, found


def _slice(table: Table, v: int, found: Sequence[int]) -> np.ndarray:
    """The costs of the values of v, the other variables as found."""
    return table.costs[tuple([slice(None) if other == v else found[other] for other in table.scope])]


def _file(tables: Iterable[Table], waiting: dict[int, list[Table]], place: dict[int, int]) -> float:
    """Hand each table to the variable of its scope that is eliminated first; returns the sum of those without any."""
    constant = 0.0
    for table in tables:
        if table.scope:
            waiting[min(table.scope, key=place.__getitem__)].append(table)
        else:
            constant += float(table.costs)
    return constant


def _groups(tables: list[Table], sizes: Sequence[int], largest: float) -> list[list[Table]]:
    """Tables in groups whose sums have at most `largest` entries (a table that is larger stands alone), largest first."""
    groups: list[tuple[set[int], list[Table]]] = []
    if math.prod(sizes[v] for v in set().union(*(t.scope for t in tables))) <= largest:
        return [tables] if tables else []
    for table in sorted(tables, key=lambda t: -t.costs.size):
        for scope, members in groups:
            if math.prod(sizes[v] for v in scope.union(table.scope)) <= largest:
                scope.update(table.scope)
                members.append(table)
                break
        else:
            groups.append((set(table.scope), [table]))
    return [members for _, members in groups]


def _sum(tables: list[Table], sizes: Sequence[int]) -> tuple[Scope, np.ndarray]:
    """The sum of the tables over the union of their scopes."""
    scope = tuple(sorted(set().union(*(t.scope for t in tables))))
    total = np.zeros(tuple([sizes[other] for other in scope]))
    for table in tables:
        total += table.costs.reshape([sizes[other] if other in table.scope else 1 for other in scope])
    return scope, total
