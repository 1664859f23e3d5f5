"""What the report's page reads: one JSON object, columns of equal length where there are many rows. Rows are numbered as in the plan.

    meta       title, version, schedule, micro_batches, machine, steps, file, acts
    devices    [{name, kind, arena, state, budget, alike, ran_as}]        streams  [{name, device, kind: compute | comm | copy | host}]
    actors     {id, name, device, stream, stage, phase, kind, acts, seconds, line, group, calls, template}
    groups     [{name, stage, phase, kind, device, stream, count}]        the boxes of the plan's drawing
    registers  {id, name, device, type, layout, slots, initial, offset, nbytes, region, producer, consumers, line}
    graph      null or {nodes: [{id, op, name, stage, phase, kind, line, x, y, w, h, count, actors: [template]}], width, height,
               edges: [{source, target, value, name, type, sbp, placement, time, path, lx, ly}]}
    plan       {boxes: [{group, x, y, w, h}], lanes: [{device, stream, y, h}], width, height,
               edges: [{source, target, registers, count, label, path, back, lx, ly}]}       source and target are groups
    traces     {simulated: T | null, measured: T | null}, reasons: [...]
               T = {seconds, steps, spans: {actor, act, start, stop}, gaps: {stream, start, stop, why, actor, register, other},
                    slots: {register, slot, time, event}, left_out}       event: 0 write, 1 full, 2 free
    memory     [{device, time, live, arena, state, budget, peak, top: [{register, nbytes}]}]
    boxings    [{value, type, from, to, route, nbytes, seconds, times, count, why, asked, reader, line, made_at, stage, phase, bucket,
               moves: [{to, nbytes, seconds, in_place}], actors: [template]}]
    proof      null or {deadlock_free, period, bound, acts, busy, cycle: [{kind, text, actors: [row, act, row, act], register, stream,
               wraps}], what_if: [{change, period_seconds, gain, slot_nbytes, bound}]}
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from oflow.actors import simulate
from oflow.arrays import Tables, tables
from oflow.boxings import Boxing
from oflow.check import ActGraph, Proof, act_graph, play
from oflow.errors import PlanError
from oflow.graph import Graph
from oflow.live import phase
from oflow.plan import Plan
from oflow.trace import SlotEvents, Trace
from oflow.view.occupancy import horizon, levels, thinned, uses
from oflow.view.report import rows
from oflow.view.report.gaps import REASONS, gaps
from oflow.view.report.pictures import graph_data, plan_data
from oflow.view.report.proof import proof_data
from oflow.view.report.roles import alone, shown
from oflow.view.timeline import same_runs

STEPS, MOST_SPANS = 2, 100_000
"""Steps that are simulated where no trace is given; one, where two would have more spans than that."""
MOST_ACTS = 400_000
"""Acts of a step above which none is simulated: no page shows so many."""
MOST_EVENTS = 120_000
"""Above this the hand-overs of the smallest registers' slots are left out."""
MOST_POINTS = 60_000
"""Points of all memory curves together."""
TIME_DIGITS, ALIKE = 7, 1000


