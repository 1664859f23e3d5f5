"""The balance equations: what every act of a step takes, another act of the same step hands on.

Lee & Messerschmitt 1987 (synchronous dataflow). With them one play of a step leaves every counter where it was.
"""

from __future__ import annotations

from collections import Counter

from oflow.errors import PlanError
from oflow.plan import ActorSpec, Plan, Port, Register


def replayed(plan: Plan) -> dict[str, tuple[int, ...]]:
    """The orders that are kept at run time. A host stream is the caller's thread: its acts come when the caller makes them."""
    return {stream: order for stream, order in plan.order.items() if order and not stream.startswith("host:")}


def check_rates(plan: Plan) -> None:
    """Raises PlanError, naming actor, register and numbers, unless ports, orders and rendezvous agree about a step."""
    made: dict[int, Port] = {}
    for actor in plan.actors:
        for port in actor.ports:
            _divides(actor, port, plan.registers[port.register])
            if port.direction == "out":
                made[port.register] = port
    for actor in plan.actors:
        for port in actor.ins:
            register = plan.registers[port.register]
            if register.producer < 0:
                _without_producer(actor, port, register)
            else:
                _balanced(actor, port, register, plan.actors[register.producer], made[port.register])
    for row, port in made.items():
        _room_for_one_run(plan, plan.registers[row], port)
    _orders(plan)
    _rendezvous(plan)


def _divides(actor: ActorSpec, port: Port, register: Register) -> None:
    if port.every > 0 and actor.acts % port.every:
        raise PlanError(
            f"{actor.label} acts {actor.acts} times a step, but its {port.direction} port on {register.label} shares a slot "
            f"between {port.every} acts, which does not divide it; give it every={_divisors(actor.acts)}",
            actor=actor.label, register=register.label,
        )  # fmt: skip


def _divisors(acts: int) -> str:
    return " or ".join(str(k) for k in range(1, acts + 1) if acts % k == 0)


def _without_producer(actor: ActorSpec, port: Port, register: Register) -> None:
    if register.initial < 1:
        raise PlanError(
            f"{actor.label} reads {register.label}, which nobody writes and which starts without a token; "
            "give it a producer or initial=1",
            actor=actor.label, register=register.label,
        )  # fmt: skip
    if port.every > 0:
        raise PlanError(
            f"{actor.label} takes a new slot of {register.label} every {port.every} acts, but nobody writes it: after "
            f"{register.initial} initial tokens it would starve; take it once per run with every=0, or give it a producer",
            actor=actor.label, register=register.label,
        )  # fmt: skip


def _balanced(actor: ActorSpec, port: Port, register: Register, producer: ActorSpec, out: Port) -> None:
    if (port.every == 0) != (out.every == 0):
        once, other = (actor, producer) if port.every == 0 else (producer, actor)
        raise PlanError(
            f"{once.label} takes its slot of {register.label} once per run (every=0) and never hands it back, but {other.label} "
            "turns it over every step; give both ports every=0, or both every>0",
            actor=once.label, register=register.label,
        )  # fmt: skip
    if port.every == 0:
        if register.initial < 1:
            raise PlanError(
                f"{actor.label} waits for {register.label}, whose producer {producer.label} keeps its slot for the whole run "
                "(every=0); give the register initial=1 or both ports every>0",
                actor=actor.label, register=register.label,
            )  # fmt: skip
    elif producer.acts * port.every != actor.acts * out.every:
        raise PlanError(
            f"register {register.label} is not balanced: {producer.label} hands on {producer.acts}/{out.every} = "
            f"{producer.acts / out.every:g} slots a step, {actor.label} takes {actor.acts}/{port.every} = "
            f"{actor.acts / port.every:g}; make them equal by `acts` or `every`",
            actor=actor.label, register=register.label,
        )  # fmt: skip


def _room_for_one_run(plan: Plan, register: Register, out: Port) -> None:
    if out.every == 0 and register.consumers and register.initial >= register.slots:
        producer = plan.actors[register.producer]
        raise PlanError(
            f"{producer.label} wants a slot of {register.label} for the whole run (every=0), but all {register.slots} start full "
            f"and their readers never hand them back; give it {register.initial + 1} slots",
            actor=producer.label, register=register.label,
        )  # fmt: skip


def _orders(plan: Plan) -> None:
    for stream, order in plan.order.items():
        counts = Counter(order)
        for row in plan.streams.get(stream, ()) if order else ():
            actor = plan.actors[row]
            if counts[row] != actor.acts:
                raise PlanError(
                    f"the order of {stream} names {actor.label} {counts[row]} times, but it acts {actor.acts} times a step; "
                    "an order has one entry an act",
                    actor=actor.label, stream=stream,
                )  # fmt: skip


def _rendezvous(plan: Plan) -> None:
    groups: dict[str, list[ActorSpec]] = {}
    orders = replayed(plan)
    for actor in plan.actors:
        if actor.rendezvous:
            groups.setdefault(actor.rendezvous, []).append(actor)
    for name, members in groups.items():
        first, streams = members[0], set[str]()
        for actor in members:
            if actor.acts != first.acts:
                raise PlanError(
                    f"rendezvous {name}: {first.label} acts {first.acts} times a step and {actor.label} {actor.acts}; "
                    "partners act together, so their acts must be equal",
                    actor=actor.label,
                )  # fmt: skip
            if actor.stream in streams:
                raise PlanError(f"rendezvous {name}: two partners share stream {actor.stream}, which runs one act at a time")
            if actor.stream not in orders:
                raise PlanError(f"rendezvous {name}: stream {actor.stream} needs an explicit order, else partners may miss")
            streams.add(actor.stream)
