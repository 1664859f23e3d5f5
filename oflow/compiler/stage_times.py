"""What a schedule has to know of the plan: seconds of each stage's actions and of the messages between stages.

An action is what one stage does for one micro-batch in one phase: its chains on the compute stream and what these wait for on other
streams on the way (a boxing inside the stage). What waits for another stage is a message; what waits for neither, a copy of an
input, runs ahead and takes no time here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from oflow.arrays import durations
from oflow.machine import Machine
from oflow.plan import ActorTemplate, Plan
from oflow.schedule import Times

COMPUTE = "compute"
OFFLOAD, PREFETCH = ASIDE = ("offload", "prefetch")
"""The streams of a device that copy its stash to the host and back: nothing waits for them that could be helped."""
Part = tuple[int, str]
"""A stage and a phase."""


@dataclass(slots=True)
class _Seconds:
    """Of the actions of one stage and phase so far: when each stream is free, when the compute stream and all have done, and when
    the compute stream has made what other stages read."""

    free: dict[str, float] = field(default_factory=dict)
    sent: float = 0.0
    computed: float = 0.0
    done: float = 0.0


def stage_times(plan: Plan, machine: Machine, stages: int) -> Times:
    """Seconds by phase and stage, and of messages. Of a backward that is not parted I is what comes before the last message leaves."""
    parts, messages = _walk(plan, durations(plan, machine).tolist())

    def of(stage: int, phase: str) -> _Seconds:
        return parts.get((stage, phase), _Seconds())

    def of_first_half(stage: int) -> float:
        whole = of(stage, "B")
        return whole.sent or whole.computed

    each = range(stages)
    forward = tuple(of(s, "F").computed for s in each)
    inputs = tuple(of(s, "I").computed + of_first_half(s) for s in each)
    weights = tuple(of(s, "W").computed + of(s, "B").computed - of_first_half(s) for s in each)
    return Times(forward, inputs, weights, (_late(parts, messages, "F"), _late(parts, messages, "BIW")))


def _late(parts: dict[Part, _Seconds], messages: dict[Part, float], phases: str) -> float:
    """The longest from the end of an action's work to the arrival of what it sends: what follows on other streams, and the message."""
    trailing = max((p.done - p.computed for (_, phase), p in parts.items() if phase in phases), default=0.0)
    under_way = [length for (_, phase), length in messages.items() if phase in phases]
    return max(under_way) + trailing if under_way else 0.0


def each_micro_batch(plan: Plan, actor: ActorTemplate) -> bool:
    """Whether the actor acts for every micro-batch."""
    return actor.phase != "update" and actor.acts >= plan.micro_batches


def sources(plan: Plan) -> list[list[int]]:
    """For each template those that it reads from in the same act."""
    found = []
    for actor in plan.actor_templates:
        makers = [plan.writers[p.register] for p in actor.ports if p.direction == "in" and p.register in plan.writers]
        found.append(list(dict.fromkeys(number for number, port in makers if port.mode != "keep" and port.every <= 1)))
    return found


def _walk(plan: Plan, seconds: Sequence[float]) -> tuple[dict[Part, _Seconds], dict[Part, float]]:
    """The actions, each played alone, and the seconds of the messages that each stage and phase receives."""
    parts: dict[Part, _Seconds] = {}
    messages: dict[Part, float] = {}
    finish: dict[int, float] = {}
    """When the templates that belong to their action have done."""
    under_way: dict[int, float] = {}
    """How long the templates that bring messages have taken, from the end of the action that sends."""
    for number, (actor, makers) in enumerate(zip(plan.actor_templates, sources(plan), strict=True)):
        if not each_micro_batch(plan, actor) or not actor.calls or actor.stream in ASIDE:
            continue
        part = (actor.stage, actor.phase)
        length = float(max(seconds[plan.actor_bases[number] : plan.actor_bases[number + 1]]))
        own = [finish[m] for m in makers if m in finish and _part(plan, m) == part]
        if actor.stream == COMPUTE or own:
            found = parts.setdefault(part, _Seconds())
            finish[number] = max([found.free.get(actor.stream, 0.0), *own]) + length
            found.free[actor.stream] = finish[number]
            found.done = max(found.done, finish[number])
            if actor.stream == COMPUTE:
                found.computed = max(found.computed, finish[number])
        elif any(m in finish or m in under_way for m in makers):
            for m in makers:
                if m in finish:
                    parts[_part(plan, m)].sent = max(parts[_part(plan, m)].sent, finish[m])
            under_way[number] = length + max((under_way[m] for m in makers if m in under_way), default=0.0)
            messages[part] = max(messages.get(part, 0.0), under_way[number])
    return parts, messages


def _part(plan: Plan, number: int) -> Part:
    return plan.actor_templates[number].stage, plan.actor_templates[number].phase
