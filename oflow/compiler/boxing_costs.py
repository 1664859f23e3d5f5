"""What boxings cost: seconds per step to bring a value from one layout to another, one table a kind of value.

Layouts are numbers here (`Numbers`), because inference looks costs up by the million.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from oflow.graph import Graph, rate_of, time_type
from oflow.machine import Machine
from oflow.sbp import Layout, Planner
from oflow.types import TensorType

MOVED_ANNOTATION = 1000.0
"""Factor on the seconds of a boxing that moves bytes of an annotated value."""
DEAR, DEAR_SECONDS = 30.0, 1e-3
"""Factor on the seconds of a boxing that should be avoided, and seconds that each costs on top, so that few are needed."""


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
    """What decides the cost of moving a value: its type (in time), times a step, whether its layout was asked for, whether
    changing it should be avoided, and whether it is what the backward pass makes for an update."""

    type: TensorType
    rate: int
    fixed: bool
    dear: bool = False
    gradient: bool = False


class _Row(dict[int, float]):
    """Seconds per step from one layout of one kind of value to each other one, by number; filled when asked for."""

    def __init__(self, boxings: Boxings, kind: Kind, have: Layout) -> None:
        super().__init__()
        self._boxings, self._kind, self._have = boxings, kind, have

    def __missing__(self, want: int) -> float:
        found = self[want] = self._boxings.seconds(self._kind, self._have, self._boxings.numbers.layouts[want])
        return found


class Boxings:
    """Seconds per step to bring a value from one layout to another; dear: values whose boxings should be avoided.

    hidden: the share of the boxings of gradients that is taken to run beside the rest of the backward pass.
    """

    def __init__(
        self, graph: Graph, machine: Machine, dear: frozenset[int] = frozenset(), hidden: float = 0.0,
        planner: Planner | None = None,
    ) -> None:  # fmt: skip
        self.graph, self.machine, self.hidden = graph, machine, hidden
        self.numbers = Numbers()
        self.kinds: list[Kind] = []
        self.kind_of: dict[int, int] = {}
        """The kind of each value, a place in `kinds`."""
        self._rows: dict[tuple[int, int], _Row] = {}
        self.planner = planner or Planner(machine)
        known: dict[Kind, int] = {}
        backward = {v for node in graph.nodes if node.phase == "B" for v in node.outs}
        gradients = backward.intersection(v for node in graph.nodes if node.phase == "update" for v in node.ins)
        for v, value in graph.values.items():
            kind = Kind(time_type(graph, v), rate_of(graph, v), value.fixed, v in dear, v in gradients)
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
        found = self.planner.like(have, want, kind.type.shape, kind.type.itemsize)
        annotated = kind.fixed and have.placement == want.placement and found.nbytes(kind.type.shape, kind.type.itemsize) > 0
        seconds = found.cost * (MOVED_ANNOTATION if annotated else 1.0) * kind.rate
        seconds *= 1.0 - self.hidden * kind.gradient
        return DEAR * seconds + DEAR_SECONDS if kind.dear else seconds


def extremes(found: Layout) -> set[str]:
    """Which of "max" and "min" join what the layout's devices hold."""
    return {s.op for s in found.sbp if s.is_partial and s.op != "sum"}
