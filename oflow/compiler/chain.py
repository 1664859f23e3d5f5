"""chain: one actor of what a stream runs back to back.

Only convex groups of equal devices, stream, stage, phase and rate are joined, and a chain ends after an actor whose result
another stream reads: an act is atomic, so a longer chain would delay that send. What only the chain itself reads becomes
scratch memory, at offsets that are reused inside the act.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush

from oflow.compiler.options import Options
from oflow.compiler.overwrite import Temporary, overwrite
from oflow.compiler.packing import MODEST, pack
from oflow.compiler.rings import gathered
from oflow.compiler.stage_times import COMPUTE
from oflow.machine import Cost, Work, total
from oflow.ops import REGISTRY
from oflow.plan import ActorTemplate, Arg, Call, Plan, PortTemplate, Scratch, at_rank
from oflow.types import TensorType


def chain(plan: Plan, options: Options) -> Plan:
    groups = _groups(plan, {one.first for one in gathered(plan)} if options.zero.stage >= 3 else set())
    inside = _internal_registers(plan, groups)
    rows = {old: new for new, old in enumerate(r for r in range(len(plan.register_templates)) if r not in inside)}
    actors = [_merge(plan, group, inside, rows) for group in groups]
    registers = tuple(plan.register_templates[r] for r in rows)
    made = replace(plan, actor_templates=tuple(actors), register_templates=registers)
    moved = {plan.register_bases[old]: made.register_bases[new] for old, new in rows.items()}
    return replace(
        made,
        inputs=tuple(moved[r] for r in plan.inputs),
        outputs=tuple((name, moved[r]) for name, r in plan.outputs),
    )


def joins_before(plan: Plan) -> list[int]:
    """How many joins over all micro-batches (out ports every > 1) lie before each template."""
    depths: list[int] = []
    for number, actor in enumerate(plan.actor_templates):
        sources = [plan.writers[p.register] for p in actor.ports if p.direction == "in" and p.register in plan.writers]
        before = [(maker, out.every > 1) for maker, out in sources if out.mode != "keep" and maker < number]
        depths.append(max((depths[maker] + joins for maker, joins in before), default=0))
    return depths


# ---------------------------------------------------------------- which actors belong together


@dataclass(slots=True, eq=False)
class _Group:
    """A chain that grows: its members (template numbers), all chains it depends on (a bit set of chain numbers, its own
    included) and those that depend on it directly."""

    number: int
    members: list[int] = field(default_factory=list)
    before: int = 0
    after: dict[int, _Group] = field(default_factory=dict)
    closed: bool = False


def _groups(plan: Plan, starts: set[int]) -> list[list[int]]:
    """starts: templates with which a chain begins, since they wait for what comes when it is wanted, not before."""
    made_by = {register: number for register, (number, port) in plan.writers.items() if port.mode != "keep"}
    joins = {p.register for a in plan.actor_templates for p in a.ports if p.direction == "out" and p.every > 1}
    cut = _read_elsewhere(plan)
    groups: list[_Group] = []
    of: dict[int, _Group] = {}
    readers: dict[int, list[_Group]] = {}
    depths = joins_before(plan)
    open_groups: dict[tuple[object, ...], _Group] = {}
    for number, actor in enumerate(plan.actor_templates):
        sources = [of[made_by[p.register]] for p in actor.ports if p.direction == "in" and p.register in made_by]
        earlier = [g for p in actor.ports if p.mode == "keep" for g in readers.get(p.register, ())]
        # what joins several acts is whole only after the last of them
        earlier += [of[made_by[p.register]] for p in actor.ports if p.direction == "in" and p.register in joins]
        key = (actor.group, actor.stream, actor.stage, actor.phase, actor.acts, _waits(plan, actor, number, depths))
        alone = any(p.peers for p in actor.ports) or not actor.calls
        group = open_groups.get(key)
        apart = alone or number in starts
        if group is None or apart or not (_follows(actor, group, sources) or _may_join(group, sources, earlier)):
            group = _Group(len(groups), before=1 << len(groups), closed=alone)
            groups.append(group)
            open_groups[key] = group
        group.members.append(number)
        of[number] = group
        for port in actor.ports:
            if port.direction == "in":
                readers.setdefault(port.register, []).append(group)
        _depend(group, sources + earlier)
        group.closed = group.closed or number in cut
    return [g.members for g in _in_order(groups)]


def _follows(actor: ActorTemplate, group: _Group, sources: list[_Group]) -> bool:
    """Whether it computes, on a stream that moves, of what the chain moved alone: that is part of the move."""
    computes = any(REGISTRY[call.op].lowering != "pull" for call in actor.calls)
    return actor.stream != COMPUTE and computes and set(sources) == {group}


def _in_order(groups: list[_Group]) -> list[_Group]:
    """After all that they depend on, else in the graph's order: what is computed again stays next to who needs it."""
    waiting = [0] * len(groups)
    for group in groups:
        for number in group.after:
            waiting[number] += 1
    ready = [(g.members[0], g.number) for g in groups if not waiting[g.number]]
    heapify(ready)
    found = []
    while ready:
        group = groups[heappop(ready)[1]]
        found.append(group)
        for number in group.after:
            waiting[number] -= 1
            if not waiting[number]:
                heappush(ready, (groups[number].members[0], number))
    return found


def _waits(plan: Plan, actor: ActorTemplate, number: int, depths: list[int]) -> int:
    """For how many joins over micro-batches work of once a step waits: what every micro-batch reads must not wait with it.

    0 for the rest: work of each micro-batch, and updates, which come last.
    """
    return depths[number] if actor.acts < plan.micro_batches and actor.phase != "update" else 0


