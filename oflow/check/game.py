"""The token game: one step played with counters only.

Each register is two arcs for every reader: data (producer to reader, `initial` tokens) and credit (reader to producer, the
free slots). An act takes one token of every arc it needs, all or nothing, and hands tokens on after it. Firing is persistent
(each arc has one taker), so one play stands for all interleavings and any number of steps: Commoner, Holt, Even & Pnueli 1971
for marked graphs. Time and space are linear in acts x ports.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oflow.arrays import Tables, starts, tables
from oflow.check.loops import fixed, run
from oflow.check.loops.play import play_step
from oflow.check.rates import replayed
from oflow.errors import DeadlockError
from oflow.live import phase
from oflow.plan import Plan


@dataclass(frozen=True, slots=True)
class _Board:
    """The columns of a play. Arcs: data of each edge, then credit of each, so that arc % edges is the edge.

    reads: the in port of each edge. tokens, source, target: of each arc. take_start (A + 1), take_every, take_arc: what each actor takes,
    likewise gives.
    """

    reads: np.ndarray
    tokens: np.ndarray
    source: np.ndarray
    target: np.ndarray
    take_start: np.ndarray
    take_every: np.ndarray
    take_arc: np.ndarray
    give_start: np.ndarray
    give_every: np.ndarray
    give_arc: np.ndarray
    stream: np.ndarray
    place: np.ndarray
    order: np.ndarray
    done: np.ndarray
    cursor: np.ndarray
    waits: np.ndarray


def play(plan: Plan, t: Tables | None = None, *, compiled: bool | None = None) -> np.ndarray:
    """Play one step and return its acts in the order they fired, as nodes: ``bases[row] + act``, `bases` as in an `ActGraph`.

    The plan is balanced (`check_rates`). Raises DeadlockError, whose `cycle` says who waits for whom and for what, when the play
    stops before the end of the step or does not end in the marking it started from.
    """
    t = tables(plan) if t is None else t
    board = _set_up(t)
    begun = board.tokens.copy()
    actors = len(t.acts)
    member = np.flatnonzero(t.meeting >= 0)
    members = member[np.argsort(t.meeting[member], kind="stable")]
    meetings = int(t.meeting.max(initial=-1)) + 1
    bases = starts(t.acts)
    fired = np.empty(bases[-1], np.int64)
    with phase("play one step", lambda: board.done.sum() / max(1, bases[-1])):
        run(
            play_step, fixed(np.array([actors])), fixed(bases), fixed(t.acts), board.done,
            fixed(board.stream), fixed(board.order), board.place,
            fixed(board.take_start), fixed(board.take_every), fixed(board.take_arc),
            fixed(board.give_start), fixed(board.give_every), fixed(board.give_arc),
            fixed(board.target), board.tokens, board.cursor, board.waits,
            fixed(t.meeting), fixed(starts(np.bincount(t.meeting[member], minlength=meetings))), fixed(members),
            np.zeros(meetings, np.int64), np.zeros(actors, np.int64), np.arange(actors), np.ones(actors, np.int64), fired,
            compiled=compiled,
        )  # fmt: skip
    if (board.done < t.acts).any():
        raise _deadlock(plan, t, board)
    if (board.tokens != begun).any():
        arc = int(np.argmax(board.tokens != begun))
        label = plan.register_label(_register(t, board, arc))
        raise DeadlockError(f"a step does not end as it began: {label} has {board.tokens[arc]} tokens, not {begun[arc]}")
    return fired


def _set_up(t: Tables) -> _Board:
    reads = np.flatnonzero((t.producer >= 0) & (t.every > 0))
    made = t.producer[reads]
    reader, writer = t.port_actor[reads], t.port_actor[made]
    initial = t.initial[t.port_register[reads]]
    source, target = np.concatenate([writer, reader]), np.concatenate([reader, writer])
    gives, takes = np.concatenate([t.every[made], t.every[reads]]), np.concatenate([t.every[reads], t.every[made]])
    take_arc, give_arc = np.argsort(target, kind="stable"), np.argsort(source, kind="stable")
    actors, ordered = len(t.acts), replayed(t)
    take_start = starts(np.bincount(target, minlength=actors))
    return _Board(
        reads, np.concatenate([initial, t.slots[reads] - initial]), source, target,
        take_start, takes[take_arc], take_arc,
        starts(np.bincount(source, minlength=actors)), gives[give_arc], give_arc,
        np.where(ordered[t.stream], t.stream, -1), t.order_start[:-1].copy(), np.append(t.order, -1),
        np.zeros(actors, np.int64), take_start[:-1].copy(), np.full(actors, -1),
    )  # fmt: skip


def _register(t: Tables, board: _Board, arc: int) -> int:
    return int(t.port_register[board.reads[arc % len(board.reads)]])


# ---------------------------------------------------------------- why a play stopped


@dataclass(frozen=True, slots=True)
class _Wait:
    """Whom a blocked actor waits for, the sentence that says so, and the register whose slots would help or the stream whose
    order would ("" for none)."""

    other: int
    text: str
    register: str = ""
    stream: str = ""


def _deadlock(plan: Plan, t: Tables, board: _Board) -> DeadlockError:
    row = int(np.argmax(board.done < t.acts))
    path: dict[int, _Wait] = {}
    while row not in path:
        path[row] = _waits_for(plan, t, board, row)
        row = path[row].other
    rows = list(path)
    cycle = [path[r] for r in rows[rows.index(row) :]]
    slots = dict.fromkeys(wait.register for wait in cycle if wait.register)
    streams = dict.fromkeys(wait.stream for wait in cycle if wait.stream)
    remedies = [f"more slots for {' or '.join(slots)}"] * bool(slots) + [
        f"another order on {' or '.join(streams)}"
    ] * bool(streams)
    if not remedies:
        remedies = ["an initial token on one of these registers, or a cut of the loop"]
    lines = tuple(wait.text for wait in cycle)
    text = "".join(f"\n  {line}" for line in lines)
    return DeadlockError(f"the plan can hang; each waits for the next:{text}\nIt needs {', or '.join(remedies)}.", cycle=lines)


def _waits_for(plan: Plan, t: Tables, board: _Board, row: int) -> _Wait:
    start = f"{plan.actor_label(row)} (act {board.done[row]}) waits for"
    head = _head(t, board, row)
    if head != row:
        stream, behind = t.streams[t.stream[row]], f"{plan.actor_label(head)} (act {board.done[head]})"
        return _Wait(head, f"{start} its turn on stream {stream} behind {behind}", stream=stream)
    arc = _missing(board, row)
    if arc < 0:
        partners = np.flatnonzero(t.meeting == t.meeting[row]).tolist()
        partner = next(r for r in partners if _head(t, board, r) != r or _missing(board, r) >= 0 or board.done[r] == t.acts[r])
        name = plan.actor_templates[plan.template_of(row)].rendezvous
        return _Wait(partner, f"{start} its rendezvous partner {plan.actor_label(partner)} in {name}")
    source, number = int(board.source[arc]), _register(t, board, arc)
    register, other = plan.register_label(number), plan.actor_label(source)
    if arc >= len(board.reads):
        slots = int(t.slots[board.reads[arc - len(board.reads)]])
        return _Wait(source, f"{start} a free slot of {register} ({slots} slot{'s' * (slots > 1)}) from {other}", register)
    return _Wait(source, f"{start} data of {register} from {other}")


def _head(t: Tables, board: _Board, row: int) -> int:
    """The actor whose turn it is on the stream of `row`: itself where the stream has no order."""
    return int(board.order[board.place[board.stream[row]]]) if board.stream[row] >= 0 else row


def _missing(board: _Board, row: int) -> int:
    """An arc without a token that the actor's next act needs; -1 where there is none."""
    takes = slice(board.take_start[row], board.take_start[row + 1])
    needed = board.take_arc[takes][board.done[row] % board.take_every[takes] == 0]
    empty = needed[board.tokens[needed] == 0]
    return int(empty[0]) if len(empty) else -1
