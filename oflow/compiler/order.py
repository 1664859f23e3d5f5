"""order: play one step in virtual time and write each stream's order into the plan, so that every run is the same.

Compute streams have their order from the schedule; the communication and copy streams get the one the simulation finds. The
host's streams stay free: the caller's thread decides there.
"""

from __future__ import annotations

import numpy as np

from oflow.actors import simulate
from oflow.compiler.options import Options
from oflow.machine import Machine
from oflow.plan import Plan


def order(plan: Plan, options: Options) -> Plan:
    spans = simulate(plan, options.machine, steps=1, events=False).spans.in_time()
    found = {}
    for number, stream in enumerate(spans.streams):
        if stream not in plan.order and not stream.startswith("host:"):
            found[stream] = tuple(spans.actor[spans.stream == number].tolist())
    return plan.with_order({**plan.order, **dict(sorted(found.items()))})


def played_templates(plan: Plan, machine: Machine) -> np.ndarray:
    """(acts) the actor templates of one simulated step, in the order in which acts begin."""
    rows = simulate(plan, machine, steps=1, events=False).spans.in_time().actor
    return np.searchsorted(plan.actor_bases, rows, "right") - 1
