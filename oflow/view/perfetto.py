"""A trace as Chrome trace events (JSON), which ui.perfetto.dev and chrome://tracing open.

A device is a process, a stream a thread, an act a slice; a message between streams is a flow arrow; the full slots of every
register and the live bytes of every device are counters. Format: "Trace Event Format" (Google, 2016). Times are microseconds in
whole nanoseconds, which is what viewers keep, so that acts that follow each other never overlap by a rounding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from oflow.arrays import tables
from oflow.plan import Plan, Port, Register
from oflow.trace import Span, Trace
from oflow.view.occupancy import horizon, levels, uses
from oflow.view.style import KINDS, device_of, device_order, kind_of

Event = dict[str, Any]


def perfetto(trace: Trace, plan: Plan) -> str:
    """The JSON text of the trace's events."""
    devices = sorted(plan.devices, key=device_order)
    pids = {device: i + 1 for i, device in enumerate(devices)}
    tids = {stream: i + 1 for i, stream in enumerate(plan.streams)}
    events = list(_names(plan, pids, tids))
    events += [_slice(plan, span, pids, tids) for span in trace.spans]
    events += _flows(trace, plan, pids, tids)
    events += _slots(trace, plan, pids)
    events += _bytes(trace, plan, pids)
    facts = {"source": trace.source, "steps": trace.steps, "machine": plan.machine.name}
    return json.dumps({"displayTimeUnit": "ms", "traceEvents": events, "otherData": facts})


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _microseconds(nanoseconds: int) -> float:
    return nanoseconds / 1e3


def _names(plan: Plan, pids: dict[str, int], tids: dict[str, int]) -> Iterator[Event]:
    for device, pid in pids.items():
        yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": device}}
        yield {"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}}
    for stream, tid in tids.items():
        where = {"pid": pids[device_of(stream)], "tid": tid}
        yield {"ph": "M", "name": "thread_name", **where, "args": {"name": stream.partition("/")[2]}}


def _slice(plan: Plan, span: Span, pids: dict[str, int], tids: dict[str, int]) -> Event:
    actor = plan.actors[span.actor]
    step, micro_batch = divmod(span.act, actor.acts)
    facts = {
        "actor": actor.id, "step": step, "micro_batch": micro_batch, "stage": actor.stage, "phase": actor.phase,
        "line": plan.actor_templates[actor.template].line,
    }  # fmt: skip
    start, stop = _nanoseconds(span.start), _nanoseconds(span.stop)
    return {
        "ph": "X", "name": actor.name, "cat": KINDS[kind_of(actor)][0], "pid": pids[actor.device], "tid": tids[actor.stream],
        "ts": _microseconds(start), "dur": _microseconds(stop - start), "args": facts,
    }  # fmt: skip


def messages(trace: Trace, plan: Plan) -> Iterator[tuple[Register, int, Span, Span]]:
    """(register, sequence number, the act that filled it, the act that took it) for every hand-over the trace saw.

    The producer's group t, which ends with its act (t + 1) every - 1, writes sequence number t + initial; the consumer takes
    sequence number s before its act s every.
    """
    spans = {(span.actor, span.act): span for span in trace.spans}
    for register in plan.registers:
        if register.producer < 0:
            continue
        made = _port(plan, register.producer, register.id).every
        for consumer in register.consumers:
            taken, group = _port(plan, consumer, register.id).every, 0
            while (filled := spans.get((register.producer, (group + 1) * made - 1))) is not None:
                seq = group + register.initial
                reader = spans.get((consumer, seq * taken)) if taken else None
                if reader is not None:
                    yield register, seq, filled, reader
                group += 1
                if not made:
                    break


def _port(plan: Plan, actor: int, register: int) -> Port:
    return next(port for port in plan.actors[actor].ports if port.register == register)


def _flows(trace: Trace, plan: Plan, pids: dict[str, int], tids: dict[str, int]) -> Iterator[Event]:
    for number, (register, seq, source, target) in enumerate(messages(trace, plan)):
        if source.stream == target.stream:
            continue
        facts = {"cat": "message", "name": register.name, "id": number, "args": {"register": register.label, "seq": seq}}
        # an arrow belongs to the slice that is open at its time: it leaves in the last nanosecond of one, and enters the other as it opens
        leaves = max(_nanoseconds(source.start), _nanoseconds(source.stop) - 1)
        for ph, span, at in (("s", source, leaves), ("f", target, _nanoseconds(target.start))):
            where = {"pid": pids[device_of(span.stream)], "tid": tids[span.stream], "ts": _microseconds(at)}
            yield {"ph": ph, **facts, **where, **({"bp": "e"} if ph == "f" else {})}


def _slots(trace: Trace, plan: Plan, pids: dict[str, int]) -> Iterator[Event]:
    """The full slots of each register, whenever they change."""
    full: dict[int, set[int]] = {}
    for event in sorted(trace.events, key=lambda e: e.time):
        if event.event not in ("full", "free"):
            continue
        register = plan.registers[event.register]
        slots = full.setdefault(event.register, set())
        (slots.add if event.event == "full" else slots.discard)(event.slot)
        name = f"slots {register.name} #{register.id} (of {register.slots})"
        yield _counter(name, pids[register.device], event.time, "full", len(slots))


def _bytes(trace: Trace, plan: Plan, pids: dict[str, int]) -> Iterator[Event]:
    """The bytes that each device holds, as the memory picture of the report shows them: slots in use, scratch and kept state."""
    t, seconds = tables(plan), horizon(trace)
    for device, level in zip(t.devices, levels(plan, t, uses(trace.events, seconds), seconds), strict=True):
        for time, live in zip(level.time.tolist(), level.live.tolist(), strict=True):
            yield _counter("bytes", pids[device], time, "live", live)


def _counter(name: str, pid: int, seconds: float, series: str, value: int) -> Event:
    return {"ph": "C", "name": name, "pid": pid, "ts": _microseconds(_nanoseconds(seconds)), "args": {series: value}}
