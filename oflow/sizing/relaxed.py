"""The linear relaxation of slot sizing: start times of a periodic schedule and fractional slots (Govindarajan, Gao, Desai 2002).

In units of the period, arc (u, v, d) says start(v) >= start(u) + seconds(u) - d. A buffer's slots are at least those in use on
average: of each turn from its first act to the end of its last reader's, summed over the turns of a period. With one turn a period
that is the whole condition up to rounding; with several it is a lower bound.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from oflow.sizing.flow import Flow
from oflow.sizing.objective import TOLERANCE, Objective


def relaxed(flow: Flow, period: Fraction, least: list[int]) -> tuple[list[float], int]:
    """(slots of each buffer, lower bound in bytes) of the cheapest fractional schedule; `least`: what each has at least.

    Of the schedules whose largest load is smallest, one with the fewest bytes on all devices. Without a solution, where `period` is
    below the full rate or HiGHS gives up: `least` itself, which is always a bound.
    """
    nodes, buffers = len(flow.weights), len(flow.buffers)
    if not period or not buffers:
        return [float(n) for n in least], flow.nbytes(least)
    seconds = np.array([float(w / period) for w in flow.weights])
    arcs = np.array([a for a in flow.arcs if a[0] != a[1]], np.int64).reshape(-1, 3)
    rows = [np.arange(len(arcs)), np.arange(len(arcs))]
    columns, values = [arcs[:, 0], arcs[:, 1]], [np.ones(len(arcs)), -np.ones(len(arcs))]
    limits = [arcs[:, 2] - seconds[arcs[:, 0]]]
    row = len(arcs)
    for number, buffer in enumerate(flow.buffers):
        for starts, ends in buffer.hand_overs:
            count = len(starts)
            rows.append(np.full(2 * count + 1, row))
            columns.append(np.array([*ends, *starts, nodes + number]))
            values.append(np.array([1.0] * count + [-1.0] * count + [-1.0]))
            limits.append(np.array([-buffer.initial - seconds[list(ends)].sum()]))
            row += 1
    objective = Objective(flow, [0] * buffers)
    for low, entries in objective.rows():
        rows.append(np.full(len(entries) + 1, row))
        columns.append(np.array([*(nodes + b for b, _ in entries), nodes + buffers]))
        values.append(np.array([*(-value for _, value in entries), -1.0]))
        limits.append(np.array([-low]))
        row += 1
    matrix = csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(row, nodes + buffers + 1))
    limit, free = np.concatenate(limits), [(None, None)] * nodes + [(n, None) for n in least]
    costs = np.zeros(nodes + buffers + 1)
    costs[-1] = 1.0
    found = linprog(costs, A_ub=matrix, b_ub=limit, bounds=[*free, (0.0, None)], method="highs")
    if not found.success:
        return [float(n) for n in least], flow.nbytes(least)
    bound, most = objective.bound(found.fun), float(found.fun) * (1 + TOLERANCE) + TOLERANCE
    if len(flow.sums) > 1:
        costs[nodes:-1] = [b.nbytes / objective.scale for b in flow.buffers]
        again = linprog(costs, A_ub=matrix, b_ub=limit, bounds=[*free, (0.0, most)], method="highs")
        found = again if again.success else found
    return found.x[nodes:-1].tolist(), bound
