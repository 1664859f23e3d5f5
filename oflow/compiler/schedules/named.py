"""What a named schedule is: where its chunks stand and how its order is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from oflow.schedule import Schedule


@dataclass(frozen=True, slots=True)
class NamedSchedule:
    """A row of the table of schedules.

    chunks: stages a rank. chunk_ranks: ranks -> the rank of each global stage. splits_backward: I and W stand for B.
    make: (ranks, micro_batches, times=None) -> the order, shaped for `times` where given.
    """

    name: str
    chunks: int
    chunk_ranks: Callable[[int], tuple[int, ...]]
    splits_backward: bool
    make: Callable[..., Schedule]


def in_line(ranks: int) -> tuple[int, ...]:
    """One stage a rank."""
    return tuple(range(ranks))


def v_shape(ranks: int) -> tuple[int, ...]:
    """Two stages a rank, down and back up: the last stage stands beside the first."""
    return (*range(ranks), *reversed(range(ranks)))
