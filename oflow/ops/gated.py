"""Gated linear units (Shazeer 2020, "GLU variants improve transformer"), composed: one elementwise kernel after fusing."""

from __future__ import annotations

from oflow.ops.activation import gelu, silu
from oflow.ops.arithmetic import mul
from oflow.ops.tensor import Tensor


def swiglu(a: Tensor, b: Tensor) -> Tensor:
    """silu(a) * b, elementwise, with NumPy's broadcasting: a is the gate."""
    made: Tensor = mul(silu(a), b)
    return made


def geglu(a: Tensor, b: Tensor, approximate: str = "tanh") -> Tensor:
    """gelu(a) * b, elementwise, with NumPy's broadcasting: a is the gate. approximate: see `gelu`."""
    made: Tensor = mul(gelu(a, approximate), b)
    return made
