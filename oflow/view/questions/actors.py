"""What there is to know about an actor: what it runs, reads and writes, how long, what it waits for, whether it is critical."""

from __future__ import annotations

from dataclasses import dataclass

from oflow.plan import Plan, PortTemplate, at_rank
from oflow.view.questions.lookup import Lookup
from oflow.view.questions.names import Known, rows_of
from oflow.view.questions.steady import Wait
from oflow.view.style import device_range


@dataclass(frozen=True, slots=True)
class Use:
    """A register that an actor reads or writes: `every` acts take one slot. others: who writes what it reads, who reads what it writes."""

    register: str
    layout: str
    slots: int
    every: int
    mode: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ActorAnswer:
    """All about one actor, of all devices that run it; seconds are predicted for the plan's machine.

    seconds: of an act on its slowest device; received: bytes from other devices, a step, on the one that receives most. busy: the share of
    the period that it works. critical: its share of the critical cycle. waits: what it waits for while its stream stands idle, in the
    simulated steady state. The last three are None, or empty, of a plan that cannot run.
    """

    name: str
    devices: str
    stream: str
    stage: int
    phase: str
    acts: int
    runs: tuple[tuple[str, str], ...]
    seconds: float
    received: int
    scratch_nbytes: int
    priority: int
    rendezvous: str
    reads: tuple[Use, ...]
    writes: tuple[Use, ...]
    after: tuple[str, ...]
    before: tuple[str, ...]
    busy: float | None
    critical: float | None
    waits: tuple[Wait, ...]


def known_actors(plan: Plan) -> Known:
    """Names of actor templates, and of the parts of chains."""
    return [(i, (a.name, *a.name.split("..")) if ".." in a.name else (a.name,)) for i, a in enumerate(plan.actor_templates)]


def explain_actor(plan: Plan, name: str) -> tuple[ActorAnswer, ...]:
    """Answers about the actors that `name` means, as `explain_register` finds them. Raises `Unknown`, which lists near names."""
    rows = rows_of("actor", name, known_actors(plan))
    found = Lookup(plan)
    return tuple(actor_answer(found, row) for row in rows)


def actor_answer(found: Lookup, row: int) -> ActorAnswer:
    """The answer about one actor template."""
    plan, state = found.plan, found.state
    actor = plan.actor_templates[row]
    devices = plan.rank_table[actor.group]
    costs = [(at_rank(actor.costs, rank), device) for rank, device in enumerate(devices)]
    moved = [sum(nbytes for _, nbytes in cost.received) for cost in actor.costs]
    scratch = max((part.offset + max(kind.nbytes for kind in part.types) for part in actor.scratch), default=0)
    data = [port for port in actor.ports if port.mode != "control"]
    order = {way: tuple(dict.fromkeys(
        name for port in actor.ports if port.mode == "control" and port.direction == way for name in _others(found, port, row)
    )) for way in ("in", "out")}  # fmt: skip
    return ActorAnswer(
        actor.name, device_range(devices), actor.stream, actor.stage, actor.phase, actor.acts,
        tuple((call.op, call.line or actor.line) for call in actor.calls), max(plan.machine.seconds(*one) for one in costs),
        round(actor.acts * max(moved, default=0)), scratch, actor.priority, actor.rendezvous,
        _uses(found, [p for p in data if p.direction == "in"], row), _uses(found, [p for p in data if p.direction == "out"], row),
        order["in"], order["out"], state.busy_share(row) if state else None, state.critical.get(row, 0.0) if state else None,
        state.waits(row) if state else (),
    )  # fmt: skip


def _uses(found: Lookup, ports: list[PortTemplate], row: int) -> tuple[Use, ...]:
    """Ports on one register (shards of several devices) are one."""
    uses: dict[int, Use] = {}
    for port in ports:
        register = found.plan.register_templates[port.register]
        use = Use(register.name, register.layout, register.slots, port.every, port.mode, _others(found, port, row))
        uses.setdefault(port.register, use)
    return tuple(uses.values())


def _others(found: Lookup, port: PortTemplate, row: int) -> tuple[str, ...]:
    """The actors at the other end of a port."""
    others = [number for number, one in found.users[port.register] if number != row and one.direction != port.direction]
    return tuple(found.plan.actor_templates[number].name for number in dict.fromkeys(others))
