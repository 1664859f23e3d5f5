"""The cases in oflow: on one device, on two with a chosen layout, and with the layout that the cost model finds fastest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding  # noqa: F401 - loads oflow's kernels; PyTorch and JAX load theirs when they are imported
import msgspec
from cases import BETAS, EPS, LR, Batch, Gpt, Mlp

import oflow as of
from oflow.calibrate import measure

VERSION = f"oflow {of.__version__}"
LAYOUTS = ("one", "data", "tensor", "free")
"""One device; two with the batch split; two with the matrices split; two where only the batch's layout is given."""


class Perceptron(of.nn.Module):
    def __init__(self, case: Mlp) -> None:
        super().__init__()
        self.layers = of.nn.ModuleList(of.nn.Linear(case.width, case.width) for _ in range(case.layers))

    def forward(self, x: Any, y: Any) -> Any:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            x = of.gelu(x) if i < len(self.layers) - 1 else x
        return of.mse(x, y)

    def split(self, where: of.Placement) -> None:
        """Every second matrix by its rows, the others by their columns."""
        for i, layer in enumerate(self.layers):
            layer.to_global(where, of.S(0)) if i % 2 == 0 else _by_columns(layer, where)


class Block(of.nn.Module):
    def __init__(self, case: Gpt) -> None:
        super().__init__()
        d, self.heads = case.width, case.heads
        self.norm1, self.norm2 = of.nn.LayerNorm(d), of.nn.LayerNorm(d)
        self.qkv, self.out = of.nn.Linear(d, 3 * d), of.nn.Linear(d, d)
        self.up, self.down = of.nn.Linear(d, 4 * d), of.nn.Linear(4 * d, d)

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.norm1(x))
        return x + self.down(of.gelu(self.up(self.norm2(x))))

    def attention(self, x: Any) -> Any:
        batch, seq, d = x.shape
        size = d // self.heads
        three = of.reshape(self.qkv(x), (batch, seq, self.heads, 3 * size))
        q, k, v = (three[:, :, :, i * size : (i + 1) * size] for i in range(3))
        return self.out(of.reshape(of.causal_attention(q, k, v), (batch, seq, d)))


class Transformer(of.nn.Module):
    def __init__(self, case: Gpt) -> None:
        super().__init__()
        self.tokens = of.nn.Parameter((case.vocabulary, case.width))
        self.places = of.nn.Parameter((case.window, case.width))
        self.blocks = of.nn.ModuleList(Block(case) for _ in range(case.layers))
        self.norm = of.nn.LayerNorm(case.width)
        self.head = of.nn.Parameter((case.vocabulary, case.width))

    def forward(self, ids: Any, labels: Any) -> Any:
        x = of.embedding(ids, self.tokens) + self.places
        for block in self.blocks:
            x = block(x)
        return of.cross_entropy(of.linear(self.norm(x), self.head), labels)

    def split(self, where: of.Placement) -> None:
        """Heads and hidden columns first, then rows (Shoeybi et al. 2019); the head by its rows, all else repeated."""
        self.to_global(where, of.B)
        for block in self.blocks:
            block.qkv.to_global(where, of.S(0))
            block.up.to_global(where, of.S(0))
            _by_columns(block.out, where)
            _by_columns(block.down, where)
        self.head.to_global(where, of.S(0))


def _by_columns(layer: of.nn.Linear, where: of.Placement) -> None:
    layer.weight.to_global(where, of.S(1))
    layer.bias.to_global(where, of.B)


def program(case: Mlp | Gpt, layout: str, machine: of.Machine | None = None, **others: Any) -> of.Program:
    """The compiled training step of a case in one of LAYOUTS."""
    model = Perceptron(case) if isinstance(case, Mlp) else Transformer(case)
    where = of.placement("cpu", [0] if layout == "one" else [0, 1])
    if layout == "data":
        model.to_global(where, of.B)
    elif layout == "tensor":
        model.split(where)
    given = of.S(0) if layout in ("data", "free") else of.B
    specs = [of.spec(a.shape, a.dtype.name, where, given) for a in case.batches(1)[0]]
    optimizer = of.optim.AdamW(lr=LR, betas=BETAS, eps=EPS, weight_decay=0.0)
    return of.compile(model, *specs, optimizer=optimizer, machine=machine, **others)


def predicted(made: of.Program, steps: int = 3) -> float:
    """Seconds a step that the plan's machine model foretells: the steady distance of the ends of simulated steps."""
    ends = [max(s.stop for s in made.plan.simulate(steps=n).spans) for n in (1, steps)]
    return (ends[1] - ends[0]) / (steps - 1)


def fastest(case: Mlp | Gpt, machine: of.Machine | None, **others: Any) -> tuple[of.Program, str]:
    """The program whose layout the cost model foretells to be the fastest, and what it foretold of each."""
    made = {layout: program(case, layout, machine, **others) for layout in LAYOUTS}
    foretold = {layout: predicted(one) for layout, one in made.items()}
    best = min(foretold, key=lambda layout: foretold[layout])
    return made[best], f"{best}; foretold " + ", ".join(f"{name} {s * 1e3:.3g} ms" for name, s in foretold.items())


def measured(seconds: float) -> str:
    """This machine, measured, as JSON."""
    return msgspec.json.encode(measure(seconds)).decode()


def make(
    case: Mlp | Gpt, threads: int, layout: str, machine: str = ""
) -> tuple[Callable[[Sequence[Batch]], list[float]], str]:
    """A function that trains on batches, in order, and returns their losses; and a remark.

    machine: the file of a measured one, for the layout "auto".
    """
    if layout == "auto":
        made, remark = fastest(case, msgspec.json.decode(Path(machine).read_bytes(), type=of.Machine) if machine else None)
    else:
        made, remark = program(case, layout), ""
    made.load_state_dict(made.state_dict() | case.weights)
    return lambda batches: [float(loss) for loss in made.stream(batches)], remark
