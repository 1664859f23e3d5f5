"""What a device's memory is taken by, and what would make a plan fit: figures from the plan, for the error OutOfMemory.

Registers of the arena take turns with their bytes, so kinds add up to more than the arena, and what a remedy saves of them is the
most that it can save. What the caller has asked for already is said as taken, and proposed no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from types import MappingProxyType

from oflow.plan import Plan, Register

KINDS = ("parameters", "optimizer state", "stash", "copies", "inputs", "passing values", "scratch")
"""stash: made by a forward, read by a backward pass. copies: boxings and other moves, made on streams of their own.
passing values: all other registers."""
SHOWN = 8
NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of one register or scratch region."""

    nbytes: int
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to write, what it does, and the most bytes that it can save on the device."""

    words: str
    effect: str
    nbytes: int


def room_text(plan: Plan, device: str, have: int, taken: Mapping[str, object] = NOTHING) -> str:
    """Table and remedies for a device that has `have` bytes, fewer than the plan needs there.

    taken: arguments of of.compile that save memory, those that were given: recompute, offload, slots, zero.
    """
    arena, state = plan.arenas.get(device, 0), plan.states.get(device, 0)
    missing = arena + state - have
    found = parts(plan, device)
    lines = [
        f"{device} has {have:,} bytes of memory, the plan needs {arena + state:,} ({arena:,} arena + {state:,} state): "
        f"{missing:,} too many. By kind (the arena's take turns, so they add up to more):"
    ]
    for kind in KINDS:
        some = [part.nbytes for part in found if part.kind == kind]
        if sum(some):
            lines.append(f"  {sum(some):>15,} bytes  {kind}, {len(some)} {'part' if len(some) == 1 else 'parts'}")
    lines.append("The largest parts:")
    lines += [f"  {part.nbytes:>15,} bytes  {part.what}  {part.kind}" for part in found[:SHOWN]]
    if taken:
        lines.append(f"Already so, and in these figures: {', '.join(f'{name}={value!r}' for name, value in taken.items())}.")
    return "\n".join([*lines, *_remedy_lines(remedies(plan, device, taken), missing)])


def _remedy_lines(found: list[Remedy], missing: int) -> list[str]:
    if not found:
        return ["Nothing that of.compile can do is left: use more devices, a smaller model or a smaller batch"]
    lines = ["What would make it fit, and the most it saves here (registers take turns: only a new plan says what is saved):"]
    for remedy in found:
        alone = "may be enough alone" if remedy.nbytes >= missing else "not enough alone"
        lines.append(f"  {remedy.nbytes:>15,} bytes  {remedy.words}: {remedy.effect}; {alone}")
    short = missing - sum(remedy.nbytes for remedy in found)
    if short > 0:
        lines.append(f"  {short:>15,} bytes  at least are still missing: use more devices, a smaller model or a smaller batch")
    elif all(remedy.nbytes < missing for remedy in found):
        lines.append(f"  {missing - short:>15,} bytes  all together, if none takes what another saves; may be enough")
    return lines


def parts(plan: Plan, device: str) -> list[Part]:
    """Everything that takes bytes on a device, largest first, with the line of the user that made it."""
    found = []
    for register in plan.registers:
        if register.device == device and register.nbytes:
            where = "state" if register.region == "state" else "arena"
            what = f"{register.slots} x {register.type}  {register.label} ({where}) {_line(plan, register)}".rstrip()
            found.append(Part(register.nbytes, _kind(plan, register), what))
    for stream, (_, nbytes) in plan.scratches.items():
        if stream.startswith(f"{device}/"):
            found.append(Part(nbytes, "scratch", f"scratch of stream {stream}"))
    return sorted(found, key=lambda part: -part.nbytes)


def _line(plan: Plan, register: Register) -> str:
    return plan.actor_templates[plan.actors[register.producer].template].line if register.producer >= 0 else ""


def _kind(plan: Plan, register: Register) -> str:
    if register.region == "state":
        return "parameters" if register.consumers else "optimizer state"
    if register.producer < 0 or plan.actors[register.producer].device.startswith("host:"):
        return "inputs"
    if _stashed(plan, register):
        return "stash"
    return "passing values" if plan.actors[register.producer].stream.endswith("/compute") else "copies"


def _stashed(plan: Plan, register: Register) -> bool:
    readers = {plan.actors[row].phase for row in register.consumers}
    return plan.actors[register.producer].phase == "F" and bool(readers & {"B", "I", "W"})


# ---------------------------------------------------------------- remedies


def remedies(plan: Plan, device: str, taken: Mapping[str, object] = NOTHING) -> list[Remedy]:
    """Those that save anything on the device and that are not taken yet, the most first."""
    here = [r for r in plan.registers if r.device == device and r.nbytes]
    made = [r for r in here if r.region == "arena" and r.producer >= 0]
    made = [r for r in made if plan.actors[r.producer].phase != "update" and not r.initial]
    stash = [r for r in made if _kind(plan, r) == "stash"]
    optimizer, weights = ([r for r in here if _kind(plan, r) == kind] for kind in ("optimizer state", "parameters"))
    stages = 1 + max((a.stage for a in plan.actors if a.phase != "update"), default=0)
    m = plan.micro_batches
    found = [
        *_for_the_stash(sum(r.nbytes for r in stash), taken),
        Remedy('slots="least"', "the fewest slots at the same period, down to one each",
               0 if "slots" in taken else sum(r.nbytes - r.slot_nbytes for r in made)),
        Remedy('schedule="1f1b"', "fewer micro-batches in flight", sum(_over_1f1b(plan, r, stages) for r in stash)),
        Remedy(f"micro_batches={2 * m}", "each slot of a micro-batch is half as large", sum(map(partial(_halved, plan), made))),
        Remedy("zero=1", f"the optimizer's state lies split over the {_most_copies(plan, optimizer)} devices that repeat it",
               0 if "zero" in taken else _repeated(plan, optimizer)),
        Remedy("zero=3", f"the parameters too lie split over the {_most_copies(plan, weights)} devices that repeat them",
               0 if taken.get("zero") == 3 else _repeated(plan, weights)),
    ]  # fmt: skip
    return sorted([remedy for remedy in found if remedy.nbytes > 0], key=lambda remedy: -remedy.nbytes)


def _for_the_stash(nbytes: int, taken: Mapping[str, object]) -> list[Remedy]:
    """What is not kept on the device until the backward pass reads it. Marks of of.recompute are no option, and leave both open."""
    ways = {"recompute": "is made again in the backward pass", "offload": "waits on the host"}
    left = {name: way for name, way in ways.items() if name not in taken}
    return [Remedy(" or ".join(f'{name}="auto"' for name in left), f"the stash {', or '.join(left.values())}", nbytes)] if left else []


def _over_1f1b(plan: Plan, register: Register, stages: int) -> int:
    """Bytes of the slots that 1F1B, with as many as there are stages from this one on, does without."""
    if plan.schedule == "1f1b":
        return 0
    spare = register.slots - max(stages - plan.actors[register.producer].stage, 1)
    return max(spare, 0) * register.slot_nbytes


def _halved(plan: Plan, register: Register) -> int:
    """Half of a register that every micro-batch writes anew; nothing where its slots would be as many more."""
    producer = plan.actors[register.producer]
    every = next(port.every for port in producer.outs if port.register == register.id)
    each = producer.acts // max(every, 1) == plan.micro_batches and (plan.micro_batches > 1 or producer.phase == "F")
    return register.nbytes // 2 if each and (register.slots < plan.micro_batches or plan.micro_batches == 1) else 0


def _repeated(plan: Plan, registers: list[Register]) -> int:
    """Bytes that other devices hold too."""
    return sum(r.nbytes - r.nbytes // _copies(plan, r) for r in registers)


def _most_copies(plan: Plan, registers: list[Register]) -> int:
    return max((_copies(plan, r) for r in registers), default=1)


def _copies(plan: Plan, register: Register) -> int:
    """How many devices hold the same shard: the mesh axes where the layout says B; 1 where the plan does not say its mesh."""
    template = plan.register_templates[register.template]
    words = register.layout.strip("()").replace(" ", "").split(",")
    if len(words) != len(template.mesh):
        return 1
    return prod(size for word, size in zip(words, template.mesh, strict=True) if word == "B")
