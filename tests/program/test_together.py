"""What decides memory and order goes together: schedule, zero, recompute, offload, buckets, precision, slots, every pair of values.

Each row of a covering array compiles and takes two steps with the losses of one device that has the whole batch at once: within 1e-12
of them in float64, within bfloat16's rounding in mixed precision. With recompute="auto" the limit of memory lies halfway between the
needs of recompute=None and "all", so something has to go, and it must be found.
"""

from __future__ import annotations

import random
from functools import cache
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

import oflow as of

VALUES: dict[str, tuple[Any, ...]] = {
    "schedule": ("gpipe", "1f1b", "interleaved", "zero-bubble", "auto"),
    "zero": (0, 1, 2, 3),
    "recompute": (None, "auto", "all"),
    "offload": (None, "all"),
    "bucket_nbytes": (None, "auto"),
    "precision": (None, "bfloat16"),
    "slots": (None, "least"),
}
NAMES = tuple(VALUES)
Row = tuple[Any, ...]
WIDTH, ROWS, STEPS, MICRO_BATCHES = 8, 8, 2, 2
ONE = of.placement("cpu", [0])
TWO = of.placement("cpu", [0, 1]), of.placement("cpu", [2, 3])


def pairs(row: Row) -> set[Any]:
    return set(combinations(enumerate(row), 2))


def covering(seed: int = 2) -> list[Row]:
    """Few rows in which any two values of two options are met together: each row is that of 60 random ones that adds the most pairs.
    Those with several "auto" compile dozens of plans, and come only where they have to."""
    draw = random.Random(seed)
    left = set().union(*map(pairs, product(*VALUES.values())))
    rows = []
    while left:
        start = [dict(one) for one in draw.choices(sorted(left, key=str), k=60)]
        tried = [tuple(some.get(n, draw.choice(values)) for n, values in enumerate(VALUES.values())) for some in start]
        rows.append(max(tried, key=lambda row: len(pairs(row) & left) - row.count("auto") ** 3))
        left -= pairs(rows[-1])
    return rows


class Block(of.nn.Module):
    """A residual perceptron: x (n, width) -> (n, width)."""

    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.up = of.nn.Linear(WIDTH, 4 * WIDTH, dtype=dtype)
        self.down = of.nn.Linear(4 * WIDTH, WIDTH, dtype=dtype)

    def forward(self, x: Any) -> Any:
        return x + self.down(of.gelu(self.up(x)))


def net(places: tuple[of.Placement, ...], dtype: str, **options: Any) -> of.Program:
    """Four blocks in as many stages as there are places, the batch split over the devices of each."""
    blocks = [Block(dtype) for _ in range(4)]
    each = len(blocks) // len(places)
    for at, block in enumerate(blocks):
        block.to_global(places[at // each], of.B)

    def loss(x: Any, y: Any) -> Any:
        for stage in range(len(places)):
            with of.stage(stage):
                for block in blocks[stage * each : (stage + 1) * each]:
                    x = block(x)
        with of.stage(len(places) - 1):
            return of.mse(x, y)

    specs = [of.spec((ROWS, WIDTH), dtype, place, of.S(0)) for place in (places[0], places[-1])]
    return of.compile(loss, *specs, optimizer=of.optim.AdamW(lr=0.01), seed=3, **options)


def losses(step: of.Program, dtype: str) -> list[float]:
    draw = np.random.default_rng(5)
    batches = [tuple(draw.normal(size=(ROWS, WIDTH)).astype(dtype) for _ in range(2)) for _ in range(STEPS)]
    with step:
        return [float(loss) for loss in step.stream(iter(batches))]


@cache
def alone(dtype: str) -> list[float]:
    return losses(net((ONE,), dtype), dtype)


def compiled(row: Row, dtype: str, limited: bool) -> of.Program:
    options = dict(zip(NAMES, row, strict=True))
    places = TWO * 2 if options["schedule"] == "interleaved" else TWO

    def made(**other: Any) -> of.Program:
        return net(places, dtype, micro_batches=MICRO_BATCHES, executor="simulator", checked=True, **(options | other))

    if options["recompute"] != "auto" or not limited:
        return made()
    memory = (needs(made(recompute=None)) + needs(made(recompute="all"))) // 2
    found = made(memory=memory)
    assert needs(found) <= memory, row
    return found


def needs(step: of.Program) -> int:
    """Bytes of the fullest device."""
    return max(step.plan.arenas[device] + step.plan.states[device] for device in step.plan.devices if not device.startswith("host:"))


def goes_together(row: Row, limited: bool = True) -> None:
    half = row[NAMES.index("precision")] is not None
    dtype = "float32" if half else "float64"
    found = losses(compiled(row, dtype, limited), dtype)
    np.testing.assert_allclose(found, alone(dtype), rtol=1e-2 if half else 1e-12, err_msg=str(row))


def test_every_pair_of_values_goes_together() -> None:
    rows = covering()
    assert set().union(*map(pairs, rows)) == set().union(*map(pairs, product(*VALUES.values())))
    for row in rows:  # a limit makes the compiler look for what may go, which takes the longest beside other choices and where little may
        goes_together(row, limited=row.count("auto") == 1 and row[NAMES.index("offload")] is None)


def test_buckets_that_save_memory_are_kept_while_more_is_saved() -> None:
    goes_together(("gpipe", 1, "auto", None, "auto", "bfloat16", None))


@pytest.mark.slow
@pytest.mark.parametrize("schedule", VALUES["schedule"])
def test_all_values_go_together(schedule: str) -> None:
    for row in product([schedule], *list(VALUES.values())[1:]):
        goes_together(row)
