"""The steady state of micro-batches: 1F1B's slots come out by themselves, and what transfers and unequal stages ask for."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from oflow.errors import PlanError
from oflow.plan import Plan
from oflow.sizing import size, trade_off
from tests.plans import gpipe, pipeline_1f1b
from tests.sizing.cases import transfers


def stashes(plan: Plan, period: float | None = None) -> tuple[int, ...]:
    found = size(plan, period, per="micro-batch")
    assert found.exact
    rows = {row.register: row.after for row in found.rows}
    return tuple(rows[f"stash{i}"] for i in range(sum(name.startswith("stash") for name in rows)))


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 6, 8])
def test_equal_stages_without_transfers_need_s_minus_i(stages):
    wanted = tuple(stages - i for i in range(stages))
    for made in (pipeline_1f1b(stages, 2 * stages + 2), gpipe(stages, stages + 1), pipeline_1f1b(stages, 2 * stages, order=False)):
        plan = replace(made, micro_batches=max(a.acts for a in made.actor_templates))
        assert stashes(plan) == wanted
        assert size(plan, per="micro-batch").period == pytest.approx(3.0)  # forward 1 s, backward 2 s: no stage is ever idle


@pytest.mark.parametrize("transfer", [0.25, 1.0, 1.5, 2.0])
def test_a_transfer_puts_whole_micro_batches_between_stages(transfer):
    """A busy stage starts a backward a whole number of periods behind its forward's end, so 2 c seconds there and back cost
    ceil(2 c / period) micro-batches a stage: 1 + (S - 1 - i) (1 + ceil(2 c / period))."""
    plan = transfers(4, 8, transfer, [1.0] * 4, [2.0] * 4)
    apart = 1 + math.ceil(2 * transfer / 3.0)
    assert stashes(plan) == tuple(1 + (3 - i) * apart for i in range(4))


def test_unequal_stages_leave_room():
    """Stage 2 alone is busy. The others wait, so a forward and its backward are as close as the stages behind need: the time from
    the start of the forward to the end of the backward, in periods, rounded up."""
    forward, backward = [1.0, 1.0, 2.0, 1.0], [2.0, 2.0, 4.0, 2.0]
    plan = transfers(4, 8, 0.0, forward, backward)
    held = [sum(forward[i:]) + sum(backward[i:]) for i in range(4)]
    found = stashes(plan)
    assert all(n >= math.ceil(seconds / 6.0) for n, seconds in zip(found, held, strict=True))
    assert found == (3, 3, 2, 1)


def test_longer_periods_need_fewer_slots():
    plan = replace(pipeline_1f1b(4, 8), micro_batches=8)
    assert stashes(plan, 6.0) == (2, 2, 1, 1)
    assert stashes(plan, 12.0) == (1, 1, 1, 1)
    points = trade_off(plan, per="micro-batch").sizings
    assert [(round(p.period), p.nbytes) for p in points] == [(3, 1216), (4, 1024), (6, 768), (9, 704), (12, 640)]
    assert all(p.exact for p in points)


def test_a_view_that_there_is_not():
    with pytest.raises(PlanError, match="per step or per micro-batch, not per 'hour'"):
        size(pipeline_1f1b(2, 2), per="hour")