def report_data(
    plan: Plan, trace: Trace | None = None, graph: Graph | None = None, proof: Proof | None = None, *, measured: Trace | None = None,
    boxings: Iterable[Boxing] | None = None, title: str | None = None, file: str = "",
) -> dict[str, Any]:  # fmt: skip
    """The data of a report. trace: a simulated one (None: STEPS are simulated, if the plan can run). measured: a recording of the same
    plan. A large plan without a trace is shown by role, and "alike" names the devices that each device stands for. Raises PlanError for a
    trace of another plan."""
    simulated, recorded = _given(trace, measured)
    drawn = shown(plan, proof) if simulated is None and recorded is None else alone(plan, proof)
    whole, plan = plan, drawn.plan
    t = tables(plan)
    act = _acts(plan, t)
    if simulated is None and act is not None and (acts := int(t.acts.sum())) <= MOST_ACTS:
        simulated = simulate(plan, steps=STEPS if STEPS * acts <= MOST_SPANS else 1)
    traces = {"simulated": _trace(plan, t, act, simulated), "measured": _trace(plan, t, act, recorded)}
    groups = rows.grouped(plan, t)
    seen = simulated or recorded
    with phase("draw the plan and the graph"):
        drawings = {"graph": graph_data(graph, plan) if graph is not None else None, "plan": plan_data(plan, t, groups)}
    return {
        "meta": _meta(whole, seen, title, file),
        "devices": rows.devices(plan, t, drawn.alike, _ran_alike(plan, recorded or simulated)),
        "streams": rows.streams(t), "actors": rows.actors(plan, t, groups),
        "groups": [
            {"name": g.name, "stage": g.stage, "phase": g.phase, "kind": g.kind, "device": g.devices, "stream": g.stream,
             "count": len(g.rows)}
            for g in groups
        ],
        "registers": rows.registers(plan, t), **drawings, "reasons": list(REASONS),
        "traces": traces,
        "memory": _memory(plan, t, seen), "boxings": _boxings(plan, boxings or ()),
        "proof": proof_data(whole, drawn.proof) if drawn.proof is not None else None,
    }  # fmt: skip


def _given(trace: Trace | None, measured: Trace | None) -> tuple[Trace | None, Trace | None]:
    """A measured trace that was given as the only one is the measured one."""
    if trace is not None and trace.source == "measured" and measured is None:
        trace, measured = None, trace
    return trace, _from_first_act(measured) if measured is not None else None


def _from_first_act(trace: Trace) -> Trace:
    """The trace with time that counts from its first act: before that threads were started."""
    spans, events = trace.spans, trace.events
    zero = float(spans.start.min(initial=math.inf))
    if not 0.0 < zero < math.inf:
        return trace
    return replace(
        trace, spans=replace(spans, start=spans.start - zero, stop=spans.stop - zero),
        events=replace(events, time=np.maximum(events.time - zero, 0.0)),
    )  # fmt: skip


def _ran_alike(plan: Plan, trace: Trace | None) -> dict[str, list[str]]:
    """Of many devices those that ran alike to a thousandth of the run."""
    return same_runs(trace, plan, horizon(trace) / ALIKE) if trace is not None else {}


def _acts(plan: Plan, t: Tables) -> ActGraph | None:
    """The act graph; None of a plan that cannot run."""
    try:
        return act_graph(plan, play(plan, t), t)
    except PlanError:
        return None


def _meta(plan: Plan, trace: Trace | None, title: str | None, file: str) -> dict[str, Any]:
    how = f", {plan.schedule}" if plan.schedule else ""
    count = sum(not device.startswith("host:") for device in plan.devices) or len(plan.devices)
    return {
        "title": title or f"plan on {count} device{'s' * (count != 1)}{how}", "version": plan.version, "schedule": plan.schedule,
        "micro_batches": plan.micro_batches, "machine": plan.machine.name, "steps": trace.steps if trace else 0, "file": file,
        "acts": sum(len(plan.rank_table[a.group]) * a.acts for a in plan.actor_templates),
    }  # fmt: skip


# ---------------------------------------------------------------- traces


def _places(seconds: float) -> int:
    """Decimal places that give a time of the run so many digits."""
    return TIME_DIGITS - math.ceil(math.log10(seconds)) if seconds > 0 else 0


@phase("find what idle streams wait for")
def _trace(plan: Plan, t: Tables, act: ActGraph | None, trace: Trace | None) -> dict[str, Any] | None:
    if trace is None:
        return None
    _verify(plan, t, trace)
    seconds = horizon(trace)
    spans, times = trace.spans.in_time(), partial(_times, places=_places(seconds))
    found = {
        "source": trace.source, "seconds": times(np.array([seconds]))[0], "steps": trace.steps,
        "spans": {
            "actor": spans.actor.tolist(), "act": spans.act.tolist(), "start": times(spans.start), "stop": times(spans.stop)
        },
        **_slots(plan, t, trace.events, times),
    }  # fmt: skip
    if act is not None:
        idle = gaps(spans, act, seconds)
        start, stop = times(idle.start), times(idle.stop)
        kept = [i for i, (a, b) in enumerate(zip(start, stop, strict=True)) if a < b]
        columns = {name: getattr(idle, name).tolist() for name in ("stream", "why", "actor", "register", "other")}
        columns |= {"start": start, "stop": stop}
        found["gaps"] = {name: [column[i] for i in kept] for name, column in columns.items()}
    return found


