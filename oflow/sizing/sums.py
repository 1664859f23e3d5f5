"""The loads of a flow while its slots change, and whose slots are taken away next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from oflow.sizing.flow import Flow


class Sums:
    """`now`: bytes of each load. A buffer that gave back what it can is settled."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._loads: list[list[tuple[int, int]]] = [[] for _ in flow.buffers]
        """Of each buffer, the loads that it is part of, and the bytes of its slot there."""
        for number, load in enumerate(flow.sums):
            for b, nbytes in load.buffers:
                self._loads[b].append((number, nbytes))
        self.now = np.zeros(len(flow.sums), np.int64)
        self._settled = [False] * len(flow.buffers)

    def set(self, slots: Sequence[int]) -> None:
        """Begin with these slots; no buffer is settled."""
        self.now[:] = [load.fixed + sum(nbytes * slots[b] for b, nbytes in load.buffers) for load in self.flow.sums]
        self._settled = [False] * len(slots)

    def add(self, buffer: int, slots: int) -> None:
        for load, nbytes in self._loads[buffer]:
            self.now[load] += slots * nbytes

    def rise(self, buffer: int) -> int:
        """By how much one slot more makes the largest load larger."""
        most = int(self.now.max())
        return max((0, *(int(self.now[load]) + nbytes - most for load, nbytes in self._loads[buffer])))

    def settle(self, buffer: int) -> None:
        """The buffer can give back no more; nor can it when others have fewer."""
        self._settled[buffer] = True

    def in_turn(self) -> Iterator[int]:
        """Until all are settled, the buffer with the largest slots of those that are not, in the largest load that has one."""
        buffers = self.flow.buffers
        waiting = [sorted((b for b, _ in load.buffers), key=lambda b: (buffers[b].nbytes, -b)) for load in self.flow.sums]
        done = np.zeros(len(waiting), bool)
        while not done.all():
            load = int(np.where(done, -1, self.now).argmax())
            while waiting[load] and self._settled[waiting[load][-1]]:
                waiting[load].pop()
            if waiting[load]:
                yield waiting[load][-1]
            else:
                done[load] = True
        for b in range(len(buffers)):  # those of no load
            while not self._settled[b]:
                yield b
