"""GPT-3 on 1,024 simulated accelerators: 16 pipeline stages x 8-way data x 8-way tensor parallel. Compiled and timed, never allocated.

oflow simulate examples/gpt3.py                        its step: period, bubble, exposed communication, model-FLOPs utilisation
oflow check examples/gpt3.py                           the proof: deadlock-free, bytes of every device
oflow simulate examples/gpt3.py layers=8 stages=4 batch=64         any other size

Layouts are Megatron-LM's (Shoeybi et al. 2019, Narayanan et al. 2021): columns of the first matrix of a pair, rows of the second,
tensor groups inside a node, data groups across, the pipeline outermost; between the pairs the sequence is split over the tensor group
(Korthikanti et al. 2022), or whole on each of it (sequence=0).
"""

import sys
from contextlib import nullcontext
from dataclasses import dataclass

import oflow as of


@dataclass(frozen=True, slots=True)
class Style:
    """How a block is run. sequence: between the products the sequence is split over a tensor group. attention: "fused", one kernel that
    keeps no scores, or "plain", products and a softmax whose scores (batch, heads, seq, seq) lie in memory. recompute: what is computed
    again in the backward pass: "blocks", "attention" (from queries, keys and values on), or nothing that is said here."""

    sequence: bool = True
    attention: str = "fused"
    dropout: float = 0.0
    recompute: str | None = None


def by_columns(x, where):
    """x (batch, seq, width): the batch over the data groups, columns over a tensor group."""
    return of.to_global(x, where, (of.S(0), of.S(2)))


def between(x, where, style):
    """x (batch, seq, width): the batch over the data groups, the sequence over a tensor group or whole on each of it."""
    return of.to_global(x, where, (of.S(0), of.S(1) if style.sequence else of.B))


def attend(q, k, v, style):
    """q, k, v (batch, seq, heads, size) -> causal attention, of q's shape."""
    if style.attention == "fused":
        return of.causal_attention(q, k, v)
    scores = of.einsum("bthd,bshd->bhts", q, k)
    return of.einsum("bhts,bshd->bthd", of.dropout(of.causal_softmax(scores, scale=q.shape[3] ** -0.5), style.dropout), v)


