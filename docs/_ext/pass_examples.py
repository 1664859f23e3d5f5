"""A small program for every pass: one where that pass has something to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import oflow as of
from oflow.machine import PLAIN, PRODUCTS, Curve, Kernel, Products, Rates

ONE, TWO, APART = of.placement("cpu", [0]), of.placement("cpu", [0, 1]), of.placement("cuda", [0, 1])
SGD = of.optim.SGD(lr=0.1)
Example = tuple[Callable[..., of.Program], dict[str, Any]]


def product(where, x_sbp, w_sbp, **options):
    """relu(x @ w.T), without gradients."""
    layer = of.nn.Linear(64, 32, bias=False)
    layer.to_global(where, w_sbp)

    def f(x):
        return of.relu(layer(x))

    return of.compile(f, of.spec((16, 64), "float32", where, x_sbp), **options)


def trained(where, x_sbp, layers=1, **options):
    """A step of SGD for the mean of the squares behind some layers."""
    found = [of.nn.Linear(64, 64, bias=False) for _ in range(layers)]
    for layer in found:
        layer.to_global(where, of.B)

    def f(x):
        for layer in found:
            x = layer(x)
        return of.mean(x * x)

    return of.compile(f, of.spec((16, 64), "float32", where, x_sbp), optimizer=SGD, **options)


def staged(micro_batches=4, **options):
    """Two stages of a layer each, on a device each."""
    layers = [of.nn.Linear(64, 64, bias=False) for _ in range(2)]
    for i, layer in enumerate(layers):
        layer.to_global(of.placement("cpu", [i]), of.B)

    def f(x):
        with of.stage(0):
            x = of.tanh(layers[0](x))
        with of.stage(1):
            return of.mean(layers[1](x))

    return of.compile(f, of.spec((16, 64), "float32", ONE, of.B), optimizer=SGD, micro_batches=micro_batches, **options)


def written_twice():
    """The same product, written twice, and one that nobody reads."""
    layer = of.nn.Linear(64, 32, bias=False)

    def f(x):
        layer(x + 1.0)
        return of.tanh(layer(x)) * of.sigmoid(layer(x))

    return of.compile(f, of.spec((16, 64)))


def elementwise():
    """What follows a product, element by element."""
    layer = of.nn.Linear(64, 32)

    def f(x):
        return of.tanh(layer(x)) * 2.0 + 1.0

    return of.compile(f, of.spec((16, 64)))


def marked():
    """A region that is to be computed again."""
    first, second = of.nn.Linear(64, 64, bias=False), of.nn.Linear(64, 64, bias=False)
    block = of.recompute(lambda x: of.tanh(first(x)))

    def f(x):
        return of.mean(second(block(x)))

    return of.compile(f, of.spec((16, 64)), optimizer=SGD)


def cached():
    """The reference machine with a cache of 16 KiB: a byte that is further away takes ten times as long."""
    far = Curve((1 << 14, 1 << 15), (1e-11, 1e-10))
    flops = Products((64.0,), (64.0,), (64.0,), (1e11,))
    rates = Rates(dict.fromkeys(PRODUCTS, flops), far, {"arithmetic": 1e-10}, {PLAIN: Kernel(1e-6, 0.0, far)})
    machine = of.preset("reference")
    devices = {**machine.devices, "cpu": replace(machine.devices["cpu"], rates=rates)}
    return trained(ONE, of.B, machine=replace(machine, devices=devices))


EXAMPLES: dict[str, Example] = {
    "capture": (product, {"where": ONE, "x_sbp": of.B, "w_sbp": of.B}),
    "place": (staged, {}),
    "mixed_precision": (product, {"where": ONE, "x_sbp": of.B, "w_sbp": of.B, "precision": "bfloat16"}),
    "differentiate": (trained, {"where": ONE, "x_sbp": of.B}),
    "optimize": (trained, {"where": ONE, "x_sbp": of.B}),
    "simplify": (written_twice, {}),
    "micro_batches": (trained, {"where": ONE, "x_sbp": of.B, "micro_batches": 2}),
    "zero": (trained, {"where": TWO, "x_sbp": of.S(0), "zero": 2}),
    "infer_sbp": (product, {"where": TWO, "x_sbp": of.S(1), "w_sbp": of.S(1)}),
    "insert_boxing": (product, {"where": TWO, "x_sbp": of.S(1), "w_sbp": of.S(1)}),
    "buckets": (trained, {"where": APART, "x_sbp": of.S(0), "layers": 3, "machine": "two-level", "bucket_nbytes": 1 << 20}),
    "strict": (product, {"where": TWO, "x_sbp": of.S(1), "w_sbp": of.S(1), "strict": True}),
    "host": (product, {"where": TWO, "x_sbp": of.S(0), "w_sbp": of.B}),
    "split_backward": (staged, {"schedule": "zero-bubble"}),
    "fuse": (elementwise, {}),
    "recompute": (marked, {}),
    "expand": (product, {"where": TWO, "x_sbp": of.S(0), "w_sbp": of.B}),
    "reuse": (cached, {}),
    "offload": (trained, {"where": ONE, "x_sbp": of.B, "layers": 4, "offload": "all"}),
    "chain": (product, {"where": TWO, "x_sbp": of.S(0), "w_sbp": of.B}),
    "schedule": (staged, {}),
    "rings": (trained, {"where": APART, "x_sbp": of.S(0), "layers": 3, "machine": "two-level", "zero": 3}),
    "order": (staged, {}),
    "least_slots": (staged, {"slots": "least"}),
    "memory": (trained, {"where": ONE, "x_sbp": of.B}),
}
"""By the name of the pass. A pass without an example, or with one in which it changes nothing, fails a test."""
