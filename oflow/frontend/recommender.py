"""Layers of recommenders: bags of embeddings."""

from __future__ import annotations

from typing import Any

from oflow import ops
from oflow.frontend.module import Module, Parameter
from oflow.ops.tensor import Tensor


class EmbeddingBag(Module):
    """Bags of whole numbers below `count`, (..., l) or (t,) with offsets (n,) -> the mean, sum or maximum of rows of weight (count, d).

    mode, padding_idx, weights: see `of.embedding_bag`; sparse: see `of.nn.Embedding`. Split `weight` by S(0), its vocabulary, or by
    S(1), its columns.
    """

    weight: Any

    def __init__(
        self, count: int, d: int, dtype: object = "float32", std: float = 1.0, *, mode: str = "mean", padding_idx: int | None = None,
        sparse: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.mode, self.padding_idx, self.sparse = mode, padding_idx, sparse
        self.weight = Parameter((count, d), dtype, "normal", std=std)

    def forward(self, ids: Tensor, offsets: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        return ops.embedding_bag(
            ids, self.weight, offsets, mode=self.mode, weights=weights, padding_idx=self.padding_idx, sparse=self.sparse
        )
