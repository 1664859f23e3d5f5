"""What the view tests look at: a plan with every feature that a view shows, and the schedule of a pipeline."""

from __future__ import annotations

from dataclasses import replace

from oflow.machine import Cost
from oflow.plan import ActorTemplate, Arg, Call, Plan, PortTemplate, RegisterTemplate, Scratch
from oflow.schedule import Action, Schedule
from oflow.types import TensorType
from tests.plans import actions_1f1b, pipeline_1f1b


def rich_plan() -> Plan:
    """Two devices and the host: a copy stream, scratch, uneven shards, peers, state, an initial token, order, input, output.

    Names hold characters that XML, DOT and JSON must escape.
    """
    host, two = 0, 1
    registers = (
        RegisterTemplate('in "x" <&>', host, (TensorType((3, 4)),), 2, layout="B"),
        RegisterTemplate("x.1", two, (TensorType((2, 4)), TensorType((1, 4))), 2, offsets=(0,), layout="S(0)"),
        RegisterTemplate("w", two, (TensorType((4, 4)),), 1, 1, region="state", state="up.weight", layout="B"),
        RegisterTemplate("y", two, (TensorType((2, 4)), TensorType((1, 4))), 2, offsets=(128,), layout="S(0)"),
        RegisterTemplate("order", two, (TensorType((0,)),), 1),
    )
    feed = ActorTemplate("feed", host, (PortTemplate(0, "out"),), stream="host_in", acts=2)
    pull = ActorTemplate(
        "copy_x", two, (PortTemplate(0, "in", peers=(0, 0)), PortTemplate(1, "out")), stream="copy_in", acts=2,
        calls=(Call("pull", (Arg("port", 1),), (Arg("port", 0),), ((("pulls", (0, 2)),), (("pulls", (2, 3)),))),),
        costs=(Cost(received=(("host:0", 32),), calls=1), Cost(received=(("host:0", 16),), calls=1)),
    )  # fmt: skip
    product = ActorTemplate(
        "matmul", two, 
        (PortTemplate(1, "in"), PortTemplate(2, "in", 2), PortTemplate(3, "out"), PortTemplate(4, "out", 2, "control")),
        calls=(Call("matmul", (Arg("scratch", 0),), (Arg("port", 0), Arg("port", 1)), line="mlp.py:14"),
               Call("relu", (Arg("port", 2),), (Arg("scratch", 0),), line="mlp.py:15")),
        scratch=(Scratch((TensorType((2, 4)), TensorType((1, 4)))),), acts=2, costs=(Cost(flops=256.0, nbytes=128.0, calls=2),),
        line="mlp.py:14",
    )  # fmt: skip
    update = ActorTemplate(
        "update", two, (PortTemplate(4, "in", 1, "control"), PortTemplate(2, "out", 1, "keep")), phase="update", priority=2,
        costs=(Cost(seconds=2e-6),),
    )  # fmt: skip
    fetch = ActorTemplate("fetch", host, (PortTemplate(3, "in", peers=(1,)),), stream="host_out", acts=2)
    actors = (feed, pull, product, update, fetch)
    base = pipeline_1f1b(1, 1)
    made = replace(
        base, actor_templates=actors, register_templates=registers, rank_table=(("host:0",), ("cpu:0", "cpu:1")),
        arenas={"host:0": 128, "cpu:0": 320, "cpu:1": 320}, states={"cpu:0": 64, "cpu:1": 64}, inputs=(0,),
        scratches={"cpu:0/compute": (256, 64), "cpu:1/compute": (256, 64)}, micro_batches=2, schedule="1f1b", order={},
    )  # fmt: skip
    matmuls, updates = made.actor_bases[2], made.actor_bases[3]
    order = {f"cpu:{r}/compute": (matmuls + r, matmuls + r, updates + r) for r in (0, 1)}
    return replace(made, order=order, outputs=(("loss", made.register_bases[3] + 1),))


def schedule_1f1b(stages: int, micro_batches: int) -> Schedule:
    rows = []
    for stage in range(stages):
        counts = {"F": 0, "B": 0}
        row = []
        for phase in actions_1f1b(stages, stage, micro_batches):
            row.append(Action(stage, phase, counts[phase]))
            counts[phase] += 1
        rows.append(tuple(row))
    return Schedule("1f1b", tuple(rows))
