"""Registers that wait on the host: which, in how many slots, when they come back, and what is chosen under a memory limit."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

import oflow as of
from oflow.machine import Link
from oflow.presets import PCIE_4, preset
from tests.compiler.nets import pipeline

WIDTH, BATCH = 128, 2048


class Block(of.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = of.nn.LayerNorm(WIDTH), of.nn.Linear(WIDTH, 4 * WIDTH), of.nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        return x + self.down(of.gelu(self.up(self.norm(x))))


@cache
def blocks(count: int, offload: str | None = None, recompute: str | None = None, memory: int | None = None) -> of.Program:
    net = of.nn.Sequential(*(Block() for _ in range(count)))
    options: dict[str, Any] = {"offload": offload, "recompute": recompute, "memory": memory}
    return of.compile(lambda x: of.mean(of.square(net(x))), of.spec((BATCH, WIDTH)), optimizer=of.optim.SGD(lr=0.1), **options)


def registers(made: of.Plan, ending: str, device: str | None = None) -> dict[str, Any]:
    return {r.name.removesuffix(ending): r for r in made.registers if r.name.endswith(ending) and device in (None, r.device)}


@pytest.mark.parametrize("schedule,least", [("1f1b", [4, 3, 2, 1]), ("gpipe", [8, 8, 8, 8])])
def test_the_schedules_slots_are_on_the_host_and_few_on_the_device(schedule: str, least: list[int]) -> None:
    """The stash, or one more of what arrives early."""
    plain, away = (pipeline(4, 8, schedule=schedule, offload=offload).plan for offload in (None, "all"))
    away.check()
    moved = registers(away, ".host")
    on_device = {r.name: r for r in plain.registers}
    for name, host in moved.items():
        stage = int(on_device[name].device.partition(":")[2])
        few = 1 if schedule == "1f1b" else 2
        back, left = registers(away, ".back")[name], next(r for r in away.registers if r.name == name)
        assert (host.device, host.slots) == (f"host:{stage}", on_device[name].slots)
        assert max(least[stage], few + 1) <= host.slots <= least[stage] + 1 and back.slots == left.slots == few
    assert {int(on_device[n].device.partition(":")[2]) for n in moved} >= ({0, 1} if schedule == "1f1b" else {0, 1, 2, 3})
    for stage in range(2):
        assert away.arenas[f"cpu:{stage}"] < plain.arenas[f"cpu:{stage}"]


def test_what_came_from_the_host_stays() -> None:
    assert not any(name.startswith("input") for name in registers(pipeline(4, 8, schedule="gpipe", offload="all").plan, ".host"))


def test_one_micro_batch_shares_the_devices_bytes_and_comes_back_in_time() -> None:
    plain, away = blocks(6).plan, blocks(6, offload="all").plan
    away.check()
    assert away.arenas["cpu:0"] < 0.5 * plain.arenas["cpu:0"]
    assert away.arenas["host:0"] - plain.arenas["host:0"] > 0.4 * plain.arenas["cpu:0"]
    spans = [s for s in away.simulate(preset(), steps=1).spans if s.stream.startswith("cpu:0/")]
    work = [(s.start, s.stop) for s in spans if s.stream.endswith("compute")]
    copies = [s for s in spans if s.stream.endswith(("offload", "prefetch"))]
    beside = sum(max(0.0, min(stop, s.stop) - max(start, s.start)) for s in copies for start, stop in work)
    assert beside > 0.8 * sum(s.stop - s.start for s in copies), "copies run beside the work"
    back, backward = [s for s in copies if s.stream.endswith("prefetch")], min(s.start for s in spans if _late(away, s))
    assert sum(s.start < backward for s in back) <= 2, "but for two, a value comes back when the backward pass is under way"


def _late(made: of.Plan, span: Any) -> bool:
    actor = made.actors[span.actor]
    return actor.phase == "B" and actor.stream.endswith("compute")


def need(program: of.Program) -> int:
    return program.plan.arenas["cpu:0"] + program.plan.states["cpu:0"]


def test_under_a_limit_the_cheaper_way_is_taken() -> None:
    """Each way fits; of the ways that are allowed the one with the least proved period is chosen."""
    plain = blocks(3)
    memory = plain.plan.states["cpu:0"] + int(0.75 * plain.plan.arenas["cpu:0"])
    ways = [blocks(3, offload=o, recompute=r, memory=memory) for o, r in (("auto", None), (None, "auto"), ("auto", "auto"))]
    assert all(need(one) <= memory < need(plain) for one in ways)
    periods = [one.plan.check().period for one in ways]
    assert periods[2] <= min(periods[:2])
    assert not ways[0].recomputed() and ways[1].recomputed()


def test_what_cannot_fit_says_so() -> None:
    with pytest.raises(of.OutOfMemory, match="cpu:0 has"):
        blocks(2, offload="auto", recompute="auto", memory=blocks(2).plan.states["cpu:0"] + 1000)


def test_nothing_moves_where_all_fits() -> None:
    assert blocks(2, offload="auto").plan == blocks(2).plan
    assert pipeline(3, 4, 3, offload="auto").plan == pipeline(3, 4, 3).plan


def test_the_link_to_the_host_has_its_own_figures() -> None:
    machine = of.Machine("m", preset().devices, Link(1.0, 1.0), host=PCIE_4)
    assert machine.link_between("cpu:3", "host:3") == machine.link_between("host:0", "cpu:0") == PCIE_4
    assert machine.link_between("cpu:0", "cpu:1") == Link(1.0, 1.0)
    assert PCIE_4.bandwidth == pytest.approx(31.5e9, rel=1e-3)
    near = of.Machine("n", machine.devices, machine.link, host=Link(1.0, 1e12))
    layout = of.Layout(of.placement("cpu", [0]), (of.B,))
    from oflow.sbp import HOST, Step

    traffic = Step(of.Layout(HOST, (of.B,)), layout, False).traffic((1000,), 4)
    assert near.boxing(traffic) < 1.1 < machine.boxing_floor(traffic, False) + 4000
