"""An executor that knows nothing of the check: acts start and finish in random order, by counting windows.

It honours data, slots, stream order and rendezvous, and watches registers that share bytes.
"""

from __future__ import annotations

import random
from dataclasses import replace

from oflow.plan import Plan, Register


class Executor:
    """`run` plays whole steps; afterwards `hung` says whether it stopped early, `clashes` which registers met in their bytes."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self.plan, self.random = plan, random.Random(seed)
        self.started, self.done = [0] * len(plan.actors), [0] * len(plan.actors)
        self.clashes: set[frozenset[str]] = set()
        self.hung = False
        self.every = {(a.id, p.register): p.every for a in plan.actors for p in a.ports}
        used = [r for r in plan.registers if r.producer >= 0 and r.region == "arena"]
        self.sharing = {
            r.id: [o for o in used if o is not r and o.device == r.device and r.offset < o.offset + o.nbytes
                   and o.offset < r.offset + r.nbytes]
            for r in used
        }  # fmt: skip

    def run(self, steps: int, held: tuple[str, int, int] | None = None) -> Executor:
        """held: the "start" or "finish" of an act (row, number) that comes when nothing else can go on."""
        rows = range(len(self.plan.actors))
        while True:
            moves = [("finish", r) for r in rows if self.started[r] > self.done[r]]
            moves += [("start", r) for r in rows if all(self.may_start(p, steps) for p in self.partners(r))]
            if not moves:
                break
            others = [(kind, row) for kind, row in moves if (kind, row, self.done[row]) != held]
            kind, row = self.random.choice(others or moves)
            if kind == "finish":
                self.done[row] += 1
            else:
                for partner in self.partners(row):
                    self.start(partner)
        self.hung = any(self.done[a.id] < steps * a.acts for a in self.plan.actors)
        return self

    def partners(self, row: int) -> list[int]:
        name = self.plan.actors[row].rendezvous
        return [a.id for a in self.plan.actors if a.rendezvous == name] if name else [row]

    def may_start(self, row: int, steps: int) -> bool:
        actor = self.plan.actors[row]
        mates = self.plan.streams[actor.stream]
        if self.started[row] == steps * actor.acts or any(self.started[m] > self.done[m] for m in mates):
            return False
        order = self.plan.order.get(actor.stream)
        if order and order[sum(self.started[m] for m in mates) % len(order)] != row:
            return False
        return all(self.has_slot(row, p.register, p.direction, p.every) for p in actor.ports)

    def windows(self, row: int, register: int) -> int:
        every = self.every[row, register]
        return self.done[row] // every if every else 0

    def has_slot(self, row: int, number: int, direction: str, every: int) -> bool:
        act, register = self.started[row], self.plan.registers[number]
        if act % every if every else act:
            return True
        turn = act // every if every else 0
        if direction == "in":
            made = self.windows(register.producer, number) if register.producer >= 0 else 0
            return register.initial + made > turn
        return all(turn + register.initial - self.windows(c, number) < register.slots for c in register.consumers)

    def start(self, row: int) -> None:
        mine: list[tuple[int, int, int]] = []
        for port in self.plan.actors[row].outs:
            if port.every and self.started[row] % port.every == 0:
                register = self.plan.registers[port.register]
                start, stop = self.slot_bytes(register, self.started[row] // port.every)
                for other in self.sharing.get(port.register, ()):
                    used = self.in_use(other) + [(a, b) for number, a, b in mine if number == other.id]
                    if any(max(a, start) < min(b, stop) for a, b in used):
                        self.clashes.add(frozenset((register.name, other.name)))
                mine.append((port.register, start, stop))
        self.started[row] += 1

    def in_use(self, register: Register) -> list[tuple[int, int]]:
        """The bytes of its slots that are being written or not yet read by all."""
        begun = -(-self.started[register.producer] // self.every[register.producer, register.id])
        users = register.consumers or (register.producer,)
        ended = min(self.windows(c, register.id) for c in users)
        return [self.slot_bytes(register, turn) for turn in range(ended, begun)]

    def slot_bytes(self, register: Register, turn: int) -> tuple[int, int]:
        start = register.offset + (turn + register.initial) % register.slots * register.slot_nbytes
        return start, start + register.slot_nbytes


def with_meetings(plan: Plan, seed: int, most: int = 2) -> Plan:
    """Some actors of equal acts on different ordered streams become partners, 2 to `most` of them; groups overlap in their streams."""
    rng = random.Random(seed)
    templates = list(plan.actor_templates)
    rows = [a for a in plan.actors if plan.order.get(a.stream)]
    rng.shuffle(rows)
    taken: set[int] = set()
    for a in rows:
        mates = [b for b in rows if b.id > a.id and b.acts == a.acts and b.stream != a.stream and not {a.id, b.id} & taken]
        if mates and a.id not in taken and rng.random() < 0.6:
            group = {a.stream: a.id}
            for b in rng.sample(mates, min(len(mates), rng.randint(1, most - 1))):
                group.setdefault(b.stream, b.id)
            taken |= set(group.values())
            for row in group.values():
                templates[row] = replace(templates[row], rendezvous=f"m{a.id}")
    return replace(plan, actor_templates=tuple(templates))
