"""Every name in a plan means something: references exist, columns fit their ranks, each register row has one producer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from oflow.errors import PlanError
from oflow.plan import FORMAT_VERSION, IN_MODES, OUT_MODES, ActorTemplate, Arg, Call, Plan, PortTemplate, at_rank


def read_plan(text: str | bytes) -> Plan:
    """Read a plan and verify its references; `oflow.check.load` also proves it. Raises PlanError for text that is no plan."""
    try:
        made = msgspec.json.decode(text, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise PlanError(f"this is not a plan file: {e}") from e
    if made.version != FORMAT_VERSION:
        raise PlanError(f"the plan has format version {made.version}, this oflow reads {FORMAT_VERSION}; compile it again")
    check_references(made)
    return made


def check_references(plan: Plan) -> None:
    """Raises PlanError unless every reference exists and every column has one entry or one a rank.

    Liveness, rates and memory are the business of `oflow.check`. No row is stamped: the time is that of the templates.
    """
    for template in plan.register_templates:
        _verify_columns(plan, template.group, template.name, template.types, template.offsets)
        if template.slots < 1 or not 0 <= template.initial <= template.slots:
            raise PlanError(f"register {template.name}: {template.slots} slots with {template.initial} initial tokens")
    for actor in plan.actor_templates:
        _verify_actor(plan, actor)
    for actor in plan.actor_templates:
        _verify_one_port(plan, actor)
    for stream, rows in plan.order.items():
        if not set(plan.streams.get(stream, ())).issuperset(rows):
            raise PlanError(f"the order of {stream} names an actor that does not run there")
    _verify_one_producer(plan)
    _verify_ends(plan)


def _verify_ends(plan: Plan) -> None:
    """One actor writes all inputs, one reads all outputs: the caller acts through them."""
    rows = [*plan.inputs, *(row for _, row in plan.outputs)]
    if any(not 0 <= row < plan.register_bases[-1] for row in rows):
        raise PlanError(f"an input or output of the plan is no register: rows {rows} of {plan.register_bases[-1]}")
    for kind, ends_here, direction in (("inputs", plan.inputs, "out"), ("outputs", tuple(row for _, row in plan.outputs), "in")):
        wanted = {plan.register_template_of(row) for row in ends_here}
        ends = [{port.register for port in actor.ports if port.direction == direction} for actor in plan.actor_templates]
        if wanted and not any(wanted <= end for end in ends):
            names = ", ".join(plan.register_label(row) for row in ends_here)
            raise PlanError(f"no actor {'writes' if direction == 'out' else 'reads'} all {kind} of the plan: {names}")


def _shards(port: PortTemplate, ranks: int) -> Sequence[int]:
    """Which shard of its register each rank binds (-1: none)."""
    return port.peers or range(ranks)


def _verify_one_port(plan: Plan, actor: ActorTemplate) -> None:
    ports: dict[int, list[PortTemplate]] = {}
    for port in actor.ports:
        ports.setdefault(port.register, []).append(port)
    several = [found for found in ports.values() if len(found) > 1]
    devices = plan.rank_table[actor.group] if several else ()
    for rank, device in enumerate(devices):
        for found in several:
            shards = [shard for port in found if (shard := _shards(port, len(devices))[rank]) >= 0]
            if len(set(shards)) != len(shards):
                raise PlanError(f"actor {actor.name}@{device} has two ports on one register")


def _verify_one_producer(plan: Plan) -> None:
    outs = [(actor, port) for actor in plan.actor_templates for port in actor.ports if port.direction == "out"]
    writers = Counter(port.register for _, port in outs)
    seen: set[int] = set()
    for actor, port in outs:
        if writers[port.register] == 1 and not port.peers:
            continue
        devices, base = plan.rank_table[actor.group], plan.register_bases[port.register]
        for device, shard in zip(devices, _shards(port, len(devices)), strict=True):
            if shard >= 0 and base + shard in seen:
                raise PlanError(f"register row {base + shard} has two producers: {actor.name}@{device} is the second")
            seen.add(base + shard if shard >= 0 else -1)


def _verify_actor(plan: Plan, actor: ActorTemplate) -> None:
    _verify_columns(plan, actor.group, actor.name, actor.costs)
    if actor.acts < 1:
        raise PlanError(f"actor {actor.name} acts {actor.acts} times a step")
    for port in actor.ports:
        _verify_port(plan, actor, port)
    for call in actor.calls:
        for arg in (*call.ins, *call.outs):
            if not 0 <= arg.index < len(actor.ports if arg.kind == "port" else actor.scratch):
                raise PlanError(f"actor {actor.name}: {call.op} names {arg.kind} {arg.index}, which does not exist")
            _verify_view(plan, actor, arg)
        _verify_directions(actor, call)
    _verify_all_bound(actor)


def _verify_directions(actor: ActorTemplate, call: Call) -> None:
    """Results go to out ports; nobody reads or writes a port that is order only."""
    for arg, written in [(arg, True) for arg in call.outs] + [(arg, False) for arg in call.ins]:
        port = actor.ports[arg.index] if arg.kind == "port" else None
        if port and (port.mode == "control" or (written and port.direction == "in")):
            verb, kind = "writes" if written else "reads", "a control" if port.mode == "control" else "an in"
            raise PlanError(f"actor {actor.name}: {call.op} {verb} port {arg.index}, which is {kind} port")


def _verify_all_bound(actor: ActorTemplate) -> None:
    named = {arg.index for call in actor.calls for arg in (*call.ins, *call.outs) if arg.kind == "port"}
    for number, port in enumerate(actor.ports):
        if actor.calls and number not in named and port.mode != "control":
            raise PlanError(f"actor {actor.name}: no call uses its {port.direction} port {number}")


def _verify_view(plan: Plan, actor: ActorTemplate, arg: Arg) -> None:
    """Another shape of an operand must have its bytes, on every rank; parts and other ranks' shards are read as they are."""
    if not arg.types:
        return
    _verify_columns(plan, actor.group, actor.name, arg.types)
    port = actor.ports[arg.index] if arg.kind == "port" else None
    types = plan.register_templates[port.register].types if port else actor.scratch[arg.index].types
    sizes = [(at_rank(arg.types, rank).nbytes, at_rank(types, rank).nbytes) for rank in range(max(len(arg.types), len(types)))]
    if any(view != whole for view, whole in sizes) or (port and (port.peers or port.mode == "slice")):
        raise PlanError(f"actor {actor.name} reads {arg.kind} {arg.index} as {arg.types[0]}, which is not what it has")


