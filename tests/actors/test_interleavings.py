"""Every interleaving of small systems: any delivery order, any duration, duplicated messages."""

import pytest

from oflow.actors import ACK, Actor, Message
from oflow.errors import DeadlockError, ProtocolError
from tests.actors.worlds import Explorer, RandomWorld
from tests.plans import chain, diamond, pipeline_1f1b, random_plan

SYSTEMS = {
    "chain of 4 x 2 slots": (chain(4, 2), 6),
    "diamond x 1 slot": (diamond(1), 4),
    "diamond x 2 slots": (diamond(2), 4),
    "1F1B, 2 stages x 3": (pipeline_1f1b(2, 3, update=False), 2),
    "1F1B, 2 stages x 3, no order": (pipeline_1f1b(2, 3, order=False, update=False), 2),
    "1F1B, 2 stages x 3, with updates": (pipeline_1f1b(2, 3), 1),
}
COPIES = {
    "chain of 4 x 2 slots": (chain(4, 2), 3, 2),
    "diamond x 1 slot": (diamond(1), 3, 2),
    "diamond x 2 slots": (diamond(2), 2, 1),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_interleaving_ends_in_the_same_state(name: str) -> None:
    plan, steps = SYSTEMS[name]
    states, ends = Explorer(plan, steps).run()
    assert states > 100
    assert len(ends) == 1 and not next(iter(ends))[2], "one end, no message left"


@pytest.mark.parametrize("name", COPIES)
def test_duplicated_and_reordered_messages_are_tolerated(name: str) -> None:
    plan, steps, copies = COPIES[name]
    _, ends = Explorer(plan, steps, copies).run()
    assert len({end[0] for end in ends}) == 1


class AckBeforeUse(Actor):
    """Hands back the next slot as well, as soon as it has arrived."""

    __slots__ = ()

    def done(self) -> list[Message]:
        sent = super().done()
        for target, kind, register, slot, seq, row, epoch in tuple(sent):
            port = self._ports[register]
            if kind == ACK and seq + 1 in self.arrived[port]:
                sent.append((target, ACK, register, (slot + 1) % self._slots[port], seq + 1, row, epoch))
        return sent


class FreeOnFirstAck(Actor):
    __slots__ = ()

    def _on_ack(self, port: int, register: int, slot: int, seq: int, sender: int) -> bool:
        if self.seqs[port][slot] == seq:
            self.owed[port][slot] &= self._bits[port][sender]
        return super()._on_ack(port, register, slot, seq, sender)


class CountsAcks(Actor):
    """A count of readers instead of a set: a duplicated ack frees the slot for both (the double release)."""

    __slots__ = ()

    def _on_ack(self, port: int, register: int, slot: int, seq: int, sender: int) -> bool:
        owed = self.owed[port][slot]
        if not owed or self.seqs[port][slot] != seq:
            return False
        self.owed[port][slot] = owed & (owed - 1)
        return False if self.owed[port][slot] else self._found(port) if slot == self.nexts[port] % self._slots[port] else False


class IgnoresSeq(Actor):
    """Takes an ack of an earlier seq for one of the present seq."""

    __slots__ = ()

    def _on_ack(self, port: int, register: int, slot: int, seq: int, sender: int) -> bool:
        return super()._on_ack(port, register, slot, self.seqs[port][slot], sender)


class LosesAck(Actor):
    __slots__ = ()

    def done(self) -> list[Message]:
        return [m for m in super().done() if m[1] != ACK or m[4] != 0]


class SkipsAhead(Actor):
    """Takes what arrived, not what is next."""

    __slots__ = ()

    def receive(self, message: Message) -> bool:
        if message[1] != ACK:
            port = self._ports[message[2]]
            self.nexts[port] = max(self.nexts[port], message[4])
        return super().receive(message)


class SeesTwice(Actor):
    """Does not drop a Req it has seen."""

    __slots__ = ()

    def receive(self, message: Message) -> bool:
        if message[1] != ACK and message[4] < self.nexts[self._ports[message[2]]]:
            self.arrived[self._ports[message[2]]].add(message[4])
        return super().receive(message)


MUTANTS = [
    (AckBeforeUse, 2, 0, ProtocolError), (FreeOnFirstAck, 2, 0, ProtocolError), (CountsAcks, 2, 1, ProtocolError),
    (IgnoresSeq, 1, 1, ProtocolError), (LosesAck, 2, 0, DeadlockError), (SkipsAhead, 2, 0, (DeadlockError, ProtocolError)),
    (SeesTwice, 2, 1, ProtocolError),
]  # fmt: skip
"""(mutant, slots of the diamond, duplicated messages, what kills it)"""
every_mutant = pytest.mark.parametrize(("mutant", "slots", "copies", "error"), MUTANTS, ids=[m[0].__name__ for m in MUTANTS])


@every_mutant
def test_mutants_are_killed_by_exploration(mutant: type[Actor], slots: int, copies: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        Explorer(diamond(slots), 4, copies, mutant).run()


@every_mutant
def test_mutants_are_killed_by_random_steps(mutant: type[Actor], slots: int, copies: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        for seed in range(20):
            RandomWorld(diamond(slots), seed, 200, mutant, duplicate=0.2 * copies).run(20_000)


def test_a_lost_message_ends_in_a_deadlock_error() -> None:
    with pytest.raises(DeadlockError):
        RandomWorld(pipeline_1f1b(3, 4), 1, 50, lose=0.05).run()


def test_random_steps_of_larger_systems_each_seed_twice() -> None:
    taken = seed = 0
    while taken < 100_000:
        plan = pipeline_1f1b(4, 8) if seed % 4 == 0 else random_plan(seed, size=14)
        runs = [RandomWorld(plan, seed, 30, duplicate=0.1) for _ in range(2)]
        for world in runs:
            try:
                taken += world.run(8_000)
            except DeadlockError:
                world.trace.append((-1,))
            except ProtocolError as e:
                raise AssertionError(f"seed {seed}") from e
        assert runs[0].trace == runs[1].trace, f"seed {seed}"
        assert [a.dropped for a in runs[0].actors] == [a.dropped for a in runs[1].actors], f"seed {seed}"
        seed += 1
