"""A worker's world as the compiled loop reads it: arrays and numbers by field (see `oflow.actors.native.fields`).

`w` is the address of the world.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from oflow.native.intrinsics import fixed, words

inline = njit(forceinline=True)
BYTES = 8


@inline
def column(w: int, field: int) -> Any:
    """The array that a field of the world names."""
    return words(fixed(w + BYTES * field))


@inline
def at(w: int, field: int, index: int) -> int:
    return column(w, field)[index]


@inline
def table(w: int, field: int, index: int) -> int:
    """An entry of a table or program: fixed for the whole run."""
    return fixed(fixed(w + BYTES * field) + BYTES * index)


@inline
def put(w: int, field: int, index: int, value: int) -> None:
    column(w, field)[index] = value


@inline
def constant(w: int, field: int) -> int:
    """A number of the world that is set before the run."""
    return fixed(w + BYTES * field)
