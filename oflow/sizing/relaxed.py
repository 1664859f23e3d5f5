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

TOLERANCE = 1e-6
"""By how much of a bound HiGHS may be wrong (its own tolerances are 1e-7)."""


def relaxed(flow: Flow, period: Fraction, least: list[int]) -> tuple[list[float], float]:
    """(slots of each buffer, bytes of all that are chosen) of the cheapest fractional schedule; `least`: what each has at least.

    Without a solution, where `period` is below the full rate or HiGHS gives up: `least` itself, which is always a bound.
    """
    nodes, buffers = len(flow.weights), len(flow.buffers)
    costs = np.array([b.nbytes for b in flow.buffers], float)
    if not period or not buffers:
        return [float(n) for n in least], float(costs @ np.array(least, float)) if buffers else 0.0
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
    matrix = csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(row, nodes + buffers))
    bounds = [(None, None)] * nodes + [(n, None) for n in least]
    scale = max(costs.max(), 1.0)
    found = linprog(
        np.concatenate([np.zeros(nodes), costs / scale]), A_ub=matrix, b_ub=np.concatenate(limits), bounds=bounds, method="highs"
    )
    if not found.success:
        return [float(n) for n in least], float(costs @ np.array(least, float))
    return found.x[nodes:].tolist(), float(found.fun) * scale
