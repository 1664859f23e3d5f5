"""What is trained: models by their sizes, the initial weights and the batches that every framework gets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Weights = dict[str, np.ndarray]
Batch = tuple[np.ndarray, np.ndarray]
LR, BETAS, EPS = 1e-3, (0.9, 0.999), 1e-8
"""Adam of every framework."""


@dataclass(frozen=True, slots=True)
class Mlp:
    """Vectors (batch, width) through `layers` square matrices with biases, tanh GELU between them; mean squared error."""

    batch: int
    width: int
    layers: int = 4

    @property
    def weights(self) -> Weights:
        draw, made, bound = np.random.default_rng(0), Weights(), self.width**-0.5
        for i in range(self.layers):
            made[f"layers.{i}.weight"] = draw.uniform(-bound, bound, (self.width, self.width)).astype("float32")
            made[f"layers.{i}.bias"] = draw.uniform(-bound, bound, self.width).astype("float32")
        return made

    def batches(self, count: int) -> list[Batch]:
        draw = np.random.default_rng(1)
        made = draw.standard_normal((count, 2, self.batch, self.width), "float32")
        return [(np.ascontiguousarray(x), np.ascontiguousarray(y)) for x, y in made]


@dataclass(frozen=True, slots=True)
class Gpt:
    """GPT-2's blocks: learned positions, biases, tanh GELU; a head of its own without bias; cross-entropy.

    One matrix makes queries, keys and values; its rows are ordered (head, which of the three, element).
    """

    width: int
    window: int
    batch: int
    vocabulary: int
    layers: int = 4
    heads: int = 4

    @property
    def weights(self) -> Weights:
        draw, made, d = np.random.default_rng(0), Weights(), self.width

        def matrix(name: str, *shape: int) -> None:
            made[name] = (0.02 * draw.standard_normal(shape, "float32")).astype("float32")

        def norm(name: str) -> None:
            made[f"{name}.weight"], made[f"{name}.bias"] = np.ones(d, "float32"), np.zeros(d, "float32")

        matrix("tokens", self.vocabulary, d)
        matrix("places", self.window, d)
        for i in range(self.layers):
            norm(f"blocks.{i}.norm1")
            norm(f"blocks.{i}.norm2")
            linears = {"qkv": (3 * d, d), "out": (d, d), "up": (4 * d, d), "down": (d, 4 * d)}
            for name, shape in linears.items():
                matrix(f"blocks.{i}.{name}.weight", *shape)
                made[f"blocks.{i}.{name}.bias"] = np.zeros(shape[0], "float32")
        norm("norm")
        matrix("head", self.vocabulary, d)
        return made

    def batches(self, count: int) -> list[Batch]:
        text = np.random.default_rng(1).integers(0, self.vocabulary, (count, self.batch, self.window + 1))
        return [(np.ascontiguousarray(t[:, :-1]), np.ascontiguousarray(t[:, 1:])) for t in text]


CASES: dict[str, Mlp | Gpt] = {
    **{f"MLP4 {n}x{d}": Mlp(n, d) for n, d in ((16, 64), (32, 128), (64, 256), (256, 256), (256, 1024), (1024, 1024), (256, 2048))},
    "GPT d64 T32 B2 V256": Gpt(64, 32, 2, 256),
    "GPT d128 T64 B4 V1024": Gpt(128, 64, 4, 1024),
    "GPT d256 T128 B8 V4096": Gpt(256, 128, 8, 4096),
}
