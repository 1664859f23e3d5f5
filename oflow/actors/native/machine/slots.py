"""The slots of one actor: taking, handing on, and what its messages do to others. The rules are those of ``actor.py``.

A slot counts the acks it is owed (a ring neither loses nor repeats nor reorders), an in port counts its full slots, an actor
counts the ports it waits for. `a` is an actor row, `p` a port, `e` an edge (its in port).
"""

from __future__ import annotations

from oflow.actors.native.fields import ACK, AT, FREE, REQ, WRITE
from oflow.actors.native.machine.records import note_full, now, record
from oflow.actors.native.machine.rings import send
from oflow.actors.native.machine.streams import wake
from oflow.actors.native.machine.words import at, column, constant, inline, put, table


@inline
def take(w: int, a: int) -> None:
    """Bind every slot the act needs: those of the ports whose window begins."""
    phase, following, held, full = column(w, AT.PHASE), column(w, AT.NEXT), column(w, AT.HELD), column(w, AT.FULL)
    for p in range(table(w, AT.PORT_START, a), table(w, AT.PORT_START, a + 1)):
        if phase[p] == 0:
            slot = following[p]
            held[p] = slot
            following[p] = slot + 1 if slot + 1 < table(w, AT.SLOTS, p) else 0
            if table(w, AT.OUT, p) == 0:
                full[p] -= 1
            elif constant(w, AT.RECORDING):
                record(w, WRITE, table(w, AT.REGISTER, p), slot, now(w), 0)


@inline
def finish(w: int, a: int, count: int) -> int:
    """The act is over: close the windows that end with it, and see what the next act waits for.

    The ports whose window ended are added to the `count` in ENDED; returns how many there are then.
    """
    phase, following, held, full = column(w, AT.PHASE), column(w, AT.NEXT), column(w, AT.HELD), column(w, AT.FULL)
    owed, waiting, ended = column(w, AT.OWED), column(w, AT.WAITING), column(w, AT.ENDED)
    column(w, AT.ACT)[a] += 1
    missing = 0
    for p in range(table(w, AT.PORT_START, a), table(w, AT.PORT_START, a + 1)):
        every, following_phase = table(w, AT.EVERY, p), phase[p] + 1
        if every == 0:
            phase[p] = -2  # taken once per run: it neither ends nor begins again
        elif following_phase < every:
            phase[p] = following_phase
        else:
            phase[p] = 0
            ended[count] = p
            count += 1
            if table(w, AT.OUT, p):
                first = table(w, AT.OWED_START, p)
                owed[first + held[p]] = table(w, AT.READER_START, p + 1) - table(w, AT.READER_START, p)
                blocked = owed[first + following[p]] > 0
            else:
                blocked = full[p] == 0
            waiting[p] = blocked
            missing += blocked
    column(w, AT.MISSING)[a] = missing
    return count


@inline
def tell(w: int, count: int) -> None:
    """Send what the ended windows owe: a Req to each reader of what was written, an Ack to the producer of what was read."""
    ended = column(w, AT.ENDED)
    me = constant(w, AT.ME)
    for n in range(count):
        p = ended[n]
        if table(w, AT.OUT, p):
            if constant(w, AT.RECORDING):
                note_full(w, p)
            for k in range(table(w, AT.READER_START, p), table(w, AT.READER_START, p + 1)):
                e = table(w, AT.READERS, k)
                target = table(w, AT.WORKER, table(w, AT.PORT_ACTOR, e))
                if target == me:
                    arrive(w, e)
                else:
                    send(w, target, 2 * e + REQ)
        elif table(w, AT.PRODUCER, p) >= 0:
            target = table(w, AT.WORKER, table(w, AT.PORT_ACTOR, table(w, AT.PRODUCER, p)))
            if target == me:
                acknowledge(w, p)
            else:
                send(w, target, 2 * p + ACK)


@inline
def arrive(w: int, e: int) -> None:
    """A Req: the edge has one full slot more."""
    column(w, AT.FULL)[e] += 1
    if at(w, AT.WAITING, e):
        found(w, e)


@inline
def acknowledge(w: int, e: int) -> None:
    """An Ack: the reader of edge `e` has handed back the oldest slot it had."""
    p = table(w, AT.PRODUCER, e)
    acked = column(w, AT.ACKED)
    slot = acked[e]
    acked[e] = slot + 1 if slot + 1 < table(w, AT.SLOTS, p) else 0
    owed = column(w, AT.OWED)
    place = table(w, AT.OWED_START, p) + slot
    owed[place] -= 1
    if owed[place] == 0:
        if constant(w, AT.RECORDING):
            record(w, FREE, table(w, AT.REGISTER, p), slot, now(w), 0)
        if at(w, AT.WAITING, p) and slot == at(w, AT.NEXT, p):
            found(w, p)


@inline
def found(w: int, p: int) -> None:
    """Port `p` has the slot it waited for."""
    a = table(w, AT.PORT_ACTOR, p)
    missing = column(w, AT.MISSING)
    put(w, AT.WAITING, p, 0)
    missing[a] -= 1
    if missing[a] == 0 and at(w, AT.ACT, a) < at(w, AT.LIMIT, a):
        wake(w, a)