class Attention(of.nn.Module):
    """Causal self-attention: x (batch, seq, width) -> the same shape. A device holds whole heads."""

    def __init__(self, width, heads, where, style):
        super().__init__()
        self.heads, self.where, self.style = heads, where, style
        for name in ("query", "key", "value", "out"):
            setattr(self, name, of.nn.Linear(width, width))

    def forward(self, x):
        batch, seq, width = x.shape
        q, k, v = (by_columns(f(x), self.where) for f in (self.query, self.key, self.value))
        q, k, v = (of.reshape(one, (batch, seq, self.heads, width // self.heads)) for one in (q, k, v))
        with of.recompute() if self.style.recompute == "attention" else nullcontext():
            mixed = attend(q, k, v, self.style)
        return self.out(by_columns(of.reshape(mixed, (batch, seq, width)), self.where))


class Block(of.nn.Module):
    """Attention and a two-layer perceptron, each after a layer norm and around a residual."""

    def __init__(self, width, heads, where, style):
        super().__init__()
        self.where, self.style = where, style
        self.norm1, self.attention = of.nn.LayerNorm(width), Attention(width, heads, where, style)
        self.norm2 = of.nn.LayerNorm(width)
        self.up = of.nn.Linear(width, 4 * width)
        self.down = of.nn.Linear(4 * width, width)

    def forward(self, x):
        with of.recompute() if self.style.recompute == "blocks" else nullcontext():
            x = self.add(x, self.attention(self.norm1(x)))
            return self.add(x, self.down(of.gelu(by_columns(self.up(self.norm2(x)), self.where))))

    def add(self, x, change):
        return between(x + of.dropout(between(change, self.where, self.style), self.style.dropout), self.where, self.style)

    def split(self):
        """Columns of the first matrices, rows of the second ones, over the mesh's axis of tensor groups."""
        where = self.where
        self.to_global(where, (of.B, of.B))
        for first in (self.attention.query, self.attention.key, self.attention.value, self.up):
            first.to_global(where, (of.B, of.S(0)))
        for second in (self.attention.out, self.down):
            second.weight.to_global(where, (of.B, of.S(1)))


class GPT(of.nn.Module):
    """Tokens (batch, seq) -> logits (batch, seq, vocabulary). The embedding table is also the head. It lives split by width, so that its
    gradient is added up where it is made, alike on all devices; the head has it by vocabulary."""

    def __init__(self, width, heads, layers, seq, vocabulary, places, style=Style()):
        super().__init__()
        self.stages, self.style = len(places), style
        self.tokens = of.nn.Embedding(vocabulary, width, std=0.02)
        self.places = of.nn.Parameter((seq, width), std=0.02)
        self.blocks = of.nn.ModuleList(Block(width, heads, places[i * self.stages // layers], style) for i in range(layers))
        self.norm = of.nn.LayerNorm(width)
        self.tokens.to_global(places[0], (of.B, of.S(1)))
        self.places.to_global(places[0], (of.B, of.B))
        for block in self.blocks:
            block.split()
        self.norm.to_global(places[-1], (of.B, of.B))

    def forward(self, tokens):
        with of.stage(0):
            x = of.dropout(self.tokens(tokens) + self.places, self.style.dropout)
        for i, block in enumerate(self.blocks):
            with of.stage(i * self.stages // len(self.blocks)):
                x = block(x)
        with of.stage(self.stages - 1):
            return of.linear(self.norm(x), self.tokens.weight)


def build(
    layers=96, width=12288, heads=96, seq=2048, vocabulary=51200, batch=1536, micro_batch=1, data=8, tensor=8, stages=16, chunks=1,
    sequence=1, attention="fused", dropout=0.0, clip=None, precision="bfloat16", recompute=None, machine="a100", schedule="1f1b",
    residual=32, slots=None, memory=None, executor=None, **_,
):  # fmt: skip
    """The training program. batch: sequences a step; micro_batch: sequences that a device group works on at a time; stages: ranks of the
    pipeline, chunks: parts of the model on each (schedule="interleaved"); sequence, attention, dropout: as in Style; clip: the largest
    norm of all gradients (None: as it is); residual: 16 to keep the stream from block to block in the products' 16 bits, not in float32;
    recompute: "blocks" or "attention" as in Style, else, as precision, slots and memory, what of.compile takes."""
    layers, width, heads, seq, vocabulary, batch = (int(n) for n in (layers, width, heads, seq, vocabulary, batch))
    micro_batch, data, tensor, stages, chunks = (int(n) for n in (micro_batch, data, tensor, stages, chunks))
    group = data * tensor
    ranks = [
        of.placement("cuda", [[s * group + d * tensor + t for t in range(tensor)] for d in range(data)], names=("data", "tensor"))
        for s in range(stages)
    ]
    places = of.chunk_placements(schedule, stages * chunks, ranks)
    marked = recompute in ("blocks", "attention")
    style = Style(bool(int(sequence)), attention, float(dropout), recompute if marked else None)
    model = GPT(width, heads, layers, seq, vocabulary, places, style)

    def loss(tokens, following):
        scores = model(tokens)
        with of.stage(len(places) - 1):
            return of.cross_entropy(scores, following)

    return of.compile(
        loss,
        of.spec((batch, seq), "int64", places[0], (of.S(0), of.B)),
        of.spec((batch, seq), "int64", places[-1], (of.S(0), of.B)),
        optimizer=of.optim.AdamW(lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, clip_norm=clip),
        micro_batches=batch // (data * micro_batch),
        schedule=schedule,
        precision=of.Precision(precision, embeddings=True) if int(residual) == 16 else precision,
        recompute=None if marked else recompute,
        slots=slots,
        memory=None if memory is None else int(memory),
        executor=executor,
        machine=machine,
    )


if __name__ == "__main__":
    from oflow.cli import main

    sys.exit(main(["simulate", __file__, *sys.argv[1:]]))
