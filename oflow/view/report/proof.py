"""The proof as plain data: its critical cycle, by rows that the pictures show, and what would shorten the period."""

from __future__ import annotations

from typing import Any

from oflow.check import Proof
from oflow.live import phase
from oflow.plan import Plan
from oflow.sizing import what_would_help
from oflow.view.period import help_facts

MOST_ASKED = 20_000
"""Acts a step up to which it is also said what would shorten the period: each answer takes a proof of its own."""


def proof_data(plan: Plan, proof: Proof) -> dict[str, Any]:
    """plan: the whole one; the rows in the proof are those that are shown."""
    cycle = [
        {"kind": one.kind, "text": one.text, "actors": [one.source, one.source_act, one.target, one.target_act],
         "register": one.register, "stream": one.stream, "wraps": one.wraps}
        for one in proof.cycle
    ]  # fmt: skip
    with phase("ask what would shorten the period"):
        what_if = help_facts(what_would_help(plan)) if proof.acts <= MOST_ASKED else []
    return {
        "deadlock_free": proof.deadlock_free, "period": proof.period, "bound": proof.bound, "acts": proof.acts, "cycle": cycle,
        "busy": proof.busy, "what_if": what_if,
    }  # fmt: skip
