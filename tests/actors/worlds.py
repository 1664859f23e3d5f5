"""Two drivers for tests only: one that visits every interleaving, one that takes random steps and checks every slot.

Both deliver messages in any order, obey stream orders, and know from outside who may touch a slot.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from oflow.actors import Actor, Message
from oflow.errors import DeadlockError, ProtocolError
from oflow.plan import Plan

Make = Callable[[int], Actor]


def maker(plan: Plan, steps: int, kind: type[Actor] = Actor) -> Make:
    return lambda row: kind(plan.actors[row], plan.registers, limit=steps * plan.actors[row].acts, checked=True)


class Explorer:
    """Breadth-first search over (state of each actor, stream pointers, messages in flight); `copies`: duplicated deliveries.

    An actor's reaction to an event depends on its own state only, so reactions are remembered per (actor, state, event).
    """

    def __init__(self, plan: Plan, steps: int = 1, copies: int = 0, kind: type[Actor] = Actor) -> None:
        self.plan, self.copies = plan, copies
        self.actors = [maker(plan, steps, kind)(row) for row in range(len(plan.actors))]
        self.numbers: list[dict[tuple, int]] = [{} for _ in self.actors]
        self.states: list[list[tuple]] = [[] for _ in self.actors]
        self.ready: list[list[bool]] = [[] for _ in self.actors]
        self.reactions: dict[tuple, tuple[int, frozenset[Message]]] = {}
        self.streams = list(plan.streams)
        self.stream_of = [self.streams.index(a.stream) for a in plan.actors]
        self.orders = [plan.order.get(s, ()) for s in self.streams]
        self.readers = [
            (r.id, r.producer, c, r.slots) for r in plan.registers if r.producer >= 0 for c in r.consumers
        ]
        self.port = {(row, p.register): i for row, a in enumerate(plan.actors) for i, p in enumerate(a.ports)}

    def number(self, row: int) -> int:
        actor, state = self.actors[row], self.actors[row].state()
        found = self.numbers[row].get(state)
        if found is None:
            actor.validate()
            found = self.numbers[row][state] = len(self.states[row])
            self.states[row].append(state)
            self.ready[row].append(actor.ready)
        return found

    def react(self, row: int, number: int, event: str | Message) -> tuple[int, frozenset[Message]]:
        key = (row, number, event)
        found = self.reactions.get(key)
        if found is None:
            actor = self.actors[row]
            actor.restore(self.states[row][number])
            sent: list[Message] = []
            if event == "launch":
                actor.launch()
            elif event == "done":
                sent = actor.done()
            else:
                actor.receive(event)  # type: ignore[arg-type]
            found = self.reactions[key] = (self.number(row), frozenset(sent))
        return found

    def running(self, row: int, number: int) -> bool:
        return bool(self.states[row][number][1])

    def successors(self, state: tuple) -> list[tuple]:
        numbers, pointers, flying, copies = state
        found = []
        busy = {self.stream_of[row] for row, n in enumerate(numbers) if self.running(row, n)}
        for row, n in enumerate(numbers):
            stream = self.stream_of[row]
            if self.running(row, n):
                after, sent = self.react(row, n, "done")
                order = self.orders[stream]
                pointer = (pointers[stream] + 1) % len(order) if order else 0
                moved = (*pointers[:stream], pointer, *pointers[stream + 1 :])
                found.append(((*numbers[:row], after, *numbers[row + 1 :]), moved, flying | sent, copies))
            elif self.ready[row][n] and stream not in busy:
                order = self.orders[stream]
                if not order or order[pointers[stream]] == row:
                    after, _ = self.react(row, n, "launch")
                    found.append(((*numbers[:row], after, *numbers[row + 1 :]), pointers, flying, copies))
        for message in flying:
            row = message[0]
            after, _ = self.react(row, numbers[row], message)
            changed = (*numbers[:row], after, *numbers[row + 1 :])
            found.append((changed, pointers, flying - {message}, copies))
            if copies:
                found.append((changed, pointers, flying, copies - 1))
        return found

    def check_ownership(self, numbers: tuple[int, ...]) -> None:
        """A slot that is being written was handed back by every reader."""
        for register, producer, consumer, slots in self.readers:
            state = self.states[producer][numbers[producer]]
            port = self.port[producer, register]
            if not state[1] or state[2][port] < 0:  # type: ignore[index,operator]
                continue
            writing = state[3][port] - 1  # type: ignore[index]
            if state[6][port][state[2][port]] or state[7][port][state[2][port]] != writing:  # type: ignore[index]
                continue  # between windows
            handed = self.states[consumer][numbers[consumer]][4][self.port[consumer, register]]  # type: ignore[index]
            if handed < writing - slots + 1:
                raise ProtocolError(f"register {register}: seq {writing} is written while {consumer} still owns its slot")

    def run(self) -> tuple[int, set[tuple]]:
        """(number of states, terminal states); raises ProtocolError or DeadlockError."""
        start = (tuple(self.number(row) for row in range(len(self.actors))), (0,) * len(self.streams), frozenset(), self.copies)
        seen, wave, ends = {start}, [start], set()
        while wave:
            following = []
            for state in wave:
                successors = self.successors(state)
                if not successors:
                    ends.add(state)
                for after in successors:
                    if after not in seen:
                        seen.add(after)
                        self.check_ownership(after[0])
                        following.append(after)
            wave = following
        for numbers, *_ in ends:
            for row, n in enumerate(numbers):
                if self.states[row][n][0] != self.states[row][n][-1]:
                    raise DeadlockError(f"{self.plan.actors[row].label} stopped at act {self.states[row][n][0]}")
        return len(seen), ends


class RandomWorld:
    """Random steps. Every slot has a mark: writers stamp seq and readers must find the seq they were granted, at both ends.

    duplicate, lose: chance that a delivered message stays in flight, or is thrown away.
    """

    def __init__(
        self, plan: Plan, seed: int, steps: int, kind: type[Actor] = Actor, duplicate: float = 0.0, lose: float = 0.0
    ) -> None:
        self.plan, self.rng, self.duplicate, self.lose = plan, random.Random(seed), duplicate, lose
        make = maker(plan, steps, kind)
        self.actors = [make(row) for row in range(len(plan.actors))]
        self.marks = {(r.id, s): s if s < r.initial else -1 for r in plan.registers for s in range(r.slots)}
        self.writers: dict[tuple[int, int], int] = {}
        self.flying: list[Message] = []
        self.running: list[int] = []
        self.pointers = dict.fromkeys(plan.streams, 0)
        self.busy: set[str] = set()
        self.trace: list[tuple[int, ...]] = []

    def startable(self) -> list[int]:
        found = []
        for actor, spec in zip(self.actors, self.plan.actors, strict=True):
            order = self.plan.order.get(spec.stream, ())
            turn = not order or order[self.pointers[spec.stream] % len(order)] == spec.id
            if turn and spec.stream not in self.busy and actor.ready:
                found.append(spec.id)
        return found

    def step(self) -> bool:
        options = self.startable()
        pick = self.rng.randrange(count) if (count := len(options) + len(self.running) + len(self.flying)) else -1
        if pick < 0:
            return False
        if pick < len(options):
            self._launch(options[pick])
        elif pick < len(options) + len(self.running):
            self._done(self.running.pop(pick - len(options)))
        else:
            self._deliver(pick - len(options) - len(self.running))
        return True

    def _launch(self, row: int) -> None:
        act, slots = self.actors[row].launch()
        self.trace.append((row, act, *slots))
        self.running.append(row)
        self.busy.add(self.plan.actors[row].stream)
        for i, port in enumerate(self.plan.actors[row].ports):
            key, seq = (port.register, slots[i]), self.actors[row].nexts[i] - 1
            if port.direction == "out":
                self.marks[key] = seq
            self._check(row, key, seq)

    def _check(self, row: int, key: tuple[int, int], seq: int) -> None:
        if self.marks[key] != seq:
            raise ProtocolError(f"{self.plan.actors[row].label} holds seq {seq} of slot {key}, which has seq {self.marks[key]}")

    def _done(self, row: int) -> None:
        spec, actor = self.plan.actors[row], self.actors[row]
        for i, port in enumerate(spec.ports):
            self._check(row, (port.register, actor.held[i]), actor.nexts[i] - 1)
        self.flying += actor.done()
        actor.validate()
        self.busy.discard(spec.stream)
        self.pointers[spec.stream] += 1

    def _deliver(self, pick: int) -> None:
        message = self.flying[pick]
        if self.rng.random() >= self.duplicate:
            self.flying[pick] = self.flying[-1]
            self.flying.pop()
        if self.rng.random() < self.lose:
            return
        self.actors[message[0]].receive(message)
        self.actors[message[0]].validate()

    def run(self, most: int = 1 << 60) -> int:
        """Steps taken. Raises ProtocolError, or DeadlockError when nothing can happen before the end."""
        taken = 0
        while taken < most and self.step():
            taken += 1
        if taken < most and any(a.act < a.limit for a in self.actors):
            raise DeadlockError(f"stopped at {[a.act for a in self.actors]}")
        return taken
