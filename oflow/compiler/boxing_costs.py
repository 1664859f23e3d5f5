"""What boxings cost: seconds per step to bring a value from one layout to another, one table a kind of value.

Layouts are numbers here (`Numbers`), because inference looks costs up by the million.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from oflow.graph import Graph, rate_of, time_type
from oflow.machine import Machine
from oflow.sbp import Layout, route
from oflow.types import TensorType

MOVED_ANNOTATION = 1000.0
"""Factor on the seconds of a boxing that moves bytes of an annotated value."""



class Numbers:
    """Layouts as small numbers. `names` are what they print."""

    def __init__(self) -> None:
        self._known: dict[Layout, int] = {}
        self.layouts: list[Layout] = []
        self.names: list[str] = []

    def of(self, layout: Layout) -> int:
        number = self._known.get(layout)
        if number is None:
            number = self._known[layout] = len(self.layouts)
            self.layouts.append(layout)
            self.names.append(str(layout))
        return number


@dataclass(frozen=True, slots=True)
class Kind:
    """What decides the cost of moving a value: its type (in time), times a step, and whether its layout was asked for."""

    type: TensorType
    rate: int
    fixed: bool


class _Row(dict[int, float]):
    """Seconds per step from one layout of one kind of value to each other one, by number; filled when asked for."""

    def __init__(self, boxings: Boxings, kind: Kind, have: Layout) -> None:
        super().__init__()
        self._boxings, self._kind, self._have = boxings, kind, have

    def __missing__(self, want: int) -> float:
        found = self[want] = self._boxings.seconds(self._kind, self._have, self._boxings.numbers.layouts[want])
        return found


class Boxings:
    """Seconds per step to bring a value from one layout to another."""

    def __init__(self, graph: Graph, machine: Machine) -> None:
        self.graph, self.machine = graph, machine
        self.numbers = Numbers()
        self.kinds: list[Kind] = []
        self.kind_of: dict[int, int] = {}
        """The kind of each value, a place in `kinds`."""
        self._rows: dict[tuple[int, int], _Row] = {}
        self._routes: dict[tuple[TensorType, Layout, Layout], float] = {}
        known: dict[Kind, int] = {}
        for v, value in graph.values.items():
            kind = Kind(time_type(graph, v), rate_of(graph, v), value.fixed)
            self.kind_of[v] = known.setdefault(kind, len(known))
        self.kinds = list(known)

    def row(self, kind: int, have: int) -> dict[int, float]:
        """Seconds by wanted layout, all by number."""
        found = self._rows.get((kind, have))
        if found is None:
            found = self._rows[kind, have] = _Row(self, self.kinds[kind], self.numbers.layouts[have])
        return found

    def seconds(self, kind: Kind, have: Layout, want: Layout) -> float:
        if have == want:
            return 0.0
        if extremes(want) - extremes(have):
            return math.inf  # ranks without a share would hold infinity, outside the domain of many monotone operators
        key = (kind.type, have, want)
        if key not in self._routes:
            steps, link = route(have, want).steps, self.machine.link
            self._routes[key] = sum(link.seconds(step.busiest_nbytes(kind.type.shape, kind.type.itemsize)) for step in steps)
        annotated = kind.fixed and have.placement == want.placement
        return self._routes[key] * (MOVED_ANNOTATION if annotated else 1.0) * kind.rate


def extremes(found: Layout) -> set[str]:
    """Which of "max" and "min" join what the layout's devices hold."""
    return {s.op for s in found.sbp if s.is_partial and s.op != "sum"}
