"""Text: the golden-file form of graphs, plans, schedules, traces and proofs. The same data gives the same text."""

from __future__ import annotations

from itertools import groupby
from textwrap import wrap

from oflow.check import Proof
from oflow.graph import Graph
from oflow.graphtext import format_graph
from oflow.plan import ActorSpec, Plan, Port
from oflow.schedule import Action, Schedule
from oflow.trace import Span, Trace
from oflow.view.grid import steps
from oflow.view.style import device_order, seconds_text

WIDE = 120
"""Characters of a line of a schedule's grid."""


def text(thing: Graph | Plan | Schedule | Trace | Proof, plan: Plan | None = None) -> str:
    """`thing` as text. A graph's text parses back (`oflow.graphtext.parse_graph`); `plan` names the actors of a trace."""
    if isinstance(thing, Graph):
        return format_graph(thing)
    if isinstance(thing, Plan):
        return _plan(thing)
    if isinstance(thing, Schedule):
        return schedule(thing)
    if isinstance(thing, Trace):
        return _trace(thing, plan)
    if isinstance(thing, Proof):
        return f"{thing}\n"
    raise TypeError(f"view.text shows a Graph, Plan, Schedule, Trace or Proof, not {type(thing).__name__}")


# ---------------------------------------------------------------- plan


def _plan(plan: Plan) -> str:
    facts = (
        _count(len(plan.devices), "device"), _count(len(plan.actors), "actor"), _count(len(plan.registers), "register"),
        _count(plan.micro_batches, "micro-batch"), f"machine {plan.machine.name}",
        *((f"schedule {plan.schedule}",) if plan.schedule else ()),
    )  # fmt: skip
    lines = [f"plan: {', '.join(facts)}"]
    for device in sorted(plan.devices, key=device_order):
        lines += ["", *_device(plan, device)]
    lines += ["", *(f"input {plan.registers[row]}  {plan.registers[row].name}" for row in plan.inputs)] if plan.inputs else []
    lines += [f"output {name!r} {plan.registers[row]}" for name, row in plan.outputs]
    return "\n".join(lines) + "\n"


