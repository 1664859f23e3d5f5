"""What a change would do to the period, without compiling or simulating again: the act graph with other seconds or slots.

The period is a maximum cycle ratio, so a change of one operator's seconds, a link or a register's slots changes weights or arcs, and
the search goes on from the potentials that are known. Answers are exact: they are what `check` would find for the changed plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from oflow.arrays import durations, tables
from oflow.check import act_graph, play, steady
from oflow.check.acts import ActGraph, together
from oflow.check.cycle import bound, named_cycle
from oflow.check.period import PER_SECOND
from oflow.errors import PlanError
from oflow.machine import Link, Machine
from oflow.plan import Plan
from oflow.sizing.flow import slot_nbytes
from oflow.sizing.sizing import with_slots

Links = float | Link | Mapping[str, float | Link]


@dataclass(frozen=True, slots=True)
class Forecast:
    """The period of a changed plan, in seconds, beside the one `before`. nbytes: what its additional slots take on all devices.

    bound: what a still shorter period would need; critical_cycle: the hand-overs that now take longest.
    """

    what: str
    period: float
    before: float
    nbytes: int
    bound: str
    critical_cycle: tuple[str, ...]

    @property
    def gain(self) -> float:
        """Share of the period that is saved; negative where the change costs time."""
        return 1.0 - self.period / self.before if self.before else 0.0


class Period:
    """The act graph of a plan and its steady period, kept for questions about changes."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.tables = plan, tables(plan)
        self.fired = play(plan, self.tables)
        self.graph = act_graph(plan, self.fired, self.tables)
        self.seconds = durations(plan, plan.machine)
        self.steady = steady(self.graph)

    @property
    def before(self) -> float:
        return float(self.steady.period / PER_SECOND)

    def forecast(self, what: str, seconds: np.ndarray | None = None, slots: Mapping[int, int] | None = None) -> Forecast:
        """With other (A) seconds of an act of each actor, and other slots of register templates.

        Raises DeadlockError where the slots are too few.
        """
        graph = _with_seconds(self._with_slots(slots) if slots else self.graph, self.seconds if seconds is None else seconds)
        found = steady(graph, near=replace(self.steady, cycle=()) if slots else self.steady)
        templates = self.plan.register_templates
        nbytes = sum(slot_nbytes(self.plan, templates[row]) * (n - templates[row].slots) for row, n in (slots or {}).items())
        return Forecast(what, float(found.period / PER_SECOND), self.before, nbytes, bound(graph, found), named_cycle(graph, found))

    def _with_slots(self, slots: Mapping[int, int]) -> ActGraph:
        plan = with_slots(self.plan, slots)
        made = tables(plan)
        fewer = any(n < self.plan.register_templates[row].slots for row, n in slots.items())
        return act_graph(plan, play(plan, made) if fewer else self.fired, made)


def _with_seconds(graph: ActGraph, seconds: np.ndarray) -> ActGraph:
    acts = graph.owners >= 0
    lengths = graph.seconds.copy()
    lengths[acts] = together(graph.tables, seconds)[graph.owners[acts]]
    return replace(graph, seconds=lengths)


def what_if(
    plan: Plan, faster: Mapping[str, float] | None = None, link: Links | None = None, slots: Mapping[str, int] | None = None
) -> Forecast:
    """The exact period if operators, links or slots were others.

    faster: how many times as fast; keys are patterns (``*`` and ``?``) of actors' names ("matmul.3*") or of streams ("cpu:0/*").
    link: how many times as fast all links are, one Link for all, or either by pair ("cpu:0>cpu:1"). slots: by patterns of
    registers' names. Raises PlanError for a name that fits nothing, DeadlockError for slots that are too few.
    """
    period = Period(plan)
    seconds = durations(plan, faster_links(plan.machine, link)) if link is not None else period.seconds.copy()
    for pattern, factor in (faster or {}).items():
        if not factor > 0:
            raise PlanError(f"{pattern} cannot be {factor} times as fast")
        seconds[actors_like(period, pattern)] /= factor
    changed = {row: n for pattern, n in (slots or {}).items() for row in registers_like(plan, pattern)}
    for row, n in changed.items():
        if n < max(1, plan.register_templates[row].initial):
            raise PlanError(f"register {plan.register_templates[row].name} cannot have {n} slots")
    said = [f"{k} {v:g} times as fast" for k, v in (faster or {}).items()] + ["other links"] * (link is not None)
    said += [f"{k} with {n} slot{'s' * (n != 1)}" for k, n in (slots or {}).items()]
    return period.forecast(", ".join(said) or "as it is", seconds, changed)


def actors_like(period: Period, pattern: str) -> np.ndarray:
    """The rows of actors whose name, or whose stream where the pattern has a slash, fits."""
    t, templates = period.tables, period.plan.actor_templates
    if "/" in pattern:
        fits = np.array([fnmatchcase(name, pattern) for name in t.streams], bool)[t.stream]
    else:
        fits = np.array([fnmatchcase(a.name, pattern) for a in templates], bool)[t.template]
    if not fits.any():
        known = t.streams if "/" in pattern else [a.name for a in templates]
        raise PlanError(f"no {'stream' if '/' in pattern else 'actor'} is called {pattern}; there are {_some(known)}")
    return np.flatnonzero(fits)


def registers_like(plan: Plan, pattern: str) -> list[int]:
    """The register templates whose name fits."""
    found = [row for row, r in enumerate(plan.register_templates) if fnmatchcase(r.name, pattern)]
    if not found:
        raise PlanError(f"no register is called {pattern}; there are {_some(r.name for r in plan.register_templates)}")
    return found


def _some(names: Iterable[str]) -> str:
    every = list(dict.fromkeys(names))
    return ", ".join(every[:8]) + (f" and {len(every) - 8} more" if len(every) > 8 else "")


def faster_links(machine: Machine, link: Links) -> Machine:
    """The machine with other links, see `what_if`."""
    if isinstance(link, Link):
        return replace(machine, link=link, links={}, inter=None)
    if not isinstance(link, Mapping):
        inter = _faster(machine.inter, link) if machine.inter else None
        links = {pair: _faster(one, link) for pair, one in machine.links.items()}
        return replace(machine, link=_faster(machine.link, link), links=links, inter=inter)
    changed = dict(machine.links)
    for pair, to in link.items():
        source, arrow, target = pair.partition(">")
        if not (source and arrow and target):
            raise PlanError(f"{pair!r} is no link; write cpu:0>cpu:1")
        changed[pair] = to if isinstance(to, Link) else _faster(machine.link_between(source, target), to)
    return replace(machine, links=changed)


def _faster(link: Link, factor: float) -> Link:
    if not factor > 0:
        raise PlanError(f"a link cannot be {factor} times as fast")
    return Link(link.latency / factor, link.bandwidth * factor)
