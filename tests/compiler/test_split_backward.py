"""The backward in two halves: what I and W are, what is kept between them, and that a plan runs as its schedule's replay says."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest

import oflow as of
from oflow.compiler.order import order
from oflow.compiler.schedule import in_halves
from oflow.compiler.schedules import SCHEDULES, named_schedule
from oflow.compiler.stage_times import stage_times
from oflow.machine import Cost, Device, Link, Machine
from oflow.plan import Plan
from oflow.schedule import Action, Schedule, Times, replay
from tests.compiler.nets import graph, plan

WIDTH, ROWS = 64, 4
FREE = Device(flops=1e30, memory_bandwidth=1e30, launch=0.0)


def machine(latency: float = 0.0, speeds: tuple[float, ...] = ()) -> Machine:
    """Devices that take time for products alone, at 1e9 flops a second times their speed."""
    even = Device(flops=1e9, memory_bandwidth=1e30, launch=0.0)
    named = {f"cpu:{rank}": replace(even, flops=1e9 * speed) for rank, speed in enumerate(speeds)}
    return Machine("even", {"cpu": even, "host": FREE, **named}, Link(latency, 1e30))


class Shift(of.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.by = of.nn.Parameter((WIDTH,))

    def forward(self, x: Any) -> Any:
        return x + self.by


def even(homes: tuple[int, ...], many: int, schedule: Any, on: Machine | None = None, **options: Any) -> of.Program:
    """A square product a stage: as long forward as for either gradient. (The first has a shift before it, which wants its input's.)"""
    layers, shift = [of.nn.Linear(WIDTH, WIDTH, bias=False) for _ in homes], Shift()
    for layer, home in zip((shift, *layers), (homes[0], *homes), strict=True):
        layer.to_global(of.placement("cpu", [home]), of.B)

    def loss(x: Any) -> Any:
        for stage, layer in enumerate(layers):
            with of.stage(stage):
                x = layer(shift(x) if stage == 0 else x)
        return of.mean(of.square(x))

    x = of.spec((ROWS * many, WIDTH), "float32", of.placement("cpu", [homes[0]]), of.B)
    given = {"optimizer": of.optim.SGD(lr=0.1), "micro_batches": many, "schedule": schedule, "machine": on or machine(), **options}
    return of.compile(loss, x, **given)


def homes_of(name: str, ranks: int) -> tuple[int, ...]:
    return SCHEDULES[name].chunk_ranks(ranks)


# ---------------------------------------------------------------- what is I and what is W


@pytest.mark.parametrize("homes, name", [((0, 1, 2), "zero-bubble-h1"), ((0, 1, 1, 0), "zero-bubble-v")])
def test_i_leads_out_of_the_stage_and_w_only_to_its_weights(homes: tuple[int, ...], name: str) -> None:
    whole, parted = (graph(even(homes, 4, name), step) for step in ("host", "split_backward"))
    assert [replace(n, phase="B") if n.phase in "IW" else n for n in parted.nodes] == list(whole.nodes), "phases are all that changes"
    readers = parted.consumers()
    for node in parted.nodes:
        after = [reader for v in node.outs for reader in readers.get(v, [])]
        if node.phase == "W":
            assert {reader.phase for reader in after} <= {"W", "update"}
        if node.phase == "I" and node.stage:
            assert any(reader.phase == "I" for reader in after)
    assert {(n.stage, n.phase) for n in parted.nodes if n.phase in "IW"} == {(s, p) for s in range(len(homes)) for p in "IW"}


def test_a_schedule_of_whole_backwards_parts_nothing() -> None:
    assert graph(even((0, 1), 4, "1f1b"), "split_backward") == graph(even((0, 1), 4, "1f1b"), "host")


def test_a_stage_without_weights_has_no_w() -> None:
    layer = of.nn.Linear(WIDTH, WIDTH)
    layer.to_global(of.placement("cpu", [0]), of.B)

    def loss(x: Any) -> Any:
        with of.stage(0):
            x = layer(x)
        with of.stage(1):
            return of.mean(of.square(of.tanh(x.to_global(of.placement("cpu", [1]), of.B))))

    x = of.spec((8, WIDTH), "float32", of.placement("cpu", [0]), of.B)
    made = of.compile(loss, x, optimizer=of.optim.SGD(lr=0.1), micro_batches=4, schedule="zero-bubble-h1")
    assert {n.phase for n in graph(made, "split_backward").nodes if n.stage == 1} == {"F", "I"}
    assert made.plan.check().deadlock_free


def test_gradients_of_a_weight_that_two_stages_read_cross_once_a_step() -> None:
    layer = of.nn.Linear(WIDTH, WIDTH, bias=False)
    layer.to_global(of.placement("cpu", [0]), of.B)

    def loss(x: Any) -> Any:
        with of.stage(0):
            x = layer(x)
        with of.stage(1):
            return of.mean(of.square(layer(of.tanh(x.to_global(of.placement("cpu", [1]), of.B)))))

    x = of.spec((8, WIDTH), "float32", of.placement("cpu", [0]), of.B)
    for name in ("1f1b", "zero-bubble-h1"):
        made = of.compile(loss, x, optimizer=of.optim.SGD(lr=0.1), micro_batches=4, schedule=name)
        homewards = [n for n in graph(made, "host").nodes if n.op == "boxing" and n.phase == "B" and n.stage == 0]
        assert sorted(n.rate for n in homewards) == [1, 4], "the weight's gradient, and the activation's of each micro-batch"


# ---------------------------------------------------------------- slots


def test_what_i_makes_for_w_is_kept_until_w() -> None:
    """Slots of each register between phases of one rank: as many as are live at once in its row."""
    for name in ("zero-bubble-h1", "zero-bubble-h2", "zero-bubble-v", "interleaved", "gpipe"):
        homes, many = homes_of(name, 3), 8
        made = plan(even(homes, many, name), "schedule")
        rows = in_halves(named_schedule(name, len(homes), 3, many)).rows
        seen = set()
        for register in made.registers:
            if register.producer < 0 or register.initial:
                continue
            maker, readers = made.actors[register.producer], [made.actors[c] for c in register.consumers]
            same = [r for r in readers if r.stream == maker.stream and r.acts == many == maker.acts and r.phase != "update"]
            parts = {(r.stage, "W" if r.phase == "B" else r.phase) for r in same}
            if maker.stream.endswith("/compute") and parts - {(maker.stage, maker.phase)} and maker.phase != "B":
                row = next(row for row in rows if any(a.stage == maker.stage for a in row))
                assert register.slots == most_live(row, (maker.stage, maker.phase), parts), (name, register)
                seen.add(maker.phase)
        assert seen == ({"F", "I"} if SCHEDULES[name].splits_backward else {"F"})


def most_live(row: tuple[Action, ...], made: tuple[int, str], read: set[tuple[int, str]]) -> int:
    """Counted one action after the other."""
    live: dict[int, set[tuple[int, str]]] = {}
    most = 0
    for action in row:
        part = (action.stage, action.phase)
        if part == made:
            live[action.micro_batch] = set(read)
        most = max(most, len(live))
        if part in live.get(action.micro_batch, ()):
            live[action.micro_batch].discard(part)
            if not live[action.micro_batch]:
                del live[action.micro_batch]
    return most


def step_seconds(made: Plan) -> float:
    """From the first act of a compute stream to the last before the updates."""
    spans = [s for s in made.simulate(steps=1).spans if s.stream.endswith("/compute") and made.actors[s.actor].phase != "update"]
    return max(s.stop for s in spans) - min(s.start for s in spans)


def case(seed: int) -> tuple[str, int, int, Machine]:
    draw = random.Random(seed)
    ranks = draw.choice((2, 3, 4))
    on = machine(draw.choice((0.0, 1e-6, 1e-5, 1e-4)), tuple(draw.choice((0.7, 1.0, 1.0, 2.0)) for _ in range(ranks)))
    return draw.choice(list(SCHEDULES)), ranks, draw.choice((2, ranks, 2 * ranks)), on


@pytest.mark.parametrize("seed", range(10))
def test_no_slot_makes_a_step_slower(seed: int) -> None:
    """With a slot for every micro-batch, and some more, the same order takes as long; and as long as the replay says, where messages
    are short: in a plan those that a device receives take turns."""
    name, ranks, many, on = case(seed)
    homes = homes_of(name, ranks)
    made = even(homes, many, name, on)
    ordered, scheduled = plan(made, "order"), plan(made, "schedule")
    registers = tuple(replace(r, slots=r.slots if r.initial else many + 2) for r in scheduled.register_templates)
    ample = order(replace(scheduled, register_templates=registers), made.given)
    assert step_seconds(ordered) <= step_seconds(ample) * (1 + 1e-9), f"seed {seed}"
    times = stage_times(ordered, on, len(homes))
    predicted = replay(in_halves(named_schedule(name, len(homes), ranks, many, times)), times).seconds
    assert on.link.latency > 1e-6 or step_seconds(ordered) == pytest.approx(predicted, rel=0.02), f"seed {seed}"


# ---------------------------------------------------------------- the published figures


def with_unit_times(made: Plan) -> Plan:
    """F, I and W take a second each; a backward that is left whole takes two before it sends anything on, as in the figures."""
    first: dict[tuple[int, str], int] = {}
    for number, actor in enumerate(made.actor_templates):
        if actor.stream == "compute" and actor.acts == made.micro_batches and actor.phase != "update":
            first.setdefault((actor.stage, actor.phase), number)
    units = {number: 2.0 if phase == "B" else 1.0 for (_, phase), number in first.items()}
    actors = [replace(actor, costs=(Cost(seconds=units.get(number, 0.0)),)) for number, actor in enumerate(made.actor_templates)]
    return replace(made, actor_templates=tuple(actors))


def bubble(made: Plan) -> float:
    """The idle share of the compute streams in one step, ramps included, updates left out."""
    spans = [s for s in made.simulate(steps=1).spans if s.stream.endswith("/compute") and made.actors[s.actor].phase != "update"]
    length = max(s.stop for s in spans) - min(s.start for s in spans)
    return 1 - sum(s.stop - s.start for s in spans) / (length * len({s.stream for s in spans}))


@pytest.mark.parametrize("name, percent", [("gpipe", 27.3), ("1f1b", 27.3), ("interleaved", 15.8), ("zero-bubble-v", 5.9)])
def test_a_compiled_plan_has_the_bubble_of_its_schedules_replay(name: str, percent: float) -> None:
    """P=4, M=8, F = I = W = 1, no communication."""
    ranks, many = 4, 8
    homes = homes_of(name, ranks)
    made = even(homes, many, name)
    found = bubble(with_unit_times(made.plan))
    assert found == pytest.approx(replay(named_schedule(name, len(homes), ranks, many)).bubble, abs=1e-9)
    assert round(100 * found, 1) == percent


def test_a_whole_backward_sends_its_gradient_before_its_weights() -> None:
    """The plan cuts a backward after what another stage reads, so with real chains 1F1B's ramps are (S-1)(F+I), not (S-1)(F+I+W)."""
    made = even(homes_of("1f1b", 4), 8, "1f1b")
    assert bubble(made.plan) == pytest.approx(6 / 30, abs=0.01)
    assert bubble(made.plan) < replay(named_schedule("1f1b", 4, 4, 8)).bubble


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("ranks, many", [(1, 1), (1, 3), (2, 1), (3, 2), (4, 4)])
def test_few_micro_batches(name: str, ranks: int, many: int) -> None:
    assert even(homes_of(name, ranks), many, name).plan.check().deadlock_free


def test_a_schedule_that_mixes_whole_and_parted_backwards() -> None:
    """PyTorch's zero-bubble files do: a whole backward is then I and W in a row."""
    mixed = Schedule.from_csv("0F0,0F1,0I0,0W0,0B1\n1F0,1B0,1F1,1I1,1W1\n")
    made = even((0, 1), 2, mixed)
    acts = [made.plan.actors[row] for row in made.plan.order["cpu:1/compute"]]
    phases = [phase for phase, _ in groupby(actor.phase for actor in acts if actor.acts == 2)]
    assert phases == ["F", "I", "W", "F", "I", "W"]
    assert made.plan.check().deadlock_free


def test_times_of_a_plan() -> None:
    """A square product takes as long forward as for either gradient."""
    product = 2 * ROWS * WIDTH * WIDTH / 1e9
    for name in ("1f1b", "zero-bubble-h1"):
        found = stage_times(even((0, 1, 2), 4, name, machine(1e-5)).plan, machine(1e-5), 3)
        for phase in "FIW":
            assert all(found.of(phase, stage) == pytest.approx(product, rel=0.2) for stage in (1, 2)), (name, phase)
        assert found.communication == pytest.approx((1e-5, 1e-5), rel=1e-3)
    assert isinstance(found, Times)
