"""Fitting a plan into memory: what is missing, and what is computed again or sent to the host so that nothing is.

Estimates propose, the compiled plan's exact bytes decide: as many bytes are asked for as are missing, then more where that was not
enough and fewer where it was too much, by bisection. Of the ways that fit (computing again, waiting on the host, some of both) the plan
with the least proved period is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from oflow.check import check
from oflow.compiler.drop import kept_nbytes, least_seconds
from oflow.compiler.offload import stays
from oflow.compiler.options import AUTO, Options
from oflow.compiler.segments import all_but_cuts
from oflow.compiler.stash import Stash
from oflow.plan import Plan

TRIALS = 8
"""Plans that are compiled at most to find what to compute again, or what to offload."""
NEAR = 0.02
"""Share of what is to be saved below which bisection ends."""
SHARES = (0.5, 1.0)
"""Of what could be offloaded, tried together with computing again what still does not fit."""


class Saved(NamedTuple):
    """dropped: values that are computed again. offloaded: values that wait on the host."""

    dropped: frozenset[int] = frozenset()
    offloaded: frozenset[int] = frozenset()


Compiled = Callable[[Saved], Plan]


def missing(plan: Plan) -> dict[str, int]:
    """Bytes that each device lacks, of those that lack any."""
    need = {device: plan.arenas.get(device, 0) + plan.states.get(device, 0) for device in plan.devices}
    lack = {device: n - plan.machine.device(device).memory_nbytes for device, n in need.items() if n}
    return {device: n for device, n in lack.items() if n > 0}


def fit(plan: Plan, expanded: Plan, stages: tuple[Stash, ...], options: Options, compiled: Compiled) -> Saved:
    """What to save so that the plan fits, as far as the options allow; what lacks least where nothing fits.

    expanded: the plan before chains. stages: what `plan` keeps. compiled: the plan that saves so much.
    """
    found: list[Saved] = []
    if options.recompute == AUTO:
        found.append(Saved(_dropped(plan, stages, lambda some: compiled(Saved(some)))))
    if options.offload == AUTO:
        away = _offloaded(plan, expanded, options, lambda some: compiled(Saved(offloaded=frozenset(some))))
        found.append(Saved(offloaded=frozenset(away)))
        for share in SHARES if options.recompute == AUTO else ():
            found.append(_both(frozenset(away[: round(share * len(away))]), stages, compiled))
    plans = [(one, compiled(one)) for one in dict.fromkeys(found)]
    fitting = [(check(each).period, at) for at, (_, each) in enumerate(plans) if not missing(each)]
    if fitting:
        return plans[min(fitting)[1]][0]
    return min(plans, key=lambda one: sum(missing(one[1]).values()))[0]


def _both(away: frozenset[int], stages: tuple[Stash, ...], compiled: Compiled) -> Saved:
    """These values wait on the host; of the others, those are computed again that have to be."""
    plan = compiled(Saved(offloaded=away))
    if not missing(plan):
        return Saved(offloaded=away)
    left = tuple(
        replace(s, held={v: replace(h, nbytes=0, fixed=True) if v in away else h for v, h in s.held.items()}) for s in stages
    )  # fmt: skip
    return Saved(_dropped(plan, left, lambda some: compiled(Saved(some, away))), away)


# ---------------------------------------------------------------- computing again


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


def _dropped(plan: Plan, stages: tuple[Stash, ...], compiled: Callable[[frozenset[int]], Plan]) -> frozenset[int]:
    """The values to drop so that the plan fits, at the least seconds that were found; of the plan that lacks least where none fits."""
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


# ---------------------------------------------------------------- waiting on the host


def _offloaded(plan: Plan, expanded: Plan, options: Options, compiled: Callable[[Iterable[int]], Plan]) -> list[int]:
    """As few values as are enough, in order of preference: those that the backward pass reads last wait longest, so their copies hide
    best. All that can go, where that is not enough.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for one in reversed(stays(expanded, options)):
        template = expanded.register_templates[one.row]
        groups.setdefault(expanded.rank_table[template.group], []).append(template.value)
    lack = missing(plan)
    high = {devices: len(values) if lack.keys() & set(devices) else 0 for devices, values in groups.items()}
    low = dict.fromkeys(groups, 0)
    if missing(compiled(_first(groups, high))):
        return _first(groups, high)
    for _ in range(TRIALS):
        counts = {devices: (low[devices] + high[devices]) // 2 for devices in groups}
        lack = missing(compiled(_first(groups, counts)))
        for devices, count in counts.items():
            if lack.keys() & set(devices):
                low[devices] = count
            elif not lack or count < high[devices]:
                high[devices] = count
        if all(high[devices] - low[devices] <= 1 for devices in groups):
            break
    return _first(groups, high)


def _first(groups: dict[tuple[str, ...], list[int]], counts: dict[tuple[str, ...], int]) -> list[int]:
    """So many values of each group, those of all groups in turn."""
    taken: Sequence[list[int]] = [values[: counts[devices]] for devices, values in groups.items()]
    return [values[at] for at in range(max(map(len, taken), default=0)) for values in taken if at < len(values)]
