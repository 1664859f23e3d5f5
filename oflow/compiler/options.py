"""What the passes are told: the arguments of of.compile that shape the plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from oflow.compiler.schedules import NAMES
from oflow.compiler.sharding import NONE, Zero, zero_options
from oflow.errors import PlanError, user_line
from oflow.frontend.precision import Precision, usual_precision
from oflow.machine import Machine
from oflow.presets import preset
from oflow.sbp import Planner
from oflow.schedule import Schedule

AUTO = "auto"
"""What is left to the compiler."""


@dataclass(frozen=True, slots=True)
class Options:
    """optimizer: data with an `update` rule (frontend.optim) or None; schedule: a name or a Schedule, None for the plainest.

    layout: "auto" also chooses the homes of inputs and parameters that have no annotation. saved_nbytes: how many bytes a device
    a layout has to save, beside the cheapest one; hidden: the share of the gradients' boxings that automatic layouts take to run beside
    the backward pass. strict: boxings that the user did not ask for are refused. recompute: "auto" computes again what does not fit in
    memory, "all" all but the ends of segments; dropped: the values chosen for it, by their numbers behind the marked regions.
    offload: "all" keeps the stash in the host's memory, "auto" what does not fit; offloaded: the values chosen for it.
    zero: which state lives split (`sharding`).
    bucket_nbytes: gradients travel in buckets of so many bytes, or of those that make the period shortest ("auto").
    precision: which numbers products take (`mixed_precision`).
    slots: "least" gives registers the fewest bytes of slots at the same period.
    """

    machine: Machine
    planner: Planner
    """Routes over the machine's links, kept for all passes."""
    optimizer: Any = None
    micro_batches: int = 1
    schedule: str | Schedule | None = None
    layout: str | None = None
    saved_nbytes: int = 0
    hidden: float = 0.0
    strict: bool = False
    zero: Zero = NONE
    bucket_nbytes: int | str | None = None
    recompute: str | None = None
    dropped: frozenset[int] = frozenset()
    precision: Precision | None = None
    slots: str | None = None
    offload: str | None = None
    offloaded: frozenset[int] = frozenset()


WORDS = {
    "layout": (("auto",), "keep to the annotations"), "recompute": (("auto", "all"), "compute again only what of.recompute marks"),
    "slots": (("least",), "give registers what the schedule asks for"),
    "offload": (("auto", "all"), "keep the stash on the devices"),
}  # fmt: skip
"""Options that are words: what there is, and what leaving them out means."""


def options(machine: Machine | str | None = None, memory: int | None = None, **facts: Any) -> Options:
    """machine: a Machine, or the name of a preset ("reference" where None is given). memory: bytes of each device, if not the
    machine's. Raises PlanError for a preset, a word or a schedule that there is not, and for what is no number of bytes.
    """
    for name, (known, otherwise) in WORDS.items():
        if facts.get(name) not in (None, *known):
            remedy = f"leave it out to {otherwise}, or say {' or '.join(f'{name}={word!r}' for word in known)}"
            raise PlanError(f"{name}={facts[name]!r} is not known; {remedy}", line=user_line())
    schedule = facts.get("schedule")
    if not (schedule is None or isinstance(schedule, Schedule) or schedule in (*NAMES, AUTO)):
        there_are = ", ".join((*NAMES, AUTO))
        raise PlanError(f"there is no schedule {schedule!r}; there are {there_are}, or give an of.Schedule", line=user_line())
    if not isinstance(facts.get("strict", False), bool):
        raise PlanError(f"strict={facts['strict']!r} is not known; write strict=True, or leave it out", line=user_line())
    limit = facts.get("bucket_nbytes")
    if not (limit in (None, AUTO) or (isinstance(limit, int) and not isinstance(limit, bool) and limit > 0)):
        raise PlanError(f"bucket_nbytes={limit!r} is not known; write a number of bytes, 'auto', or None for no buckets", line=user_line())
    found = machine if isinstance(machine, Machine) else preset(machine or "reference")
    if memory is not None:
        found = _limited(found, memory)
    made = {"zero": zero_options(facts.get("zero", 0)), "precision": usual_precision(facts.get("precision"))}
    return Options(found, Planner(found), **{**facts, **made})


def saving(given: Options) -> dict[str, object]:
    """The arguments of of.compile that save memory, those that were given."""
    asked = {"recompute": given.recompute, "offload": given.offload, "slots": given.slots, "zero": given.zero.stage}
    return {name: value for name, value in asked.items() if value}


def whole_nbytes(memory: object, otherwise: str = "") -> int:
    """A limit of memory as a number of bytes. Raises PlanError for what is none."""
    if isinstance(memory, bool) or not isinstance(memory, int | float) or memory <= 0 or memory != memory // 1:
        raise PlanError(f"memory={memory!r} is no number of bytes; write one, such as memory=16 << 30{otherwise}", line=user_line())
    return int(memory)


def _limited(machine: Machine, memory: float) -> Machine:
    """The machine with so many bytes a device, its hosts' left as they are."""
    nbytes = whole_nbytes(memory, ", or leave it out for the machine's own")
    devices = {k: d if k.startswith("host") else replace(d, memory_nbytes=nbytes) for k, d in machine.devices.items()}
    return replace(machine, devices=devices)
