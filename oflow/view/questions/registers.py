"""What there is to know about a register: where it lies, who uses it, how many slots, when one is free again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from oflow.plan import ActorTemplate, Plan, PortTemplate, RegisterTemplate, aligned, at_rank
from oflow.view.questions.lookup import Lookup
from oflow.view.questions.names import Known, rows_of
from oflow.view.questions.steady import Held
from oflow.view.style import device_range

KEPT, STASH, OFFLOADED, STEP, ORDER = "kept", "stash", "offloaded", "step", "order"
"""How long a register's content lives: over steps; from the forward to the backward pass; so, in the host's memory; within a phase; it
holds nothing and only orders acts."""
SHARED = 8
"""Registers that share its bytes, of which names are given."""


@dataclass(frozen=True, slots=True)
class User:
    """An actor that writes or reads a register: `every` acts take one slot (0: for the whole run), in this mode."""

    actor: str
    operators: tuple[str, ...]
    stage: int
    phase: str
    where: str
    every: int
    mode: str
    line: str


@dataclass(frozen=True, slots=True)
class Place:
    """The same on all these devices: the shard, bytes of one slot and of all, the offset in the region."""

    devices: str
    count: int
    shard: str
    slot_nbytes: int
    nbytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class RegisterAnswer:
    """All about one register, of all devices that have it. Seconds are those of the simulated steady state; None of a plan that cannot run.

    life: KEPT, STASH, ... freed_by: (actor, slots that it frees a step on one device). shares: registers that share bytes with it, in
    turn, on its first device. critical: "data" where the critical cycle waits for its content, "slot" where for a free slot of it.
    """

    name: str
    region: str
    state: str
    layout: str
    shape: tuple[int, ...]
    mesh: tuple[int, ...]
    slots: int
    initial: int
    places: tuple[Place, ...]
    writers: tuple[User, ...]
    readers: tuple[User, ...]
    life: str
    held: Held | None
    freed_by: tuple[tuple[str, int], ...]
    shares: tuple[str, ...]
    critical: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """On all devices."""
        return sum(place.count * place.nbytes for place in self.places)


def known_registers(plan: Plan) -> Known:
    """Names of register templates: their own, and that of the state they keep."""
    return [(i, (r.name, r.state) if r.state else (r.name,)) for i, r in enumerate(plan.register_templates)]


def explain_register(plan: Plan, name: str) -> tuple[RegisterAnswer, ...]:
    """Answers about the registers that `name` means: one of that name, else all whose names end with it or match it as a glob.

    Raises `Unknown`, which lists near names.
    """
    rows = rows_of("register", name, known_registers(plan))
    found = Lookup(plan)
    return tuple(register_answer(found, row) for row in rows)


def register_answer(found: Lookup, row: int) -> RegisterAnswer:
    """The answer about one register template."""
    plan, state = found.plan, found.state
    register = plan.register_templates[row]
    users = [(plan.actor_templates[number], port) for number, port in found.users.get(row, ())]
    writers, readers = ([(a, p) for a, p in users if p.direction == way] for way in ("out", "in"))
    held, freed = state.held(row) if state else (None, ())
    return RegisterAnswer(
        register.name, register.region, register.state, register.layout, register.shape, register.mesh, register.slots, register.initial,
        tuple(_places(plan, register)), _users(plan, writers), _users(plan, readers), _life(plan, register, writers, readers), held, freed,
        found.sharing(row), tuple(sorted(state.handed.get(row, ()))) if state else (),
    )  # fmt: skip


Users = Sequence[tuple[ActorTemplate, PortTemplate]]


def _users(plan: Plan, found: Users) -> tuple[User, ...]:
    """Ports of one actor on one register (shards of several devices) are one."""
    return tuple({actor.name: _user(plan, actor, port) for actor, port in found}.values())


def _user(plan: Plan, actor: ActorTemplate, port: PortTemplate) -> User:
    where = f"{device_range(plan.rank_table[actor.group])}/{actor.stream}"
    return User(actor.name, tuple(call.op for call in actor.calls), actor.stage, actor.phase, where, port.every, port.mode, actor.line)


def _places(plan: Plan, register: RegisterTemplate) -> Iterator[Place]:
    alike: dict[tuple[str, int, int], list[str]] = {}
    for rank, device in enumerate(plan.rank_table[register.group]):
        kind = at_rank(register.types, rank)
        alike.setdefault((str(kind), aligned(kind.nbytes), at_rank(register.offsets, rank)), []).append(device)
    for (kind_text, nbytes, offset), devices in alike.items():
        yield Place(device_range(devices), len(devices), kind_text, nbytes, register.slots * nbytes, offset)


def _life(plan: Plan, register: RegisterTemplate, writers: Users, readers: Users) -> str:
    if not any(kind.nbytes for kind in register.types):
        return ORDER
    if register.region == "state" or register.initial:
        return KEPT
    if plan.rank_table[register.group][0].startswith("host:") and any(a.phase in ("B", "I", "W") for a, _ in readers) and register.layout:
        return OFFLOADED
    late = any(actor.phase in ("B", "I", "W") for actor, _ in readers)
    return STASH if late and writers and writers[0][0].phase == "F" else STEP
