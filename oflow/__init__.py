"""oflow: a static-scheduling compiler and actor runtime for distributed deep learning.

    import oflow as of

Annotate a model with SBP, `of.compile` it to a physical plan of actors, prove the plan, run it. See docs/tour.py.
"""

from __future__ import annotations

from oflow import check as _check
from oflow import ops as _ops
from oflow import sbp, sizing, view
from oflow.actors import simulate as _simulate
from oflow.backends.compiled import from_arrays as _from_arrays
from oflow.backends.compiled import to_arrays as _to_arrays
from oflow.check.report import report as _report
from oflow.checkpoint import read as load
from oflow.compiler.chunks import chunk_placements
from oflow.compiler.least_period import least_period_of as _least_period
from oflow.compiler.packing import pack
from oflow.compiler.resize import least_slots_of as _least_slots
from oflow.compiler.schedules import choose_schedule
from oflow.errors import (
    DeadlockError,
    KernelMissing,
    NotFiniteError,
    OflowError,
    OutOfMemory,
    PlacementError,
    PlanError,
    ProgramFailed,
    ProtocolError,
    SbpError,
    ShapeError,
    TraceError,
    WorkerLost,
)
from oflow.frontend import data, nn, optim
from oflow.frontend.capture import Spec, spec, stage, tap
from oflow.frontend.constants import arange, constant, eye, full, identity, linspace, ones, tri, zeros
from oflow.frontend.precision import LossScale, Precision
from oflow.frontend.recompute import recompute
from oflow.graph import Graph
from oflow.live import Progress
from oflow.machine import Device, Link, Machine
from oflow.ops import *  # noqa: F403
from oflow.plan import Plan
from oflow.presets import preset
from oflow.program import Program, compile
from oflow.sbp import B, Layout, P, Placement, S, placement
from oflow.schedule import Action, Replay, Schedule, Times
from oflow.schedule import from_csv as _from_csv
from oflow.schedule import replay as _replay
from oflow.schedule import to_csv as _to_csv
from oflow.trace import Trace

# methods that point right in the house are bound here and nowhere else
Plan.check = _check.check  # type: ignore[attr-defined]
Plan.report = _report  # type: ignore[attr-defined]
Plan.simulate = _simulate  # type: ignore[attr-defined]
Plan.least_slots = _least_slots  # type: ignore[attr-defined]
Plan.least_period = _least_period  # type: ignore[attr-defined]
Plan.trade_off = sizing.trade_off  # type: ignore[attr-defined]
Plan.what_if = sizing.what_if  # type: ignore[attr-defined]
Plan.what_would_help = sizing.what_would_help  # type: ignore[attr-defined]
Plan.sensitivities = sizing.sensitivities  # type: ignore[attr-defined]
Plan.explain_actor = view.explain_actor  # type: ignore[attr-defined]
Plan.explain_register = view.explain_register  # type: ignore[attr-defined]
Program.explain_tensor = view.explain_tensor  # type: ignore[attr-defined]
Plan.diff = view.differences  # type: ignore[attr-defined]
Plan.to_json = _check.to_json  # type: ignore[attr-defined]
Plan.from_json = staticmethod(_check.load)  # type: ignore[attr-defined]
Plan.to_arrays = _to_arrays  # type: ignore[attr-defined]
Plan.from_arrays = staticmethod(_from_arrays)  # type: ignore[attr-defined]
Schedule.replay = _replay  # type: ignore[attr-defined]
Schedule.to_csv = _to_csv  # type: ignore[attr-defined]
Schedule.from_csv = staticmethod(_from_csv)  # type: ignore[attr-defined]
for _drawn in (Plan, Graph, Trace, Schedule):
    setattr(_drawn, "_repr_svg_", view.repr_svg)  # noqa: B010 - mypy knows no such attribute
Plan._repr_html_ = view.plan_html  # type: ignore[attr-defined]
Program._repr_html_ = lambda program: view.plan_html(program.plan, program.graph)  # type: ignore[attr-defined]
_check.Proof._repr_html_ = view.proof_html  # type: ignore[attr-defined]

__version__ = "0.4.0"
__all__ = [
    "Action", "B", "DeadlockError", "Device", "Graph", "KernelMissing", "Layout", "Link", "LossScale", "Machine", "NotFiniteError",
    "OflowError", "OutOfMemory", "P", "Placement", "PlacementError", "Plan", "PlanError", "Precision", "Program", "ProgramFailed",
    "Progress", "ProtocolError", "Replay", "S", "SbpError", "Schedule", "ShapeError", "Spec", "Times", "Trace", "TraceError", "WorkerLost",
    "choose_schedule", "chunk_placements", "compile", "data", "load", "nn",
    "optim", "pack", "placement", "preset", "recompute", "sbp", "spec", "stage", "tap", "view",
    "arange", "constant", "eye", "full", "identity", "linspace", "ones", "tri", "zeros", *_ops.__all__,
]  # fmt: skip
