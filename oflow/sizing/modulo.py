"""Modulo scheduling: the order of streams, and the slots, that need the fewest bytes for a period of one micro-batch.

A block starts at (k + p) periods, k whole and 0 <= p < 1; on a stream the parts p do not overlap around the circle (Rau & Glaeser 1981;
the formulation with one binary a pair is that of Eichenberger & Davidson 1997). With slots as whole numbers this is an integer program,
exact for one turn a period.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from math import ceil, comb

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from oflow.check.period import PER_SECOND
from oflow.errors import PlanError
from oflow.sizing.flow import Arc, Flow
from oflow.sizing.micro_batch import SteadyState
from oflow.sizing.objective import Objective
from oflow.sizing.ratio import Ratio, Stuck, long_period, ratio
from oflow.sizing.relaxed import relaxed
from oflow.sizing.times import Times

NODES = 200
"""Of HiGHS's search tree; counted, not timed, so that the answer is the same on every machine."""
PAIRS = 200
"""Pairs of blocks on the same stream up to which an order is looked for."""
WHOLE = 40
"""Buffers up to which their slots are whole numbers of the program; for more, `least` makes them whole afterwards."""
SLOWER = Fraction(51, 50), 20
"""Where the fastest period that one can hope for has no order: by how much more to try, and how often."""


class _Program:
    """Columns: starts in periods, whole periods of each start, slots, one binary a pair on a stream, bytes of the largest load."""

    def __init__(self, steady: SteadyState, period: Fraction) -> None:
        self.steady, flow = steady, steady.flow
        self.seconds = [float(w / period) for w in flow.weights]
        self.nodes, self.buffers = len(flow.weights), len(flow.buffers)
        self.pairs = [pair for stream in steady.free for pair in combinations(stream.blocks, 2)]
        self.placed = {block[0]: i for i, block in enumerate(block for stream in steady.free for block in stream.blocks)}
        self.width = self.nodes + len(self.placed) + self.buffers + len(self.pairs) + 1
        self.objective = Objective(flow, [0] * self.buffers)
        self.entries: list[tuple[int, int, float]] = []
        self.low: list[float] = []
        self._arcs()
        self._streams()
        for least, entries in self.objective.rows():
            self.row(least, (self.width - 1, 1.0), *((self.slots_column(b), value) for b, value in entries))

    def row(self, least: float, *entries: tuple[int, float]) -> None:
        self.entries += [(len(self.low), column, value) for column, value in entries]
        self.low.append(least)

    def slots_column(self, buffer: int) -> int:
        return self.nodes + len(self.placed) + buffer

    def _arcs(self) -> None:
        for source, target, distance in self.steady.flow.arcs:
            if source != target:
                self.row(self.seconds[source] - distance, (target, 1.0), (source, -1.0))
        for together in self.steady.partners:
            for node in together[1:]:
                self.row(0.0, (together[0], 1.0), (node, -1.0))
        for number, buffer in enumerate(self.steady.flow.buffers):
            for starts, ends in buffer.hand_overs:
                used = [(node, -1.0) for node in ends] + [(node, 1.0) for node in starts]
                self.row(buffer.initial + sum(self.seconds[n] for n in ends), (self.slots_column(number), 1.0), *used)

    def _streams(self) -> None:
        for node, place in self.placed.items():
            self.row(0.0, (node, 1.0), (self.nodes + place, -1.0))
            self.row(-1.0, (node, -1.0), (self.nodes + place, 1.0))
        for number, (u, v) in enumerate(self.pairs):
            ku, kv = self.nodes + self.placed[u[0]], self.nodes + self.placed[v[0]]
            first = self.nodes + len(self.placed) + self.buffers + number  # 1: u before v
            self.row(self.seconds[u[-1]] - 1.0, (v[0], 1.0), (kv, -1.0), (u[-1], -1.0), (ku, 1.0), (first, -1.0))
            self.row(self.seconds[v[-1]], (u[0], 1.0), (ku, -1.0), (v[-1], -1.0), (kv, 1.0), (first, 1.0))

    def solve(self) -> tuple[list[float], int]:
        """(values of the columns, lower bound in bytes); no values where no schedule was found."""
        flow, whole = self.steady.flow, np.ones(self.width)
        whole[: self.nodes] = whole[-1] = 0
        if len(flow.buffers) > WHOLE:
            whole[self.slots_column(0) : self.slots_column(len(flow.buffers))] = 0
        low, high = np.full(self.width, 0.0), np.full(self.width, np.inf)
        high[self.width - 1 - len(self.pairs) : -1] = 1.0
        # nobody starts later than all work before it takes, and each block waits less than a period for its turn
        latest = ceil(sum(self.seconds)) + len(self.placed) + 1
        high[: self.nodes + len(self.placed)] = latest
        costs = np.zeros(self.width)
        costs[-1] = 1.0
        for number, buffer in enumerate(flow.buffers):
            low[self.slots_column(number)] = buffer.least
        rows, columns, values = zip(*self.entries, strict=True)
        matrix = csr_array((values, (rows, columns)), shape=(len(self.low), self.width))
        found = milp(
            costs, integrality=whole, bounds=Bounds(low, high), constraints=LinearConstraint(matrix, np.array(self.low)),
            options={"node_limit": NODES, "mip_rel_gap": 0.0},
        )  # fmt: skip
        return [] if found.x is None else found.x.tolist(), self.objective.bound(float(found.mip_dual_bound or 0.0))


