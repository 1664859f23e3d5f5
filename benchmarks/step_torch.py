"""The cases in PyTorch, eager and through torch.compile (forward and backward; the optimizer is the fused Adam in both)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from cases import BETAS, EPS, LR, Batch, Gpt, Mlp
from torch import Tensor

VERSION = f"torch {torch.__version__}"
Weights = dict[str, Tensor]


def perceptron(case: Mlp, w: Weights, x: Tensor, y: Tensor) -> Tensor:
    for i in range(case.layers):
        x = F.linear(x, w[f"layers.{i}.weight"], w[f"layers.{i}.bias"])
        x = F.gelu(x, approximate="tanh") if i < case.layers - 1 else x
    return F.mse_loss(x, y)


def transformer(case: Gpt, w: Weights, ids: Tensor, labels: Tensor) -> Tensor:
    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (case.width,), w[f"{name}.weight"], w[f"{name}.bias"])

    def attention(x: Tensor, name: str) -> Tensor:
        q, k, v = linear(x, f"{name}.qkv").unflatten(-1, (case.heads, 3, -1)).permute(3, 0, 2, 1, 4).unbind()
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return linear(mixed.transpose(1, 2).flatten(2), f"{name}.out")

    x = F.embedding(ids, w["tokens"]) + w["places"]
    for i in range(case.layers):
        block = f"blocks.{i}"
        x = x + attention(norm(x, f"{block}.norm1"), block)
        x = x + linear(F.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.up"), approximate="tanh"), f"{block}.down")
    return F.cross_entropy(F.linear(norm(x, "norm"), w["head"]).flatten(0, -2), labels.flatten())


def make(case: Mlp | Gpt, threads: int, compiled: bool) -> tuple[Callable[[Sequence[Batch]], list[float]], str]:
    """A function that trains on batches, in order, and returns their losses; and a remark."""
    torch.set_num_threads(threads)
    w = {name: torch.from_numpy(a.copy()).requires_grad_() for name, a in case.weights.items()}
    optimizer = torch.optim.Adam(w.values(), lr=LR, betas=BETAS, eps=EPS, fused=True)

    def loss_of(x: Tensor, y: Tensor) -> Tensor:
        return perceptron(case, w, x, y) if isinstance(case, Mlp) else transformer(case, w, x, y)

    run = torch.compile(loss_of, fullgraph=True) if compiled else loss_of

    def train(batches: Sequence[Batch]) -> list[float]:
        found = []
        for x, y in batches:
            loss = run(torch.from_numpy(x), torch.from_numpy(y))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            found.append(loss.detach())
        return [float(loss) for loss in found]

    return train, ""
