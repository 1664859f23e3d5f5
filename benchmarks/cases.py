"""What `train_step.py` measures: models by their sizes, the initial weights and the batches that every framework gets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Weights = dict[str, np.ndarray]
Batch = tuple[np.ndarray, np.ndarray]
LR, BETAS, EPS, WEIGHT_DECAY = 1e-3, (0.9, 0.999), 1e-8, 0.1
"""AdamW of every framework; the decay acts on matrices and tables only."""


@dataclass(frozen=True, slots=True)
class Mlp:
    """Images (batch, 64) -> 256 -> 10 classes, ReLU: the handwritten digits of scikit-learn have these sizes."""

    batch: int
    pixels: int = 64
    hidden: int = 256
    classes: int = 10

    @property
    def weights(self) -> Weights:
        draw = np.random.default_rng(0)
        made: Weights = {}
        for name, rows, columns in (("up", self.hidden, self.pixels), ("down", self.classes, self.hidden)):
            bound = columns**-0.5
            made[f"{name}.weight"] = draw.uniform(-bound, bound, (rows, columns)).astype("float32")
            made[f"{name}.bias"] = draw.uniform(-bound, bound, rows).astype("float32")
        return made

    def batches(self, count: int) -> list[Batch]:
        draw = np.random.default_rng(1)
        shape = (count, self.batch, self.pixels)
        images, labels = draw.random(shape, "float32"), draw.integers(0, self.classes, shape[:2])
        return list(zip(images, labels, strict=True))


@dataclass(frozen=True, slots=True)
class Gpt:
    """GPT-2's blocks over bytes: learned positions, biases, tanh GELU, embedding and head tied."""

    width: int
    window: int
    batch: int = 8
    layers: int = 4
    heads: int = 4
    vocabulary: int = 256

    @property
    def weights(self) -> Weights:
        draw, made, d = np.random.default_rng(0), Weights(), self.width

        def matrix(name: str, *shape: int) -> None:
            made[name] = draw.normal(0, 0.02, shape).astype("float32")

        def norm(name: str) -> None:
            made[f"{name}.weight"], made[f"{name}.bias"] = np.ones(d, "float32"), np.zeros(d, "float32")

        matrix("tokens", self.vocabulary, d)
        matrix("places", self.window, d)
        for i in range(self.layers):
            norm(f"blocks.{i}.norm1")
            norm(f"blocks.{i}.norm2")
            linears = {"query": (d, d), "key": (d, d), "value": (d, d), "out": (d, d), "up": (4 * d, d), "down": (d, 4 * d)}
            for name, shape in linears.items():
                matrix(f"blocks.{i}.{name}.weight", *shape)
                made[f"blocks.{i}.{name}.bias"] = np.zeros(shape[0], "float32")
        norm("norm")
        return made

    def batches(self, count: int) -> list[Batch]:
        text = np.random.default_rng(1).integers(0, self.vocabulary, (count, self.batch, self.window + 1))
        return [(np.ascontiguousarray(t[:, :-1]), np.ascontiguousarray(t[:, 1:])) for t in text]


CASES: dict[str, Mlp | Gpt] = {
    "digits MLP 64-256-10, batch 128": Mlp(128),
    "digits MLP 64-256-10, batch 1797": Mlp(1797),
    "GPT 4 layers d=64 T=32 B=8 V=256": Gpt(64, 32),
    "GPT 4 layers d=128 T=64 B=8 V=256": Gpt(128, 64),
}
