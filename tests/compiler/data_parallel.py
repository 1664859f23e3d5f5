"""Data-parallel nets whose weights are whole on all devices: what sharded state and buckets are tried on."""

from __future__ import annotations

import oflow as of


class Wide(of.nn.Module):
    """Two products whose weights and biases fall into equal parts on 2, 4 and 8 devices."""

    def __init__(self):
        super().__init__()
        self.up, self.down = of.nn.Linear(64, 256), of.nn.Linear(256, 128)


def wide(devices: int, zero: object, batch: int = 1024, **options: object) -> of.Program:
    """(x (batch, 64), y (batch,)) -> cross-entropy; all weights whole on all devices, the batch split."""
    where, model = of.placement("cpu", list(range(devices))), Wide()

    def loss(x, y):
        return of.cross_entropy(model.down(of.relu(model.up(x))), y)

    specs = of.spec((batch, 64), "float32", where, of.S(0)), of.spec((batch,), "int64", where, of.S(0))
    return of.compile(loss, *specs, optimizer=of.optim.AdamW(), zero=zero, **options)


class Layers(of.nn.Module):
    def __init__(self, count: int):
        super().__init__()
        self.layers = of.nn.ModuleList([of.nn.Linear(128, 128) for _ in range(count)])

    def forward(self, x):
        for layer in self.layers:
            x = of.relu(layer(x))
        return x


def layered(count: int, zero: object, **options: object) -> of.Program:
    """Equal layers on four devices that do not share memory, two micro-batches of 4096 rows a device."""
    where, model = of.placement("cuda", [0, 1, 2, 3]), Layers(count)
    specs = of.spec((32768, 128), "float32", where, of.S(0)), of.spec((32768,), "int64", where, of.S(0))
    settings = {"optimizer": of.optim.AdamW(), "micro_batches": 2, "zero": zero, "machine": "two-level", **options}
    return of.compile(lambda x, y: of.cross_entropy(model(x), y), *specs, **settings)
