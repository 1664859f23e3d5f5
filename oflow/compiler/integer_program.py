"""The assignment problem as an integer program, for HiGHS (through scipy).

Columns: x[i, c], variable i takes choice c; z[v, h, w], value v is brought from layout h to layout w. Each value's readers' wants
have to be served, from the layout it is made in: sum over h of z[v, h, w] >= the wants w of each reader, and z[v, h, w] <= made in h
(as in facility location, whose relaxation is tight). A limit on bytes is one more row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from oflow.compiler.assignment import Domains, Moving, Problem, Weights

COLUMNS, COLUMNS_OF_ONE_AXIS = 6_000, 24_000
"""The largest program that is solved while compiling. On one mesh axis relaxations are nearly whole and 20,000 columns take about two
processor seconds; on several they branch, and 8,000 can take fifteen."""

Row = tuple[list[int], list[float], float, float]
"""Columns, their factors, and the least and the largest sum."""


def columns(problem: Problem, domains: Domains) -> int:
    """Columns of the program."""
    return sum(map(len, domains)) + sum(len(_pairs(m, domains)) for m in problem.movings)


def solve(
    problem: Problem, limits: Sequence[tuple[Weights, float]] = (), branches: int | None = None
) -> tuple[list[int], float] | None:
    """A least-cost assignment and a lower bound on all; None where there is none.

    limits: pairs of what choices and boxings weigh (bytes, say) and the largest sum.
    branches: of the search at most (a count, so that plans do not depend on the clock); what it found so far is returned.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp  # takes 0.2 s to import
    from scipy.sparse import csr_array

    program = _Program(problem)
    for weights, limit in limits:
        flat = np.concatenate([*weights.choices, [times * weights.move(*move) for move, times in program.moves]]) / max(limit, 1.0)
        program.rows.append((list(range(flat.size)), flat.tolist(), -math.inf, limit / max(limit, 1.0)))
    lengths = [len(row[0]) for row in program.rows]
    data = np.concatenate([np.asarray(row[1]) for row in program.rows])
    where = np.concatenate([np.asarray(row[0]) for row in program.rows])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    matrix = csr_array((data, where, starts), shape=(len(program.rows), len(program.costs)))
    unit = max(program.costs) or 1.0
    binary = np.zeros(len(program.costs))
    binary[: program.choices] = 1
    found = milp(
        np.array(program.costs) / unit, integrality=binary, bounds=Bounds(0, 1),
        constraints=LinearConstraint(matrix, [row[2] for row in program.rows], [row[3] for row in program.rows]),
        options={"mip_rel_gap": 1e-9, **({} if branches is None else {"node_limit": branches})},
    )  # fmt: skip
    if found.x is None:
        return None
    picks = [int(np.argmax(found.x[start : start + len(one)])) for start, one in zip(program.starts, problem.seconds, strict=True)]
    return picks, float(found.mip_dual_bound) * unit


class _Program:
    """Costs of the columns, and rows, while they are written."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.starts = np.cumsum([0, *map(len, problem.seconds)])[:-1].tolist()
        self.costs: list[float] = np.concatenate(list(problem.seconds)).tolist()
        self.choices = len(self.costs)
        self.moves: list[tuple[tuple[int, int, int], int]] = []
        """(kind, from, to) of the columns after the choices, and how many values each stands for."""
        self.rows: list[Row] = []
        for start, one in zip(self.starts, problem.seconds, strict=True):
            self._row(range(start, start + len(one)), 1.0, 1.0, 1.0)
        for moving in problem.movings:
            self._moving(moving)
        for same in problem.sames:
            for layout in {*same.of_first, *same.of_second}:
                first, second = (self._picks(v, of, layout) for v, of in ((same.first, same.of_first), (same.second, same.of_second)))
                self.rows.append(([*first, *second], [1.0] * len(first) + [-1.0] * len(second), 0.0, 0.0))

    def _row(self, columns: Sequence[int] | range, factor: float, low: float, high: float) -> None:
        self.rows.append((list(columns), [factor] * len(columns), low, high))

    def _picks(self, variable: int, layouts: Sequence[int], layout: int) -> list[int]:
        """The columns of the choices that give this layout."""
        return [self.starts[variable] + c for c, one in enumerate(layouts) if one == layout]

    def _moving(self, moving: Moving) -> None:
        pairs = _pairs(moving, self.problem.everything)
        column = {}
        for have, want in pairs:
            seconds = self.problem.moves.row(moving.kind, have)[want]
            if seconds < math.inf:
                column[have, want] = len(self.costs)
                self.costs.append(moving.times * seconds)
                self.moves.append(((moving.kind, have, want), moving.times))
        for (have, _), z in column.items():
            made = self._picks(moving.maker, moving.made, have)
            self.rows.append(([z, *made], [1.0, *[-1.0] * len(made)], -math.inf, 0.0))
        for want in dict.fromkeys(w for _, w in pairs):
            serving = [z for (_, w), z in column.items() if w == want]
            for variable, wants in moving.readers:
                reading = self._picks(variable, wants, want)
                if reading:
                    self._covers(serving, reading)
            if want in moving.constants:
                self._row(serving, 1.0, 1.0, math.inf)

    def _covers(self, serving: list[int], reading: list[int]) -> None:
        self.rows.append(([*serving, *reading], [1.0] * len(serving) + [-1.0] * len(reading), 0.0, math.inf))


def _pairs(moving: Moving, domains: Domains) -> list[tuple[int, int]]:
    """(layout made, layout wanted) of a value, each once."""
    made = dict.fromkeys(moving.made[c] for c in domains[moving.maker])
    wants = dict.fromkeys([*(wants[c] for v, wants in moving.readers for c in domains[v]), *moving.constants])
    return [(have, want) for have in made for want in wants]
