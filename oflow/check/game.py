"""The token game: one step played with counters only.

Each register is two arcs for every reader: data (producer to reader, `initial` tokens) and credit (reader to producer, the
free slots). An act takes one token of every arc it needs, all or nothing, and hands tokens on after it. Firing is persistent
(each arc has one taker), so one play stands for all interleavings and any number of steps: Commoner, Holt, Even & Pnueli 1971
for marked graphs. Time and space are linear in acts x ports.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from oflow.check.rates import replayed
from oflow.errors import DeadlockError
from oflow.plan import Plan, Port

Act = tuple[int, int]
"""(actor row, act within the step)"""


@dataclass(slots=True)
class _Board:
    """The counters of a play. Arc arrays have one entry an arc; actor arrays one an actor row."""

    tokens: list[int] = field(default_factory=list)
    register: list[int] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    is_credit: list[bool] = field(default_factory=list)
    takes: list[list[tuple[int, int]]] = field(default_factory=list)
    """(every, arc) of each actor; likewise `gives`."""
    gives: list[list[tuple[int, int]]] = field(default_factory=list)
    needs: list[list[int]] = field(default_factory=list)
    """Arcs of the actor's next act that it has not yet found a token on, last first."""
    acts: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    orders: dict[str, tuple[int, ...]] = field(default_factory=dict)
    place: dict[str, int] = field(default_factory=dict)
    """How far each ordered stream is in its order."""
    waiter: dict[int, int] = field(default_factory=dict)
    """The actor that waits for a token on an arc."""
    partners: dict[str, tuple[int, ...]] = field(default_factory=dict)


def play(plan: Plan) -> list[Act]:
    """Play one step and return its acts in the order they fired. The plan is balanced (`check_rates`).

    Raises DeadlockError, whose `cycle` says who waits for whom and for what, when the play stops before the end of the step or
    does not end in the marking it started from.
    """
    board = _set_up(plan)
    start = list(board.tokens)
    fired: list[Act] = []
    queue = deque(range(len(plan.actors)))
    while queue:
        row = queue.popleft()
        group = _ready(plan, board, row)
        for member in group:
            fired.append((member, board.done[member]))
            _fire(plan, board, member, queue)
    if any(done < acts for done, acts in zip(board.done, board.acts, strict=True)):
        raise _deadlock(plan, board)
    if board.tokens != start:
        arc = next(i for i, (now, then) in enumerate(zip(board.tokens, start, strict=True)) if now != then)
        label = plan.registers[board.register[arc]].label
        raise DeadlockError(f"a step does not end as it began: {label} has {board.tokens[arc]} tokens, not {start[arc]}")
    return fired


def _set_up(plan: Plan) -> _Board:
    board = _Board()
    board.acts = [actor.acts for actor in plan.actors]
    board.done = [0] * len(plan.actors)
    board.takes = [[] for _ in plan.actors]
    board.gives = [[] for _ in plan.actors]
    board.orders = replayed(plan)
    board.place = dict.fromkeys(board.orders, 0)
    outs: dict[int, Port] = {p.register: p for actor in plan.actors for p in actor.outs}
    groups: dict[str, list[int]] = {}
    for actor in plan.actors:
        for port in actor.ins:
            register = plan.registers[port.register]
            if port.every and register.producer >= 0:
                writer, reader = (register.producer, outs[port.register].every), (actor.id, port.every)
                _add_arc(board, port.register, writer, reader, register.initial, credit=False)
                _add_arc(board, port.register, reader, writer, register.slots - register.initial, credit=True)
        if actor.rendezvous:
            groups.setdefault(actor.rendezvous, []).append(actor.id)
    board.partners = {name: tuple(rows) for name, rows in groups.items()}
    board.needs = [_needs(board, row) for row in range(len(plan.actors))]
    return board


def _add_arc(board: _Board, register: int, source: Act, target: Act, tokens: int, *, credit: bool) -> None:
    """`source` and `target` are (actor row, every)."""
    arc = len(board.tokens)
    board.tokens.append(tokens)
    board.register.append(register)
    board.source.append(source[0])
    board.is_credit.append(credit)
    board.gives[source[0]].append((source[1], arc))
    board.takes[target[0]].append((target[1], arc))


