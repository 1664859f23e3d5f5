"""Pipeline parallel: every device has some of the layers, and micro-batches pass through."""

import numpy as np

import oflow as of


def build(schedule="1f1b"):
    layers = [of.nn.Linear(256, 256, bias=False) for _ in range(3)] + [of.nn.Linear(256, 16, bias=False)]
    devices = [of.placement("cpu", [i]) for i in range(4)]
    for layer, device in zip(layers, devices, strict=True):
        layer.to_global(device, of.B)

    def loss(x, y):
        for i, layer in enumerate(layers[:3]):
            with of.stage(i):
                x = of.relu(layer(x))
        with of.stage(3):
            return of.cross_entropy(layers[3](x), y)

    x = of.spec((1024, 256), "float32", devices[0], of.B)
    y = of.spec((1024,), "int64", devices[3], of.B)
    return of.compile(loss, x, y, optimizer=of.optim.AdamW(lr=1e-3), micro_batches=8, schedule=schedule)


def batches(steps=20):
    x = np.random.default_rng(0).normal(size=(1024, 256)).astype("float32")
    return ((x, x[:, :16].argmax(1)) for _ in range(steps))
