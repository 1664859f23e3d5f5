"""least_slots: with ``slots="least"``, the fewest bytes of slots at the period that the plan has anyway (`oflow.sizing`): on all devices
together, and where that does not fit into some device's memory, on the fullest."""

from __future__ import annotations

from oflow.compiler.fit import missing
from oflow.compiler.memory import memory
from oflow.compiler.options import Options
from oflow.plan import Plan
from oflow.sizing import FULLEST, size


def least_slots(plan: Plan, options: Options) -> Plan:
    if options.slots != "least":
        return plan
    made = size(plan).plan
    return size(plan, of=FULLEST).plan if missing(memory(made, options)) else made
