"""Compiled plans made a little wrong, and a run that tells whether it matters.

Each mutation draws from `rng` and returns the plan and the names of what it touched, one of which a refusal must give; None where
the plan has nothing to mutate.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import oflow as of
from oflow.errors import DeadlockError
from oflow.plan import ActorTemplate, Arg, Call, Plan, PortTemplate, RegisterTemplate
from oflow.program import Program
from oflow.run import run_options
from oflow.sbp import Sbp
from oflow.state import State
from oflow.types import freeze
from tests.check.executor import Executor

Mutant = tuple[Plan, tuple[str, ...]] | None


def with_actor(plan: Plan, number: int, **changes: Any) -> Plan:
    actors = list(plan.actor_templates)
    actors[number] = replace(actors[number], **changes)
    return replace(plan, actor_templates=tuple(actors))


def with_register(plan: Plan, number: int, **changes: Any) -> Plan:
    registers = list(plan.register_templates)
    registers[number] = replace(registers[number], **changes)
    return replace(plan, register_templates=tuple(registers))


def with_port(plan: Plan, number: int, index: int, **changes: Any) -> Plan:
    ports = list(plan.actor_templates[number].ports)
    ports[index] = replace(ports[index], **changes)
    return with_actor(plan, number, ports=tuple(ports))


def with_call(plan: Plan, number: int, index: int, **changes: Any) -> Plan:
    calls = list(plan.actor_templates[number].calls)
    calls[index] = replace(calls[index], **changes)
    return with_actor(plan, number, calls=tuple(calls))


def chosen(rng: random.Random, plan: Plan, fits: Callable[[PortTemplate], bool]) -> tuple[int, int] | None:
    """An actor template and the index of a port of it."""
    found = [(n, i) for n, a in enumerate(plan.actor_templates) for i, p in enumerate(a.ports) if fits(p)]
    return rng.choice(found) if found else None


def names(plan: Plan, actor: ActorTemplate, port: PortTemplate) -> tuple[str, ...]:
    return actor.name, plan.register_templates[port.register].name


# ---------------------------------------------------------------- mutations


def slot_dropped(rng: random.Random, plan: Plan) -> Mutant:
    several = [n for n, r in enumerate(plan.register_templates) if r.slots > 1 and r.slots > r.initial]
    if not several:
        return None
    number = rng.choice(several)
    register = plan.register_templates[number]
    return with_register(plan, number, slots=register.slots - 1), (register.name,)


def order_swapped(rng: random.Random, plan: Plan) -> Mutant:
    streams = [s for s, rows in plan.order.items() if len(set(rows)) > 1]
    if not streams:
        return None
    stream = rng.choice(streams)
    rows = list(plan.order[stream])
    places = [i for i in range(len(rows) - 1) if rows[i] != rows[i + 1]]
    i = rng.choice(places)
    rows[i], rows[i + 1] = rows[i + 1], rows[i]
    return replace(plan, order={**plan.order, stream: tuple(rows)}), (stream, *(plan.actor_label(r) for r in rows[i : i + 2]))


def _moved(rng: random.Random, plan: Plan, by: Callable[[RegisterTemplate, int, int], int]) -> Mutant:
    placed = [n for n, r in enumerate(plan.register_templates) if r.types[0].nbytes and r.region == "arena"]
    number = rng.choice(placed)
    register = plan.register_templates[number]
    mates = [m for m in placed if m != number and plan.register_templates[m].group == register.group]
    if not mates:
        return None
    mate = plan.register_templates[rng.choice(mates)]
    end = mate.offsets[0] + mate.slots * -(-mate.types[0].nbytes // 64) * 64
    return with_register(plan, number, offsets=(by(register, mate.offsets[0], end),)), (register.name,)


def one_byte_overlap(rng: random.Random, plan: Plan) -> Mutant:
    return _moved(rng, plan, lambda register, start, end: end - 1)


def offset_changed(rng: random.Random, plan: Plan) -> Mutant:
    return _moved(rng, plan, lambda register, start, end: start)


def wrong_sbp(rng: random.Random, plan: Plan) -> Mutant:
    """A boxing moves what another layout would want; or a register says it has another layout."""
    boxings = [(n, i) for n, a in enumerate(plan.actor_templates) for i, c in enumerate(a.calls) if c.op == "boxing"]
    if rng.random() < 0.3 or not boxings:
        split = [n for n, r in enumerate(plan.register_templates) if r.shape and r.mesh]
        number = rng.choice(split)
        register = plan.register_templates[number]
        parts = [part.rpartition("=")[2].strip() for part in register.layout.split(",")]
        others = [str(s) for s in (of.B, of.P, *(of.S(axis) for axis in range(len(register.shape)))) if str(s) not in parts]
        parts[rng.randrange(len(parts))] = str(Sbp.parse(rng.choice(others)))
        readers = [a.name for a in plan.actor_templates for p in a.ports if p.register == number]
        return with_register(plan, number, layout=", ".join(parts)), (register.name, *readers)
    number, index = rng.choice(boxings)
    actor = plan.actor_templates[number]
    ranks = len(plan.rank_table[actor.group])
    columns = [dict(actor.calls[index].attrs_of(rank)) for rank in range(ranks)]
    rank = rng.randrange(ranks)
    columns[rank]["pulls"] = _wrong_pulls(rng, list(columns[rank]["pulls"]))
    return with_call(plan, number, index, attrs=tuple(freeze(c) for c in columns)), (actor.name,)


def _wrong_pulls(rng: random.Random, pulls: list[Any]) -> tuple[Any, ...]:
    if not pulls:
        return ()
    at = rng.randrange(len(pulls))
    source, take, put = pulls[at]
    kind = rng.choice(("lost", "twice", "take", "put"))
    if kind == "lost":
        del pulls[at]
    elif kind == "twice":
        pulls.append(pulls[at])
    elif take:
        axis = rng.randrange(len(take))
        moved = [list(span) for span in (take if kind == "take" else put)]
        moved[axis] = [moved[axis][0] + 1, moved[axis][1] + 1] if rng.random() < 0.5 else [moved[axis][0], moved[axis][1] - 1]
        both = tuple(tuple(span) for span in moved)
        pulls[at] = (source, both, put) if kind == "take" else (source, take, both)
    return tuple(pulls)


def wrong_peer(rng: random.Random, plan: Plan) -> Mutant:
    found = chosen(rng, plan, lambda p: len(p.peers) > 0)
    if found is None:
        return None
    number, index = found
    port = plan.actor_templates[number].ports[index]
    shards = len(plan.rank_table[plan.register_templates[port.register].group])
    rank = rng.randrange(len(port.peers))
    others = [peer for peer in range(-1, shards) if peer != port.peers[rank]]
    peers = (*port.peers[:rank], rng.choice(others), *port.peers[rank + 1 :])
    return with_port(plan, number, index, peers=peers), names(plan, plan.actor_templates[number], port)


def wrong_every(rng: random.Random, plan: Plan) -> Mutant:
    found = chosen(rng, plan, lambda p: True)
    assert found is not None
    number, index = found
    actor = plan.actor_templates[number]
    port = actor.ports[index]
    others = [k for k in (0, 1, 2, 3, 4, 2 * actor.acts) if k != port.every]
    return with_port(plan, number, index, every=rng.choice(others)), names(plan, actor, port)


def control_lost(rng: random.Random, plan: Plan) -> Mutant:
    found = chosen(rng, plan, lambda p: p.mode == "control")
    if found is None:
        return None
    register = plan.actor_templates[found[0]].ports[found[1]].register
    users = [(n, a) for n, a in enumerate(plan.actor_templates) if any(p.register == register for p in a.ports)]
    for number, actor in users:
        plan = with_actor(plan, number, ports=tuple(p for p in actor.ports if p.register != register))
    touched = [plan.register_templates[p.register].name for _, a in users for p in a.ports]
    return plan, (*(a.name for _, a in users), *touched)


def port_lost(rng: random.Random, plan: Plan) -> Mutant:
    """With the operands that it was bound to where these are one register's shards, or without: how many operands an operator takes
    is not for a plan to know."""
    found = chosen(rng, plan, lambda p: p.mode != "control")
    assert found is not None
    number, index = found
    actor = plan.actor_templates[number]
    ports = (*actor.ports[:index], *actor.ports[index + 1 :])
    calls = actor.calls
    if actor.ports[index].peers and rng.random() < 0.8:
        calls = tuple(_without(call, index) for call in calls)
    return with_actor(plan, number, ports=ports, calls=calls), names(plan, actor, actor.ports[index])


def _without(call: Call, index: int) -> Call:
    def kept(args: Sequence[Arg]) -> tuple[Arg, ...]:
        some = [a for a in args if a.kind != "port" or a.index != index]
        return tuple(replace(a, index=a.index - (a.kind == "port" and a.index > index)) for a in some)

    return replace(call, outs=kept(call.outs), ins=kept(call.ins))


MUTATIONS = (
    slot_dropped, order_swapped, one_byte_overlap, offset_changed, wrong_sbp, wrong_peer, wrong_every, control_lost, port_lost,
)  # fmt: skip


# ---------------------------------------------------------------- what really happens


def results(program: Program, plan: Plan, batches: Sequence[Any]) -> list[np.ndarray]:
    """The plan run by the actors with NumPy's kernels, over some steps, on a state of its own."""
    options = run_options("simulator", "numpy")
    fresh = Program(program.captured, program.specs, {**program.passes, "memory": plan}, State(0), options, program.given)
    with fresh:
        found = [np.asarray(fresh(*batch)) for batch in batches]
        return [*found, *fresh.state_dict().values()]


def harm(program: Program, plan: Plan, batches: Sequence[Any], wanted: Sequence[np.ndarray], seed: int) -> str:
    """What goes wrong when the plan runs, "" for nothing: it hangs, breaks, gives other numbers, or registers meet in their bytes."""
    try:
        found = results(program, plan, batches)
    except DeadlockError:
        return "hangs"
    except Exception as e:
        return f"breaks: {type(e).__name__}: {e}"
    if len(found) != len(wanted) or any(not np.array_equal(a, b) for a, b in zip(found, wanted, strict=True)):
        return "gives other numbers"
    run = Executor(plan, seed).run(2)
    return "hangs" if run.hung else f"clashes: {sorted(map(sorted, run.clashes))}" if run.clashes else ""
