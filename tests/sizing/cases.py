"""Plans to size: random ones whose slots differ in bytes, and pipelines with transfers between their stages."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from oflow.check import act_graph, play
from oflow.errors import DeadlockError, PlanError
from oflow.plan import Plan
from oflow.sizing.flow import Flow, whole_step
from oflow.types import TensorType
from tests.check.executor import with_meetings
from tests.plans import PlanBuilder, random_plan


def random_plans(seeds: range, size: int = 7) -> Iterator[tuple[int, Plan]]:
    """Live plans with rates, back edges, meetings and registers of different sizes; their offsets mean nothing."""
    for seed in seeds:
        rng = random.Random(seed)
        plan = with_meetings(random_plan(seed, size), seed) if seed % 2 else random_plan(seed, size)
        registers = tuple(replace(r, types=(TensorType((16 * rng.randint(1, 5),)),)) for r in plan.register_templates)
        plan = replace(plan, register_templates=registers)
        try:
            play(plan)
        except (DeadlockError, PlanError):
            continue
        yield seed, plan


def flow_of(plan: Plan) -> Flow:
    return whole_step(act_graph(plan, play(plan)))


def transfers(stages: int, micro_batches: int, transfer: float, forward: Sequence[float], backward: Sequence[float]) -> Plan:
    """Stages F and B with an actor of `transfer` seconds between them each way, on streams of their own; no order."""
    b, m = PlanBuilder(), micro_batches
    on = [f"cpu:{i}" for i in range(stages)]
    sent, got, back, returned = (
        [b.register(f"{name}{i}", on[i + (name in ("x", "dy"))], 2) for i in range(stages - 1)] for name in ("y", "x", "dy", "dx")
    )
    stash = [b.register(f"stash{i}", on[i], m) for i in range(stages)]
    for i in range(stages):
        f_ins = [(got[i - 1], 1, "whole")] if i else []
        f_outs = [(sent[i], 1, "whole")] if i < stages - 1 else []
        b_ins = [(returned[i], 1, "whole")] if i < stages - 1 else []
        b_outs = [(back[i - 1], 1, "whole")] if i else []
        kept = (stash[i], 1, "whole")
        b.actor(f"F{i}", on[i], f_ins, [*f_outs, kept], acts=m, stage=i, seconds=forward[i])
        b.actor(f"B{i}", on[i], [kept, *b_ins], b_outs, acts=m, stage=i, phase="B", seconds=backward[i], priority=1)
        if i < stages - 1:
            b.actor(f"send{i}", on[i + 1], [(sent[i], 1, "whole")], [(got[i], 1, "whole")], acts=m, stream="in", seconds=transfer)
            b.actor(
                f"back{i}", on[i], [(back[i], 1, "whole")], [(returned[i], 1, "whole")], acts=m, stream="back", phase="B",
                seconds=transfer,
            )  # fmt: skip
    return replace(b.plan(), micro_batches=m)
