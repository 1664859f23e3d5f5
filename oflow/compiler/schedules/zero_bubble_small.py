"""V-Half and V-Min (Qi et al. 2024, Pipeline Parallelism with Controllable Memory, arXiv 2405.15362): the V placement with a half and a
third of 1F1B's stashes, P/2 + 1 and about (P+4)/3 whole stages on every rank.

One micro-batch's actions stand at fixed offsets on each rank, a building block that repeats every 6 units without colliding with
itself; how long a stash lives between the offsets is the memory. W goes into the first free units. What starts and ends late
because the block is rigid is then moved up within the same memory (the paper calls it squeezing), and shaped like any schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from oflow.compiler.schedules.named import NamedSchedule, v_shape
from oflow.compiler.schedules.shape import for_times
from oflow.schedule import Action, Schedule, Times

PERIOD = 6
Offsets = Callable[[int, int], tuple[int, int, int, int]]
"""(ranks, rank) -> units at which F of the first chunk, F of the second, I of the second and I of the first start."""


def half(ranks: int, rank: int) -> tuple[int, int, int, int]:
    turn = 0 if ranks % 2 else 3
    return 2 * rank, 3 * ranks - rank - 2, 3 * ranks + turn + 2 * rank - 1, 6 * ranks + turn - rank - 2


def third(ranks: int, rank: int) -> tuple[int, int, int, int]:
    turn = 0 if ranks % 3 else 2
    return rank, 2 * ranks - rank - 1, 2 * ranks + turn + rank, 4 * ranks + turn - rank - 1


def block_order(name: str, offsets: Offsets, ranks: int, micro_batches: int, *, squeezed: bool = True) -> Schedule:
    """The building block repeated, W in the first free units; squeezed: the ramps are moved up within the block's memory."""
    grid = _Grid(offsets, ranks, micro_batches)
    if squeezed:
        grid.place_weights()
        grid.move_up(("F", "I", "W"), ramps=(True, True))
        grid.take_weights()
        grid.move_up(("I",), ramps=(False, True))
    grid.place_weights()
    return Schedule(name, grid.rows())


class _Grid:
    """Which action stands in which unit of which rank."""

    def __init__(self, offsets: Offsets, ranks: int, micro_batches: int) -> None:
        self.ranks = ranks
        self.unit: dict[Action, int] = {}
        self.taken: list[dict[int, Action]] = [{} for _ in range(ranks)]
        for rank in range(ranks):
            lines = zip(((rank, "F"), (self._last(rank), "F"), (self._last(rank), "I"), (rank, "I")), offsets(ranks, rank), strict=True)
            for (stage, phase), first in lines:
                for m in range(micro_batches):
                    self._put(Action(stage, phase, m), first + PERIOD * m)
        self.steady = self.unit[Action(0, "I", 0)], self.unit[Action(0, "F", micro_batches - 1)]
        """Units between which the block is left as it is."""

    def _last(self, rank: int) -> int:
        return 2 * self.ranks - 1 - rank

    def _rank(self, action: Action) -> int:
        return min(action.stage, self._last(action.stage))

    def _put(self, action: Action, unit: int) -> None:
        taken = self.taken[self._rank(action)]
        if action in self.unit:
            del taken[self.unit[action]]
        self.unit[action], taken[unit] = unit, action

    def rows(self) -> tuple[tuple[Action, ...], ...]:
        return tuple(tuple(action for _, action in sorted(taken.items())) for taken in self.taken)

    def place_weights(self) -> None:
        for taken in self.taken:
            waiting: list[Action] = []
            unit, last = 0, max(taken)
            while unit <= last or waiting:
                action = taken.get(unit)
                if action is not None and action.phase == "I":
                    waiting.append(Action(action.stage, "W", action.micro_batch))
                elif action is None and waiting:
                    self._put(waiting.pop(0), unit)
                unit += 1

    def take_weights(self) -> None:
        for action in [a for a in self.unit if a.phase == "W"]:
            del self.taken[self._rank(action)][self.unit.pop(action)]

    def move_up(self, phases: tuple[str, ...], ramps: tuple[bool, bool]) -> None:
        """Actions before (ramps[0]) and after (ramps[1]) the steady units to the first free unit after what they need."""
        cap = max(self._peak(rank) for rank in range(self.ranks))
        for action in sorted(self.unit, key=lambda a: (self.unit[a], self._rank(a))):
            old, rank = self.unit[action], self._rank(action)
            moves = ramps[0] if old < self.steady[0] else ramps[1] and old > self.steady[1]
            if action.phase not in phases or not moves:
                continue
            first = 1 + max((self.unit[n] for n in self._after(action)), default=-1)
            for new in range(first, old):
                if new in self.taken[rank]:
                    continue
                self._put(action, new)
                if self._peak(rank) <= cap:
                    break
                self._put(action, old)

    def _after(self, action: Action) -> list[Action]:
        stage, phase, m = action.stage, action.phase, action.micro_batch
        found = [Action(stage, phase, m - 1)] if m else []
        if phase == "F" and stage:
            found.append(Action(stage - 1, "F", m))
        if phase == "I":
            found.append(Action(stage + 1, "I", m) if stage < 2 * self.ranks - 1 else Action(stage, "F", m))
        if phase == "W":
            found.append(Action(stage, "I", m))
        return found

    def _peak(self, rank: int) -> int:
        """Most stashes held at once; where no W is placed, the first free units count as theirs."""
        taken, live, most, waiting = self.taken[rank], 0, 0, 0
        implied = not any(action.phase == "W" for action in taken.values())
        for unit in range(max(taken) + 1):
            action = taken.get(unit)
            phase = action.phase if action else ""
            live += phase == "F"
            most = max(most, live)
            waiting += implied and phase == "I"
            if phase == "W" or (implied and not phase and waiting):
                live, waiting = live - 1, waiting - implied
        return most


def _make(name: str, offsets: Offsets, ranks: int, micro_batches: int, times: Times | None = None) -> Schedule:
    squeezed = block_order(name, offsets, ranks, micro_batches)
    return for_times(squeezed, times, block_order(name, offsets, ranks, micro_batches, squeezed=False))


ZERO_BUBBLE_V_HALF = NamedSchedule("zero-bubble-v-half", 2, v_shape, True, partial(_make, "zero-bubble-v-half", half))
ZERO_BUBBLE_V_THIRD = NamedSchedule("zero-bubble-v-third", 2, v_shape, True, partial(_make, "zero-bubble-v-third", third))
