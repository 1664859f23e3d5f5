"""What a tensor is before it has values: a shape and a dtype."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes as ml_dtypes  # gives NumPy the dtype bfloat16
import numpy as np

from oflow.errors import ShapeError

DTYPES: dict[str, str] = {
    "float32": "f32",
    "float64": "f64",
    "float16": "f16",
    "bfloat16": "bf16",
    "int64": "i64",
    "int32": "i32",
    "uint8": "u8",
    "bool": "b1",
}
HALF = frozenset({"float16", "bfloat16"})
"""The dtypes of 16 bits: numbers are kept in them, kernels compute in float32 (see `oflow.ops.half`)."""
FLOATS = frozenset({"float32", "float64"}) | HALF
_SHORT = {short: name for name, short in DTYPES.items()}


def dtype_name(dtype: object) -> str:
    """The canonical name of `dtype` (a name, a NumPy dtype or type). Raises ShapeError for dtypes oflow has no kernels for."""
    try:
        name = np.dtype(dtype).name  # type: ignore[call-overload]
    except TypeError as e:
        raise ShapeError(f"{dtype!r} is not a dtype; oflow has {', '.join(DTYPES)}") from e
    if name not in DTYPES:
        raise ShapeError(f"dtype {name} is not supported; oflow has {', '.join(DTYPES)}")
    return str(name)


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape (elements per axis) and dtype name; prints as ``f32[64, 128]`` and parses back."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def __str__(self) -> str:
        return f"{DTYPES[self.dtype]}[{', '.join(map(str, self.shape))}]"

    @staticmethod
    def parse(text: str) -> TensorType:
        match = re.fullmatch(r"\s*([a-z]+\d+)\[([\d,\s]*)\]\s*", text)
        if not match or match[1] not in _SHORT:
            raise ShapeError(f"{text!r} is not a tensor type; write it as f32[64, 128]")
        return TensorType(tuple(int(n) for n in match[2].split(",") if n.strip()), _SHORT[match[1]])


Attrs = tuple[tuple[str, Any], ...]
"""An operator's attributes: sorted (name, plain value) pairs, so that equal nodes compare and hash equal."""


def freeze(attrs: Mapping[str, Any]) -> Attrs:
    def plain(value: Any) -> Any:
        return tuple(plain(v) for v in value) if isinstance(value, list | tuple) else value

    return tuple(sorted((name, plain(value)) for name, value in attrs.items()))
