"""Automatic layouts of a GPT of 24 layers on 64 devices in 8 nodes, beside the layouts that are written by hand.

    python benchmarks/auto_layout.py [--layers 24] [--width 1024] [--batch 64] [--vocabulary 32000] [--json FILE]

The devices are a mesh of 8 nodes by 8; links inside a node are ten times as fast as those across. By hand: the batch over all
devices; Megatron's weights inside a node and the batch across nodes (Shoeybi et al. 2019), also with the vocabulary split; Megatron's
weights over all devices. Each is compiled to a proved plan; "predicted" is what inference minimised, "simulated" the proved steady
period of the plan, in which communication overlaps with compute.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from report import Row, options, save, seconds_text

import oflow as of

NODES, INSIDE = 8, 8
WINDOW, HEADS = 512, 16
GRID = of.placement("cpu", [[INSIDE * i + j for j in range(INSIDE)] for i in range(NODES)])
MACHINE = of.Machine(
    "two levels", {"cpu": of.Device(1e14, 2e12, 5e-6, 80 << 30), "host": of.Device()}, of.Link(5e-6, 2e11), node_size=INSIDE,
    inter=of.Link(2e-5, 2e10),
)  # fmt: skip
Homes = Callable[[str], tuple[of.sbp.Sbp, ...] | None]


class Block(of.nn.Module):
    """GPT-2's block, with a matrix each for queries, keys and values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = of.nn.LayerNorm(width), of.nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (of.nn.Linear(width, width) for _ in range(4))
        self.up, self.down = of.nn.Linear(width, 4 * width), of.nn.Linear(4 * width, width)

    def forward(self, x: of.ops.Tensor) -> of.ops.Tensor:
        batch, seq, width = x.shape
        h = self.norm1(x)
        q, k, v = (of.reshape(f(h), (batch, seq, HEADS, width // HEADS)) for f in (self.query, self.key, self.value))
        x = x + self.out(of.reshape(of.causal_attention(q, k, v), (batch, seq, width)))
        return x + self.down(of.gelu(self.up(self.norm2(x))))


class Net(of.nn.Module):
    def __init__(self, layers: int, width: int, vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.places = of.nn.Embedding(vocabulary, width), of.nn.Parameter((WINDOW, width), std=0.02)
        self.blocks = of.nn.ModuleList(Block(width) for _ in range(layers))
        self.norm, self.head = of.nn.LayerNorm(width), of.nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: of.ops.Tensor) -> of.ops.Tensor:
        x = self.tokens(tokens) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def split(vocabulary: bool, tensor: tuple[int, ...]) -> Homes:
    """Megatron's weights, split over these mesh axes; the rest repeated."""

    def homes(name: str) -> tuple[of.sbp.Sbp, ...] | None:
        by_rows = name.endswith(("query.weight", "key.weight", "value.weight", "up.weight"))
        by_rows |= name.endswith(("query.bias", "key.bias", "value.bias", "up.bias"))
        by_rows |= vocabulary and name.endswith(("tokens.weight", "head.weight"))
        sbp = of.S(0) if by_rows else of.S(1) if name.endswith(("out.weight", "down.weight")) else of.B
        return tuple(sbp if axis in tensor else of.B for axis in range(2))

    return homes


HAND: dict[str, tuple[object, Homes]] = {
    "batch over all": ((of.S(0), of.S(0)), split(False, ())),
    "Megatron inside nodes": ((of.S(0), of.B), split(False, (1,))),
    "Megatron inside nodes, vocabulary too": ((of.S(0), of.B), split(True, (1,))),
    "Megatron over all": ((of.B, of.B), split(True, (0, 1))),
}


def program(sizes: dict[str, int], batch_sbp: object = None, homes: Homes | None = None) -> of.Program:
    """The training step, with these homes of the parameters; with automatic layouts where there are none."""
    net = Net(sizes["layers"], sizes["width"], sizes["vocabulary"])
    for name, parameter in net.named_parameters() if homes else ():
        parameter.to_global(GRID, homes(name))
    spec = of.spec((sizes["batch"], WINDOW), "int64", GRID, batch_sbp)
    return of.compile(
        lambda x, y: of.cross_entropy(net(x), y), spec, spec, optimizer=of.optim.AdamW(lr=1e-3), machine=MACHINE,
        layout=None if homes else "auto",
    )  # fmt: skip


def row(name: str, sizes: dict[str, int], *how: object) -> Row:
    began = perf_counter()
    made = program(sizes, *how)
    took = perf_counter() - began
    found, proof = made.passes["infer_sbp"].assignment, made.plan.check()
    nbytes = max(proof.arenas.get(d, 0) + proof.states.get(d, 0) for d in GRID.devices)
    return {
        "layout": name, "predicted": found.seconds, "bound": found.bound, "simulated": proof.period, "nbytes": nbytes, "compiled": took,
    }  # fmt: skip


def main(words: list[str] | None = None) -> None:
    import sys

    given = options(__doc__, sys.argv[1:] if words is None else words, layers=24, width=1024, batch=64, vocabulary=32000)
    sizes = {name: getattr(given, name) for name in ("layers", "width", "batch", "vocabulary")}
    rows = [row("auto", sizes)]
    _print(rows[-1])
    for name, how in HAND.items():
        rows.append(row(name, sizes, *how))
        _print(rows[-1])
    best = min(rows[1:], key=lambda one: one["simulated"])
    print(f"auto takes {rows[0]['simulated'] / best['simulated']:.3f} of the best by hand ({best['layout']})")
    save(given.json, rows)


def _print(found: Row) -> None:
    seconds = {name: seconds_text(found[name]) for name in ("predicted", "bound", "simulated", "compiled")}
    print(
        f"{found['layout']:38} predicted {seconds['predicted']} (at least {seconds['bound']}), simulated {seconds['simulated']}, "
        f"{found['nbytes'] / 2**30:.2f} GiB a device, compiled in {seconds['compiled']}"
    )


if __name__ == "__main__":
    main()
