"""What a plan does in the steady state, by templates: how long slots are held, who frees them, what actors wait for, who is critical.

Seen in the third of four simulated steps of the plan folded to one device a role.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from oflow.actors import simulate
from oflow.arrays import Tables, starts, tables
from oflow.check import ActGraph, act_graph, fold, play
from oflow.check import steady as steady_period
from oflow.check.acts import DATA, SLOT
from oflow.errors import OflowError
from oflow.plan import Plan
from oflow.trace import Trace
from oflow.view.occupancy import Uses, uses
from oflow.view.report.gaps import REASONS, Gaps, gaps

STEPS, SEEN = 4, 2
"""Steps that are simulated, and the one that is looked at."""


@dataclass(frozen=True, slots=True)
class Held:
    """How long a slot is held from being written to being free again, in seconds, over the `uses` of a step of one device."""

    shortest: float
    mean: float
    longest: float
    uses: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds a step that a stream stands idle before an actor's acts. why: of `REASONS`; register and other: whose slot and which actor it
    waits for, or ""."""

    seconds: float
    why: str
    register: str
    other: str


@dataclass(frozen=True, eq=False)
class Steady:
    """A simulated run of a plan that can run. critical: the share of the critical cycle that each actor template works; handed: names of
    "data" or "slot" by register template that the cycle goes through."""

    plan: Plan
    tables: Tables
    graph: ActGraph
    trace: Trace
    period: float
    critical: dict[int, float]
    handed: dict[int, set[str]]

    # ------------------------------------------------------------ slots

    @cached_property
    def _uses(self) -> Uses:
        return uses(self.trace.events, self.trace.seconds)

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """(A + 1) where each actor's run of acts begins in (acts) the seconds at which they end."""
        spans = self.trace.spans
        order = np.lexsort((spans.act, spans.actor))
        return starts(np.bincount(spans.actor, minlength=len(self.tables.acts))), spans.stop[order]

    def held(self, register: int) -> tuple[Held | None, tuple[tuple[str, int], ...]]:
        """How long a register's slots are held, and who frees them: (actor, uses a step), of all ranks. None: they are never free."""
        seconds, freed = list[float](), Counter[str]()
        ranks = range(*self.plan.register_bases[register : register + 2])
        for row in ranks:
            readers = self._users(row)
            each = self._uses_a_step(row)
            if each:
                of_row = self._seen(row, each)
                seconds += (self._uses.stop[of_row] - self._uses.start[of_row]).tolist()
                freed.update(self._freed_by(readers, float(stop)) for stop in self._uses.stop[of_row])
        if not seconds:
            return None, ()
        count = max(1, len(ranks))
        named = tuple((name, -(-n // count)) for name, n in freed.most_common() if name)
        return Held(min(seconds), float(np.mean(seconds)), max(seconds), len(seconds) // count), named

    def _users(self, row: int) -> list[int]:
        """The actors that take slots of a register to read them, and where there are none, who writes it."""
        ports = np.flatnonzero(self.tables.port_register == row)
        reading = ports[self.tables.port_out[ports] == 0]
        return self.tables.port_actor[reading if len(reading) else ports].tolist()  # type: ignore[no-any-return]

    def _uses_a_step(self, row: int) -> int:
        t = self.tables
        ports = np.flatnonzero((t.port_register == row) & (t.port_out == 1) & (t.every > 0))
        return int(t.acts[t.port_actor[ports[0]]] // t.every[ports[0]]) if len(ports) else 0

    def _seen(self, row: int, each: int) -> np.ndarray:
        """The uses of a register that the step begins which is looked at."""
        mine = np.flatnonzero(self._uses.register == row)
        mine = mine[np.argsort(self._uses.start[mine], kind="stable")]
        first = int(self.tables.initial[row]) + SEEN * each
        return mine[first : first + each]

    def _freed_by(self, readers: list[int], stop: float) -> str:
        """The last actor whose act ends when a slot is freed; "" where the run ends first."""
        first, ends = self._ends
        for row in reversed(readers):
            of_actor = ends[first[row] : first[row + 1]]
            if (np.abs(of_actor - stop) <= 1e-9 * max(stop, 1e-9)).any():
                return self.plan.actor_templates[self.plan.template_of(row)].name
        return ""

    # ------------------------------------------------------------ waiting

    @cached_property
    def _gaps(self) -> tuple[Gaps, np.ndarray]:
        """The gaps, and the seconds of each that lie in the step that is looked at."""
        spans = self.trace.spans
        step = spans.act // np.maximum(self.tables.acts[spans.actor], 1)
        ends = [float(spans.stop[step == n].max(initial=0.0)) for n in (SEEN - 1, SEEN)]
        found = gaps(spans, self.graph, self.trace.seconds)
        return found, np.clip(np.minimum(found.stop, ends[1]) - np.maximum(found.start, ends[0]), 0.0, None)

    def waits(self, actor: int) -> tuple[Wait, ...]:
        """What an actor template's acts wait for while its stream does nothing, longest first; the mean of its ranks."""
        found, seconds = self._gaps
        low, high = self.plan.actor_bases[actor : actor + 2]
        total: dict[tuple[str, str, str], float] = {}
        for i in np.flatnonzero((found.actor >= low) & (found.actor < high) & (seconds > 0)).tolist():
            register, other = int(found.register[i]), int(found.other[i])
            named = self.plan.register_templates[self.plan.register_template_of(register)].name if register >= 0 else ""
            by = self.plan.actor_templates[self.plan.template_of(other)].name if other >= 0 else ""
            key = (REASONS[int(found.why[i])], named, by)
            total[key] = total.get(key, 0.0) + float(seconds[i]) / (high - low)
        return tuple(Wait(n, *key) for key, n in sorted(total.items(), key=lambda one: (-one[1], one[0])))

    def busy_share(self, actor: int) -> float:
        """The share of the period in which an actor template works on its stream (of its slowest rank)."""
        low, high = self.plan.actor_bases[actor : actor + 2]
        seconds = self.graph.seconds[self.graph.bases[low:high]] * self.tables.acts[low:high]
        return float(seconds.max(initial=0.0)) / self.period if self.period else 0.0


def steady_state(plan: Plan) -> Steady | None:
    """The steady state of a plan; None of one that cannot run."""
    try:
        folded = fold(plan).plan
        t = tables(folded)
        graph = act_graph(folded, play(folded, t), t)
        trace = simulate(folded, steps=STEPS)
    except OflowError:
        return None
    found = steady_period(graph)
    period = float(found.period) * 1e-15
    critical: Counter[int] = Counter()
    handed: dict[int, set[str]] = {}
    for arc in found.cycle:
        owner = int(graph.owners[graph.sources[arc]])
        if owner >= 0:
            critical[folded.template_of(owner)] += float(graph.seconds[graph.sources[arc]])  # type: ignore[assignment]
        if graph.kinds[arc] in (DATA, SLOT):
            handed.setdefault(folded.register_template_of(int(graph.refs[arc])), set()).add("data" if graph.kinds[arc] == DATA else "slot")
    if not found.cycle and found.stream:
        for row in np.flatnonzero(t.stream == t.streams.index(found.stream)).tolist():
            critical[folded.template_of(row)] += float(graph.seconds[graph.bases[row]]) * int(t.acts[row])  # type: ignore[assignment]
    whole = sum(critical.values()) or 1.0
    return Steady(folded, t, graph, trace, period, {row: seconds / whole for row, seconds in critical.items()}, handed)
