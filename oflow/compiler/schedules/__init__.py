"""Named schedules: each a small file that only yields data (where its chunks stand, and the order of actions)."""

from __future__ import annotations

from oflow.compiler.schedules.auto import Candidate, Choice, choose_schedule
from oflow.compiler.schedules.gpipe import GPIPE
from oflow.compiler.schedules.interleaved import interleaved_by
from oflow.compiler.schedules.named import NamedSchedule
from oflow.compiler.schedules.one_f_one_b import ONE_F_ONE_B
from oflow.compiler.schedules.zero_bubble import ZERO_BUBBLE_H1, ZERO_BUBBLE_H2
from oflow.compiler.schedules.zero_bubble_small import ZERO_BUBBLE_V_HALF, ZERO_BUBBLE_V_THIRD
from oflow.compiler.schedules.zero_bubble_v import ZERO_BUBBLE_V
from oflow.errors import PlanError, user_line
from oflow.schedule import Schedule, Times, verify_schedule

SCHEDULES: dict[str, NamedSchedule] = {
    made.name: made
    for made in (
        GPIPE, ONE_F_ONE_B, interleaved_by(2), ZERO_BUBBLE_H1, ZERO_BUBBLE_H2, ZERO_BUBBLE_V, ZERO_BUBBLE_V_HALF, ZERO_BUBBLE_V_THIRD,
    )
}
NAMES = (*SCHEDULES, "zero-bubble")
"""What `find_schedule` knows: "zero-bubble" is H1 with one chunk a rank, V with two; "interleaved" takes any number from two."""


def find_schedule(name: str, stages: int, ranks: int) -> NamedSchedule:
    """The schedule called `name` for so many stages (chunks) on so many ranks.

    Raises PlanError for a name there is not, and for a number of stages that the schedule cannot place, with the numbers it could.
    """
    if name not in NAMES:
        raise PlanError(f"there is no schedule {name!r}; there are {', '.join(NAMES)}, or give an of.Schedule", line=user_line())
    if ranks < 1 or stages < 1:
        raise PlanError(f"a schedule needs at least one stage and one rank, not {stages} and {ranks}")
    v = stages // ranks
    if name == "zero-bubble":
        name = "zero-bubble-h1" if v == 1 else "zero-bubble-v"
    found = interleaved_by(v) if name == "interleaved" and v > 2 else SCHEDULES[name]
    if stages != found.chunks * ranks:
        raise PlanError(f"schedule {name!r} does not place {stages} stages on {ranks} ranks: {_would_fit(name, found, stages, ranks)}")
    return found


def _would_fit(name: str, found: NamedSchedule, stages: int, ranks: int) -> str:
    wanted = "two or more" if name == "interleaved" else ("one", "two")[found.chunks - 1]
    remedy = f"it takes {wanted} stage{'s' * (wanted != 'one')} a rank, {found.chunks * ranks} stages on {ranks} ranks"
    if stages % found.chunks == 0:
        remedy += f" or {stages} stages on {stages // found.chunks} ranks"
    others = [other.name for other in SCHEDULES.values() if other.chunks * ranks == stages]
    return remedy + (f"; {', '.join(others)} would fit" if others else "")


def named_schedule(
    name: str | Schedule, stages: int, ranks: int | None = None, micro_batches: int = 1, times: Times | None = None
) -> Schedule:
    """The schedule called `name` ("auto": the shortest, see `choose_schedule`), shaped for `times`, or the given one, checked.

    ranks: how many devices (or groups of them) share the stages; None: one for each stage. Raises PlanError where they do not fit.
    """
    ranks = stages if ranks is None else ranks
    if name == "auto":
        return choose_schedule(stages, ranks, micro_batches, times).schedule
    if isinstance(name, str):
        return find_schedule(name, stages, ranks).make(ranks, micro_batches, times)
    verify_schedule(name)
    _verify_compilable(name)
    if name.stages != tuple(range(stages)) or name.micro_batches != micro_batches or name.ranks != ranks:
        raise PlanError(
            f"schedule {name.name} is for stages {list(name.stages)} on {name.ranks} ranks and {name.micro_batches} micro-batches, "
            f"the program has {stages} stages on {ranks} ranks and {micro_batches} micro-batches",
            line=user_line(),
        )
    return name


def _verify_compilable(schedule: Schedule) -> None:
    """Raises PlanError for what one actor a stage and phase cannot run: micro-batches out of order."""
    latest: dict[tuple[int, str], int] = {}
    for action in (action for row in schedule.rows for action in row):
        if action.micro_batch < latest.get((action.stage, action.phase), 0):
            raise PlanError(f"schedule {schedule.name}: {action} stands after a later micro-batch of its stage and phase")
        latest[action.stage, action.phase] = action.micro_batch


__all__ = ["NAMES", "SCHEDULES", "Candidate", "Choice", "NamedSchedule", "choose_schedule", "find_schedule", "named_schedule"]
