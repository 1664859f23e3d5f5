"""The planner: the cheapest route between any two layouts, as a shortest path over pull steps (Dijkstra 1959).

What a step costs is said by `Links`: bytes over all links by default, seconds where a machine is given. The states between are:

* on the mesh of the source, and on that of the target: one mesh axis changed at a time, to B, to a split that source or target
  use, to an even split of all elements (`flat`; where splits are in the way, of the longest axis), or to the target's P; all
  partial or all split axes changed at once; on machines of two levels an axis that spans nodes counts as two, across and inside;
* from one mesh to the other: the target itself, its values joined, its replicas each with a share of the work, and an even split
  over the devices that both have.

One pull from source to target is always tried where it means the same value (`pullable`). Splits of one tensor axis nest in the
order in which they were made, so a mesh may be seen with its axes in another order in between.

Bounds, in bytes over all links (FACTS of OneFlow's table, and what follows from it), which tests hold every pair to:

* one placement: the cheapest sequence of changes of one mesh axis, each at the table's cost on the sub-tensors of that axis'
  groups. An axis of such a sequence has to be the innermost of those that split its tensor axis. Each is a step of the planner.
* a source that is not partial, to any placement: the elements that are not already local (along P axes of the target: of the sibling
  with most of them), which one pull attains and for targets that are not partial nothing undercuts.
* a partial source with g contributions, to another placement with r replicas: the least of what one pull moves, each
  contribution that is not local, and (g + r - 1) T: joined on the way to one replica's worth of shares, then spread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from typing import Protocol

from oflow.sbp.alike import originals, renumbered, restored
from oflow.sbp.layout import Layout, Placement
from oflow.sbp.moves import Task, moves, task_of
from oflow.sbp.pulls import Pull, Shape, Traffic, joining, pullable, pulls, traffic
from oflow.sbp.states import State, ends


@dataclass(frozen=True, slots=True)
class Step:
    """One pull of all consumers from all producers. `flat`: both sides are seen as one axis of all elements."""

    src: Layout
    dst: Layout
    flat: bool = False

    def shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),) if self.flat else shape

    def pulls(self, shape: Shape) -> tuple[tuple[Pull, ...], ...]:
        """For each consumer rank its pulls, contributions in rank order. shape: the logical tensor's."""
        like = self.like
        return _pulls(like.src, like.dst, self.shape(shape))

    @property
    def like(self) -> Step:
        """The step between the first devices that are alike: what does not name devices is the same of both, and worked out once."""
        first, second = renumbered((self.src.placement, self.dst.placement), 1)
        return Step(Layout(first, self.src.sbp), Layout(second, self.dst.sbp), self.flat)

    def traffic(self, shape: Shape, itemsize: int) -> Traffic:
        return traffic(self.src, self.dst, self.shape(shape), itemsize)

    def received(self, shape: Shape, itemsize: int) -> list[int]:
        """Bytes that each consumer reads from other devices."""
        return [int(n) for n in self.traffic(shape, itemsize).moved.sum(1)]

    @property
    def op(self) -> str:
        """What joins contributions to one element, and whose identity fills the rest."""
        return joining(self.src, self.dst)

    def nbytes(self, shape: Shape, itemsize: int) -> int:
        """Bytes that cross from one device to another, summed over all links."""
        return self.traffic(shape, itemsize).nbytes


@lru_cache(maxsize=512)
def _pulls(src: Layout, dst: Layout, shape: Shape) -> tuple[tuple[Pull, ...], ...]:
    return pulls(src, dst, shape)


@dataclass(frozen=True, slots=True)
class Route:
    """The steps from one layout to another, empty when they are equal; `cost` is what they were chosen by, the sum over the steps."""

    steps: tuple[Step, ...]
    cost: float = 0.0

    def nbytes(self, shape: Shape, itemsize: int) -> int:
        return sum(step.nbytes(shape, itemsize) for step in self.steps)


class Links(Protocol):
    """What steps cost. Machines implement it."""

    def boxing(self, traffic: Traffic) -> float:
        """Cost of one step: of its busiest consumer where consumers read side by side."""

    def boxing_floor(self, traffic: Traffic, dealt: bool) -> float:
        """What two steps or more cost at least that bring every consumer as much as this one, by way of any layout.

        dealt: as much in total; other steps may deal it out otherwise.
        """

    def nodes(self, where: Placement) -> tuple[int, ...] | None:
        """The node of each device where links inside nodes differ from those across; None where they do not."""

    def unit(self) -> int:
        """How many consecutive devices make a group that may stand for any other (`oflow.sbp.alike`); 0: none may."""


@dataclass(frozen=True, slots=True)
class ByteLinks:
    """Cost is bytes, summed over all links."""

    def boxing(self, traffic: Traffic) -> float:
        return traffic.nbytes

    def boxing_floor(self, traffic: Traffic, dealt: bool) -> float:
        return traffic.nbytes

    def nodes(self, where: Placement) -> tuple[int, ...] | None:
        return None

    def unit(self) -> int:
        return 1


BYTES = ByteLinks()


# ---------------------------------------------------------------- the search

_Cost = tuple[float, int, int]
"""Cost, bytes, steps: compared in this order."""


