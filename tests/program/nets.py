"""Small nets in many layouts: one of exact operators on whole numbers, and a two-layer classifier with smooth ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

import oflow as of

BATCH, WIDE, HIDDEN, NARROW = 12, 6, 10, 5
ONE = of.placement("cpu", [0])
THREE = of.placement("cpu", [0, 1, 2])
FOUR = of.placement("cpu", [0, 1, 2, 3])
GRID = of.placement("cpu", [[0, 1], [2, 3]])
LEFT, RIGHT = of.placement("cpu", [0, 1]), of.placement("cpu", [2, 3])

Where = tuple[of.Placement, Any]
LAYOUTS = (
    "single", "data", "data3", "tensor", "tensor3", "grid", "pipeline", "pipeline x data", "pipeline x tensor",
    "pipeline, 3 and 1 ranks",
)  # fmt: skip


class Dense(of.nn.Module):
    """x (n, inner) -> x weight^T + bias (n, outer), with whole numbers -1, 0, 1 to begin with."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.weight = of.nn.Parameter((outer, inner), "float64", "integers", low=-1, high=2)
        self.bias = of.nn.Parameter((outer,), "float64", "integers", low=-1, high=2)

    def forward(self, x):
        return of.linear(x, self.weight) + self.bias


class Net(of.nn.Module):
    def __init__(self, layer: Callable[[int, int], of.nn.Module] = Dense):
        super().__init__()
        self.up = layer(WIDE, HIDDEN)
        self.down = layer(HIDDEN, NARROW)


def annotate(model: Net, layout: str) -> tuple[Where, Where]:
    """Put the weights where `layout` says; returns the placement and sbp of the inputs and of the targets."""
    if layout == "single":
        return (ONE, of.B), (ONE, of.B)
    if layout.startswith("data"):
        where = THREE if layout == "data3" else FOUR
        return (where, of.S(0)), (where, of.S(0))
    if layout.startswith("tensor"):
        where = THREE if layout == "tensor3" else FOUR
        model.up.weight.to_global(where, of.S(0))
        model.down.weight.to_global(where, of.S(1))
        return (where, of.B), (where, of.B)
    if layout == "grid":
        model.up.weight.to_global(GRID, (of.B, of.S(0)))
        model.down.weight.to_global(GRID, (of.B, of.S(1)))
        return (GRID, (of.S(0), of.B)), (GRID, (of.S(0), of.B))
    first, second, sbp = {
        "pipeline": (ONE, of.placement("cpu", [1]), of.B),
        "pipeline x data": (LEFT, RIGHT, of.S(0)),
        "pipeline x tensor": (LEFT, RIGHT, of.B),
        "pipeline, 3 and 1 ranks": (THREE, of.placement("cpu", [3]), of.S(0)),
    }[layout]
    model.up.to_global(first, of.B)
    model.down.to_global(second, of.B)
    if layout == "pipeline x tensor":
        model.up.weight.to_global(first, of.S(0))
        model.down.weight.to_global(second, of.S(1))
    return (first, sbp), (second, sbp)


def stage_of(layout: str) -> Callable[[int], AbstractContextManager[None]]:
    return of.stage if layout.startswith("pipeline") else lambda i: nullcontext()


def exact(layout: str, **options: Any) -> of.Program:
    """(x (12, 6), y (12, 5)) -> the summed squared error, trained by SGD with a rate of 1/8."""
    model = Net()
    xs, ys = annotate(model, layout)
    stage = stage_of(layout)

    def loss(x, y):
        with stage(0):
            h = of.relu(model.up(x))
        with stage(1):
            return of.sum_squared_error(model.down(h), y)

    specs = of.spec((BATCH, WIDE), "float64", *xs), of.spec((BATCH, NARROW), "float64", *ys)
    return of.compile(loss, *specs, **{"optimizer": of.optim.SGD(lr=2.0**-3), **options})


def classifier(layout: str, optimizer: Any = None, model: Net | None = None, **options: Any) -> of.Program:
    """(x (12, 6), y (12,)) -> the mean cross-entropy of a two-layer net with GELU in float64."""
    model = model or Net(lambda inner, outer: of.nn.Linear(inner, outer, dtype="float64"))
    xs, ys = annotate(model, layout)
    stage = stage_of(layout)

    def loss(x, y):
        with stage(0):
            h = of.gelu(model.up(x))
        with stage(1):
            return of.cross_entropy(model.down(h), y)

    specs = of.spec((BATCH, WIDE), "float64", *xs), of.spec((BATCH,), "int64", *ys)
    return of.compile(loss, *specs, optimizer=optimizer or of.optim.AdamW(lr=1e-2), **options)


def batches(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    draw = np.random.default_rng(seed)
    return [(draw.normal(size=(BATCH, WIDE)), draw.integers(0, NARROW, BATCH)) for _ in range(count)]


def whole_numbers(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    draw = np.random.default_rng(0)
    sizes = (BATCH, WIDE), (BATCH, NARROW)
    return [tuple(draw.integers(-1, 2, size).astype("float64") for size in sizes) for _ in range(count)]  # type: ignore[misc]
