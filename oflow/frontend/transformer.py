"""Layers of transformers: dropout, gated perceptrons, attention with shared keys and rotary positions."""

from __future__ import annotations

from oflow import ops
from oflow.errors import ShapeError, TraceError
from oflow.frontend.layers import Linear
from oflow.frontend.module import Module
from oflow.ops.tensor import Tensor, user_line


class Dropout(Module):
    """x -> x with each element 0 with probability p, the others divided by 1 - p; x after `eval`. See `of.dropout`."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise TraceError(f"dropout takes a probability, got p={p}", line=user_line())
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return ops.dropout(x, self.p, training=self.training)


class SwiGLU(Module):
    """x (..., d) -> down(silu(gate(x)) * up(x)) (..., d), with `hidden` features in between (Shazeer 2020).

    Split `gate` and `up` by S(0) and `down.weight` by S(1): a device holds whole hidden features, as Megatron splits a perceptron.
    """

    def __init__(self, d: int, hidden: int, bias: bool = False, dtype: object = "float32", std: float | None = None) -> None:
        super().__init__()
        self.gate, self.up = Linear(d, hidden, bias, dtype, std), Linear(d, hidden, bias, dtype, std)
        self.down = Linear(hidden, d, bias, dtype, std)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(ops.swiglu(self.gate(x), self.up(x)))
        return y


class GEGLU(SwiGLU):
    """As `SwiGLU`, with gelu in the place of silu: down(gelu(gate(x)) * up(x))."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(ops.geglu(self.gate(x), self.up(x)))
        return y


class Attention(Module):
    """Self-attention: x (batch, seq, d) -> the same shape, by `heads` heads of d / heads features.

    kv_heads: heads of keys and values, each shared by heads / kv_heads heads of queries (Ainslie et al. 2023); default: all.
    causal: a position sees itself and those before. rotary: the base of rotary positions of queries and keys, None for none.
    Split `query`, `key` and `value` by S(0) and `out.weight` by S(1): a device holds whole heads.
    """

    def __init__(
        self, d: int, heads: int, *, kv_heads: int | None = None, causal: bool = False, rotary: float | None = None, bias: bool = True,
        dtype: object = "float32", std: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        shared = heads if kv_heads is None else kv_heads
        if min(heads, shared) < 1 or d % heads or heads % shared:
            raise ShapeError(f"{d} features need heads that divide them and kv_heads that divide the heads, got {heads} and {shared}",
                             line=user_line())  # fmt: skip
        self.heads, self.kv_heads, self.causal, self.rotary = heads, shared, causal, rotary
        narrow = d // heads * shared
        self.query, self.out = Linear(d, d, bias, dtype, std), Linear(d, d, bias, dtype, std)
        self.key, self.value = Linear(d, narrow, bias, dtype, std), Linear(d, narrow, bias, dtype, std)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, seq, d = x.shape
        q = ops.reshape(self.query(x), (batch, seq, self.heads, d // self.heads))
        k, v = (ops.reshape(f(x), (batch, seq, self.kv_heads, d // self.heads)) for f in (self.key, self.value))
        if self.rotary is not None:
            q, k = (ops.rotary(one, base=self.rotary) for one in (q, k))
        y: Tensor = self.out(ops.reshape(ops.attention(q, k, v, mask, causal=self.causal), (batch, seq, d)))
        return y
