"""Memory of one plan: one aligned block of bytes a device for its arena, one for its kept state; every slot is a view."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from oflow.plan import ALIGNMENT, Plan, Register
from oflow.types import TensorType


def aligned_bytes(nbytes: int) -> np.ndarray:
    """Uninitialised bytes whose address is a multiple of the slot alignment."""
    block = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + nbytes]


def view(block: np.ndarray, offset: int, kind: TensorType) -> np.ndarray:
    """The tensor of type `kind` at `offset` bytes of `block`."""
    return block[offset : offset + kind.nbytes].view(kind.dtype).reshape(kind.shape)


class Memory:
    """The blocks of a plan by device. `kept` replaces the storage of state registers that live elsewhere (shared programs).

    allocate: bytes of memory, aligned like a slot.
    """

    def __init__(
        self, plan: Plan, kept: dict[int, np.ndarray] | None = None, allocate: Callable[[int], np.ndarray] = aligned_bytes
    ) -> None:
        self.plan = plan
        self.arenas = {device: allocate(nbytes) for device, nbytes in plan.arenas.items()}
        self.states = {device: allocate(nbytes) for device, nbytes in plan.states.items()}
        self.kept = kept or {}

    def slot(self, register: Register, slot: int) -> np.ndarray:
        if register.id in self.kept:
            return self.kept[register.id]
        block = (self.states if register.region == "state" else self.arenas)[register.device]
        return view(block, register.offset + slot * register.slot_nbytes, register.type)

    def scratch(self, stream: str, offset: int, kind: TensorType) -> np.ndarray:
        base, _ = self.plan.scratches.get(stream, (0, 0))  # a stream whose temporaries are all empty has no region
        return view(self.arenas[stream.partition("/")[0]], base + offset, kind)

    @cached_property
    def shared(self) -> frozenset[int]:
        """Registers some of whose bytes another register uses too, in turn."""
        found: set[int] = set()
        reach: dict[str, tuple[int, int]] = {}
        for r in sorted((r for r in self.plan.registers if r.region == "arena" and r.nbytes), key=lambda r: r.offset):
            stop, row = reach.get(r.device, (0, -1))
            if r.offset < stop:
                found |= {r.id, row}
            reach[r.device] = max((stop, row), (r.offset + r.nbytes, r.id))
        return frozenset(found)

    def poison_freed(self, register: int, slot: int) -> None:
        """A slot was released. Where its bytes are shared their next owner may be writing already, before the news is here."""
        if register not in self.shared:
            self.poison(register, slot)

    def poison_granted(self, register: int, slot: int) -> None:
        """A slot was taken for writing: its producer alone owns its bytes now."""
        if register in self.shared:
            self.poison(register, slot)

    def poison(self, register: int, slot: int) -> None:
        """Fill a released slot with 0xFF bytes (NaN in every float dtype), so that a late reader shows."""
        row = self.plan.registers[register]
        block = (self.states if row.region == "state" else self.arenas)[row.device]
        start = row.offset + slot * row.slot_nbytes
        block[start : start + row.type.nbytes] = 0xFF
