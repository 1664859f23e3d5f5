"""least_slots: with ``slots="least"``, the fewest bytes of slots at the period that the plan has anyway (`oflow.sizing`)."""

from __future__ import annotations

from oflow.compiler.options import Options
from oflow.plan import Plan
from oflow.sizing import size


def least_slots(plan: Plan, options: Options) -> Plan:
    return size(plan).plan if options.slots == "least" else plan
