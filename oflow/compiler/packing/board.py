"""Where the valley search stands: columns of whole numbers, which its functions read and write."""

from __future__ import annotations

from typing import NamedTuple

from oflow.check.loops import Changing, Column

SECTIONS, DECISIONS, CAPACITY, LIMIT, WORK, DEPTH, TOP, UNPLACED, LEFT, RIGHT, SIDE = range(11)
"""Entries of the column `n`: sizes, limits, where the search stands, and the valley that was chosen."""
NUMBERS = 11
FOUND, IMPOSSIBLE, STOPPED = 0, 1, 2
EMPTY = -1
"""The decision to leave a cell empty."""
NOTHING = -2


class Board(NamedTuple):
    """Columns by buffer (start, stop, size, placed, offset), by section, by decision (low ... until) and scratch."""

    n: Changing
    start: Column
    stop: Column
    size: Column
    first_start: Column
    by_start: Column
    """Buffers by their first section, best first: those of section t are ``by_start[first_start[t]:first_start[t + 1]]``."""
    first_stop: Column
    by_stop: Column
    placed: Changing
    offset: Changing
    height: Changing
    rest: Changing
    """Bytes of each section that are still to be laid."""
    slack: Changing
    """Bytes of each section that may stay empty."""
    cross: Changing
    """Buffers to be laid that lie over the border before each section."""
    weight: Changing
    low: Changing
    trying: Changing
    high: Changing
    """Candidates of a decision: ``pool[low:high]``, tried before `trying`."""
    done: Changing
    lift: Changing
    """By how much a decision to leave cells empty raised sections [since, until); likewise the sections of a buffer."""
    since: Changing
    until: Changing
    left: Changing
    right: Changing
    side: Changing
    conflict_since: Changing
    conflict_until: Changing
    pool: Changing
    values: Changing
    least: Changing
    most: Changing
    tried: Changing


def wall(b: Board, border: int, section: int) -> int:
    """The height beyond a border; the capacity where nothing is left to be laid over it."""
    if border == 0 or border == b.n[SECTIONS] or b.cross[border] == 0 or b.rest[section] == 0:
        return b.n[CAPACITY]
    return b.height[section]


def fits(b: Board, buffer: int, left: int, right: int) -> bool:
    return b.placed[buffer] == 0 and b.start[buffer] >= left and b.stop[buffer] <= right
