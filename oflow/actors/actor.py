"""The actor: the one stateful class of oflow. It has no clock, no thread and no array.

Events in: ``receive`` (a Req or an Ack), ``done`` (the act has finished), ``admit`` (more acts are allowed).
Effects out: ``launch`` returns Launch(act, slot bound to each port), ``done`` returns the messages to send.
Drivers carry both; whatever carries them, these rules hold:

 1. A register has N slots; sequence number s lives in slot s mod N. A slot is *free* (the producer's), *full* (shared by its
    readers) or *being written* (exclusively the producer's): one writer XOR many readers.
 2. An actor may act when every in port that must take has a full slot and every out port that must take has a free one.
    It takes all or nothing. An in port takes sequence numbers strictly in order, whatever order messages arrive in.
    A Req already seen and an Ack whose (slot, seq, consumer) is not owed are dropped and counted.
 3. After the act it sends Req(register, slot, seq) to each consumer of what it wrote and Ack(register, slot, seq) to each
    producer of what it read. A slot keeps the SET of consumers (a bit each) that still owe an ack for its seq and is free
    when that set is empty: a count would be freed early by a duplicated ack. A slot without consumers is free at once.
 4. I initial tokens: seqs 0..I-1 start full, owed by every consumer; the producer's window t writes seq t + I. Tokens of a
    register that nobody produces exist from the start and are never written again.
 5. ``every=k`` binds one slot to k consecutive acts: taken before acts 0, k, 2k..., handed on after acts k-1, 2k-1...
    ``every=0`` takes its slot once per run and never hands it back.
 6. A `keep` out port follows the same rules; its slot keeps its content, so nobody is told when it becomes free.
    `control` ports follow the same rules with 0 bytes.
 7. Messages carry the run's epoch; those of another epoch are dropped and counted. There is no other communication.

A message is one tuple of ints: (target actor, REQ | ACK, register, slot, seq, sender, epoch).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import cache
from math import lcm

from oflow.errors import ProtocolError
from oflow.plan import ActorSpec, Register

REQ, ACK = 0, 1
Message = tuple[int, int, int, int, int, int, int]
Launch = tuple[int, tuple[int, ...]]
"""(act, slot index bound to each port, in order of ``ActorSpec.ports``)."""
Watch = Callable[[str, int, int, int], None]
"""Told (event, register, slot, seq): its own slot is "write", "full" or "free"; one that it reads is "take" or "hand" (back)."""
Give = tuple[int, int, tuple[int, ...]]
"""(port index, register, actors that are told)."""
UNLIMITED = 1 << 62
STORY_LENGTH = 64


@cache
def windows(everys: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """For each act of a cycle the ports whose window begins there, and those whose window ends there."""
    cycle = lcm(*(k for k in everys if k)) if any(everys) else 1
    ports = range(len(everys))
    begins = tuple(tuple(i for i in ports if everys[i] and act % everys[i] == 0) for act in range(cycle))
    ends = tuple(tuple(i for i in ports if everys[i] and (act + 1) % everys[i] == 0) for act in range(cycle))
    return begins, ends


class Actor:
    """One row of ``plan.actors``. Ports are numbered as in ``ActorSpec.ports``; lists below are indexed by port.

    limit: acts allowed so far (None: no cap). watch, checked: see `Watch`; checked keeps a story of its slots for errors.
    """

    __slots__ = (
        "_bits", "_cycle", "_first", "_gives", "_is_out", "_missing", "_note", "_ports", "_slots", "_takes", "_watch",
        "acked", "act", "arrived", "dropped", "epoch", "full", "held", "label", "limit", "nexts", "owed", "row", "running",
        "seqs", "story",
    )  # fmt: skip

    def __init__(
        self, spec: ActorSpec, registers: tuple[Register, ...], *, epoch: int = 0, limit: int | None = None,
        watch: Watch | None = None, checked: bool = False,
    ) -> None:  # fmt: skip
        bound = [registers[p.register] for p in spec.ports]
        self.row, self.label, self.epoch = spec.id, spec.label, epoch
        self.limit = UNLIMITED if limit is None else limit
        self.act = self.dropped = 0
        self.running = False
        self.story: deque[str] | None = deque(maxlen=STORY_LENGTH) if checked else None
        self._watch = watch
        self._note: Watch | None = self._record if checked else watch
        self._is_out = tuple(p.direction == "out" for p in spec.ports)
        self._ports = {p.register: i for i, p in enumerate(spec.ports)}
        self._bits = tuple({c: 1 << n for n, c in enumerate(r.consumers)} for r in bound)
        self._slots = tuple(r.slots for r in bound)
        self.full = tuple((1 << len(r.consumers)) - 1 for r in bound)
        self._link(spec, bound)
        self.held = [-1] * len(bound)  # the slot the port is bound to
        self.nexts = [r.initial if out else 0 for r, out in zip(bound, self._is_out, strict=True)]  # the seq to take next
        self.acked = [0] * len(bound)  # in: seqs this actor has handed back
        self.arrived = [set() if out else set(range(r.initial)) for r, out in zip(bound, self._is_out, strict=True)]
        self.owed = [[full if s < r.initial else 0 for s in range(r.slots)] for r, full in zip(bound, self.full, strict=True)]
        self.seqs = [[s if s < r.initial else -1 for s in range(r.slots)] for r in bound]  # out: the seq in each slot
        self._missing: set[int] = set()
        self._seek(self._first)

    def _link(self, spec: ActorSpec, bound: list[Register]) -> None:
        everys = tuple(p.every for p in spec.ports)
        begins, ends = windows(everys)
        producers = [(r.producer,) if r.producer >= 0 else () for r in bound]
        told = [r.consumers if out else p for r, p, out in zip(bound, producers, self._is_out, strict=True)]
        self._takes, self._cycle = begins, len(begins)
        self._first = tuple(sorted({*begins[0], *(i for i, k in enumerate(everys) if k == 0)}))
        self._gives: tuple[tuple[Give, ...], ...] = tuple(
            tuple((i, spec.ports[i].register, told[i]) for i in ports) for ports in ends
        )

    # ------------------------------------------------------------ questions

    @property
    def ready(self) -> bool:
        return not self._missing and not self.running and self.act < self.limit

    @property
    def missing(self) -> tuple[int, ...]:
        """The ports that the next act waits for."""
        return tuple(sorted(self._missing))

    def owing(self, port: int) -> tuple[int, ...]:
        """The consumers that still owe an ack for the slot which out port `port` takes next."""
        owed = self.owed[port][self.nexts[port] % self._slots[port]]
        return tuple(c for c, bit in self._bits[port].items() if owed & bit)

    def takes(self, act: int) -> tuple[int, ...]:
        """The ports whose window begins with `act`."""
        return self._takes[act % self._cycle] if act else self._first

    # ------------------------------------------------------------ events

    def admit(self, limit: int) -> bool:
        """Allow acts up to `limit`; True when that makes the actor ready."""
        capped = self.act >= self.limit
        self.limit = limit
        return capped and self.ready

    def receive(self, message: Message) -> bool:
        """Req or Ack; True when it makes the actor ready."""
        _, kind, register, slot, seq, sender, epoch = message
        if epoch != self.epoch:
            self.dropped += 1
            return False
        port = self._ports.get(register)
        if port is None or self._is_out[port] is not (kind == ACK):
            raise self.error(f"it has no port for {'an Ack' if kind == ACK else 'a Req'} of register {register}")
        if kind == ACK:
            return self._on_ack(port, register, slot, seq, sender)
        slots = self._slots[port]
        if seq < self.nexts[port] or seq in self.arrived[port]:
            self.dropped += 1
            return False
        if slot != seq % slots or seq >= self.acked[port] + slots:
            raise self.error(f"register {register} slot {slot}: seq {seq} was written before seq {seq - slots} was handed back")
        self.arrived[port].add(seq)
        return self._found(port) if seq == self.nexts[port] else False

    def _on_ack(self, port: int, register: int, slot: int, seq: int, sender: int) -> bool:
        bit = self._bits[port].get(sender, 0)
        owed = self.owed[port][slot] if 0 <= slot < self._slots[port] and self.seqs[port][slot] == seq else 0
        if not owed & bit:
            self.dropped += 1
            return False
        owed ^= bit
        self.owed[port][slot] = owed
        if owed:
            return False
        if self._note is not None:
            self._note("free", register, slot, seq)
        return self._found(port) if slot == self.nexts[port] % self._slots[port] else False

    def _found(self, port: int) -> bool:
        missing = self._missing
        if port not in missing:
            return False
        missing.remove(port)
        return not missing and not self.running and self.act < self.limit

    def launch(self) -> Launch:
        """Take every slot the next act needs; it runs until `done`."""
        if self.running or self._missing or self.act >= self.limit:
            raise self.error(f"act {self.act} was launched while {'running' if self.running else 'not ready'}")
        self.running = True
        act, nexts, held = self.act, self.nexts, self.held
        for port in self._takes[act % self._cycle] if act else self._first:
            seq = nexts[port]
            slot = held[port] = seq % self._slots[port]
            nexts[port] = seq + 1
            if self._is_out[port]:
                self.seqs[port][slot] = seq
            else:
                self.arrived[port].remove(seq)
        if self._note is not None:
            self._note_taken(act)
        return act, tuple(held)

    def done(self) -> list[Message]:
        """The act has finished: hand on the slots whose window ends; the messages to send."""
        if not self.running:
            raise self.error("done without an act")
        self.running = False
        act, row, epoch, note = self.act, self.row, self.epoch, self._note
        self.act = act + 1
        messages: list[Message] = []
        for port, register, told in self._gives[act % self._cycle]:
            slot, seq = self.held[port], self.nexts[port] - 1
            if self._is_out[port]:
                self.owed[port][slot] = self.full[port]
                for target in told:
                    messages.append((target, REQ, register, slot, seq, row, epoch))
            else:
                self.acked[port] = seq + 1
                for target in told:
                    messages.append((target, ACK, register, slot, seq, row, epoch))
            if note is not None:
                self._note_given(port, register, slot, seq)
        self._seek(self._takes[self.act % self._cycle])
        return messages

    def _seek(self, ports: Iterable[int]) -> None:
        for port in ports:
            seq = self.nexts[port]
            if self.owed[port][seq % self._slots[port]] if self._is_out[port] else seq not in self.arrived[port]:
                self._missing.add(port)

    # ------------------------------------------------------------ what is told and proved

    def _note_taken(self, act: int) -> None:
        assert self._note is not None
        registers = tuple(self._ports)
        for port in self.takes(act):
            self._note("write" if self._is_out[port] else "take", registers[port], self.held[port], self.nexts[port] - 1)

    def _note_given(self, port: int, register: int, slot: int, seq: int) -> None:
        assert self._note is not None
        self._note("full" if self._is_out[port] else "hand", register, slot, seq)
        if self._is_out[port] and not self.full[port]:
            self._note("free", register, slot, seq)

    def _record(self, event: str, register: int, slot: int, seq: int) -> None:
        assert self.story is not None
        self.story.append(f"act {self.act} of {self.label}: {event} register {register} slot {slot} seq {seq}")
        if self._watch is not None:
            self._watch(event, register, slot, seq)

    def error(self, message: str) -> ProtocolError:
        return ProtocolError(f"{self.label}: {message}", story=tuple(self.story or ()))

    def validate(self) -> None:
        """Raises ProtocolError unless the invariants hold between any two events."""
        for register, port in self._ports.items():
            slots, following = self._slots[port], self.nexts[port]
            if self._is_out[port]:
                fine = all(not o & ~self.full[port] for o in self.owed[port])
                fine &= all(seq < 0 or (seq % slots == slot and following - slots <= seq < following)
                            for slot, seq in enumerate(self.seqs[port]))  # fmt: skip
                fine &= not (self.running and self.owed[port][self.held[port]])
            else:
                fine = all(following <= seq < self.acked[port] + slots for seq in self.arrived[port])
                fine &= following - slots <= self.acked[port] <= following
            if not fine:
                raise self.error(f"register {register}: the state of its slots is impossible: {self.state()}")
        missing = self._missing
        self._missing = set()
        if not self.running:
            self._seek(self.takes(self.act))
        missing, self._missing = self._missing, missing
        if missing != self._missing:
            raise self.error(f"waits for ports {sorted(self._missing)}, not {sorted(missing)}")

    def state(self) -> tuple[object, ...]:
        """Everything that decides the future, hashable; counts of dropped messages are left out."""
        return (
            self.act, self.running, tuple(self.held), tuple(self.nexts), tuple(self.acked),
            tuple(frozenset(seqs) for seqs in self.arrived), tuple(map(tuple, self.owed)), tuple(map(tuple, self.seqs)),
            frozenset(self._missing), self.limit,
        )  # fmt: skip

    def restore(self, state: tuple[object, ...]) -> None:
        """Go back to what `state` returned."""
        act, running, held, nexts, acked, arrived, owed, seqs, missing, limit = state
        self.act, self.running, self.limit = act, running, limit  # type: ignore[assignment]
        self.held, self.nexts, self.acked = list(held), list(nexts), list(acked)  # type: ignore[call-overload]
        self.arrived = [set(found) for found in arrived]  # type: ignore[attr-defined]
        self.owed, self.seqs = [list(o) for o in owed], [list(s) for s in seqs]  # type: ignore[attr-defined]
        self._missing = set(missing)  # type: ignore[call-overload]
