"""A small GPT learns to write Python from the standard library's own sources: 4 pipeline ranks x 2-way tensor parallel.

python examples/gpt.py                                 trains it, compares it with a byte bigram model, writes a sample
oflow train examples/gpt.py steps=50                   the same by the command line, shorter
oflow view examples/gpt.py -o gpt.html                 its plan, before anything is allocated
oflow simulate examples/gpt.py schedule=zero-bubble -o t.svg        who runs when in another pipeline schedule than 1F1B
oflow simulate examples/gpt.py schedule=zero-bubble chunks=2 layers=8 -o t.svg     two stages a rank, in the shape of a V
"""

import sys
import sysconfig
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import numpy as np

import oflow as of

BYTES, WIDTH, HEADS, LAYERS, WINDOW, BATCH, MICRO_BATCHES = 256, 128, 4, 4, 128, 16, 4
STEPS = 500
RANKS = [of.placement("cpu", [2 * rank, 2 * rank + 1]) for rank in range(4)]


# ------------------------------------------------------------ the model


class Attention(of.nn.Module):
    """Causal self-attention: x (batch, seq, width) -> the same shape. A device holds whole heads."""

    def __init__(self):
        super().__init__()
        for name in ("query", "key", "value", "out"):
            setattr(self, name, of.nn.Linear(WIDTH, WIDTH))

    def forward(self, x):
        batch, seq, _ = x.shape
        q, k, v = (of.reshape(f(x), (batch, seq, HEADS, WIDTH // HEADS)) for f in (self.query, self.key, self.value))
        return self.out(of.reshape(of.causal_attention(q, k, v), (batch, seq, WIDTH)))


class Block(of.nn.Module):
    """Attention and a two-layer perceptron, each after a layer norm and around a residual (GPT-2's order)."""

    def __init__(self):
        super().__init__()
        self.norm1, self.attention = of.nn.LayerNorm(WIDTH), Attention()
        self.norm2 = of.nn.LayerNorm(WIDTH)
        self.up = of.nn.Linear(WIDTH, 4 * WIDTH)
        self.down = of.nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(of.gelu(self.up(self.norm2(x))))

    def split(self, where):
        """Megatron: columns of the first matrix, rows of the second, everything else repeated."""
        self.to_global(where, of.B)
        for first in (self.attention.query, self.attention.key, self.attention.value, self.up):
            first.to_global(where, of.S(0))
        for second in (self.attention.out, self.down):
            second.weight.to_global(where, of.S(1))


class GPT(of.nn.Module):
    """Bytes (batch, seq) -> scores of the next byte (batch, seq, 256). The embedding table is also the head."""

    def __init__(self, layers=LAYERS, stages=()):
        """stages: the placement of each pipeline stage, among which the layers are divided; none: all on one device."""
        super().__init__()
        self.bytes = of.nn.Embedding(BYTES, WIDTH, std=WIDTH**-0.5)
        self.places = of.nn.Parameter((WINDOW, WIDTH), std=0.02)
        self.blocks = of.nn.ModuleList(Block() for _ in range(layers))
        self.norm = of.nn.LayerNorm(WIDTH)
        self.stages = len(stages)
        if stages:
            self.bytes.to_global(stages[0], of.B)
            self.places.to_global(stages[0], of.B)
            for i, block in enumerate(self.blocks):
                block.split(stages[self.stage_of(i)])
            self.norm.to_global(stages[-1], of.B)

    def stage_of(self, layer):
        return layer * self.stages // len(self.blocks)

    def stage(self, i):
        return of.stage(i) if self.stages else nullcontext()

    def forward(self, tokens):
        with self.stage(0):
            x = self.bytes(tokens) + self.places
        for i, block in enumerate(self.blocks):
            with self.stage(self.stage_of(i)):
                x = block(x)
        with self.stage(self.stages - 1):
            return of.linear(self.norm(x), self.bytes.weight)


def build(steps=STEPS, lr=3e-3, schedule="1f1b", chunks=1, layers=LAYERS, micro_batches=MICRO_BATCHES, executor=None, **_):
    """The training program: (bytes (16, 128), the bytes that follow (16, 128)) -> loss in nats per byte.

    schedule: of the pipeline. chunks: stages a rank; every stage has `layers` / (4 * chunks) layers.
    """
    stages = of.chunk_placements(schedule, int(chunks) * len(RANKS), RANKS)
    model = GPT(int(layers), stages)

    def loss(tokens, following):
        scores = model(tokens)
        with of.stage(len(stages) - 1):
            return of.cross_entropy(scores, following)

    steps, lr = int(steps), float(lr)
    rate = of.optim.warmup_cosine(peak=lr, warmup=steps // 10, total=steps, floor=lr / 10)
    return of.compile(
        loss,
        of.spec((BATCH, WINDOW), "int64", stages[0], of.B),
        of.spec((BATCH, WINDOW), "int64", stages[-1], of.B),
        optimizer=of.optim.AdamW(lr=rate, betas=(0.9, 0.95), weight_decay=0.1, clip_norm=1.0),
        micro_batches=int(micro_batches),
        schedule=schedule,
        executor=executor,
    )


# ------------------------------------------------------------ the text


@cache
def text():
    """The standard library's sources without its tests, as bytes: (to train on, held out: every 20th file)."""
    root = Path(sysconfig.get_path("stdlib"))
    skipped = {"test", "tests", "idlelib", "site-packages", "dist-packages", "__pycache__"}
    files = sorted(f for f in root.rglob("*.py") if not skipped.intersection(f.relative_to(root).parts))

    def joined(chosen):
        return np.frombuffer(b"\n".join(f.read_bytes() for f in chosen), dtype="uint8")

    return joined(f for i, f in enumerate(files) if i % 20), joined(files[::20])


def windows(source, starts):
    """(bytes, the bytes that follow), each (len(starts), WINDOW) int64."""
    cut = source[starts[:, None] + np.arange(WINDOW + 1)].astype("int64")
    return cut[:, :-1], cut[:, 1:]


def batches(steps=STEPS, **_):
    """Windows of the training text, each step's drawn with its own seed."""
    source = text()[0]

    def batch(step):
        return windows(source, np.random.default_rng((0, step)).integers(0, len(source) - WINDOW - 1, BATCH))

    return of.data.Batches(int(steps), batch)


def bigram_bits(tokens, following):
    """Bits per byte of the model P(next byte | byte) counted on the training text, one added to every count."""
    source = text()[0].astype("int64")
    counts = np.bincount(source[:-1] * BYTES + source[1:], minlength=BYTES * BYTES).reshape(BYTES, BYTES) + 1.0
    bits = -np.log2(counts / counts.sum(axis=1, keepdims=True))
    return float(bits[tokens, following].mean())


# ------------------------------------------------------------ looking at what it learnt


def evaluate(program, count=512, length=300):
    """Bits per byte on `count` windows of the held-out files, for the model and for the bigram, and a sample."""
    model, rows, two = GPT(layers_of(program)), 32, of.placement("cpu", [0, 1])
    spec = of.spec((rows, WINDOW), "int64", two, of.S(0))
    nats = of.compile(lambda tokens, following: of.cross_entropy(model(tokens), following), spec, spec, state=program)
    held_out = text()[1]
    tokens, following = windows(held_out, np.linspace(0, len(held_out) - WINDOW - 2, count).astype(int))
    losses = nats.stream((tokens[i : i + rows], following[i : i + rows]) for i in range(0, count, rows))
    return {
        "bits_per_byte": float(np.mean(list(losses)) / np.log(2)),
        "bigram_bits_per_byte": bigram_bits(tokens, following),
        "sample": sample(program, length=length),
    }


def layers_of(program):
    """How many layers the program was built with."""
    return sum(p.name.endswith(".up.weight") for p in program.graph.parameters)


def sample(program, prompt="def ", length=300, temperature=0.7):
    """`length` bytes that follow `prompt`, drawn one by one; the model sees the last 128."""
    model = GPT(layers_of(program))
    one = of.spec((1, WINDOW), "int64", of.placement("cpu", [0]), of.B)
    scores = of.compile(lambda tokens: model(tokens), one, state=program)
    written, draw = list(prompt.encode()), np.random.default_rng(0)
    for _ in range(length):
        seen = written[-WINDOW:]
        window = np.zeros((1, WINDOW), "int64")
        window[0, : len(seen)] = seen
        logits = scores(window)[0, len(seen) - 1].astype("float64") / temperature
        chances = np.exp(logits - logits.max())
        written.append(int(draw.choice(BYTES, p=chances / chances.sum())))
    return bytes(written).decode("utf-8", "replace")


if __name__ == "__main__":
    from oflow.cli import main

    sys.exit(main(["train", __file__, *sys.argv[1:]]))
