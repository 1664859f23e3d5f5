"""What lies where: the bytes of every register and scratch region, and who may share them with nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from oflow.arrays import REGIONS, Tables
from oflow.errors import PlanError
from oflow.plan import Plan, PortTemplate, at_rank

OWNED = (
    "", "state is never shared", "it holds {} initial tokens from step to step",
    "no act writes it, so its bytes are never known to be free", "it keeps its content (mode keep)",
    "its slot is taken for the whole run (every=0)", "scratch belongs to its stream alone",
)  # fmt: skip
STATE, TOKENS, UNWRITTEN, KEPT, ONCE, SCRATCH = range(1, len(OWNED))


@dataclass(frozen=True, eq=False, slots=True)
class Blocks:
    """Bytes [start, stop) of one region of devices: of registers, then of the scratch of streams, in columns.

    device: number in ``tables.devices``; register: its row, or -1; stream: number in ``tables.streams``, or -1; owned: why nobody may
    share it (number in OWNED), 0 where others may. shift (D): added to its bytes, devices come one after the other.
    """

    plan: Plan
    tables: Tables
    start: np.ndarray
    stop: np.ndarray
    device: np.ndarray
    register: np.ndarray
    stream: np.ndarray
    owned: np.ndarray

    def label(self, block: int) -> str:
        if self.register[block] >= 0:
            return f"register {self.plan.register_label(int(self.register[block]))}"
        return f"scratch of stream {self.tables.streams[self.stream[block]]}"

    def reason(self, block: int) -> str:
        tokens = self.tables.initial[self.register[block]] if self.register[block] >= 0 else 0
        return OWNED[self.owned[block]].format(tokens)

    @property
    def shift(self) -> np.ndarray:
        """(D) what to add to bytes of each device so that one device's lie behind another's."""
        ends = np.zeros(len(self.tables.devices), np.int64)
        np.maximum.at(ends, self.device, self.stop)
        return np.asarray(np.cumsum(ends) - ends)


def blocks(plan: Plan, t: Tables, region: str) -> Blocks:
    """All that takes bytes of a region ("arena" or "state")."""
    size = _nbytes(t, plan)
    rows = np.flatnonzero((t.region == REGIONS.index(region)) & (size > 0))
    streams, offsets, sizes = _scratches(plan, t) if region == "arena" else (np.zeros(0, np.int64),) * 3
    none = np.full(len(streams), -1)
    device = t.stream_device[streams] if len(streams) else streams
    return Blocks(
        plan, t, np.concatenate([t.offset[rows], offsets]), np.concatenate([t.offset[rows] + size[rows], offsets + sizes]),
        np.concatenate([t.device[rows], device]), np.concatenate([rows, none]),
        np.concatenate([np.full(len(rows), -1), streams]), np.concatenate([_owned(plan, t)[rows], np.full(len(streams), SCRATCH)]),
    )  # fmt: skip


def _nbytes(t: Tables, plan: Plan) -> np.ndarray:
    """(R) bytes of all slots of each register."""
    counts = np.array([len(plan.rank_table[r.group]) for r in plan.register_templates], np.int64)
    slots = np.repeat(np.array([r.slots for r in plan.register_templates], np.int64), counts)
    return np.asarray(slots * t.slot_nbytes)


def _scratches(plan: Plan, t: Tables) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stream, offset and bytes of every scratch region that has some."""
    number = {name: i for i, name in enumerate(t.streams)}
    for stream in plan.scratches:
        if stream not in number:
            raise PlanError(f"the plan has scratch memory for stream {stream}, on which nothing runs", stream=stream)
    found = [(number[stream], offset, nbytes) for stream, (offset, nbytes) in plan.scratches.items() if nbytes]
    columns = np.array(found, np.int64).reshape(-1, 3).T
    return columns[0], columns[1], columns[2]


