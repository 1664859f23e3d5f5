"""Actors as a worker's world knows them, in the words of ``actor.py``; read them while nothing moves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from oflow.arrays import Tables


class ActorView:
    """One actor's state in its worker's world, in the words of `oflow.actors.actor.Actor`."""

    def __init__(self, t: Tables, state: Mapping[str, np.ndarray], acts: np.ndarray, row: int) -> None:
        self._tables, self._state, self._acts, self.row = t, state, acts, row
        self._ports = range(int(t.port_start[row]), int(t.port_start[row + 1]))

    @property
    def act(self) -> int:
        return int(self._acts[self.row])

    @property
    def ready(self) -> bool:
        return bool(self._state["missing"][self.row] == 0 and self.act < self._state["limit"][self.row])

    @property
    def missing(self) -> tuple[int, ...]:
        return tuple(n for n, p in enumerate(self._ports) if self._state["waiting"][p])

    def owing(self, port: int) -> tuple[int, ...]:
        """The readers that still owe an ack for what lies in the slot which out port `port` takes next."""
        p, t = self._ports[port], self._tables
        seq = int(t.initial[t.port_register[p]]) + self._turns(p) - int(t.slots[p])
        readers = t.readers[int(t.reader_start[p]) : int(t.reader_start[p + 1])]
        return tuple(int(t.port_actor[e]) for e in readers if self._turns(int(e)) <= seq)

    def _turns(self, p: int) -> int:
        """How many slots port `p` has handed on."""
        every, act = int(self._tables.every[p]), int(self._acts[self._tables.port_actor[p]])
        return act // every if every else 0


def head_of(t: Tables, state: Mapping[str, np.ndarray], row: int) -> int:
    """The row that the stream of `row` wants next (-1: any)."""
    s = int(t.stream[row])
    start, stop = (int(n) for n in state["order_start"][s : s + 2])
    return int(state["order"][start + int(state["pointer"][s])]) if stop > start else -1