def _verify_columns(plan: Plan, group: int, name: str, *columns: tuple[Any, ...]) -> None:
    if not 0 <= group < len(plan.rank_table):
        raise PlanError(f"{name} names rank group {group}, which does not exist")
    ranks = len(plan.rank_table[group])
    if any(len(column) not in (1, ranks) for column in columns):
        raise PlanError(f"{name}: a column needs one entry or one for each of {ranks} ranks")


def _verify_port(plan: Plan, actor: ActorTemplate, port: PortTemplate) -> None:
    if not 0 <= port.register < len(plan.register_templates):
        raise PlanError(f"actor {actor.name} has a port on register {port.register}, which does not exist")
    register = plan.register_templates[port.register]
    modes = {"in": IN_MODES, "out": OUT_MODES}.get(port.direction, ())
    if port.mode not in modes or port.every < 0:
        raise PlanError(f"actor {actor.name}: an {port.direction} port cannot have mode {port.mode!r}, every={port.every}")
    shards = len(plan.rank_table[register.group])
    if not port.peers and plan.rank_table[actor.group] != plan.rank_table[register.group]:
        raise PlanError(f"actor {actor.name} binds its own shard of {register.name}, which lives on other devices")
    if port.peers and (len(port.peers) != len(plan.rank_table[actor.group]) or max(port.peers) >= shards):
        raise PlanError(f"actor {actor.name}: the peers of its port on {register.name} do not fit the rank table")
