"""The programs of docs/parallelism: proved, trained, and the same net in several layouts has the same losses."""

from __future__ import annotations

import numpy as np
import pytest
from _ext import programs

import oflow as of


@pytest.mark.parametrize("name", programs.names())
def test_the_program_is_short_proved_and_learns(name: str) -> None:
    assert len(programs.text(name).splitlines()) <= 40
    assert programs.compiled(name).plan.check().deadlock_free
    found = programs.losses(name)
    assert found[-1] < found[0] and np.isfinite(found).all()


def test_one_net_in_every_layout_has_the_same_losses() -> None:
    ours = ("data", "zero", "tensor", "data_tensor")
    assert np.allclose([programs.losses(name) for name in ours], programs.losses("data"), rtol=1e-4)


def test_a_stage_keeps_as_many_micro_batches_as_the_page_says() -> None:
    plan: of.Plan = programs.compiled("pipeline").plan
    late = {port.register for actor in plan.actor_templates if actor.phase == "B" for port in actor.ports if port.direction == "in"}
    stash = {
        plan.actor_templates[writers[0]].stage: plan.register_templates[register].slots
        for register, writers in plan.writers.items()
        if register in late and plan.actor_templates[writers[0]].stream == "compute" and plan.actor_templates[writers[0]].phase == "F"
    }
    assert stash == {stage: 4 - stage for stage in range(4)}