def _times(values: np.ndarray, places: int) -> list[float]:
    return np.round(values, places).tolist()  # type: ignore[no-any-return]


def _verify(plan: Plan, t: Tables, trace: Trace) -> None:
    """Raises PlanError unless the trace is one of this plan."""
    spans, events = trace.spans, trace.events
    if (spans.actor >= len(t.template)).any() or (events.register >= len(t.initial)).any():
        raise PlanError(f"the {trace.source} trace names actors or registers that the plan does not have: it is of another plan")
    if (spans.act >= trace.steps * t.acts[spans.actor]).any():
        raise PlanError(f"the {trace.source} trace has more acts than {trace.steps} steps of this plan: it is of another plan")
    number = np.array([t.streams.index(name) if name in t.streams else -1 for name in spans.streams], np.int64)
    if len(spans) and (number[spans.stream] != t.stream[spans.actor]).any():
        raise PlanError(f"the {trace.source} trace has acts on other streams than the plan: it is of another plan")
    slots = np.repeat([r.slots for r in plan.register_templates], [len(plan.rank_table[r.group]) for r in plan.register_templates])
    if len(events) and (events.slot >= slots[events.register]).any():
        raise PlanError(f"the {trace.source} trace has slots that the plan does not have: it is of another plan")


def _slots(plan: Plan, t: Tables, events: SlotEvents, times: Any) -> dict[str, Any]:
    """The hand-overs of slots that hold bytes, of the largest registers where there are too many; left_out: registers without."""
    counts = np.bincount(events.register, minlength=len(t.initial))
    shown = (counts > 0) & (t.nbytes > 0)
    order = np.lexsort((np.arange(len(shown)), -t.nbytes))
    order = order[shown[order]]
    fits = order[np.cumsum(counts[order]) <= MOST_EVENTS]
    kept = np.zeros(len(shown), bool)
    kept[fits] = True
    found = events.take(np.flatnonzero(kept[events.register]))
    columns = {"register": found.register.tolist(), "slot": found.slot.tolist(), "time": times(found.time), "event": found.event.tolist()}
    return {"slots": columns, "left_out": int(shown.sum() - len(fits))}


# ---------------------------------------------------------------- memory and proof


@phase("add up live bytes")
def _memory(plan: Plan, t: Tables, trace: Trace | None) -> list[dict[str, Any]]:
    """A curve for each device; without hand-overs of slots in the trace there are none."""
    if trace is None or not len(trace.events):
        return []
    seconds = horizon(trace)
    points = max(60, MOST_POINTS // len(t.devices))
    made = []
    for name, level in zip(t.devices, levels(plan, t, uses(trace.events, seconds), seconds), strict=True):
        time, live = thinned(level, points)
        made.append({
            "device": name, "time": _times(time, _places(seconds)), "live": live.tolist(), "arena": plan.arenas.get(name, 0),
            "state": plan.states.get(name, 0), "budget": plan.machine.device(name).memory_nbytes, "peak": int(level.live.max()),
            "top": [{"register": row, "nbytes": nbytes} for row, nbytes in level.peak],
        })  # fmt: skip
    return made


def _boxings(plan: Plan, boxings: Iterable[Boxing]) -> list[dict[str, Any]]:
    by_node, made = rows.templates_by_node(plan), []
    for one in boxings:
        facts = one.facts()
        movers = sorted({template for node in one.nodes for template in by_node.get(node, ())})
        made.append(facts | {"route": one.route, "moves": facts["route"], "actors": movers})
    return made
