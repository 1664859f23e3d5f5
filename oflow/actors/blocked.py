"""Who waits for whom, when nobody can act: the text of a DeadlockError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from oflow.errors import DeadlockError
from oflow.plan import Plan


class ActorState(Protocol):
    """What an actor shows to whoever asks why it does not act; see `oflow.actors.actor.Actor`."""

    @property
    def row(self) -> int: ...
    @property
    def act(self) -> int: ...
    @property
    def ready(self) -> bool: ...
    @property
    def missing(self) -> tuple[int, ...]: ...
    def owing(self, port: int) -> tuple[int, ...]: ...


Head = Callable[[int], int]
"""The row that a row's stream wants next (-1: any)."""
Wait = tuple[int, str]
"""(the row that is waited for, or -1; why)."""
SHOWN = 40


def deadlock(plan: Plan, actors: Mapping[int, ActorState], head: Head, steps: int, waiting: str) -> DeadlockError:
    """The error for a run in which nobody can act before the end of `steps` steps. `waiting`: what its caller does."""
    waits: dict[int, list[Wait]] = {}
    for row, actor in actors.items():
        if actor.act < steps * plan.actors[row].acts:
            waits[row] = _data(plan, actor) + _turn(plan, actor, head) or _partners(plan, actor, actors, head)
    names = [a.label for a in plan.actors]
    lines = [f"{names[row]} (act {actors[row].act}) {why}" for row, found in waits.items() for _, why in found]
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    cycle = tuple(names[row] for row in _cycle({row: [to for to, _ in found] for row, found in waits.items()}))
    if cycle:
        more.append(f"cycle: {' -> '.join((*cycle, cycle[0]))}; give one of its registers a slot more, or change the order")
    shown = "".join(f"\n    {line}" for line in lines[:SHOWN] + more)
    return DeadlockError(f"nobody can act while {waiting}:{shown}", cycle=cycle)


def _data(plan: Plan, actor: ActorState) -> list[Wait]:
    found = []
    for number in actor.missing:
        port = plan.actors[actor.row].ports[number]
        register = plan.registers[port.register]
        if port.direction == "in":
            source = plan.actors[register.producer].label if register.producer >= 0 else "nobody"
            found.append((register.producer, f"waits for a full slot of {register.label} from {source}"))
        for consumer in actor.owing(number) if port.direction == "out" else ():
            why = f"waits for a free slot of {register.label} (it has {register.slots}) from {plan.actors[consumer].label}"
            found.append((consumer, why))
    return found


def _turn(plan: Plan, actor: ActorState, head: Head) -> list[Wait]:
    first = head(actor.row)
    if first in (-1, actor.row):
        return []
    return [(first, f"waits for its turn on {plan.actors[actor.row].stream}: {plan.actors[first].label} goes first")]


def _partners(plan: Plan, actor: ActorState, actors: Mapping[int, ActorState], head: Head) -> list[Wait]:
    name = plan.actors[actor.row].rendezvous
    members = [a for a in plan.actors if name and a.rendezvous == name and a.id != actor.row]
    late = [a for a in members if not actors[a.id].ready or head(a.id) not in (-1, a.id)]
    met = [(a.id, f"waits for {a.label} in rendezvous {name!r}") for a in late]
    return met or [(-1, "waits to be called" if actor.ready else "waits to be admitted")]


def _cycle(edges: Mapping[int, list[int]]) -> list[int]:
    """A cycle of the graph `edges` by depth-first search, or []."""
    state: dict[int, int] = {}
    for root in edges:
        path: list[int] = []
        stack = [(root, iter(edges[root]))] if root not in state else []
        if stack:
            state[root] = 1
            path.append(root)
        while stack:
            row, successors = stack[-1]
            following = next((to for to in successors if to in edges and state.get(to) != 2), None)
            if following is None:
                state[row] = 2
                stack.pop()
                path.pop()
            elif state.get(following) == 1:
                return path[path.index(following) :]
            else:
                state[following] = 1
                path.append(following)
                stack.append((following, iter(edges[following])))
    return []
