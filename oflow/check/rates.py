"""The balance equations: what every act of a step takes, another act of the same step hands on.

Lee & Messerschmitt 1987 (synchronous dataflow). With them one play of a step leaves every counter where it was. Faults are found
on columns, all ports at once; only the first of each kind is put into words.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from oflow.arrays import Tables, tables
from oflow.errors import PlanError
from oflow.plan import Plan


def replayed(t: Tables) -> np.ndarray:
    """(S) whether the order of a stream is kept at run time. A host stream is the caller's thread: its acts come when the caller
    makes them."""
    given = np.diff(t.order_start) > 0
    return np.asarray(given & ~np.array([name.startswith("host:") for name in t.streams], bool))


def windows(t: Tables) -> np.ndarray:
    """(P) slots that each port turns over a step; 0 where it keeps one for the whole run."""
    found: np.ndarray = np.where(t.every > 0, t.acts[t.port_actor] // np.maximum(t.every, 1), 0)
    return found


def check_rates(plan: Plan, t: Tables | None = None) -> None:
    """Raises PlanError, naming actor, register and numbers, unless ports, orders and rendezvous agree about a step."""
    t = tables(plan) if t is None else t
    acts, every = t.acts[t.port_actor], np.maximum(t.every, 1)
    read = np.flatnonzero(t.producer >= 0)
    made = t.producer[read]
    alone = (t.port_out == 0) & (t.producer < 0)
    initial = t.initial[t.port_register]
    once, writer_once = t.every[read] == 0, t.every[made] == 0
    unequal = acts[made] * every[read] != acts[read] * every[made]
    has_readers = np.diff(t.reader_start) > 0
    for faults, ports, words in (
        ((t.every > 0) & (acts % every != 0), None, _divides),
        (alone & (initial < 1), None, _never_starts),
        (alone & (t.every > 0), None, _starves),
        (once != writer_once, read, _mixed),
        (once & (initial[read] < 1), read, _waits_for_ever),
        (~once & unequal, read, _unbalanced),
        ((t.port_out == 1) & (t.every == 0) & has_readers & (initial >= t.slots), None, _no_room),
    ):
        if faults.any():
            first = int(np.argmax(faults))
            raise words(_Port(plan, t, first if ports is None else int(ports[first])))
    _orders(plan, t)
    _rendezvous(plan, t)


class _Port:
    """A port in words."""

    def __init__(self, plan: Plan, t: Tables, number: int) -> None:
        self.plan, self.t, self.number = plan, t, number
        self.every = int(t.every[number])
        self.actor = plan.actor_label(int(t.port_actor[number]))
        self.acts = int(t.acts[t.port_actor[number]])
        self.register = plan.register_label(int(t.port_register[number]))
        self.initial = int(t.initial[t.port_register[number]])
        self.slots = int(t.slots[number])

    @property
    def writer(self) -> _Port:
        return _Port(self.plan, self.t, int(self.t.producer[self.number]))

    def error(self, text: str) -> PlanError:
        return PlanError(text, actor=self.actor, register=self.register)


Words = Callable[[_Port], PlanError]


def _divides(port: _Port) -> PlanError:
    direction = "out" if port.t.port_out[port.number] else "in"
    divisors = " or ".join(str(k) for k in range(1, port.acts + 1) if port.acts % k == 0)
    return port.error(
        f"{port.actor} acts {port.acts} times a step, but its {direction} port on {port.register} shares a slot "
        f"between {port.every} acts, which does not divide it; give it every={divisors}"
    )


def _never_starts(port: _Port) -> PlanError:
    return port.error(
        f"{port.actor} reads {port.register}, which nobody writes and which starts without a token; "
        "give it a producer or initial=1"
    )


def _starves(port: _Port) -> PlanError:
    return port.error(
        f"{port.actor} takes a new slot of {port.register} every {port.every} acts, but nobody writes it: after "
        f"{port.initial} initial tokens it would starve; take it once per run with every=0, or give it a producer"
    )


def _mixed(port: _Port) -> PlanError:
    once, other = (port, port.writer) if port.every == 0 else (port.writer, port)
    return once.error(
        f"{once.actor} takes its slot of {port.register} once per run (every=0) and never hands it back, but {other.actor} "
        "turns it over every step; give both ports every=0, or both every>0"
    )


def _waits_for_ever(port: _Port) -> PlanError:
    return port.error(
        f"{port.actor} waits for {port.register}, whose producer {port.writer.actor} keeps its slot for the whole run "
        "(every=0); give the register initial=1 or both ports every>0"
    )


def _unbalanced(port: _Port) -> PlanError:
    made = port.writer
    return port.error(
        f"register {port.register} is not balanced: {made.actor} hands on {made.acts}/{made.every} = "
        f"{made.acts / made.every:g} slots a step, {port.actor} takes {port.acts}/{port.every} = "
        f"{port.acts / port.every:g}; make them equal by `acts` or `every`"
    )


def _no_room(port: _Port) -> PlanError:
    return port.error(
        f"{port.actor} wants a slot of {port.register} for the whole run (every=0), but all {port.slots} start full "
        f"and their readers never hand them back; give it {port.initial + 1} slots"
    )


def _orders(plan: Plan, t: Tables) -> None:
    counts = np.bincount(t.order, minlength=len(t.acts))
    ordered = (np.diff(t.order_start) > 0)[t.stream]
    wrong = ordered & (counts != t.acts)
    if wrong.any():
        row = int(np.argmax(wrong))
        actor, stream = plan.actor_label(row), t.streams[t.stream[row]]
        raise PlanError(
            f"the order of {stream} names {actor} {counts[row]} times, but it acts {t.acts[row]} times a step; "
            "an order has one entry an act",
            actor=actor, stream=stream,
        )  # fmt: skip


def _rendezvous(plan: Plan, t: Tables) -> None:
    """Partners act equally often, on streams of their own that have an order."""
    rows = np.flatnonzero(t.meeting >= 0)
    groups, first = np.unique(t.meeting[rows], return_index=True)
    leader = rows[first][np.searchsorted(groups, t.meeting[rows])]
    fewer = t.acts[rows] != t.acts[leader]
    if fewer.any():
        row, other = int(rows[np.argmax(fewer)]), int(leader[np.argmax(fewer)])
        raise PlanError(
            f"rendezvous {_meeting(plan, row)}: {plan.actor_label(other)} acts {t.acts[other]} times a step and "
            f"{plan.actor_label(row)} {t.acts[row]}; partners act together, so their acts must be equal",
            actor=plan.actor_label(row),
        )  # fmt: skip
    keys = t.meeting[rows] * len(t.streams) + t.stream[rows]
    shared = np.ones(len(rows), bool)
    shared[np.unique(keys, return_index=True)[1]] = False
    free = ~replayed(t)[t.stream[rows]]
    for faults, words in (
        (shared, "two partners share stream {}, which runs one act at a time"),
        (free, "stream {} needs an explicit order, else partners may miss"),
    ):
        if faults.any():
            row = int(rows[np.argmax(faults)])
            raise PlanError(f"rendezvous {_meeting(plan, row)}: {words.format(t.streams[t.stream[row]])}")


def _meeting(plan: Plan, row: int) -> str:
    return plan.actor_templates[plan.template_of(row)].rendezvous
