"""What a generator of random steps is, and what its operands can be.

A generator looks for operands among the values there are and appends a step, or nothing where none fit. To add a function, add a
generator. `bound` is the largest magnitude that the result can have; it keeps sums and products of whole numbers exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.program.random_draft import Draft, Known

Make = Callable[["Draft"], None]


@dataclass(frozen=True)
class Generator:
    """exact: whole numbers in, whole numbers out. gradient: "exact" where that holds for cotangents too, "cut" where there is none.

    smooth: neither the result nor the gradient jumps. steady: the result does not jump (its gradient may).
    """

    make: Make
    exact: bool
    gradient: str
    smooth: bool
    steady: bool


GENERATORS: dict[str, Generator] = {}


def generator(exact: bool = True, gradient: str = "exact", smooth: bool = True, steady: bool = True) -> Callable[[Make], Make]:
    def add(make: Make) -> Make:
        GENERATORS[make.__name__] = Generator(make, exact, gradient, smooth, steady)
        return make

    return add


def axis_of(draft: Draft, x: Known, name: str = "axis") -> int:
    return draft.draw(st.integers(0, len(x.shape) - 1))


def some_axes(draft: Draft, x: Known) -> tuple[int, ...]:
    """One or more axes of a value, in order."""
    found = draft.draw(st.sets(st.integers(0, len(x.shape) - 1), min_size=1))
    return tuple(sorted(found))


def filled(x: Known) -> bool:
    return len(x.shape) > 0 and 0 not in x.shape


def axial(x: Known) -> bool:
    return len(x.shape) > 0


def floating(x: Known) -> bool:
    return x.dtype.startswith("float")


def signed(x: Known) -> bool:
    return floating(x) or x.dtype in ("int64", "int32")


def numeric(x: Known) -> bool:
    return x.dtype != "bool"


def logical(x: Known) -> bool:
    return x.dtype == "bool"


def wide(x: Known) -> bool:
    """Sums keep its dtype and cannot wrap around."""
    return x.dtype in ("float32", "float64", "int64", "int32")
