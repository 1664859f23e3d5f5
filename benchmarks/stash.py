"""What recomputation and offloading save of a GPT's memory, and what they cost: bytes, proved period, measured step.

    python benchmarks/stash.py [--layers 8] [--width 128] [--window 128] [--batch 16] [--micro-batches 8] [--steps 2] [--json FILE]

Two programs: all layers on one device in one micro-batch, and four stages under 1F1B. Each row is one way to compile it: bytes of the
fullest device (arena and state) and of the host, the proved period, nodes computed again and registers that wait on the host, the first
three as shares of the plain program's. The measured step is the processor time of this process, the median over steps, all streams in one
thread on this machine's own memory: a copy to "the host" is a copy here, and nothing hides it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np
from report import Row, options, save, table

import oflow as of

VOCABULARY = 1024
LIMITS = (0.9, 0.75, 0.6)
"""Of the plain arena of the fullest device, for the rows under a memory limit."""


class Block(of.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attention = of.nn.LayerNorm(width), of.nn.Attention(width, width // 32, causal=True)
        self.norm2, self.up, self.down = of.nn.LayerNorm(width), of.nn.Linear(width, 4 * width), of.nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.norm1(x))
        return x + self.down(of.gelu(self.up(self.norm2(x))))


class Gpt(of.nn.Module):
    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.tokens = of.nn.Embedding(VOCABULARY, width)
        self.blocks = of.nn.ModuleList([Block(width) for _ in range(layers)])
        self.norm, self.head = of.nn.LayerNorm(width), of.nn.Linear(width, VOCABULARY, bias=False)


def compiled(sizes: Any, stages: int, **given: Any) -> of.Program:
    """The training step of `sizes` (layers, width, window, batch, micro_batches) on one device a stage."""
    model, places = Gpt(sizes.layers, sizes.width), [of.placement("cpu", [s]) for s in range(stages)]
    for i, block in enumerate(model.blocks):
        block.to_global(places[i * stages // sizes.layers], of.B)
    model.tokens.to_global(places[0], of.B)
    for last in (model.norm, model.head):
        last.to_global(places[-1], of.B)

    def loss(x: Any, y: Any) -> Any:
        with of.stage(0):
            h = model.tokens(x)
        for i, block in enumerate(model.blocks):
            with of.stage(i * stages // sizes.layers):
                h = block(h)
        with of.stage(stages - 1):
            return of.cross_entropy(model.head(model.norm(h)), y)

    kind = (sizes.batch, sizes.window), "int64"
    specs = of.spec(*kind, places[0], of.B), of.spec(*kind, places[-1], of.B)
    count = sizes.micro_batches if stages > 1 else 1
    return of.compile(loss, *specs, optimizer=of.optim.SGD(lr=0.1), micro_batches=count, workers=0, **given)


def ways(plain: of.Program) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and options of the rows after the plain one."""
    yield "recompute all", {"recompute": "all"}
    yield "offload all", {"offload": "all"}
    device = fullest(plain)
    for share in LIMITS:
        memory = plain.plan.states[device] + int(share * plain.plan.arenas[device])
        for name, given in (("recompute", {"recompute": "auto"}), ("offload", {"offload": "auto"})):
            yield f"{name} auto, arena {share:.0%}", {**given, "memory": memory}
        yield f"both auto, arena {share:.0%}", {"recompute": "auto", "offload": "auto", "memory": memory}


def fullest(program: of.Program) -> str:
    devices = [d for d in program.plan.arenas if not d.startswith("host:")]
    return max(devices, key=lambda d: program.plan.arenas[d] + program.plan.states.get(d, 0))


def bytes_of(program: of.Program, device: str) -> int:
    return program.plan.arenas[device] + program.plan.states.get(device, 0)


def step_seconds(program: of.Program, sizes: Any) -> float:
    """Processor time of a step, in this process alone."""
    text = np.random.default_rng(0).integers(0, VOCABULARY, (sizes.batch, sizes.window + 1))
    batch = np.ascontiguousarray(text[:, :-1]), np.ascontiguousarray(text[:, 1:])
    with program:
        program(*batch)
        found = []
        for _ in range(sizes.steps):
            before = time.process_time()
            program(*batch)
            found.append(time.process_time() - before)
    return median(found)


def figures(name: str, program: of.Program, sizes: Any, seconds: float) -> Row:
    return {
        "way": name, "device_nbytes": bytes_of(program, fullest(program)), "period_seconds": program.plan.check().period,
        "host_nbytes": sum(n for d, n in program.plan.arenas.items() if d.startswith("host:")),
        "copies": sum(one.copies for one in program.recomputed()), "compile_seconds": seconds,
        "offloaded": sum(a.stream == "prefetch" for a in program.plan.actor_templates), "step_seconds": step_seconds(program, sizes),
    }  # fmt: skip


def measured(sizes: Any, stages: int) -> list[Row]:
    plain = compiled(sizes, stages)
    rows = [figures("plain", plain, sizes, 0.0)]
    for name, given in ways(plain):
        started = time.process_time()
        try:
            program = compiled(sizes, stages, **given)
        except of.OutOfMemory:
            rows.append({"way": name})
            continue
        rows.append(figures(name, program, sizes, time.process_time() - started))
    return [{"stages": stages, **row} for row in rows]


def text_of(rows: Sequence[Row]) -> str:
    plain = rows[0]
    lines = []
    for row in rows:
        if "period_seconds" not in row:
            lines.append((row["way"], *["does not fit"], *[""] * 6))
            continue
        shares = [f"{row[key] / plain[key]:.2f}" for key in ("device_nbytes", "period_seconds", "step_seconds")]
        lines.append((
            row["way"], f"{row['device_nbytes'] / 1e6:.1f} MB", *shares, f"{row['host_nbytes'] / 1e6:.1f} MB", row["copies"],
            row["offloaded"],
        ))  # fmt: skip
    return table(lines, ("", "device", "of plain", "period", "step", "host", "again", "offloaded"))


def main(words: Sequence[str]) -> None:
    sizes = options(__doc__, words, layers=8, width=128, window=128, batch=16, micro_batches=8, steps=2)
    rows: list[Row] = []
    for stages in (1, 4):
        found = measured(sizes, stages)
        print(f"{stages} stage{'s' * (stages > 1)}\n{text_of(found)}\n")
        rows += found
    save(sizes.json, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
