"""Every schedule trains the same net to the same numbers: one or two stages a rank, data or tensor parallel inside, in every driver.

Gradients are summed in the order of micro-batches whatever the order of actions is. So all schedules that leave the backward whole
agree to the last bit, and so do all that part it; between the two, groups of elementwise nodes differ, and with them the rounding of
the sums in them: they agree within 1e-12 in float64.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import numpy as np
import pytest

import oflow as of
from oflow.compiler.schedules import SCHEDULES
from oflow.schedule import Action, Schedule, verify_schedule

RANKS, WIDTH, ROWS, STEPS = 2, 6, 8, 3
DRIVERS: dict[str, dict[str, Any]] = {
    "native": {"executor": "native", "workers": 2, "kernels": "numpy"},
    "threads": {"executor": "threads", "workers": 2, "checked": True},
    "simulator": {"executor": "simulator", "checked": True},
}
LAYOUTS = ("one device", "data", "tensor")


class Block(of.nn.Module):
    """A residual perceptron: x (n, width) -> (n, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.up = of.nn.Linear(WIDTH, 2 * WIDTH, dtype="float64")
        self.down = of.nn.Linear(2 * WIDTH, WIDTH, dtype="float64")

    def forward(self, x: Any) -> Any:
        return x + self.down(of.gelu(self.up(x)))


def net(homes: tuple[int, ...], layout: str, **options: Any) -> of.Program:
    """A block a stage, but none in stage 1 (it has no weights); the first one's weights again in the last, and what it made."""
    each = 1 if layout == "one device" else 2
    places = [of.placement("cpu", list(range(home * each, (home + 1) * each))) for home in homes]
    sbp = of.S(0) if layout == "data" else of.B
    blocks = {stage: Block() for stage in range(len(homes)) if stage != 1}
    for stage, block in blocks.items():
        block.to_global(places[stage], of.B)
        if layout == "tensor":
            block.up.to_global(places[stage], of.S(0))
            block.down.weight.to_global(places[stage], of.S(1))

    def loss(x: Any, y: Any) -> Any:
        first = x
        for stage in range(len(homes)):
            with of.stage(stage):
                x = blocks[stage](x) if stage != 1 else of.tanh(x.to_global(places[1], sbp))
                first = x if stage == 0 else first
        with of.stage(len(homes) - 1):
            return of.mse(x * first + x @ blocks[0].down.weight @ blocks[0].down.weight.T, y)

    specs = [of.spec((ROWS, WIDTH), "float64", place, sbp) for place in (places[0], places[-1])]
    return of.compile(loss, *specs, **{"optimizer": of.optim.AdamW(lr=0.05), "seed": 3, **options})


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    draw = np.random.default_rng(5)
    return [(draw.normal(size=(ROWS, WIDTH)), draw.normal(size=(ROWS, WIDTH))) for _ in range(STEPS)]


def trained(step: of.Program) -> tuple[list[float], dict[str, np.ndarray]]:
    with step:
        losses = [float(loss) for loss in step.stream(iter(batches()))]
        return losses, step.state_dict()


@cache
def reference(stages: int, optimizer: bool = True) -> tuple[list[float], dict[str, np.ndarray]]:
    """The same net on one device, all stages beside each other, the whole batch at once."""
    options = {} if optimizer else {"optimizer": None}
    return trained(net((0,) * stages, "one device", schedule="interleaved" if stages > 1 else "1f1b", **options))


def homes_of(name: str) -> tuple[int, ...]:
    return SCHEDULES[name].chunk_ranks(RANKS)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("many", [1, 2, 8])
@pytest.mark.parametrize("chunks", [1, 2])
def test_all_schedules_agree(chunks: int, many: int, layout: str) -> None:
    driver = list(DRIVERS)[(chunks + many + LAYOUTS.index(layout)) % len(DRIVERS)]
    seen: dict[tuple[bool, tuple[int, ...]], Any] = {}
    for name in (name for name, entry in SCHEDULES.items() if entry.chunks == chunks):
        homes, parted = homes_of(name), SCHEDULES[name].splits_backward
        losses, state = trained(net(homes, layout, schedule=name, micro_batches=many, **DRIVERS[driver]))
        alone, weights = reference(len(homes))
        np.testing.assert_allclose(losses, alone, rtol=1e-11, err_msg=name)
        for key, value in weights.items():
            np.testing.assert_allclose(state[key], value, rtol=1e-9, atol=1e-12, err_msg=f"{name} {key}")
        first, first_state = seen.setdefault((parted, homes), (losses, state))
        assert losses == first, name
        assert all(np.array_equal(state[key], value) for key, value in first_state.items()), name


TOGETHER: dict[str, dict[str, Any]] = {
    "recomputed": {"recompute": "all"},
    "split state": {"zero": 1},
    "split gradients": {"zero": 2},
    "split parameters": {"zero": 3},
    "buckets": {"bucket_nbytes": 1 << 12},
}


@pytest.mark.parametrize("name", ["interleaved", "zero-bubble-h2", "zero-bubble-v"])
@pytest.mark.parametrize("what", TOGETHER)
def test_schedules_together_with_other_passes(what: str, name: str) -> None:
    homes = homes_of(name)
    losses, _ = trained(net(homes, "data", schedule=name, micro_batches=4, executor="simulator", checked=True, **TOGETHER[what]))
    np.testing.assert_allclose(losses, reference(len(homes))[0], rtol=1e-11)


def random_schedule(seed: int, chunks: int, many: int) -> Schedule:
    """A valid row for each rank, drawn at random; whether the ranks wait for each other in a circle is left to chance."""
    draw = random.Random(seed)
    homes = [draw.randrange(RANKS) for _ in range(RANKS * chunks)]
    homes[: RANKS] = range(RANKS)
    rows: list[list[Action]] = [[] for _ in range(RANKS)]
    forward_first = draw.random()
    for rank, row in enumerate(rows):
        mine = [stage for stage, home in enumerate(homes) if home == rank]
        done = {(stage, phase): 0 for stage in mine for phase in "FIW"}
        while True:
            can = [(s, "F") for s in mine if done[s, "F"] < done.get((s - 1, "F"), many)]
            can += [(s, "I") for s in mine if done[s, "I"] < min(done[s, "F"], done.get((s + 1, "I"), many))]
            can += [(s, "W") for s in mine if done[s, "W"] < done[s, "I"]]
            if not can:
                break
            early = [one for one in can if one[1] == "F"]
            stage, phase = min(early) if early and draw.random() < forward_first else draw.choice(can)
            row.append(Action(stage, phase, done[stage, phase]))
            done[stage, phase] += 1
    made = Schedule(f"random {seed}", tuple(map(tuple, rows)))
    verify_schedule(made)
    return made


def ran_or_blocked(seed: int) -> bool:
    """Whether the schedule of this seed ran, to the right numbers; if not it was refused with the cycle."""
    chunks, many = 1 + seed % 3, (2, 4)[seed // 3 % 2]
    made = random_schedule(seed, chunks, many)
    homes = tuple(made.home(stage) for stage in made.stages)
    try:
        step = net(homes, "one device", schedule=made, micro_batches=many, executor="simulator", checked=True)
    except of.DeadlockError as refused:
        assert "blocks" in str(refused) and refused.cycle, seed
        return False
    losses, _ = trained(step)
    np.testing.assert_allclose(losses, reference(len(homes))[0], rtol=1e-11, err_msg=f"seed {seed}")
    return True


def test_random_schedules_run_or_are_refused_with_the_cycle() -> None:
    ran = [ran_or_blocked(seed) for seed in range(24)]
    assert 4 < sum(ran) < 24, "both happen"


@pytest.mark.slow
def test_many_random_schedules() -> None:
    assert 0 < sum(ran_or_blocked(seed) for seed in range(24, 1000)) < 976


@pytest.mark.parametrize("name", SCHEDULES)
def test_evaluation_under_any_schedule(name: str) -> None:
    """A program without optimizer runs the forwards alone, in the schedule's order."""
    homes = homes_of(name)
    losses, _ = trained(net(homes, "one device", schedule=name, micro_batches=4, optimizer=None))
    np.testing.assert_allclose(losses, reference(len(homes), optimizer=False)[0], rtol=1e-12)
