"""One start of the valley search: parts to lay as columns, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oflow.check.loops import run
from oflow.compiler.packing import board, valleys
from oflow.compiler.packing.free import Column
from oflow.compiler.packing.joined import Part
from oflow.native import available

SHORTEST = 300_000
"""Steps of the shortest start, from which on machine code is worth its call."""
KERNELS = f"{__package__}.compiled"


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Parts to lay, by number; start and stop count sections of time. `weight`: what the search has learned about each border,
    which it changes from one start to the next."""

    parts: list[Part]
    start: Column
    stop: Column
    size: Column
    sections: int
    weight: Column


def question(parts: list[Part]) -> Question:
    times = sorted({t for part in parts for t in (part.start, part.stop)})
    at = {time: section for section, time in enumerate(times)}
    start, stop, size = np.array([(at[part.start], at[part.stop], part.nbytes) for part in parts], np.int64).T.copy()
    return Question(parts, start, stop, size, len(times) - 1, np.full(len(times), 10, np.int64))


def ask(question: Question, capacity: int, turn: int, limit: int) -> tuple[int, int, Column]:
    """(status, steps, offsets of the parts) of one start of the search, with the ranking of this turn."""
    start, stop, size, sections, buffers = question.start, question.stop, question.size, question.sections, len(question.parts)
    ranked = _ranking(question, turn)
    rest = _over(start, stop, size, sections)
    n = np.zeros(board.NUMBERS, np.int64)
    decisions, scratch = 4 * buffers + 8, 2 * buffers + 4
    widest = 2 + int(max(np.bincount(start).max(), np.bincount(stop).max()))
    n[board.SECTIONS], n[board.DECISIONS], n[board.CAPACITY] = sections, decisions, capacity
    n[board.LIMIT], n[board.UNPLACED] = limit, buffers
    offset = np.zeros(buffers, np.int64)
    status = run(
        valleys.search, n, start, stop, size, *_listed(start, ranked, sections), *_listed(stop, ranked, sections),
        np.zeros(buffers, np.int64), offset, np.zeros(sections, np.int64), rest, capacity - rest,
        _over(start + 1, stop, np.ones(buffers, np.int64), sections + 1), question.weight,
        *(np.zeros(decisions, np.int64) for _ in range(12)), np.zeros(decisions * widest, np.int64),
        *(np.zeros(scratch, np.int64) for _ in range(4)), compiled=limit >= SHORTEST and available(), kernels=KERNELS,
    )  # fmt: skip
    return status, int(n[board.WORK]), offset


def offsets(question: Question, offset: Column) -> list[int]:
    """Of all members of the parts, in the order of their numbers."""
    pairs = [
        (member, at + within) for part, at in zip(question.parts, offset.tolist(), strict=True) for member, within in part.members
    ]  # fmt: skip
    return [at for _, at in sorted(pairs)]


def _ranking(question: Question, turn: int) -> Column:
    """Buffers, those to be tried first at the front: by area, by life, by size, then each of them a little disturbed."""
    life = question.stop - question.start
    worth = (question.size * life, life, question.size)[turn % 3].astype(np.float64)
    if turn >= 3:
        worth *= np.random.default_rng(turn).uniform(0.5, 1.5, len(worth))
    return np.argsort(-worth, kind="stable")


def _over(start: Column, stop: Column, amount: Column, sections: int) -> Column:
    """The sum over each section of the amounts that stand in [start, stop)."""
    change = np.zeros(sections + 1, np.int64)
    np.add.at(change, start, amount)
    np.add.at(change, np.maximum(stop, start), -amount)
    return np.cumsum(change)[:sections]


def _listed(border: Column, ranked: Column, sections: int) -> tuple[Column, Column]:
    """(first, buffers): the buffers at border t are ``buffers[first[t]:first[t + 1]]``, in the order of their rank."""
    first = np.zeros(sections + 2, np.int64)
    np.cumsum(np.bincount(border, minlength=sections + 1), out=first[1:])
    return first, ranked[np.argsort(border[ranked], kind="stable")]
