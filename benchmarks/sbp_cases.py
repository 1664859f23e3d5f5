"""The operators whose inference is compared, and the layouts between which tensors are moved: the same for every framework."""

from __future__ import annotations

from itertools import product

MESHES = ((8,), (2, 4), (2, 2, 2))
"""Eight devices on one, two and three axes: inference."""
BOXING_MESHES = ((4,), (2, 2), (2, 2, 2))
TENSOR = (16, 16)
"""float32; even on every mesh, so that all devices do alike."""
ITEMSIZE = 4

Shapes = tuple[tuple[int, ...], ...]
OPERATORS: dict[str, Shapes] = {
    "add": ((16, 16), (16, 16)), "relu": ((16, 16),), "gelu": ((16, 16),), "where": ((16, 16), (16, 16), (16, 16)),
    "matmul": ((16, 16), (16, 16)), "softmax": ((16, 16),), "log_softmax": ((16, 16),), "layer_norm": ((16, 16), (16,), (16,)),
    "sum": ((16, 16),), "max": ((16, 16),), "cumsum": ((16, 16),), "sort": ((16, 16),), "topk": ((16, 16),),
    "transpose": ((16, 16),), "reshape": ((16, 16),), "broadcast_to": ((16, 1),), "concat": ((16, 16), (16, 16)),
    "stack": ((16, 16), (16, 16)), "slice": ((16, 16),), "embedding": ((16, 16), (16,)), "take": ((16, 16), (16,)),
    "conv2d": ((8, 8, 16, 16), (8, 8, 3, 3)),
}  # fmt: skip
"""Name and shapes of the operands; "where" has a condition first, "embedding" and "take" have row numbers last."""


def layouts(axes: int) -> list[tuple[str, ...]]:
    """All of B, S(0), S(1) and P(sum) on each axis."""
    return list(product(("B", "S(0)", "S(1)", "P"), repeat=axes))


def pairs(axes: int) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(one, other) for one, other in product(layouts(axes), repeat=2) if one != other]
