"""Interleaved 1F1B (Narayanan et al. 2021, section 2.2): rank i holds the chunks i, i+P, ...; the bubble is 1F1B's divided by v.

Micro-batches go in rounds of P: each round passes all chunks of a rank before the next. Rank i runs 2(P-i-1) + (v-1)P forwards
ahead of its first backward, so its stash is (2(P-i-1) + (v-1)P + 1)/v whole stages.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from oflow.compiler.schedules.named import NamedSchedule
from oflow.compiler.schedules.shape import shaped
from oflow.schedule import Action, Schedule, Times


def around(v: int, ranks: int) -> tuple[int, ...]:
    """The rank of each chunk: v times around the ranks."""
    return tuple(range(ranks)) * v


def interleaved_order(ranks: int, micro_batches: int, v: int = 2) -> Schedule:
    """The published order. Where P does not divide M, rounds are as even as they can be and none is below P (if M is not)."""
    rounds = _rounds(micro_batches, max(1, micro_batches // ranks))
    return Schedule("interleaved", tuple(tuple(_row(rank, ranks, v, rounds)) for rank in range(ranks)))


def _rounds(micro_batches: int, count: int) -> list[range]:
    cuts = [micro_batches * i // count for i in range(count + 1)]
    return [range(start, stop) for start, stop in pairwise(cuts)]


def _row(rank: int, ranks: int, v: int, rounds: list[range]) -> list[Action]:
    forward = [Action(rank + c * ranks, "F", m) for some in rounds for c in range(v) for m in some]
    backward = [Action(rank + c * ranks, "B", m) for some in rounds for c in reversed(range(v)) for m in some]
    ahead = min(2 * (ranks - rank - 1) + (v - 1) * max(len(some) for some in rounds), len(forward))
    row = forward[:ahead]
    for f, b in zip(forward[ahead:], backward, strict=False):
        row += [f, b]
    return row + backward[len(forward) - ahead :]


def interleaved(ranks: int, micro_batches: int, times: Times | None = None, v: int = 2) -> Schedule:
    """The published order, or one that is no longer with `times` and holds no more on any rank."""
    order = interleaved_order(ranks, micro_batches, v)
    return order if times is None else shaped(order, times)


def interleaved_by(v: int) -> NamedSchedule:
    """The interleaved schedule with `v` chunks a rank."""
    return NamedSchedule("interleaved", v, partial(around, v), False, partial(interleaved, v=v))
