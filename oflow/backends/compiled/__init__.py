"""Compiled CPU kernels: forms by operator name (here), numba code (kernels/), and linking a plan to addresses."""

from oflow.backends.compiled import attention, elementwise, embedding, images, matmul, moves, reduce, rows, update
from oflow.backends.compiled.files import from_arrays, to_arrays
from oflow.backends.compiled.link import LinkedPlan
from oflow.backends.compiled.lower import lower

__all__ = [
    "LinkedPlan", "attention", "elementwise", "embedding", "from_arrays", "images", "lower", "matmul", "moves", "reduce", "rows",
    "to_arrays", "update",
]  # fmt: skip
