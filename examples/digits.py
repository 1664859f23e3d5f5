"""Handwritten digits (the 1797 images that ship with scikit-learn), one classifier, four layouts, one loss curve.

python examples/digits.py                              trains all four and compares their curves
oflow train examples/digits.py layout=tensor           trains one: single | data | tensor | pipeline (the default)
"""

import sys
from contextlib import nullcontext

import numpy as np
from sklearn.datasets import load_digits

import oflow as of

LAYOUTS = ("single", "data", "tensor", "pipeline")
PIXELS, CLASSES, HIDDEN, BATCH, HELD_OUT = 64, 10, 256, 128, 360


class Classifier(of.nn.Module):
    """Images x (n, 64) -> scores (n, 10): a bottom and a head."""

    def __init__(self, dtype="float32"):
        super().__init__()
        self.up = of.nn.Linear(PIXELS, HIDDEN, dtype=dtype)
        self.down = of.nn.Linear(HIDDEN, HIDDEN, dtype=dtype)
        self.head = of.nn.Linear(HIDDEN, CLASSES, dtype=dtype)

    def bottom(self, x):
        return of.relu(self.down(of.relu(self.up(x))))

    def forward(self, x):
        return self.head(self.bottom(x))


def annotate(model, layout):
    """Say where the weights live; everything else follows. Returns (placement, Sbp) of the images and of the labels."""
    if layout == "single":
        return (of.placement("cpu", [0]), of.B), (of.placement("cpu", [0]), of.B)
    four = of.placement("cpu", [0, 1, 2, 3])
    if layout == "data":
        return (four, of.S(0)), (four, of.S(0))
    if layout == "tensor":  # Megatron: columns, then rows, so that one sum at the end is all that moves
        model.up.weight.to_global(four, of.S(0))
        model.down.weight.to_global(four, of.S(1))
        return (four, of.B), (four, of.B)
    if layout == "pipeline":  # two stages, each data parallel on two devices
        first, second = of.placement("cpu", [0, 1]), of.placement("cpu", [2, 3])
        for module, where in ((model.up, first), (model.down, first), (model.head, second)):
            module.to_global(where, of.B)
        return (first, of.S(0)), (second, of.S(0))
    raise ValueError(f"layout={layout!r}; choose from {', '.join(LAYOUTS)}")


def build(layout="pipeline", dtype="float32", lr=2e-3, executor=None, **_):
    """A training program: (x (128, 64), y (128,)) -> loss."""
    model = Classifier(dtype)
    images, labels = annotate(model, layout)
    stage = of.stage if layout == "pipeline" else lambda i: nullcontext()

    def loss(x, y):
        with stage(0):
            x = model.bottom(x)
        with stage(1):
            return of.cross_entropy(model.head(x), y)

    pipeline = {"micro_batches": 8, "schedule": "1f1b"} if layout == "pipeline" else {}
    specs = of.spec((BATCH, PIXELS), dtype, *images), of.spec((BATCH,), "int64", *labels)
    return of.compile(loss, *specs, optimizer=of.optim.AdamW(lr=float(lr)), executor=executor, **pipeline)


def data(dtype="float32"):
    """Images scaled to 0..1 and labels, shuffled once: ((x, y) to train on, (x, y) held out)."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype(dtype), y[order].astype("int64")
    return (x[HELD_OUT:], y[HELD_OUT:]), (x[:HELD_OUT], y[:HELD_OUT])


def batches(dtype="float32", epochs=30, **_):
    """Batches of 128, in an order that depends on the epoch alone."""
    return of.data.shuffled(data(dtype)[0], BATCH, seed=1, epochs=int(epochs))


def evaluate(program):
    """Accuracy on the held-out images, by a second program that reads the parameters of the first."""
    dtype = program.state_dict()["up.weight"].dtype.name
    x, y = data(dtype)[1]
    model = Classifier(dtype)
    scores = of.compile(lambda x: model(x), of.spec(x.shape, dtype, of.placement("cpu", [0]), of.B), state=program)
    return {"accuracy": float(np.mean(scores(x).argmax(axis=1) == y))}


def train(layout, dtype="float32", epochs=30, progress=False):
    """Train one layout. Returns (losses, metrics)."""
    with build(layout, dtype) as program:
        losses = [float(loss) for loss in program.stream(batches(dtype, epochs), progress=progress)]
        return np.array(losses), evaluate(program)


def main(dtype="float32", epochs=30):
    results = {layout: train(layout, dtype, int(epochs), progress=True) for layout in LAYOUTS}
    first = results["single"][0][:20]
    for layout, (losses, metrics) in results.items():
        apart = np.max(np.abs(losses[:20] - first) / first)
        print(f"{layout:9} accuracy {metrics['accuracy']:.1%}   loss {losses[-1]:.4f}   first 20 losses apart by {apart:.1e}")


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
