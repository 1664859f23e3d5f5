"""One step of the token game, with counters only."""

from __future__ import annotations

from oflow.check.loops import Changing, Column


def play_step(
    sizes: Column, bases: Column, acts: Column, done: Changing, stream: Column, order: Column, place: Changing,
    take_start: Column, take_every: Column, take_arc: Column, give_start: Column, give_every: Column, give_arc: Column,
    taker: Column, tokens: Changing, cursor: Changing, waits: Changing,
    meeting: Column, member_start: Column, members: Column, arrived: Changing, here: Changing,
    queue: Changing, queued: Changing, fired: Changing,
) -> int:  # fmt: skip
    """Fire every act that can fire; returns how many did, `fired` has their nodes in order.

    sizes: actors. bases: the first node of each actor; acts, done; stream: the number of its ordered stream or -1; takes and gives:
    runs of (every, arc) an actor; cursor: its first take that its next act has not yet found a token on; waits: the arc that it
    misses, or -1; meeting: its rendezvous or -1. place: where each stream is in `order`, which ends with -1. taker, tokens: of
    each arc. arrived: partners that could act, of each rendezvous; here: whether an actor is one of them. queue: actors to look
    at, a ring.
    """
    head, tail, waiting, count = 0, 0, sizes[0], 0
    while waiting > 0:
        row = queue[head]
        head, waiting = (head + 1) % sizes[0], waiting - 1
        queued[row] = 0
        if here[row] == 1 or not able(row, acts, done, stream, order, place, take_start, take_every, take_arc, tokens, cursor, waits):
            continue
        first, last, m = row, row + 1, meeting[row]
        if m >= 0:
            here[row] = 1
            arrived[m] += 1
            first, last = member_start[m], member_start[m + 1]
            if arrived[m] < last - first:
                continue
            arrived[m] = 0
        for i in range(first, last):
            member = members[i] if m >= 0 else i
            here[member] = 0
            fired[count] = bases[member] + done[member]
            count += 1
            added = fire(
                member, done, stream, order, place, take_start, take_every, take_arc, give_start, give_every, give_arc, taker, tokens,
                cursor, waits, queue, queued, tail, sizes[0],
            )  # fmt: skip
            tail, waiting = (tail + added) % sizes[0], waiting + added
    return count


def able(
    row: int, acts: Column, done: Column, stream: Column, order: Column, place: Column, take_start: Column, take_every: Column,
    take_arc: Column, tokens: Column, cursor: Changing, waits: Changing,
) -> bool:  # fmt: skip
    """Whether the actor alone could act. A token seen stays (one taker an arc), so the search goes on where it stopped."""
    if done[row] == acts[row] or (stream[row] >= 0 and order[place[stream[row]]] != row):
        return False
    for take in range(cursor[row], take_start[row + 1]):
        if done[row] % take_every[take] == 0 and tokens[take_arc[take]] == 0:
            cursor[row], waits[row] = take, take_arc[take]
            return False
    cursor[row], waits[row] = take_start[row + 1], -1
    return True


def fire(
    row: int, done: Changing, stream: Column, order: Column, place: Changing, take_start: Column, take_every: Column,
    take_arc: Column, give_start: Column, give_every: Column, give_arc: Column, taker: Column, tokens: Changing, cursor: Changing,
    waits: Changing, queue: Changing, queued: Changing, tail: int, room: int,
) -> int:  # fmt: skip
    """Make the actor's next act, and queue whoever may act now; returns how many."""
    act, added = done[row], 0
    for take in range(take_start[row], take_start[row + 1]):
        if act % take_every[take] == 0:
            tokens[take_arc[take]] -= 1
    done[row] = act + 1
    cursor[row], waits[row] = take_start[row], -1
    for give in range(give_start[row], give_start[row + 1]):
        if (act + 1) % give_every[give] == 0:
            arc = give_arc[give]
            tokens[arc] += 1
            if waits[taker[arc]] == arc:
                added += put(taker[arc], queue, queued, tail + added, room)
    added += put(row, queue, queued, tail + added, room)
    if stream[row] >= 0:
        place[stream[row]] += 1
        following = order[place[stream[row]]]
        if following >= 0:
            added += put(following, queue, queued, tail + added, room)
    return added


def put(row: int, queue: Changing, queued: Changing, end: int, room: int) -> int:
    if queued[row] == 1:
        return 0
    queued[row] = 1
    queue[end % room] = row
    return 1
