"""The memory proof: every register and scratch region lies in its arena, fits the device, and shares bytes only in turn."""

from __future__ import annotations

from collections.abc import Callable

from oflow.check.acts import ActGraph
from oflow.check.turns import Block, prove_turns, sharing_sets
from oflow.errors import OutOfMemory, PlanError
from oflow.plan import Plan, Register


def check_memory(plan: Plan, graph: ActGraph) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes used of each device's arena and state. Raises PlanError or OutOfMemory with the registers and bytes concerned."""
    arenas = _blocks(plan, "arena")
    states = _blocks(plan, "state")
    _scratch_fits(plan)
    used = _extents(plan.arenas, arenas, "arena"), _extents(plan.states, states, "state")
    _devices_hold(plan)
    for region, places in (("arena", arenas), ("state", states)):
        for device, blocks in places.items():
            for sharing in sharing_sets(blocks):
                _nobody_owns(sharing, device, region)
    prove_turns(graph, [sharing for blocks in arenas.values() for sharing in sharing_sets(blocks)])
    return used


def _blocks(plan: Plan, region: str) -> dict[str, list[Block]]:
    found: dict[str, list[Block]] = {device: [] for device in plan.devices}
    owned = _owned(plan)
    for r in plan.registers:
        if r.region not in ("arena", "state"):
            raise PlanError(f"register {r.label} lies in region {r.region!r}; there are 'arena' and 'state'", register=r.label)
        if r.region == region and r.nbytes:
            found[r.device].append(Block(r.offset, r.offset + r.nbytes, f"register {r.label}", r.id, owned(r)))
    for stream, (offset, nbytes) in plan.scratches.items() if region == "arena" else ():
        if nbytes:
            owner = f"scratch of stream {stream}"
            found.setdefault(stream.partition("/")[0], []).append(
                Block(offset, offset + nbytes, owner, -1, "scratch belongs to its stream alone")
            )
    return found


def _owned(plan: Plan) -> Callable[[Register], str]:
    """A function that says why a register may share its bytes with nobody."""
    ports = [port for actor in plan.actors for port in actor.ports]
    keeping = {port.register for port in ports if port.mode == "keep"}
    for_the_run = {port.register for port in ports if port.every == 0}
    outputs = {row for _, row in plan.outputs}

    def owned(register: Register) -> str:
        if register.region == "state":
            return "state is never shared"
        if register.initial:
            return f"it holds {register.initial} initial tokens from step to step"
        if register.producer < 0:
            return "no act writes it, so its bytes are never known to be free"
        if register.id in keeping:
            return "it keeps its content (mode keep)"
        if register.id in for_the_run:
            return "its slot is taken for the whole run (every=0)"
        if register.id in outputs and not register.consumers:
            return "it is read from outside the plan"
        return ""

    return owned


def _extents(totals: dict[str, int], places: dict[str, list[Block]], region: str) -> dict[str, int]:
    for device, blocks in places.items():
        for block in blocks:
            if block.start < 0 or block.stop > totals.get(device, 0):
                raise PlanError(
                    f"{block.label} lies at bytes [{block.start}, {block.stop}) of the {region} of {device}, which has "
                    f"{totals.get(device, 0)} bytes; lay out the memory again",
                    device=device,
                )  # fmt: skip
    return {device: max((b.stop for b in blocks), default=0) for device, blocks in places.items()}


def _scratch_fits(plan: Plan) -> None:
    for actor in plan.actors:
        room = plan.scratches.get(actor.stream, (0, 0))[1]
        for scratch in plan.actor_templates[actor.template].scratch:
            kind = scratch.types[actor.rank if len(scratch.types) > 1 else 0]
            if scratch.offset < 0 or (kind.nbytes and scratch.offset + kind.nbytes > room):
                raise PlanError(
                    f"{actor.label} needs scratch bytes [{scratch.offset}, {scratch.offset + kind.nbytes}), but stream "
                    f"{actor.stream} has {room}",
                    actor=actor.label,
                )  # fmt: skip


def _devices_hold(plan: Plan) -> None:
    for device in plan.devices:
        need = plan.arenas.get(device, 0) + plan.states.get(device, 0)
        have = plan.machine.device(device).memory_nbytes if need else 0
        if need > have:
            table = "".join(f"\n  {nbytes:>15,} bytes  {what}" for nbytes, what in _largest(plan, device)[:8])
            raise OutOfMemory(
                f"{device} has {have:,} bytes of memory, the plan needs {need:,} ({plan.arenas.get(device, 0):,} arena + "
                f"{plan.states.get(device, 0):,} state). The largest parts:{table}\n"
                "Use more devices, smaller micro-batches, or fewer slots.",
                device=device,
            )  # fmt: skip


def _largest(plan: Plan, device: str) -> list[tuple[int, str]]:
    """(bytes, what it is and which line of the user made it) of everything on a device, largest first."""
    lines = {r.id: plan.actor_templates[plan.actors[r.producer].template].line for r in plan.registers if r.producer >= 0}
    parts = [
        (r.nbytes, f"{r.slots} x {r.type}  {r.label} ({r.region}) {lines.get(r.id, '')}")
        for r in plan.registers
        if r.device == device
    ]
    scratches = [(n, f"scratch of stream {stream}") for stream, (_, n) in plan.scratches.items() if stream.startswith(f"{device}/")]
    return sorted(parts + scratches, key=lambda part: -part[0])


def _nobody_owns(sharing: list[Block], device: str, region: str) -> None:
    for block in sharing:
        if block.owned:
            other = next(b for b in sharing if b is not block)
            raise PlanError(
                f"{block.label} and {other.label} share bytes [{max(block.start, other.start)}, {min(block.stop, other.stop)}) "
                f"of the {region} of {device}, but {block.label} cannot share: {block.owned}",
                device=device,
            )  # fmt: skip
