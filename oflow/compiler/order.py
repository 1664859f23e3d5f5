"""order: play one step in virtual time and write each stream's order into the plan, so that every run is the same.

Compute streams have their order from the schedule; the communication and copy streams get the one the simulation finds. The
host's streams stay free: the caller's thread decides there.
"""

from __future__ import annotations

from oflow.actors import simulate
from oflow.compiler.options import Options
from oflow.plan import Plan
from oflow.trace import Trace


def order(plan: Plan, options: Options) -> Plan:
    trace = simulate(plan, options.machine, steps=1, events=False)
    found: dict[str, list[int]] = {}
    for span in play_order(trace):
        stream = plan.actors[span].stream
        if stream not in plan.order and not stream.startswith("host:"):
            found.setdefault(stream, []).append(span)
    return plan.with_order({**plan.order, **{stream: tuple(rows) for stream, rows in sorted(found.items())}})


def play_order(trace: Trace) -> list[int]:
    """Actor rows in the order in which their acts begin."""
    return [s.actor for s in sorted(trace.spans, key=lambda s: (s.start, s.stop, s.actor, s.act))]