def too_many(steady: SteadyState) -> bool:
    """Whether there are more pairs of blocks than an order is looked for."""
    return sum(comb(len(stream.blocks), 2) for stream in steady.free) > PAIRS


def ordered(steady: SteadyState, period: Fraction) -> tuple[Flow | None, int]:
    """The flow with an order on every stream (None where none was found that keeps the period), and a lower bound of the bytes of
    its slots.

    Raises PlanError where there is too much to order.
    """
    if not steady.free:
        return steady.flow, 0
    if too_many(steady):
        names = ", ".join(stream.name for stream in steady.free)
        raise PlanError(f"{names}: the plan's order never becomes cyclic, and there is too much on them to find one")
    program = _Program(steady, period)
    values, bound = program.solve()
    # where the search ended before it knew anything, what holds for any order is known all the same
    bound = max(bound, relaxed(steady.flow, period, [b.least for b in steady.flow.buffers])[1])
    if not values:
        return None, bound
    meeting = {node: together[0] for together in steady.partners for node in together[1:]}
    arcs: dict[Arc, None] = dict.fromkeys(steady.flow.arcs)
    for stream in steady.free:
        whole = {block: round(values[program.nodes + program.placed[block[0]]]) for block in stream.blocks}
        turn = sorted(stream.blocks, key=lambda block: (values[block[0]] - whole[block], block))
        for block, after in zip(turn, [*turn[1:], turn[0]], strict=True):
            arcs[block[-1], meeting.get(after[0], after[0]), whole[block] - whole[after] + (after == turn[0])] = None
    return replace(steady.flow, arcs=tuple(arcs)), bound


def full_rate(steady: SteadyState) -> tuple[Flow, Fraction, Fraction]:
    """The flow ordered for the shortest period that could be found, that period, and a lower bound of any.

    No period is shorter than a cycle of arcs asks for, nor than what a stream's blocks take one after the other, waits inside
    a block included; where these have no order, slightly longer ones are tried. Raises PlanError where none of them has.
    """
    free = ratio(steady.flow, [0] * len(steady.flow.buffers))
    if isinstance(free, Stuck):
        raise PlanError("the micro-batches of this plan wait for each other in a circle; check it first")
    period = max(free.period, steady.busiest, *(_one_by_one(steady.flow, stream.blocks) for stream in steady.free))
    bound = period
    factor, tries = SLOWER
    for _ in range(tries):
        flow, _ = ordered(steady, period)
        exact = None if flow is None else ratio(flow, [0] * len(flow.buffers))
        if flow is not None and isinstance(exact, Ratio):
            return flow, max(exact.period, steady.busiest), bound
        period *= factor
    raise PlanError(f"no order of the streams runs a micro-batch every {float(period / PER_SECOND):.6g} s")


def _one_by_one(flow: Flow, blocks: tuple[tuple[int, ...], ...]) -> Fraction:
    """Seconds of the blocks, each with the waits that the arcs of one micro-batch put between its nodes."""
    out: list[list[int]] = [[] for _ in flow.weights]
    for source, target, distance in flow.arcs:
        if distance == 0:
            out[source].append(target)
    starts = Times(flow, long_period(flow)).starts
    order = sorted(range(len(starts)), key=starts.__getitem__)
    total = 0
    for block in blocks:
        longest = {block[0]: 0}
        for node in order:
            if node in longest:
                for target in out[node]:
                    longest[target] = max(longest.get(target, 0), longest[node] + flow.weights[node])
        total += longest.get(block[-1], 0) + flow.weights[block[-1]]
    return Fraction(total)
