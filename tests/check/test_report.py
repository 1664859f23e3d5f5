"""The report of a step: shares of the period add up, and flops are those of the products, whatever the layout."""

from __future__ import annotations

import pytest

import oflow as of
from oflow.compiler.schedules.plan import schedule_plan
from oflow.presets import preset
from tests.compiler.nets import pipeline


@pytest.mark.parametrize("micro_batches", [1, 4, 8])
def test_shares_add_up_and_flops_are_of_the_products(micro_batches):
    plan = pipeline(2, micro_batches, ranks=2, machine="a100").plan
    found = plan.report()
    assert found.computing + found.exposed + found.bubble == pytest.approx(1.0)
    assert found.period == plan.check().period
    product = 2 * 64 * 32 * 32  # the first layer's input has no gradient
    assert found.model_flops == 2 * product + 3 * product
    assert found.utilisation == pytest.approx(found.model_flops / (found.period * 4 * 312e12))
    assert found.devices == 4
    assert found.state_nbytes == max(plan.states.values())


def test_more_micro_batches_leave_less_bubble():
    shares = [pipeline(4, m, machine="reference").plan.report().bubble for m in (1, 4, 16)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 1.5 * shares[-1] > 0


def test_faster_links_expose_less():
    plan, machine = pipeline(2, 4, ranks=2).plan, preset("a100")
    slow = of.Machine("slow", machine.devices, of.Link(1e-5, 1e8))
    assert plan.report(slow).exposed > plan.report(machine).exposed
    assert plan.report(slow).computing < plan.report(machine).computing


def test_the_text_says_only_what_there_is():
    assert "model flops" in str(pipeline(2, 4).plan.report())
    bare = str(schedule_plan(of.Schedule.from_csv("0F0,0B0\n1F0,1B0")).report())
    assert "on 2 devices" in bare and "flops" not in bare
