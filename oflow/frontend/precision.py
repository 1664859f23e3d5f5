"""`of.Precision`: which numbers a program computes with, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from oflow.errors import TraceError
from oflow.ops.tensor import user_line
from oflow.types import HALF


@dataclass(frozen=True, slots=True)
class LossScale:
    """What the loss is multiplied by before the backward pass, so that small gradients are not 0 in float16.

    After `interval` steps whose gradients were all finite it grows by the factor `growth`; a step with a gradient that is not finite is
    skipped, and the scale is multiplied by `backoff`. growth = backoff = 1: it stays. (Micikevicius et al. 2018, section 3.2.)
    Raises TraceError for numbers that no scale can have.
    """

    initial: float = 2.0**16
    growth: float = 2.0
    backoff: float = 0.5
    interval: int = 2000

    def __post_init__(self) -> None:
        fits = 0 < self.initial < math.inf and self.growth >= 1 and 0 < self.backoff <= 1 and self.interval >= 1
        if not fits:
            raise TraceError(f"a loss scale needs initial > 0, growth >= 1, 0 < backoff <= 1, interval >= 1; got {self}", line=user_line())


@dataclass(frozen=True, slots=True)
class Precision:
    """Mixed precision: products and what follows them in `dtype` ("float16" or "bfloat16"), kept values and the rest in float32.

    loss_scale: of gradients; None: 1. embeddings: rows that are looked up in a weight are in `dtype` too, and so is what is added to
    them: a transformer's residual stream takes half of the bytes, and adds up with 8 bits (bfloat16) or 11 (float16) of precision, as
    Megatron-LM does it. Tables whose gradient is sparse stay as they are. Raises TraceError for another dtype.
    """

    dtype: str
    loss_scale: LossScale | None = None
    embeddings: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in HALF:
            there_are = " or ".join(map(repr, sorted(HALF)))
            raise TraceError(f"mixed precision computes in {there_are}, not in {self.dtype!r}; None computes as declared", line=user_line())


def usual_precision(given: str | Precision | None) -> Precision | None:
    """What `of.compile` was given: a dtype's name stands for its usual precision; float16's gradients are scaled."""
    if given is None or isinstance(given, Precision):
        return given
    return Precision(given, LossScale() if given == "float16" else None)
