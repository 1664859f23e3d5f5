"""The cases in oflow: on one device, or data parallel on several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cases import BETAS, EPS, LR, WEIGHT_DECAY, Batch, Gpt, Mlp

import oflow as of

VERSION = f"oflow {of.__version__}" if hasattr(of, "__version__") else "oflow"


class Perceptron(of.nn.Module):
    def __init__(self, case: Mlp) -> None:
        super().__init__()
        self.up, self.down = of.nn.Linear(case.pixels, case.hidden), of.nn.Linear(case.hidden, case.classes)

    def forward(self, x: Any) -> Any:
        return self.down(of.relu(self.up(x)))


class Block(of.nn.Module):
    def __init__(self, case: Gpt) -> None:
        super().__init__()
        d, self.heads = case.width, case.heads
        self.norm1, self.norm2 = of.nn.LayerNorm(d), of.nn.LayerNorm(d)
        self.query, self.key, self.value, self.out = (of.nn.Linear(d, d) for _ in range(4))
        self.up, self.down = of.nn.Linear(d, 4 * d), of.nn.Linear(4 * d, d)

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.norm1(x))
        return x + self.down(of.gelu(self.up(self.norm2(x))))

    def attention(self, x: Any) -> Any:
        batch, seq, d = x.shape
        q, k, v = (of.reshape(f(x), (batch, seq, self.heads, d // self.heads)) for f in (self.query, self.key, self.value))
        scores = of.causal_softmax(of.contract("b t h d, b s h d -> b h t s", q, k), scale=(d // self.heads) ** -0.5)
        return self.out(of.reshape(of.contract("b h t s, b s h d -> b t h d", scores, v), (batch, seq, d)))


class Transformer(of.nn.Module):
    def __init__(self, case: Gpt) -> None:
        super().__init__()
        self.tokens = of.nn.Parameter((case.vocabulary, case.width))
        self.places = of.nn.Parameter((case.window, case.width))
        self.blocks = of.nn.ModuleList(Block(case) for _ in range(case.layers))
        self.norm = of.nn.LayerNorm(case.width)

    def forward(self, ids: Any) -> Any:
        x = of.embedding(ids, self.tokens) + self.places
        for block in self.blocks:
            x = block(x)
        return of.linear(self.norm(x), self.tokens)


def make(case: Mlp | Gpt, threads: int, devices: int) -> Callable[[Sequence[Batch]], list[float]]:
    """A function that trains on batches, in order, and returns their losses."""
    model = Perceptron(case) if isinstance(case, Mlp) else Transformer(case)
    where, how = of.placement("cpu", list(range(devices))), of.S(0) if devices > 1 else of.B
    specs = [of.spec(a.shape, a.dtype.name, where, how) for a in case.batches(1)[0]]
    program = of.compile(
        lambda x, y: of.cross_entropy(model(x), y), *specs,
        optimizer=of.optim.AdamW(lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY), workers=threads,
    )  # fmt: skip
    program.load_state_dict(program.state_dict() | case.weights)
    return lambda batches: [float(loss) for loss in program.stream(batches)]
