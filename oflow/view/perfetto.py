"""A trace as Chrome trace events (JSON), which ui.perfetto.dev and chrome://tracing open.

A device is a process, a stream a thread, an act a slice; a message between streams is a flow arrow; the full slots of every
register are a counter. Times are microseconds. Format: "Trace Event Format" (Google, 2016).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from oflow.plan import Plan, Port, Register
from oflow.trace import Span, Trace
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
    events += _counters(trace, plan, pids)
    facts = {"source": trace.source, "steps": trace.steps, "machine": plan.machine.name}
    return json.dumps({"displayTimeUnit": "ms", "traceEvents": events, "otherData": facts})


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
    return {
        "ph": "X", "name": actor.name, "cat": KINDS[kind_of(actor)][0], "pid": pids[actor.device], "tid": tids[actor.stream],
        "ts": span.start * 1e6, "dur": (span.stop - span.start) * 1e6, "args": facts,
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
        for ph, span, at in (("s", source, source.start + 0.999 * (source.stop - source.start)), ("f", target, target.start)):
            where = {"pid": pids[device_of(span.stream)], "tid": tids[span.stream], "ts": at * 1e6}
            yield {"ph": ph, **facts, **where, **({"bp": "e"} if ph == "f" else {})}


def _counters(trace: Trace, plan: Plan, pids: dict[str, int]) -> Iterator[Event]:
    full: dict[int, set[int]] = {}
    for event in sorted(trace.events, key=lambda e: e.time):
        if event.event not in ("full", "free"):
            continue
        register = plan.registers[event.register]
        slots = full.setdefault(event.register, set())
        (slots.add if event.event == "full" else slots.discard)(event.slot)
        name = f"slots {register.name} #{register.id} (of {register.slots})"
        yield {"ph": "C", "name": name, "pid": pids[register.device], "ts": event.time * 1e6, "args": {"full": len(slots)}}
