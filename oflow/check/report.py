"""What a step of a plan costs on a machine, in the terms in which training runs are compared.

The period is divided into three: the devices' work, communication that it does not hide, and the rest, the bubble. Exposed is by how
much the period shrinks when transfers take no time; the bubble is what then still separates the period from the mean work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from oflow.arrays import durations, tables
from oflow.check.acts import act_graph
from oflow.check.game import play
from oflow.check.period import PER_SECOND, steady
from oflow.check.roles import fold
from oflow.machine import Cost, Machine
from oflow.plan import ActorTemplate, Plan

COMPUTE = "compute"


@dataclass(frozen=True, slots=True)
class Report:
    """period: seconds a step once steps stream. computing, exposed, bubble: shares of it, of the mean device, that add up to 1; see above.

    devices: that compute. arena_nbytes, state_nbytes: of the fullest of them. model_flops: see `Plan`. utilisation: model_flops /
    (period x peak flops of all devices), the model-FLOPs utilisation of Chowdhery et al. 2022.
    """

    period: float
    computing: float
    exposed: float
    bubble: float
    devices: int
    arena_nbytes: int
    state_nbytes: int
    model_flops: float
    utilisation: float

    def __str__(self) -> str:
        """Flops only where the plan has some: a schedule's has none."""
        lines = [f"step: {self.period:.4g} s on {self.devices:,} devices"]
        if self.model_flops:
            each = self.model_flops / self.period / self.devices / 1e12
            lines[0] += f", {self.model_flops:.4g} model flops"
            lines.append(f"utilisation: {self.utilisation:.1%} of the machine's peak, {each:.4g} teraflops a device")
        lines.append(f"of the step computing {self.computing:.1%}, exposed communication {self.exposed:.1%}, bubble {self.bubble:.1%}")
        lines.append(f"fullest device: {self.arena_nbytes:,} bytes of arena, {self.state_nbytes:,} of state")
        return "\n".join(lines)


def report(plan: Plan, machine: Machine | None = None) -> Report:
    """The report of a plan on `machine` (default: its own). Raises DeadlockError where the plan cannot run."""
    used = plan.machine if machine is None else machine
    timed = replace(plan, machine=used)
    period = _period(timed)
    instant = _period(_without_transfers(timed))
    busy = _computing(timed)
    computing = [device for device, seconds in busy.items() if seconds]
    mean = sum(busy[d] for d in computing) / max(1, len(computing))
    peak = sum(used.device(d).peak or used.device(d).flops for d in computing)
    return Report(
        period, mean / period if period else 0.0, max(0.0, period - instant) / period if period else 0.0,
        max(0.0, min(instant, period) - mean) / period if period else 0.0, len(computing),
        max((plan.arenas.get(d, 0) for d in computing), default=0), max((plan.states.get(d, 0) for d in computing), default=0),
        plan.model_flops, plan.model_flops / (period * peak) if period and peak else 0.0,
    )  # fmt: skip


def _period(plan: Plan) -> float:
    folded = fold(plan).plan
    t = tables(folded)
    return float(steady(act_graph(folded, play(folded, t), t)).period / PER_SECOND)


def _without_transfers(plan: Plan) -> Plan:
    """The plan as if what one device reads of another arrived at once, and copies alone took no time."""
    return _with_costs(plan, lambda actor, cost: replace(cost, received=()) if actor.stream == COMPUTE else Cost(seconds=0.0))


def _with_costs(plan: Plan, change: Callable[[ActorTemplate, Cost], Cost]) -> Plan:
    actors = [replace(a, costs=tuple([change(a, cost) for cost in a.costs])) for a in plan.actor_templates]
    return replace(plan, actor_templates=tuple(actors))


def _computing(plan: Plan) -> dict[str, float]:
    """Seconds a step in which each device's compute stream works, what it waits for of others left out."""
    folded = fold(plan)
    t = tables(folded.plan)
    quick = _without_transfers(folded.plan)
    seconds = np.bincount(t.stream, durations(quick, plan.machine) * t.acts, len(t.streams))
    found = {stream: float(s) for stream, s in zip(t.streams, seconds, strict=True)}
    busy = {s.rpartition("/")[0]: n for s, n in found.items() if s.endswith(f"/{COMPUTE}") and not s.startswith("host:")}
    return folded.of_devices(busy)
