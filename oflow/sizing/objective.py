"""The largest load as the objective of a linear program: one more column, at least each load less the bytes that are fixed anyway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, gcd

from oflow.sizing.flow import Flow

TOLERANCE = 1e-6
"""By how much of a bound HiGHS may be wrong (its own tolerances are 1e-7)."""


@dataclass(frozen=True)
class Objective:
    """The column of a flow's largest load above `base` bytes, in units of `scale` bytes. Slots are those above `floor`."""

    flow: Flow
    floor: Sequence[int]

    @cached_property
    def base(self) -> int:
        """The largest load without any slot above the floor."""
        return max(self._fixed)

    @cached_property
    def scale(self) -> float:
        return float(max((nbytes for load in self.flow.sums for _, nbytes in load.buffers), default=1))

    @cached_property
    def _fixed(self) -> list[int]:
        return [load.fixed + sum(nbytes * self.floor[b] for b, nbytes in load.buffers) for load in self.flow.sums]

    def rows(self) -> list[tuple[float, list[tuple[int, float]]]]:
        """(least, (buffer, value) pairs): the column plus the pairs is at least that much."""
        return [
            ((fixed - self.base) / self.scale, [(b, -nbytes / self.scale) for b, nbytes in load.buffers])
            for fixed, load in zip(self._fixed, self.flow.sums, strict=True)
        ]

    def bound(self, found: float) -> int:
        """Bytes that the flow takes at least where a solver found the column to be at least `found`: the next that some load can have."""
        above = max(0.0, found * self.scale * (1 - TOLERANCE))
        return min(
            (
                fixed + (unit * max(0, ceil((self.base - fixed + above) / unit - TOLERANCE)) if unit else 0)
                for fixed, unit in zip(self._fixed, self._units, strict=True)
                if unit or fixed >= self.base + above
            ),
            default=self.base,
        )  # fmt: skip

    @cached_property
    def _units(self) -> list[int]:
        """Loads change by multiples of these; 0: not at all."""
        return [gcd(*(nbytes for _, nbytes in load.buffers)) for load in self.flow.sums]
