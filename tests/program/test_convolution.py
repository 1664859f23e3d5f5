"""A convolutional classifier trains, data parallel and over two stages, and agrees with one device."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

import oflow as of

BATCH = 64


class Net(of.nn.Module):
    """Images x (n, 1, 8, 8) -> scores (n, 10)."""

    def __init__(self):
        super().__init__()
        self.kernel = of.nn.Parameter((8, 1, 3, 3), "float64", init="normal", std=0.3)
        self.bias = of.nn.Parameter((8, 1, 1), "float64", init="zeros")
        self.head = of.nn.Linear(8 * 4 * 4, 10, dtype="float64")

    def features(self, x):
        return of.max_pool2d(of.relu(of.conv2d(x, self.kernel, padding=1) + self.bias), size=2, stride=2)

    def classify(self, h):
        return self.head(of.reshape(h, (h.shape[0], 8 * 4 * 4)))


def _program(layout):
    net, four = Net(), of.placement("cpu", [0, 1, 2, 3])
    optimizer = of.optim.AdamW(lr=5e-3)
    if layout == "pipeline":
        first, second = of.placement("cpu", [0, 1]), of.placement("cpu", [2])
        for p in ("kernel", "bias"):
            getattr(net, p).to_global(first, of.B)
        net.head.to_global(second, of.B)

        def staged(x, y):
            with of.stage(0):
                h = net.features(x)
            with of.stage(1):
                return of.cross_entropy(net.classify(h), y)

        images, labels = of.spec((BATCH, 1, 8, 8), "float64", first, of.S(0)), of.spec((BATCH,), "int64", second, of.B)
        return of.compile(staged, images, labels, optimizer=optimizer, micro_batches=4)
    where, sbp = (four, of.S(0)) if layout == "data" else (of.placement("cpu", [0]), of.B)

    def loss(x, y):
        return of.cross_entropy(net.classify(net.features(x)), y)

    return of.compile(loss, of.spec((BATCH, 1, 8, 8), "float64", where, sbp), of.spec((BATCH,), "int64", where, sbp), optimizer=optimizer)


def _losses(layout, epochs):
    digits = load_digits()
    x, y = digits.images[:, None] / 16.0, digits.target.astype("int64")
    batches = [(x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, 1024, BATCH)] * epochs
    with _program(layout) as step:
        return np.array(list(step.stream(batches)))


def test_it_learns():
    losses = _losses("single", epochs=6)
    assert losses[-16:].mean() < 0.3 < 2.0 < losses[0]


@pytest.mark.parametrize("layout", ["data", "pipeline"])
def test_layouts_agree(layout):
    np.testing.assert_allclose(_losses(layout, epochs=1), _losses("single", epochs=1), rtol=1e-9)
