"""What the period depends on: its derivatives on the critical cycle, the slack of everything else, and what would help most.

Along a critical cycle of distance d the period is (sum of seconds) / d, so a second more in an operator that acts k times on it costs
k / d seconds a step. Only what lies on the cycle can shorten the period; how far it falls until the next cycle is critical is
asked of `Period.forecast`, exactly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from oflow.arrays import durations
from oflow.check.acts import SLOT
from oflow.check.period import PER_SECOND
from oflow.plan import Plan, at_rank
from oflow.sizing.flow import chosen_registers
from oflow.sizing.what_if import Forecast, Links, Period, faster_links

TOP = 16
NAMED = 8
"""Streams of one group that are named in words; of more, the first and a count."""
ROUNDING = 1e-12
"""Periods that differ by less, in proportion, are the same."""


@dataclass(frozen=True)
class Sensitivities:
    """Derivatives of the period, in seconds a step, along the critical cycle; what is not named has the derivative 0.

    operators: by actor name, per second of an act. links: by pair of devices, per second of latency and per second a byte (messages
    and bytes on the cycle). registers: by name, how often the cycle waits for a free slot. streams: by name, seconds of the period in
    which the cycle is at work there. slack: by actor name, seconds that all its acts may take longer without changing the period.
    """

    period: float
    operators: dict[str, float]
    links: dict[str, tuple[float, float]]
    registers: dict[str, float]
    streams: dict[str, float]
    slack: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A change to ask about. floor: seconds below which it cannot bring the period, from the critical cycle alone."""

    what: str
    seconds: np.ndarray | None
    slots: dict[int, int]
    floor: float


class _Cycle:
    """The critical cycle: which acts of which actors, counted, and over how many steps it runs."""

    def __init__(self, period: Period) -> None:
        self.period, graph, found = period, period.graph, period.steady
        t = period.tables
        if found.cycle:
            arcs = np.array(found.cycle)
            nodes, self.steps = graph.sources[arcs], int(graph.distances[arcs].sum())
        else:
            arcs, self.steps = np.zeros(0, np.int64), 1
            rows = [row for row in range(len(t.acts)) if found.stream and t.streams[t.stream[row]] == found.stream]
            nodes = np.concatenate([np.arange(graph.bases[r], graph.bases[r + 1]) for r in rows]) if rows else arcs
        owners = graph.owners[nodes]
        self.counts = np.bincount(owners[owners >= 0], minlength=len(t.acts))
        """(A) acts of each actor on the cycle."""
        waits = arcs[graph.kinds[arcs] == SLOT] if len(arcs) else arcs
        self.slots = Counter(period.plan.register_template_of(int(ref)) for ref in graph.refs[waits])

    def floor(self, seconds: np.ndarray) -> float:
        """The ratio of this cycle with other seconds: no period is shorter."""
        return float(self.counts @ seconds) / self.steps

    def links(self) -> Iterator[tuple[str, int, int]]:
        """(pair, messages, bytes) of every act on the cycle that receives."""
        plan, t = self.period.plan, self.period.tables
        for row in np.flatnonzero(self.counts).tolist():
            number = int(t.template[row])
            template, rank = plan.actor_templates[number], row - plan.actor_bases[number]
            device = plan.rank_table[template.group][rank]
            for source, nbytes in at_rank(template.costs, rank).received:
                if source != device and nbytes:
                    yield f"{source}>{device}", int(self.counts[row]), int(self.counts[row]) * nbytes


def sensitivities(plan: Plan) -> Sensitivities:
    """The derivatives of the plan's period, and the slack of what is not critical."""
    period = Period(plan)
    cycle, t = _Cycle(period), period.tables
    names = [a.name for a in plan.actor_templates]
    operators, streams = defaultdict[str, float](float), defaultdict[str, float](float)
    for row in np.flatnonzero(cycle.counts).tolist():
        operators[names[t.template[row]]] += int(cycle.counts[row]) / cycle.steps
        streams[t.streams[t.stream[row]]] += float(cycle.counts[row] * period.seconds[row]) / cycle.steps
    links: dict[str, tuple[float, float]] = {}
    for pair, messages, nbytes in cycle.links():
        before = links.get(pair, (0.0, 0.0))
        links[pair] = before[0] + messages / cycle.steps, before[1] + nbytes / cycle.steps
    registers = {plan.register_templates[row].name: count / cycle.steps for row, count in cycle.slots.items()}
    return Sensitivities(period.before, dict(operators), links, registers, dict(streams), _slack(period, names))