def _needs(board: _Board, row: int) -> list[int]:
    act = board.done[row]
    return [arc for every, arc in board.takes[row] if act % every == 0]


def _head(plan: Plan, board: _Board, row: int) -> int:
    """The actor whose turn it is on the stream of `row`: itself where the stream has no order, -1 at the end of a step."""
    stream = plan.actors[row].stream
    place = board.place.get(stream)
    if place is None:
        return row
    return board.orders[stream][place] if place < len(board.orders[stream]) else -1


def _able(plan: Plan, board: _Board, row: int) -> bool:
    """Whether the actor alone could act. A token seen stays (one taker an arc), so the search goes on where it stopped."""
    if board.done[row] == board.acts[row] or _head(plan, board, row) != row:
        return False
    needs = board.needs[row]
    while needs:
        if not board.tokens[needs[-1]]:
            board.waiter[needs[-1]] = row
            return False
        needs.pop()
    return True


def _ready(plan: Plan, board: _Board, row: int) -> tuple[int, ...]:
    """The actors that fire together with `row` now, or () where one of them cannot."""
    if not _able(plan, board, row):
        return ()
    name = plan.actors[row].rendezvous
    group = board.partners[name] if name else (row,)
    return group if all(_able(plan, board, member) for member in group) else ()


def _fire(plan: Plan, board: _Board, row: int, queue: deque[int]) -> None:
    act = board.done[row]
    for every, arc in board.takes[row]:
        if act % every == 0:
            board.tokens[arc] -= 1
    for every, arc in board.gives[row]:
        if (act + 1) % every == 0:
            board.tokens[arc] += 1
            if arc in board.waiter:
                queue.append(board.waiter.pop(arc))
    board.done[row] = act + 1
    board.needs[row] = _needs(board, row)
    queue.append(row)
    stream = plan.actors[row].stream
    if stream in board.place:
        board.place[stream] += 1
        head = _head(plan, board, row)
        if head not in (-1, row):
            queue.append(head)


# ---------------------------------------------------------------- why a play stopped


def _deadlock(plan: Plan, board: _Board) -> DeadlockError:
    row = next(r for r, acts in enumerate(board.acts) if board.done[r] < acts)
    path: list[int] = []
    while row not in path:
        path.append(row)
        row = _waits_for(plan, board, row)[0]
    cycle = path[path.index(row) :]
    lines = tuple(_waits_for(plan, board, r)[1] for r in cycle)
    slots = {fix: None for r in cycle if (fix := _waits_for(plan, board, r)[2])}
    streams = {plan.actors[r].stream: None for r in cycle if _head(plan, board, r) != r}
    remedies = [f"more slots for {' or '.join(slots)}"] * bool(slots) + [
        f"another order on {' or '.join(streams)}"
    ] * bool(streams)
    if not remedies:
        remedies = ["an initial token on one of these registers, or a cut of the loop"]
    text = "".join(f"\n  {line}" for line in lines)
    return DeadlockError(f"the plan can hang; each waits for the next:{text}\nIt needs {', or '.join(remedies)}.", cycle=lines)


def _waits_for(plan: Plan, board: _Board, row: int) -> tuple[int, str, str]:
    """Whom a blocked actor waits for, the sentence that says so, and the register whose slots would help ("" for none)."""
    actor = plan.actors[row]
    start = f"{actor.label} (act {board.done[row]}) waits for"
    head = _head(plan, board, row)
    if head != row:
        other = plan.actors[head]
        return head, f"{start} its turn on stream {actor.stream} behind {other.label} (act {board.done[head]})", ""
    arc = next((a for a in board.needs[row] if not board.tokens[a]), None)
    if arc is None:
        partner = next(r for r in board.partners[actor.rendezvous] if not _able(plan, board, r))
        return partner, f"{start} its rendezvous partner {plan.actors[partner].label} in {actor.rendezvous}", ""
    source = board.source[arc]
    register, other = plan.registers[board.register[arc]], plan.actors[source]
    if board.is_credit[arc]:
        slots = f"{register.slots} slot" + "s" * (register.slots > 1)
        return source, f"{start} a free slot of {register.label} ({slots}) from {other.label}", register.label
    return source, f"{start} data of {register.label} from {other.label}", ""
