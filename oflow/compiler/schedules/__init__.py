"""Named schedules: each a small function (stages, micro_batches) -> Schedule that only yields data."""

from __future__ import annotations

from collections.abc import Callable

from oflow.compiler.schedules.gpipe import gpipe
from oflow.compiler.schedules.one_f_one_b import one_f_one_b
from oflow.errors import PlanError
from oflow.schedule import Schedule, verify_schedule

SCHEDULES: dict[str, Callable[[int, int], Schedule]] = {"gpipe": gpipe, "1f1b": one_f_one_b}


def named_schedule(name: str | Schedule, stages: int, micro_batches: int) -> Schedule:
    """The schedule called `name`, or the given one, checked against the numbers of stages and micro-batches."""
    if isinstance(name, str):
        if name not in SCHEDULES:
            raise PlanError(f"there is no schedule {name!r}; there are {', '.join(SCHEDULES)}, or give an of.Schedule")
        return SCHEDULES[name](stages, micro_batches)
    verify_schedule(name)
    if name.stages != tuple(range(stages)) or name.micro_batches != micro_batches:
        raise PlanError(
            f"schedule {name.name} is for stages {list(name.stages)} and {name.micro_batches} micro-batches, "
            f"the program has {stages} stages and {micro_batches} micro-batches"
        )
    return name
