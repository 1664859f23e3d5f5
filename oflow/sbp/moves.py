"""Where one step of a route may lead: the candidates of the planner."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from oflow.sbp.layout import B, Placement, S, Sbp
from oflow.sbp.pulls import Shape, pullable
from oflow.sbp.states import State, changed, is_innermost, state_of

FEW_AXES = 2
"""Up to how many mesh axes every state is tried between source and target."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is wanted. axes: tensor axes that may be split in between: those that source or target split, and further ones where joins
    of several operations need room. spare: one that may share out work, -1 for none.
    """

    start: State
    goal: State
    axes: Shape
    spare: int


def task_of(start: State, goal: State, shape: Shape) -> Task:
    """The task, and what may be split on the way for a tensor of this shape."""
    axes = {s.axis for end in (start, goal) for s in end.sbps if s.is_split}
    spreads = any(not s.is_split and n > 1 for s, n in zip(goal.sbps, goal.where.mesh, strict=True))
    shares = (spreads and (start.is_partial or start.where != goal.where)) or goal.is_partial
    if len({s.op for end in (start, goal) for s in end.sbps if s.is_partial}) > 1:
        axes = set(range(len(shape)))
    longest = sorted(range(len(shape)), key=lambda a: (a in axes, -shape[a])) or [0]
    return Task(start, goal, tuple(sorted(axes)), longest[0] if shares else -1)


@lru_cache(maxsize=65536)
def moves(state: State, task: Task) -> tuple[State, ...]:
    """The states that one step may reach, the goal first."""
    found = [task.goal]
    found += _single(state, task) + _several(state, task) + _jumps(state, task)
    if state == task.start:
        found += _anywhere(state.where, task)
        if state.where != task.goal.where:
            found += _anywhere(task.goal.where, task)
    same = dict.fromkeys(found)
    return tuple(s for s in same if s != state and see_the_same(state, s) and pullable(state.layout, s.layout))


def see_the_same(state: State, after: State) -> bool:
    """Whether one step can see both: splits of all elements and splits of axes do not meet."""
    return state.flat == after.flat or (after.is_whole if state.flat else state.is_whole)


def _options(state: State, axis: int, task: Task) -> Iterator[tuple[Sbp, bool]]:
    """The Sbp that one mesh axis may change to, and whether splits are then of all elements."""
    free = not any(s.is_split for a, s in enumerate(state.sbps) if a != axis)  # the others may be seen either way
    wanted = task.goal.sbps[axis] if task.goal.where == state.where else B
    yield B, state.flat
    if wanted.is_partial and not state.sbps[axis].is_partial:
        yield wanted, state.flat
    if not state.is_partial and not task.goal.is_partial:  # other splits would only be undone
        if wanted.is_split and (free or not state.flat):
            yield wanted, False
        return
    if task.spare >= 0 and (free or state.flat):
        yield S(0), True
    if free or not state.flat:
        yield from ((S(a), False) for a in task.axes)
    if task.spare >= 0 and task.spare not in task.axes and (not free or (task.axes and not state.flat)):
        yield S(task.spare), False


def _single(state: State, task: Task) -> list[State]:
    axes = [a for a, n in enumerate(state.where.mesh) if n > 1 and is_innermost(state, a)]
    return [
        changed(state, ((axis, sbp),), flat)
        for axis in axes
        for sbp, flat in _options(state, axis, task)
        if (sbp, flat and sbp.is_split) != (state.sbps[axis], state.flat and sbp.is_split)
    ]


def _several(state: State, task: Task) -> list[State]:
    """All partial axes joined, or shared out, and all split axes gathered, in one step."""
    partial = [a for a, s in enumerate(state.sbps) if s.is_partial]
    split = [a for a, s in enumerate(state.sbps) if s.is_split]
    found = []
    if len(split) > 1:
        found.append(changed(state, tuple((a, B) for a in split), state.flat))
    if len(partial) > 1:
        found.append(changed(state, tuple((a, B) for a in partial), state.flat))
    if task.spare >= 0 and partial:
        flat = state.flat or state.is_whole
        shares = [a for a, s in enumerate(state.sbps) if s.is_partial or (flat and s == B)]
        found += [
            changed(state, tuple((a, S(0 if flat else task.spare)) for a in some), flat) for some in (shares, partial) if len(some) > 1
        ]
    return found


def _jumps(state: State, task: Task) -> list[State]:
    """Ways near the target: its value joined where it is partial, its replicas sharing the work, and what both meshes have in common."""
    goal = task.goal
    joined = state_of(goal.where, goal.order, tuple(B if s.is_partial else s for s in goal.sbps), False)
    found = [joined]
    free = [a for a, s in enumerate(goal.sbps) if s == B and joined.where.mesh[a] > 1]
    free = [a for a in reversed(range(len(goal.sbps))) if goal.sbps[a].is_partial] + free  # in the order in which they end
    if task.spare < 0 or not free:
        return found
    flat = joined.is_whole and state.is_whole
    found.append(changed(joined, tuple((a, S(0 if flat else task.spare)) for a in free), flat))
    common = set(state.where.ranks) & set(goal.where.ranks) if state.where.kind == goal.where.kind else set()
    if joined.is_whole and 0 < len(common) < goal.where.size:
        both = Placement(goal.where.kind, tuple(r for r in goal.where.ranks if r in common), (len(common),))
        if both != state.where:
            found.append(state_of(both, (0,), (S(0),), True))
    return found


def _anywhere(where: Placement, task: Task) -> list[State]:
    """On a mesh with few axes every state: so the best route of two steps is found whatever it is."""
    free = [a for a, n in enumerate(where.mesh) if n > 1]
    if len(free) > FEW_AXES:
        return []
    partial = {s for end in (task.start, task.goal) for s in end.sbps if s.is_partial}
    splits = {S(a) for a in {*task.axes, task.spare} if a >= 0}
    choices = sorted({B, *splits, *partial}, key=str)
    found = []
    for order in itertools.permutations(range(len(where.mesh))):
        for some in itertools.product(choices, repeat=len(free)):
            sbps = [B] * len(where.mesh)
            for a, s in zip(free, some, strict=True):
                sbps[a] = s
            if task.spare >= 0:
                found.append(state_of(where, order, tuple(S(0) if s.is_split else s for s in sbps), True))
            found.append(state_of(where, order, tuple(sbps), False))
    return found
