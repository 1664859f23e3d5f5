"""Three axes: stages, and in each of them the batch and the weights split."""

import numpy as np

import oflow as of


def build(schedule="1f1b"):
    names = "data", "tensor"
    grids = [of.placement("cpu", [[0, 1], [2, 3]], names), of.placement("cpu", [[4, 5], [6, 7]], names)]
    ups = [of.nn.Linear(256, 1024, bias=False) for _ in grids]
    downs = [of.nn.Linear(1024, 256, bias=False), of.nn.Linear(1024, 16, bias=False)]
    for up, down, grid in zip(ups, downs, grids, strict=True):
        up.to_global(grid, {"tensor": of.S(0)})
        down.to_global(grid, {"tensor": of.S(1)})

    def loss(x, y):
        with of.stage(0):
            x = downs[0](of.relu(ups[0](x)))
        with of.stage(1):
            return of.cross_entropy(downs[1](of.relu(ups[1](x))), y)

    x = of.spec((1024, 256), "float32", grids[0], {"data": of.S(0)})
    y = of.spec((1024,), "int64", grids[1], {"data": of.S(0)})
    return of.compile(loss, x, y, optimizer=of.optim.AdamW(lr=1e-3), micro_batches=8, schedule=schedule)


def batches(steps=20):
    x = np.random.default_rng(0).normal(size=(1024, 256)).astype("float32")
    return ((x, x[:, :16].argmax(1)) for _ in range(steps))
