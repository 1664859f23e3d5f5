"""What the passes are told: the arguments of of.compile that shape the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oflow.machine import Machine, preset
from oflow.plan import Schedule


@dataclass(frozen=True, slots=True)
class Options:
    """optimizer: data with an `update` rule (frontend.optim) or None; schedule: a name or a Schedule."""

    machine: Machine
    optimizer: Any = None
    micro_batches: int = 1
    schedule: str | Schedule = "1f1b"


def options(machine: Machine | str | None = None, **facts: Any) -> Options:
    """machine: a Machine, or the name of a preset ("reference" where None is given). Raises PlanError for one there is not."""
    return Options(machine if isinstance(machine, Machine) else preset(machine or "reference"), **facts)
