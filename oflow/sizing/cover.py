"""The cheapest slots that break every known cycle: an integer program over clauses.

A cycle that is too long with given slots stays too long while none of its buffers has more, so one of them must: a clause. The
cheapest slots that satisfy all clauses are a lower bound, and if they make a schedule, the optimum (implicit hitting sets:
Moreno-Centeno & Karp 2013).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from oflow.sizing.flow import Flow
from oflow.sizing.objective import Objective

NODES = 2_000
"""Of HiGHS's search tree: counted, not timed, so that the answer is the same on every machine."""
Clause = tuple[tuple[int, int], ...]
"""(buffer, slots) pairs: at least one buffer has at least so many slots."""


def cover(flow: Flow, clauses: Sequence[Clause], least: Sequence[int]) -> tuple[list[int], int]:
    """(slots, lower bound in bytes) of the cheapest slots with `least` of each buffer and every clause kept.

    Slots are empty where HiGHS found none within its search; the bound holds all the same.
    """
    floor = list(least)
    for clause in clauses:
        if len(clause) == 1:
            floor[clause[0][0]] = max(floor[clause[0][0]], clause[0][1])
    left = {tuple(sorted(clause)) for clause in clauses if all(n > floor[b] for b, n in clause)}
    if not left:
        return floor, flow.nbytes(floor)
    literals = {literal: i for i, literal in enumerate(sorted({literal for clause in left for literal in clause}))}
    buffers = {b: len(literals) + i for i, b in enumerate(dict.fromkeys(b for b, _ in literals))}
    rows, columns, values, low = list[int](), list[int](), list[float](), list[float]()

    def row(entries: list[tuple[int, float]], least: float) -> None:
        rows.extend([len(low)] * len(entries))
        columns.extend(column for column, _ in entries)
        values.extend(value for _, value in entries)
        low.append(least)

    for clause in sorted(left):
        row([(literals[literal], 1.0) for literal in clause], 1.0)
    for (b, n), column in literals.items():
        row([(buffers[b], 1.0), (column, float(floor[b] - n))], 0.0)  # slots above the floor >= (n - floor) x literal
    width = len(literals) + len(buffers) + 1
    objective = Objective(flow, floor)
    sums: dict[tuple[tuple[int, float], ...], float] = {}
    for above, entries in objective.rows():
        open_entries = tuple((buffers[b], value) for b, value in entries if b in buffers)
        sums[open_entries] = max(above, sums.get(open_entries, above))
    for open_entries, above in sums.items():
        row([(width - 1, 1.0), *open_entries], above)
    costs = np.zeros(width)
    costs[-1] = 1.0
    matrix = csr_array((values, (rows, columns)), shape=(len(low), width))
    most = np.concatenate([np.ones(len(literals)), np.zeros(len(buffers)), [np.inf]])
    for (b, n), _ in literals.items():
        most[buffers[b]] = max(most[buffers[b]], n - floor[b])
    whole = np.concatenate([np.ones(width - 1), [0.0]])
    found = milp(
        costs, integrality=whole, bounds=Bounds(0.0, most), constraints=LinearConstraint(matrix, np.array(low)),
        options={"node_limit": NODES, "mip_rel_gap": 0.0},
    )  # fmt: skip
    bound = objective.bound(float(found.mip_dual_bound or 0.0))
    if found.x is None:
        return [], bound
    return [n + round(found.x[buffers[b]]) if b in buffers else n for b, n in enumerate(floor)], bound
