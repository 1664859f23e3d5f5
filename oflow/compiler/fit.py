"""Fitting a plan into memory: what is missing, and what is computed again so that nothing is.

The integer program of `drop` estimates bytes; the compiled plan's are exact. So it is asked for as many bytes as are missing, then for
more where that was not enough and for fewer where it was too much, by bisection on every device, and the cheapest plan that fits is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from oflow.compiler.drop import kept_nbytes, least_seconds
from oflow.compiler.segments import all_but_cuts
from oflow.compiler.stash import Stash
from oflow.plan import Plan

TRIALS = 8
"""Plans that are compiled at most."""
NEAR = 0.02
"""Share of what is to be saved below which bisection ends."""


def missing(plan: Plan) -> dict[str, int]:
    """Bytes that each device lacks, of those that lack any."""
    need = {device: plan.arenas.get(device, 0) + plan.states.get(device, 0) for device in plan.devices}
    lack = {device: n - plan.machine.device(device).memory_nbytes for device, n in need.items() if n}
    return {device: n for device, n in lack.items() if n > 0}


@dataclass(slots=True)
class _Search:
    """Bytes to save on one device: those to ask for next, the most that were not enough and the fewest that were."""

    ask: int
    low: int = 0
    high: int | None = None

    def learn(self, lack: int) -> None:
        """lack: bytes that the plan lacked that was asked for so much."""
        if not lack:
            self.high = self.ask
        elif self.high is None:
            self.low, self.ask = self.ask, self.ask + lack
            return
        else:
            self.low = self.ask
        self.ask = (self.low + self.high) // 2

    @property
    def done(self) -> bool:
        return self.high is not None and self.high - self.low <= NEAR * self.high


def fitted(plan: Plan, stages: tuple[Stash, ...], compiled: Callable[[frozenset[int]], Plan]) -> frozenset[int]:
    """The values to drop so that the plan fits, at the least seconds that were found; those of the plan that lacks least where none fits.

    compiled: the plan with these values dropped.
    """
    kept = kept_nbytes(stages)
    search = {device: _Search(n) for device, n in missing(plan).items()}
    lacks: dict[frozenset[int], dict[str, int]] = {}
    found: list[tuple[int, float, frozenset[int]]] = []

    def tried(dropped: frozenset[int], seconds: float) -> dict[str, int]:
        if dropped not in lacks:
            lacks[dropped] = missing(compiled(dropped))
        found.append((sum(lacks[dropped].values()), seconds, dropped))
        return lacks[dropped]

    for _ in range(TRIALS):
        choice = least_seconds(stages, {device: kept[device] - one.ask for device, one in search.items() if device in kept})
        # where the program knows no choice that saves so much, it is asked for less: its estimate may be too high
        lack = {} if choice is None else tried(choice.dropped, choice.seconds)
        for device in lack:
            search.setdefault(device, _Search(0))
        for device, one in search.items():
            one.learn(lack.get(device, 0))
        if all(one.done for one in search.values()):
            break
    if all(lack for lack, _, _ in found):
        tried(all_but_cuts(stages), 0.0)
    return min(found, key=lambda one: one[:2])[2]
