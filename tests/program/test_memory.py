"""The arenas are all there is: after the first step no data block is allocated, and resident memory grows by arenas and a constant."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oflow as of
from oflow import run
from oflow.actors import Launcher
from oflow.backends import Memory, link

BLOCK = 64 << 10
"""Bytes of the smallest allocation that counts as a data block."""
OUTSIDE = 64 << 20
"""Bytes a program may take beside its arenas and state: code, threads' stacks, BLAS buffers, bound kernels."""
ONE, FOUR = of.placement("cpu", [0]), of.placement("cpu", [0, 1, 2, 3])
LEFT, RIGHT = of.placement("cpu", [0, 1]), of.placement("cpu", [2, 3])


def digits(layout: str, scale: int = 1, **options: Any) -> tuple[of.Program, tuple[np.ndarray, ...]]:
    """A classifier of the size of examples/digits.py with a batch large enough that every activation is a data block."""
    rows, up, down = 512 * scale, of.nn.Linear(64, 256), of.nn.Linear(256, 256)
    head = of.nn.Linear(256, 10)
    where, sbp = {"single": (ONE, of.B), "data": (FOUR, of.S(0)), "tensor": (FOUR, of.B)}[layout]
    if layout == "tensor":
        up.weight.to_global(where, of.S(0))
        down.weight.to_global(where, of.S(1))

    def loss(x, y):
        return of.cross_entropy(head(of.relu(down(of.relu(up(x))))), y)

    specs = of.spec((rows, 64), "float32", where, sbp), of.spec((rows,), "int64", where, sbp)
    step = of.compile(loss, *specs, optimizer=of.optim.AdamW(lr=1e-3, clip_norm=1.0), **options)
    draw = np.random.default_rng(0)
    return step, (draw.normal(size=(rows, 64)).astype("float32"), draw.integers(0, 10, rows))


class Block(of.nn.Module):
    def __init__(self, d: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = of.nn.LayerNorm(d), of.nn.LayerNorm(d)
        self.q, self.k, self.v, self.out = (of.nn.Linear(d, d) for _ in range(4))
        self.up, self.down = of.nn.Linear(d, 4 * d), of.nn.Linear(4 * d, d)

    def forward(self, x):
        batch, seq, d = x.shape
        y = self.norm1(x)
        q, k, v = (of.reshape(f(y), (batch, seq, self.heads, d // self.heads)) for f in (self.q, self.k, self.v))
        weights = of.causal_softmax(of.contract("b t h d, b s h d -> b h t s", q, k), scale=(d // self.heads) ** -0.5)
        x = x + self.out(of.reshape(of.contract("b h t s, b s h d -> b t h d", weights, v), (batch, seq, d)))
        return x + self.down(of.gelu(self.up(self.norm2(x))))


def transformer(scale: int = 1, **options: Any) -> tuple[of.Program, tuple[np.ndarray, ...]]:
    """Two pipeline stages of one block each, the second with the tied head."""
    table, blocks = of.nn.Embedding(64, 64), [Block(64, 4), Block(64, 4)]
    table.to_global(LEFT, of.B)
    for block, where in zip(blocks, (LEFT, RIGHT), strict=True):
        block.to_global(where, of.B)
    first, second = blocks
    rows = 16 * scale

    def loss(tokens, following):
        with of.stage(0):
            x = first(table(tokens))
        with of.stage(1):
            return of.cross_entropy(of.linear(second(x), table.weight), following)

    specs = of.spec((rows, 32), "int64", LEFT, of.S(0)), of.spec((rows, 32), "int64", RIGHT, of.S(0))
    step = of.compile(loss, *specs, optimizer=of.optim.AdamW(lr=1e-3, clip_norm=1.0), micro_batches=2, **options)
    draw = np.random.default_rng(0)
    return step, (draw.integers(0, 64, (rows, 32)), draw.integers(0, 64, (rows, 32)))


PROGRAMS = {
    "digits, single": partial(digits, "single"),
    "digits, data": partial(digits, "data"),
    "digits, tensor": partial(digits, "tensor", micro_batches=4),
    "transformer": transformer,
}


def rises_of(name: str, scale: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """By act of later steps: how far its live allocations together rise, in bytes. One worker runs one act at a time."""
    rises: dict[str, int] = {}

    def measured(label: str, launch: Launcher) -> Launcher:
        def run(act: int, slots: tuple[int, ...]) -> None:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            launch(act, slots)
            rises[label] = max(rises.get(label, 0), tracemalloc.get_traced_memory()[1] - before)

        return run

    def measured_link(plan: of.Plan, memory: Memory, **options: bool) -> list[Launcher]:
        return [measured(a.label, launch) for a, launch in zip(plan.actors, link(plan, memory, **options), strict=True)]

    monkeypatch.setattr(run, "link", measured_link)
    step, batch = PROGRAMS[name](workers=1, scale=scale, executor="threads", kernels="numpy")
    with step:
        list(step.stream([batch] * 3))  # every slot is used at least once
        gc.collect()
        tracemalloc.start()
        try:
            list(step.stream([batch] * 2))  # what the interpreter itself keeps comes into being
            rises.clear()
            list(step.stream([batch] * 2))
        finally:
            tracemalloc.stop()
    return rises


@pytest.mark.parametrize("name", PROGRAMS)
def test_temporaries_do_not_grow_with_the_data(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's own buffers have at most 64 KiB each, whatever the size; a data block would be three times larger the second time."""
    small, large = (rises_of(name, scale, monkeypatch) for scale in (1, 3))
    assert small and max(small.values()) < 4 * BLOCK, small
    assert max(large.values()) <= max(max(small.values()), BLOCK) + (8 << 10), (small, large)


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_data_block_stays_after_a_step_of_several_workers(name: str) -> None:
    step, batch = PROGRAMS[name](workers=2)
    with step:
        list(step.stream([batch] * 4))
        tracemalloc.start()
        try:
            list(step.stream([batch] * 6))
            blocks = [t for t in tracemalloc.take_snapshot().traces if t.size >= BLOCK]
        finally:
            tracemalloc.stop()
    assert not blocks, [(t.size, str(t.traceback)) for t in blocks]


GROWTH = """
import resource, sys
sys.path.insert(0, {root!r})
from tests.program.test_memory import digits, transformer

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

warm, batch = digits("single")
with warm:
    warm(*batch)
step, batch = {program}
before = resident()
with step:
    for _ in step.stream([batch] * 3):
        pass
    after = resident()
    for _ in step.stream([batch] * 20):
        pass
    later = resident()
print(after - before, later - after, sum(step.plan.arenas.values()) + sum(step.plan.states.values()))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
@pytest.mark.parametrize("made", ["digits('data')", "transformer()"])
def test_resident_memory_stays_within_arenas_and_a_constant(made: str) -> None:
    root = str(Path(__file__).resolve().parents[2])
    code = GROWTH.format(root=root, program=made)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    first, later, planned = map(int, out.split())
    assert first <= planned + OUTSIDE
    assert later <= 8 << 20  # twenty more steps leave nothing behind