def _count(number: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("ch") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def _device(plan: Plan, device: str) -> list[str]:
    lines = [f"device {device}: arena {plan.arenas.get(device, 0):,} bytes, state {plan.states.get(device, 0):,} bytes"]
    for stream in (s for s in plan.streams if s.partition("/")[0] == device):
        lines += _stream(plan, stream)
    rows = [r for r in plan.registers if r.device == device]
    lines += ["  registers"] if rows else []
    for r in rows:
        start = f", {r.initial} initial" if r.initial else ""
        kept = f" state {r.state!r}" if r.state else ""
        where = "" if r.region == "arena" else f" ({r.region})"
        lines.append(f"    {r}{where}  {r.name}{kept}  {r.layout or '-'}{start}")
    return lines


def _stream(plan: Plan, stream: str) -> list[str]:
    offset, nbytes = plan.scratches.get(stream, (0, 0))
    scratch = f", scratch {nbytes:,} bytes at +{offset}" if nbytes else ""
    rows = plan.streams[stream]
    order = plan.order.get(stream, ())
    shown = sorted(rows, key=order.index) if set(order) == set(rows) else rows
    lines = [f"  stream {stream.partition('/')[2]}: {_count(len(rows), 'actor')}{scratch}"]
    for row in shown:
        lines += _actor(plan, plan.actors[row])
    if order:
        runs = ((row, len(list(run))) for row, run in groupby(order))
        words = " ".join(f"#{row}" if n == 1 else f"#{row}*{n}" for row, n in runs)
        lines += wrap(words, 120, initial_indent="    order: ", subsequent_indent=" " * 11)
    return lines


def _actor(plan: Plan, actor: ActorSpec) -> list[str]:
    template = plan.actor_templates[actor.template]
    calls = " ".join(call.op for call in template.calls)
    facts = (
        f"stage {actor.stage} {actor.phase}", f"x{actor.acts}", f"priority {actor.priority}" if actor.priority else "",
        f"rendezvous {actor.rendezvous}" if actor.rendezvous else "", f"[{calls}]" if calls else "",
        f"{seconds_text(plan.machine.seconds(actor.cost, actor.device))} an act", f"# {template.line}" if template.line else "",
    )  # fmt: skip
    return [f"    #{actor.id} {actor.name}: {'  '.join(filter(None, facts))}", *(_port(plan, actor, p) for p in actor.ports)]


def _port(plan: Plan, actor: ActorSpec, port: Port) -> str:
    register = plan.registers[port.register]
    every = {0: " kept for the run", 1: ""}.get(port.every, f" every {port.every}")
    mode = "" if port.mode == "whole" else f" {port.mode}"
    where = "" if register.device == actor.device else f"@{register.device}"
    layout = f" {register.layout}" if register.layout else ""
    peers = (register.producer,) if port.direction == "in" else register.consumers
    names = ", ".join(f"#{row}" for row in peers if row >= 0)
    way = f" {'from' if port.direction == 'in' else 'to'} {names}" if names else ""
    return f"      {port.direction:<3} %{register.id} {register.name}{where} x{register.slots}{layout}{every}{mode}{way}"


# ---------------------------------------------------------------- schedule and trace


def schedule(thing: Schedule) -> str:
    """The grid: one row a rank, one column a step of time (a dot: idle), and the stash of every stage. A grid that is wider than WIDE
    stands in bands one below the other, each headed by its steps."""
    when = steps(thing)
    rows = [_cells(row, when) for row in thing.rows]
    width = max((len(str(action)) for action in when), default=0)
    head = f"schedule {thing.name}: {_count(len(thing.stages), 'stage')}, {_count(thing.micro_batches, 'micro-batch')}"
    names = [f"rank {i}: ".rjust(len(f"rank {len(rows) - 1}: ")) for i in range(len(rows))]
    length, fits = max(map(len, rows), default=0), max(1, (WIDE - len(names[-1])) // (width + 1)) if rows else 1
    lines = []
    for start in range(0, length, fits):
        stop = min(start + fits, length)
        lines += ["", f"steps {start} to {stop - 1}"] if fits < length else []
        bands = (name + " ".join(cell.ljust(width) for cell in row[start:stop]) for name, row in zip(names, rows, strict=True))
        lines += [band.rstrip() for band in bands]
    stashes = ", ".join(f"stage {s}: {thing.stash(s)}" for s in thing.stages)
    return "\n".join([head, *lines, *([""] if fits < length else []), *wrap(f"stash slots: {stashes}", WIDE)]) + "\n"


def _cells(row: tuple[Action, ...], when: dict[Action, int]) -> list[str]:
    """The cells of one rank up to its last action; where it blocks, the action that never runs."""
    at = {when[action]: str(action) for action in row if action in when}
    blocked = [f"blocked at {row[len(at)]}"] if len(at) < len(row) else []
    return [at.get(step, ".") for step in range(1 + max(at, default=-1))] + blocked


def _trace(trace: Trace, plan: Plan | None) -> str:
    busy = trace.busy()
    spans: dict[str, list[Span]] = {}
    for span in sorted(trace.spans, key=lambda s: (s.start, s.stop, s.actor, s.act)):
        spans.setdefault(span.stream, []).append(span)
    lines = [f"trace: {trace.source}, {_count(trace.steps, 'step')}, {_count(len(trace.spans), 'act')}, {trace.seconds:.9g} s"]
    for stream in sorted(busy, key=lambda s: (device_order(s.partition("/")[0]), s)):
        lines.append(f"stream {stream}: busy {busy[stream]:.9g} s")
        for span in spans[stream]:
            name = plan.actors[span.actor].name if plan is not None else f"#{span.actor}"
            lines.append(f"  {span.start:.9g} .. {span.stop:.9g}  {name} act {span.act}")
    return "\n".join(lines) + "\n"