def _slack(period: Period, names: list[str]) -> dict[str, float]:
    """The least room that a schedule of the period leaves behind the acts of each operator: all of them may use it at once."""
    graph, found = period.graph, period.steady
    room = found.starts[graph.targets] + float(found.period / PER_SECOND) * graph.distances - found.starts[graph.sources]
    room -= graph.seconds[graph.sources]
    least = np.full(len(graph), np.inf)
    np.minimum.at(least, graph.sources, room)
    slack: dict[str, float] = {}
    for node, owner in enumerate(graph.owners.tolist()):
        if owner >= 0 and np.isfinite(least[node]):
            name = names[period.tables.template[owner]]
            slack[name] = max(0.0, min(slack.get(name, np.inf), float(least[node])))
    return slack


def what_would_help(plan: Plan, factor: float = 2.0, top: int = TOP) -> tuple[Forecast, ...]:
    """The changes that shorten the period most: an operator, a stream or a link `factor` times as fast, a register with one slot more.

    Each forecast is exact and says what is critical then. Streams of devices that run the same are changed together.
    """
    period = Period(plan)
    found: list[Forecast] = []
    for candidate in sorted(_candidates(period, _Cycle(period), factor), key=lambda c: (c.floor, c.what)):
        # of changes that help as much those that are named first, so equals are tried too
        if len(found) >= top and candidate.floor > sorted(f.period for f in found)[top - 1] * (1 + ROUNDING):
            break
        made = period.forecast(candidate.what, candidate.seconds, candidate.slots)
        if made.period < period.before:
            found.append(made)
    return tuple(sorted(found, key=lambda f: (f.period, f.nbytes, f.what))[:top])


def _candidates(period: Period, cycle: _Cycle, factor: float) -> Iterator[_Candidate]:
    plan, t = period.plan, period.tables
    on = np.flatnonzero(cycle.counts)

    def faster(what: str, rows: np.ndarray) -> _Candidate:
        seconds = period.seconds.copy()
        seconds[rows] /= factor
        return _Candidate(f"{what} {factor:g} times as fast", seconds, {}, cycle.floor(seconds))

    for number in sorted(set(t.template[on].tolist())):
        yield faster(plan.actor_templates[number].name, t.template == number)
    groups = {(plan.actor_templates[n].group, plan.actor_templates[n].stream) for n in set(t.template[on].tolist())}
    for group, stream in sorted(groups):
        members = list(dict.fromkeys(f"{device}/{stream}" for device in plan.rank_table[group]))
        more = len(members) - NAMED
        words = " ".join(members) if more <= 0 else f"{members[0]} and those of {len(members) - 1} more devices"
        mine = np.array([name in members for name in t.streams])[t.stream]
        if len(set(t.template[mine].tolist())) > 1:
            yield faster(f"stream {words}", mine)
    pairs = sorted({pair for pair, _, _ in cycle.links()})
    links: list[tuple[str, Links]] = [("all links", factor)] * bool(pairs)
    for what, link in [*links, *((f"link {pair}", {pair: factor}) for pair in pairs)]:
        seconds = durations(plan, faster_links(plan.machine, link))
        yield _Candidate(f"{what} {factor:g} times as fast", seconds, {}, cycle.floor(seconds))
    for row in sorted(cycle.slots.keys() & chosen_registers(plan)):
        slots = plan.register_templates[row].slots + 1
        yield _Candidate(f"register {plan.register_templates[row].name} with {slots} slots", None, {row: slots}, 0.0)
