"""Rotary position embedding (Su et al. 2021): pairs of features of a head are turned by an angle that grows with the position.

The positions are an operand, so every axis but the features can be split, by devices and in time. The operator is linear in x; its
gradient turns back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.op import ANY, Attributes, Example, Types, op
from oflow.ops.positions import positions as numbers_along
from oflow.ops.tensor import Tensor, user_line

BLOCK_NBYTES = 32 << 10
"""Bytes of the angles' cosines that are made at a time."""


def _rule(ins: Types, attrs: Attributes) -> str:
    x, at = ins
    if len(x.shape) != 4 or not x.is_float or at.dtype not in ("int64", "int32") or len(at.shape) not in (1, 2):
        raise ShapeError(f"takes floats (batch, seq, heads, d) and whole positions (seq) or (batch, seq), got {x} and {at}")
    dims = attrs["dims"]
    if dims % 2 or not 0 <= dims <= x.shape[3]:
        raise ShapeError(f"turns pairs: dims must be even and at most the {x.shape[3]} features of a head, got {dims}")
    return f"b t h d!, {'b t' if len(at.shape) == 2 else 't'} -> b t h d!"


def _examples() -> list[Example]:
    random = np.random.default_rng(29)

    def one(at: np.ndarray, *shape: int, **attrs: Any) -> Example:
        return Example((random.standard_normal(shape).astype("float32"), at), {"dims": shape[3], **attrs})

    return [
        one(np.arange(5), 3, 5, 2, 4),
        one(np.arange(7) + 40, 2, 7, 5, 6, base=100.0, interleaved=True),
        one(random.integers(0, 50, (3, 6)), 3, 6, 1, 8, dims=4),
        one(np.arange(6), 1, 6, 3, 6, dims=2, interleaved=True, back=True),
    ]


rotary_op = op("rotary", rule=_rule, dtype=lambda ins, attrs: (ins[0].dtype,), linear=[{0}], half=ANY, example=_examples)
"""x (b, t, h, d), positions (t) or (b, t); dims, base=10000, interleaved=False, back=False -> x with pair i of the first `dims`
features turned by positions base^(-2i / dims), or by minus that: (b, t, h, d).

Pair i is (x_i, x_(i + dims / 2)), or interleaved (x_2i, x_(2i + 1)).
"""


@rotary_op.grad
def _(g: Tensor, y: Tensor, x: Tensor, at: Tensor, *, back: bool = False, **attrs: Any) -> tuple[Tensor, None]:
    return rotary_op(g, at, back=not back, **attrs), None


@rotary_op.kernel
def _rotary(
    out: np.ndarray, x: np.ndarray, at: np.ndarray, *, dims: int, base: float = 10000.0, interleaved: bool = False, back: bool = False
) -> None:
    pairs = dims // 2
    turns = float(base) ** (np.arange(pairs) * (-1.0 / max(1, pairs)))
    odd, even = (slice(1, dims, 2), slice(0, dims, 2)) if interleaved else (slice(pairs, dims), slice(0, pairs))
    np.copyto(out[..., dims:], x[..., dims:])
    for batch, seq in _blocks(x.shape, pairs):
        angles = (at if at.ndim == 1 else at[batch])[seq, None] * (-turns if back else turns)
        cos, sin = (f(angles).astype(x.dtype)[:, None] for f in (np.cos, np.sin))
        one, two, to = x[batch, seq][..., even], x[batch, seq][..., odd], out[batch, seq]
        to[..., even] = one * cos - two * sin
        to[..., odd] = two * cos + one * sin


def _blocks(shape: tuple[int, ...], pairs: int) -> Iterator[tuple[int, slice]]:
    """(batch, positions) of blocks whose features make small temporaries."""
    batch, seq, heads, _ = shape
    many = max(1, BLOCK_NBYTES // max(1, 8 * pairs * heads))
    for b in range(batch):
        for start in range(0, seq, many):
            yield b, slice(start, min(start + many, seq))


def rotary(
    x: Tensor, positions: Tensor | None = None, *, offset: int = 0, base: float = 10000.0, interleaved: bool = False,
    dims: int | None = None,
) -> Tensor:  # fmt: skip
    """x (batch, seq, heads, d) with pairs of features turned by their position times base^(-2i / dims): the same shape.

    positions: whole numbers (seq) or (batch, seq); offset, offset + 1, ... unless given. Pairs are (i, i + dims / 2) as in GPT-NeoX and
    LLaMA's published weights, or with `interleaved` (2i, 2i + 1) as in GPT-J and the paper. dims: features that turn, the first ones;
    all unless given. Raises ShapeError where shapes do not fit, or dims is odd.
    """
    if x.ndim != 4:
        raise ShapeError(f"rotary takes (batch, seq, heads, d), got {x.type}", line=user_line())
    at = numbers_along(x, 1, offset) if positions is None else positions
    made: Tensor = rotary_op(x, at, dims=x.shape[3] if dims is None else int(dims), base=float(base), interleaved=interleaved)
    return made
