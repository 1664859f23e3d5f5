"""ZeRO: data parallel, and what every device would repeat lives split over them."""

import numpy as np

import oflow as of


def build(zero=3):
    two = of.placement("cpu", [0, 1])
    up, down = of.nn.Linear(256, 1024, bias=False), of.nn.Linear(1024, 16, bias=False)
    up.to_global(two, of.B)
    down.to_global(two, of.B)

    def loss(x, y):
        return of.cross_entropy(down(of.relu(up(x))), y)

    x = of.spec((1024, 256), "float32", two, of.S(0))
    y = of.spec((1024,), "int64", two, of.S(0))
    return of.compile(loss, x, y, optimizer=of.optim.AdamW(lr=1e-3), micro_batches=4, zero=zero)


def batches(steps=20):
    x = np.random.default_rng(0).normal(size=(1024, 256)).astype("float32")
    return ((x, x[:, :16].argmax(1)) for _ in range(steps))
