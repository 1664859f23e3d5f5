"""tighten: the search across time and the valley search, until a packing meets the bound or the steps are spent.

The search across time is quick for full arenas, or of no use. The valley search is restarted: each restart ranks the buffers anew
and goes twice as deep now and then (Luby, Sinclair & Zuckerman 1993), on the buffers as they are and on the smaller question that
`joined` makes of them. Where the bound is not met, capacities a little above it are tried. Times that no buffer lives across part
the question; each part is solved alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count

from oflow.compiler.packing.across import pack_across
from oflow.compiler.packing.board import FOUND, IMPOSSIBLE
from oflow.compiler.packing.greedy import Buffer
from oflow.compiler.packing.joined import Part, join
from oflow.compiler.packing.question import SHORTEST, Question, ask, offsets, question
from oflow.live import phase

JOINED = (4, 0, 2)
"""Groups of how many parts are joined before the search, in turn."""
RESTARTS = 20_000
"""Most restarts for one capacity."""
LOOSE = (4, 6, 8, 12, 16, 24, 32, 48)
"""Capacities that are tried first, each with little effort, until one is not met: the bound and these parts of it more."""
TIGHT = (0, 512, 256, 128, 64, 48)
"""Then these (0: the bound itself), with the effort that is left."""

ACROSS = 200
"""Steps of the valley search, in machine code, that take as long as one of the search across time."""
ABREAST = 500
"""Steps for each buffer below which the search across time is not begun."""

Solved = tuple[list[int], int]
"""Offsets, and the steps that were taken."""


def tighten(buffers: Sequence[Buffer], offsets: list[int], bound: int, effort: int) -> list[int]:
    """Offsets with a peak below that of `offsets` where `effort` steps find some, and no less than `bound`."""
    return _by_parts(buffers, offsets, bound, effort, lambda part, best, share: _least(buffers, part, best, bound, share))


def tighten_across(buffers: Sequence[Buffer], offsets: list[int], bound: int, steps: int) -> list[int]:
    """Offsets at the bound where the search across time alone finds some, in so many of its own steps."""

    def solve(part: list[int], best: list[int], share: int) -> tuple[list[int], int]:
        found, work = pack_across([buffers[i] for i in part], bound, share)
        return best if found is None else found, work

    return _by_parts(buffers, offsets, bound, steps, solve)


def _by_parts(
    buffers: Sequence[Buffer], offsets: list[int], bound: int, effort: int, solve: Callable[[list[int], list[int], int], Solved]
) -> list[int]:
    """Offsets where each part above the bound is solved with its share of what is left."""
    best, spent = list(offsets), 0
    parts = _apart(buffers)
    for done, part in enumerate(parts):
        found = [best[i] for i in part]
        if _peak(buffers, part, found) > bound:
            found, work = solve(part, found, (effort - spent) // (len(parts) - done))
            spent += work
        for i, offset in zip(part, found, strict=True):
            best[i] = offset
    return best


def _apart(buffers: Sequence[Buffer]) -> list[list[int]]:
    """Buffers by the stretches of time that none of them lives across the border of."""
    found: list[list[int]] = []
    until = None
    living = [i for i, (start, stop, nbytes) in enumerate(buffers) if nbytes and start < stop]
    for i in sorted(living, key=lambda i: buffers[i][:2]):
        start, stop, _ = buffers[i]
        if until is None or start >= until:
            found.append([])
            until = stop
        found[-1].append(i)
        until = max(until, stop)
    return found


def _least(buffers: Sequence[Buffer], part: list[int], best: list[int], bound: int, effort: int) -> Solved:
    """Offsets of a part, and the steps taken: short tries at the bound, long ones at and above it by valleys, and across time again."""
    if len(part) ** 2 > effort:
        return best, 0
    wanted = [buffers[i] for i in part]
    parts = [Part(*buffer, ((at, 0),)) for at, buffer in enumerate(wanted)]
    questions = [question(join(parts, size)) for size in JOINED]
    found, spent = _shortly(wanted, questions, bound, effort)
    if found is not None:
        return found, spent
    best, work = _by_valleys(buffers, part, questions, best, bound, (effort - spent) // 2 if spent else effort)
    spent += work
    if _peak(buffers, part, best) > bound:
        found, work = _across(wanted, bound, effort - spent)
        spent += work
    return best if found is None else found, spent


def _shortly(buffers: list[Buffer], questions: list[Question], bound: int, effort: int) -> tuple[list[int] | None, int]:
    """Offsets at the bound, where some are quick to find across time or by valleys, and the steps taken."""
    found, spent = _across(buffers, bound, effort // 64)
    if found is None and spent:
        found, work = _restarted(questions, bound, effort // 64)
        spent += work
    if found is None and spent:
        found, work = _across(buffers, bound, effort // 8)
        spent += work
    return found, spent


def _across(buffers: list[Buffer], capacity: int, effort: int) -> tuple[list[int] | None, int]:
    """`pack_across`, where the effort is worth a start, with its steps in those of the valley search."""
    if effort // ACROSS < ABREAST * len(buffers):
        return None, 0
    found, work = pack_across(buffers, capacity, effort // ACROSS)
    return found, work * ACROSS


def _by_valleys(
    buffers: Sequence[Buffer], part: list[int], questions: list[Question], best: list[int], bound: int, effort: int
) -> Solved:
    """Half of what is left goes to each capacity in turn: the bound gets most."""
    most = _peak(buffers, part, best)
    spent = 0
    for looser in LOOSE:
        if bound + bound // looser < most:
            found, work = _restarted(questions, bound + bound // looser, effort // 16)
            spent += work
            if found is None:
                break
            best, most = found, _peak(buffers, part, found)
    for looser in TIGHT:
        capacity = bound + (bound // looser if looser else 0)
        if capacity < most:
            found, work = _restarted(questions, capacity, (effort - spent) // 2)
            spent += work
            if found is not None:
                return found, spent
    return best, spent


def _peak(buffers: Sequence[Buffer], part: list[int], offsets: list[int]) -> int:
    return max(offset + buffers[i][2] for i, offset in zip(part, offsets, strict=True))


def _restarted(questions: list[Question], capacity: int, effort: int) -> tuple[list[int] | None, int]:
    """Offsets within the capacity, where some are found, and the steps taken."""
    spent = 0
    open_ = list(questions)
    with phase(f"pack {len(questions[0].parts)} buffers into {capacity:,} bytes", lambda: spent / effort):
        for turn, length in zip(range(RESTARTS), _lengths(), strict=False):
            if spent >= effort or not open_:
                break
            asked = turn % len(open_)
            status, work, offset = ask(open_[asked], capacity, turn // len(open_), min(SHORTEST * length, effort - spent))
            spent += work
            if status == FOUND:
                return offsets(open_[asked], offset), spent
            if status == IMPOSSIBLE:
                del open_[asked]
    return None, spent


def _lengths() -> Iterator[int]:
    """1 1 2 1 1 2 4 1 1 2 ... (Luby, Sinclair & Zuckerman)."""
    for i in count(1):
        k = i
        while (k + 1) & k:  # not all ones
            k -= (1 << (k.bit_length() - 1)) - 1
        yield (k + 1) // 2