class Planner:
    """Cheapest routes over one set of links; what was found is kept."""

    def __init__(self, links: Links = BYTES) -> None:
        self.links = links
        self._routes: dict[tuple[Layout, Layout, Shape, int], Route] = {}
        self._costs: dict[tuple[Shape, int], dict[tuple[State, State], tuple[float, int]]] = {}

    def route(self, src: Layout, dst: Layout, shape: Shape, itemsize: int) -> Route:
        """The cheapest steps that turn `src` into `dst` for a tensor of this shape, for any two layouts."""
        found, unit = self.like(src, dst, shape, itemsize), self.links.unit()
        where = src.placement, dst.placement
        if not found.steps or not unit or renumbered(where, unit) == where:
            return found
        numbers = originals(where, unit)
        return Route(tuple([Step(restored(s.src, numbers), restored(s.dst, numbers), s.flat) for s in found.steps]), found.cost)

    def like(self, src: Layout, dst: Layout, shape: Shape, itemsize: int) -> Route:
        """The cheapest route between devices that are like these: what it costs, not where it goes."""
        unit = self.links.unit()
        if unit:
            first, second = renumbered((src.placement, dst.placement), unit)
            src, dst = Layout(first, src.sbp), Layout(second, dst.sbp)
        key = (src, dst, shape, itemsize)
        found = self._routes.get(key)
        if found is None:
            found = self._routes[key] = Route(()) if src == dst else self._cheapest(src, dst, shape, itemsize)
        return found

    def _cheapest(self, src: Layout, dst: Layout, shape: Shape, itemsize: int) -> Route:
        best: _Cost | None = None
        if pullable(src, dst):
            moved = traffic(src, dst, shape, itemsize)
            best = (self.links.boxing(moved), moved.nbytes, 1)
            if self.is_settled(moved, best):
                return Route((Step(src, dst),), best[0])
        start, goal = ends(src, dst, shape, self.links.nodes)
        costs = self._costs.setdefault((shape, itemsize), {})
        return _Search(self, task_of(start, goal, shape), shape, itemsize, costs).run(best)

    def is_settled(self, moved: Traffic, found: _Cost) -> bool:
        """Whether no route of several steps can cost less than this pull; False where that is not known."""
        if not found[1]:
            return True
        if _active_partials(moved.src):
            return False
        return found[0] <= self.links.boxing_floor(moved, _active_partials(moved.dst))


def _active_partials(found: Layout) -> bool:
    return any(s.is_partial and n > 1 for s, n in zip(found.sbp, found.placement.mesh, strict=True))


class _Search:
    """One search from the start to the goal of a task. costs: what steps of this shape were found to cost, and their bytes."""

    def __init__(
        self, planner: Planner, task: Task, shape: Shape, itemsize: int, costs: dict[tuple[State, State], tuple[float, int]]
    ) -> None:
        self.planner, self.task, self.shape, self.itemsize, self.costs = planner, task, shape, itemsize, costs
        self.reached: dict[State, _Cost] = {task.start: (0.0, 0, 0)}
        self.before: dict[State, State] = {}
        self.waiting: list[tuple[_Cost, int, State]] = [((0.0, 0, 0), 0, task.start)]

    def run(self, direct: _Cost | None) -> Route:
        start, goal = self.task.start, self.task.goal
        if start == goal and direct is not None:  # the same but for axes of size 1
            return Route((Step(start.layout, goal.layout),), direct[0])
        if direct is not None:
            self.reached[goal], self.before[goal] = direct, start
        serial = 0
        while self.waiting:
            cost, _, state = heappop(self.waiting)
            if state == goal:
                break
            if self.reached[state] < cost or (goal in self.reached and cost >= self.reached[goal]):
                continue
            if self._ends_here(state, cost):
                continue
            for move in moves(state, self.task):
                after = goal if move == goal else move  # moves are kept for goals that differ on axes of size 1
                if self._improves(state, after, cost):
                    serial += 1
                    heappush(self.waiting, (self.reached[after], serial, after))
        return self._route()

    def _ends_here(self, state: State, cost: _Cost) -> bool:
        """Whether the rest of the way is known: one pull that nothing undercuts."""
        goal = self.task.goal
        if state.is_partial or state.flat or not cost[2] or not pullable(state.layout, goal.layout):
            return False
        if self._improves(state, goal, cost):
            heappush(self.waiting, (self.reached[goal], 0, goal))
        found = (*self._cost(state, goal), 1)
        return not found[1] or self.planner.is_settled(self._step(state, goal).traffic(self.shape, self.itemsize), found)

    def _improves(self, state: State, after: State, cost: _Cost) -> bool:
        """Whether this step is the best way to `after` so far, which is then kept, and may still lead to a better goal."""
        known = self.reached.get(after)
        if known is not None and cost >= known:
            return False
        more, moved = self._cost(state, after)
        found = (cost[0] + more, cost[1] + moved, cost[2] + 1)
        goal = self.reached.get(self.task.goal)
        if (known is not None and found >= known) or (goal is not None and found >= goal):
            return False
        self.reached[after], self.before[after] = found, state
        return True

    def _cost(self, state: State, after: State) -> tuple[float, int]:
        found = self.costs.get((state, after))
        if found is None:
            moved = self._step(state, after).traffic(self.shape, self.itemsize)
            found = self.costs[state, after] = (self.planner.links.boxing(moved), moved.nbytes)
        return found

    def _step(self, state: State, after: State) -> Step:
        return Step(state.layout, after.layout, state.flat or after.flat)

    def _route(self) -> Route:
        steps: list[Step] = []
        state = self.task.goal
        while state != self.task.start:
            before = self.before[state]
            steps.append(self._step(before, state))
            state = before
        return Route(tuple(reversed(steps)), self.reached[self.task.goal][0])


@lru_cache(maxsize=1)
def _by_bytes() -> Planner:
    return Planner(BYTES)


def route(src: Layout, dst: Layout, shape: Shape, itemsize: int, links: Links | None = None) -> Route:
    """The cheapest steps that turn `src` into `dst` for a tensor of this shape, for any two layouts.

    links: what steps cost; bytes over all links where None is given. Many routes over the same links: keep a `Planner`.
    """
    return (_by_bytes() if links is None else Planner(links)).route(src, dst, shape, itemsize)
