"""Machine code of the valley search. Imported by numba's process only."""

from __future__ import annotations

from collections.abc import Callable

from oflow.check.loops.twin import twin
from oflow.compiler.packing.valleys import search


def kernel(name: str) -> Callable[[int], int]:
    return twin({search.__name__: search}[name])