def _may_join(group: _Group, sources: list[_Group], earlier: list[_Group]) -> bool:
    """The chain goes on, no path leaves it and comes back, and nobody rewrites state that its own chain reads."""
    outside = [s for s in sources + earlier if s is not group]
    return not group.closed and group not in earlier and not any(s.before >> group.number & 1 for s in outside)


def _depend(group: _Group, sources: list[_Group]) -> None:
    """Add what `sources` depend on to `group` and to every chain behind it."""
    before = group.before
    for source in sources:
        before |= source.before
        if source is not group:
            source.after[group.number] = group
    behind = [group]
    while behind:
        found = behind.pop()
        if before & ~found.before:
            found.before |= before
            behind += found.after.values()


def _read_elsewhere(plan: Plan) -> set[int]:
    """Templates one of whose registers an actor of another stream, or another rank, reads; of those that one actor waits for the last."""
    found: set[int] = set()
    for reader in plan.actor_templates:
        last: dict[tuple[object, ...], int] = {}
        for port in reader.ports:
            if port.direction == "in" and port.register in plan.writers:
                number = plan.writers[port.register][0]
                maker = plan.actor_templates[number]
                if port.peers or (reader.group, reader.stream) != (maker.group, maker.stream):
                    where = (maker.group, maker.stream, maker.stage, maker.phase, maker.acts)
                    last[where] = max(number, last.get(where, -1))
        found.update(last.values())
    return found


def _internal_registers(plan: Plan, groups: list[list[int]]) -> set[int]:
    """Registers that one chain makes and nobody else reads: they become scratch memory."""
    of = {number: i for i, members in enumerate(groups) for number in members}
    users: dict[int, set[int]] = {}
    keep: set[int] = {r for r, template in enumerate(plan.register_templates) if template.region == "state"}
    for number, actor in enumerate(plan.actor_templates):
        for port in actor.ports:
            users.setdefault(port.register, set()).add(of[number])
            if port.peers or port.every != 1 or not actor.calls:
                keep.add(port.register)
    return {r for r, chains in users.items() if len(chains) == 1 and r not in keep}


# ---------------------------------------------------------------- joining the programs


def _merge(plan: Plan, members: list[int], inside: set[int], rows: dict[int, int]) -> ActorTemplate:
    actors = [plan.actor_templates[m] for m in members]
    ports, place = _ports(actors, inside, rows)
    calls, temporaries = _calls(plan, actors, inside, place)
    offsets = pack([(t.first, t.last + 1, t.nbytes) for t in temporaries], MODEST)
    scratch = tuple(Scratch(t.types, offset) for t, offset in zip(temporaries, offsets, strict=True))
    first = actors[0]
    return replace(
        first, name=first.name if len(actors) == 1 else f"{first.name}..{actors[-1].name}", ports=ports,
        calls=calls, scratch=scratch, costs=_sum_costs([a.costs for a in actors]), nodes=tuple(n for a in actors for n in a.nodes),
    )  # fmt: skip


Place = dict[tuple[int, int], int]
"""Port number in the chain, by (member, port number there)."""


def _ports(actors: list[ActorTemplate], inside: set[int], rows: dict[int, int]) -> tuple[tuple[PortTemplate, ...], Place]:
    """One port for each (register, peers) that the members touch; who makes a register in the chain also reads it there."""
    ports: dict[tuple[int, tuple[int, ...]], PortTemplate] = {}
    keys: dict[tuple[int, int], tuple[int, tuple[int, ...]]] = {}
    for member, actor in enumerate(actors):
        for index, port in enumerate(actor.ports):
            if port.register in inside:
                continue
            key = keys[member, index] = (port.register, port.peers)
            if key not in ports or port.direction == "out":
                ports[key] = replace(port, register=rows[port.register])
    number = {key: i for i, key in enumerate(ports)}
    return tuple(ports.values()), {where: number[key] for where, key in keys.items()}


def _calls(
    plan: Plan, actors: list[ActorTemplate], inside: set[int], place: Place
) -> tuple[tuple[Call, ...], list[Temporary]]:
    spans: dict[tuple[str, int], list[int]] = {}
    types: dict[tuple[str, int], tuple[TensorType, ...]] = {}
    steps = [(member, actor, call) for member, actor in enumerate(actors) for call in actor.calls]
    for at, (_, actor, call) in enumerate(steps):
        for arg in (*call.outs, *call.ins):
            register = actor.ports[arg.index].register
            if register in inside:
                spans.setdefault(("value", register), []).append(at)
                types["value", register] = plan.register_templates[register].types
        if call.workspace >= 0:
            spans["workspace", at] = [at]
            types["workspace", at] = actor.scratch[call.workspace].types
    number = {key: i for i, key in enumerate(spans)}

    def bound(member: int, arg: Arg) -> Arg:
        register = actors[member].ports[arg.index].register
        if register in inside:
            return replace(arg, kind="scratch", index=number["value", register])
        return replace(arg, index=place[member, arg.index])

    calls = []
    for at, (member, _, call) in enumerate(steps):
        outs, ins = tuple(bound(member, a) for a in call.outs), tuple(bound(member, a) for a in call.ins)
        calls.append(replace(call, outs=outs, ins=ins, workspace=number["workspace", at] if call.workspace >= 0 else -1))
    return overwrite(calls, [Temporary(types[key], min(at), max(at)) for key, at in spans.items()])


def _sum_costs(columns: list[tuple[Cost, ...]]) -> tuple[Cost, ...]:
    """Ranks share the works that they have alike."""
    known: dict[tuple[int, ...], tuple[Work, ...]] = {}
    totals = []
    for rank in range(max(map(len, columns))):
        costs = [at_rank(entries, rank) for entries in columns]
        same = tuple([id(cost.works) for cost in costs])
        totals.append(total(costs, known.get(same)))
        known[same] = totals[-1].works
    return tuple(totals)