def _owned(plan: Plan, t: Tables) -> np.ndarray:
    """(R) why a register may share its bytes with nobody; the first reason that holds, 0 for none."""
    out = t.port_out == 1
    written = np.zeros(len(t.initial), bool)
    written[t.port_register[out]] = True
    once = np.zeros_like(written)
    once[t.port_register[t.every == 0]] = True
    kept = np.zeros_like(written)
    for rows in _kept(plan):
        kept[rows] = True
    state = t.region == REGIONS.index("state")
    reasons = (state, t.initial > 0, ~written, kept, once)
    found = np.zeros(len(t.initial), np.int64)
    for number, holds in reversed(list(enumerate(reasons, STATE))):
        found[holds] = number
    return found


def _kept(plan: Plan) -> Iterator[np.ndarray]:
    """The register rows that an actor keeps the content of."""
    for actor in plan.actor_templates:
        for port in actor.ports:
            if port.mode == "keep":
                yield _bound(plan, port, len(plan.rank_table[actor.group]))


def _bound(plan: Plan, port: PortTemplate, ranks: int) -> np.ndarray:
    """The register rows that a port binds, over all ranks."""
    shards = np.array(port.peers or range(ranks), np.int64)
    return plan.register_bases[port.register] + shards[shards >= 0]


# ---------------------------------------------------------------- where they must be


def extents(totals: dict[str, int], found: Blocks, region: str) -> dict[str, int]:
    """Bytes used of each device; raises PlanError where a block lies outside its region."""
    devices = found.tables.devices
    room = np.array([totals.get(device, 0) for device in devices], np.int64)
    wrong = (found.start < 0) | (found.stop > room[found.device])
    if wrong.any():
        block = int(np.argmax(wrong))
        device = devices[found.device[block]]
        raise PlanError(
            f"{found.label(block)} lies at bytes [{found.start[block]}, {found.stop[block]}) of the {region} of {device}, which has "
            f"{totals.get(device, 0)} bytes; lay out the memory again",
            device=device,
        )  # fmt: skip
    used = np.zeros(len(devices), np.int64)
    np.maximum.at(used, found.device, found.stop)
    return dict(zip(devices, used.tolist(), strict=True))


def scratch_fits(plan: Plan, t: Tables) -> None:
    """Raises PlanError unless the scratch buffers of every actor lie in its stream's region."""
    rooms: dict[tuple[int, str], list[int]] = {}
    for number, actor in enumerate(plan.actor_templates):
        if not actor.scratch:
            continue
        devices, key = plan.rank_table[actor.group], (actor.group, actor.stream)
        if key not in rooms:
            rooms[key] = [plan.scratches.get(f"{device}/{actor.stream}", (0, 0))[1] for device in devices]
        for scratch in actor.scratch:
            for rank, room in enumerate(rooms[key]):
                nbytes = at_rank(scratch.types, rank).nbytes
                if scratch.offset < 0 or (nbytes and scratch.offset + nbytes > room):
                    label = plan.actor_label(plan.actor_bases[number] + rank)
                    raise PlanError(
                        f"{label} needs scratch bytes [{scratch.offset}, {scratch.offset + nbytes}), but stream "
                        f"{devices[rank]}/{actor.stream} has {room}",
                        actor=label,
                    )  # fmt: skip


def nobody_owns(found: Blocks, region: str) -> None:
    """Raises PlanError where a block that may share with nobody has a byte in common with another."""
    shift = found.shift[found.device]
    start, stop = found.start + shift, found.stop + shift
    owned = np.flatnonzero(found.owned > 0)
    begun, ended = np.sort(start), np.sort(stop)
    others = np.searchsorted(begun, stop[owned]) - np.searchsorted(ended, start[owned], "right") - 1
    if (others > 0).any():
        block = int(owned[np.argmax(others > 0)])
        meets = (start < stop[block]) & (stop > start[block])
        meets[block] = False
        other = int(np.argmax(meets))
        low, high = max(found.start[block], found.start[other]), min(found.stop[block], found.stop[other])
        device = found.tables.devices[found.device[block]]
        raise PlanError(
            f"{found.label(block)} and {found.label(other)} share bytes [{low}, {high}) "
            f"of the {region} of {device}, but {found.label(block)} cannot share: {found.reason(block)}",
            device=device,
        )  # fmt: skip
