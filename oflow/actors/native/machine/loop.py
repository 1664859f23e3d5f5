"""The compiled twin of `oflow.actors.actor`: one loop a worker, over a plan as arrays.

Read ``actor.py`` first; the rules are the same, `slots` says how they are kept here. The entry points, at the end, are routines over
a worker's world. Imported by numba's process only, like all of this folder.
"""

from __future__ import annotations

from numba import njit

from oflow.actors.native.fields import (
    ACK,
    AT,
    FAILED,
    FULL_RECORDS,
    IDLE,
    PYTHON,
    READY,
    RING_ENTRIES,
    RING_HEAD,
    RING_TAIL,
    SPACING,
    SPAN,
    STOPPED,
    TICK,
)
from oflow.actors.native.machine.records import count_work, look, now, record, tick
from oflow.actors.native.machine.rings import drained, pending, rest, rouse, settle
from oflow.actors.native.machine.slots import acknowledge, arrive, finish, take, tell
from oflow.actors.native.machine.streams import before, choose, ready, release, wake
from oflow.actors.native.machine.words import BYTES, at, column, constant, inline, put, table
from oflow.arrays import FIRST, LATER
from oflow.native.intrinsics import call, exchange, load_acquire, store_release, words

DOUBTED = 16
"""Short acts after which a worker makes sure that nobody sleeps on its messages."""


@njit
def admit(w: int, steps: int) -> None:
    """Allow all acts of the first `steps` steps."""
    words(w)[AT.SEEN_STEPS] = steps
    for n in range(constant(w, AT.OWN_COUNT)):
        a = table(w, AT.OWN_ACTORS, n)
        if table(w, AT.CALLED, a):
            continue
        capped = at(w, AT.ACT, a) >= at(w, AT.LIMIT, a)
        words(w)[AT.LEFT] += steps * table(w, AT.ACTS, a) - at(w, AT.LIMIT, a)
        put(w, AT.LIMIT, a, steps * table(w, AT.ACTS, a))
        if capped and ready(w, a):
            wake(w, a)


@inline
def receive(w: int) -> bool:
    """Take in all messages that have come; False if there was none."""
    any_message = False
    for n in range(constant(w, AT.SOURCE_COUNT)):
        ring = table(w, AT.SOURCES, n)
        head, tail = words(ring)[RING_HEAD], load_acquire(ring + BYTES * RING_TAIL)
        if head != tail:
            any_message = True
            mask = words(ring)[RING_HEAD + 1]
            while head != tail:
                message = words(ring)[RING_ENTRIES + (head & mask)]
                head += 1
                if message & 1 == ACK:
                    acknowledge(w, message >> 1)
                else:
                    arrive(w, message >> 1)
            store_release(ring + BYTES * RING_HEAD, head)
    return any_message


@inline
def patch(w: int, a: int) -> None:
    """Point the argument blocks at the slots, and the parts of slots, that this act holds."""
    held, phase = column(w, AT.HELD), column(w, AT.PHASE)
    for n in range(table(w, AT.PATCH_START, a), table(w, AT.PATCH_START, a + 1)):
        p = table(w, AT.PATCH_PORT, n)
        address = table(w, AT.PATCH_BASE, n) + held[p] * table(w, AT.PATCH_STRIDE, n)
        if table(w, AT.PATCH_PART, n):
            address += phase[p] * table(w, AT.PATCH_PART, n)
        words(table(w, AT.PATCH_WORD, n))[0] = address


@inline
def run_program(w: int, a: int, first: int) -> int:
    """Run the calls of an actor from `first`; returns 0, or PYTHON or FAILED with ROW and CALL set."""
    end = table(w, AT.CALL_START, a + 1)
    c = first
    while c < end:
        when = table(w, AT.WHEN, c)
        if when:
            later = at(w, AT.PHASE, table(w, AT.WINDOW, c)) != 0
            if (when == FIRST and later) or (when == LATER and not later):
                c += 1
                continue
        routine = table(w, AT.ROUTINE, c)
        if routine == 0:
            words(w)[AT.ROW], words(w)[AT.CALL], words(w)[AT.CALL_END] = a, c, table(w, AT.SKIP, c)
            return PYTHON
        status = call(routine, table(w, AT.BLOCK, c))
        if status:
            words(w)[AT.ROW], words(w)[AT.CALL], words(w)[AT.STATUS] = a, c, status
            return FAILED
        c += 1
    return 0


@inline
def begin(w: int, a: int) -> None:
    if words(w)[AT.DOUBT] and (words(w)[AT.DOUBT] > DOUBTED or table(w, AT.WEIGHT, a) > 1):
        settle(w)
    elif words(w)[AT.DOUBT]:
        words(w)[AT.DOUBT] += 1
    look(w)
    if constant(w, AT.RECORDING):
        words(w)[AT.STARTED] = now(w)
    take(w, a)
    patch(w, a)


@inline
def over(w: int, a: int) -> None:
    """The program of `a` has run."""
    if constant(w, AT.RECORDING):
        record(w, SPAN, a, at(w, AT.ACT, a), words(w)[AT.STARTED], now(w))
    count_work(w, a)
    words(w)[AT.BUSY] += table(w, AT.WEIGHT, a)
    words(w)[AT.LEFT] -= 1


@inline
def go(w: int, a: int) -> int:
    """One act; 0, or PYTHON or FAILED, after which `resume` goes on."""
    begin(w, a)
    stopped = run_program(w, a, table(w, AT.CALL_START, a))
    if stopped:
        column(w, AT.GOING)[0] = a
        words(w)[AT.GOING_COUNT], words(w)[AT.GOING_AT] = 1, 0
        return stopped
    over(w, a)
    ended = finish(w, a, 0)
    release(w, a)
    tell(w, ended)
    if words(w)[AT.LEFT] == 0:
        through(w)
    return 0


@njit
def resume(w: int) -> int:
    """Run the actors in GOING from where the last one stopped; when all are through they hand on as one."""
    going = column(w, AT.GOING)
    while words(w)[AT.GOING_AT] < words(w)[AT.GOING_COUNT]:
        a = going[words(w)[AT.GOING_AT]]
        if words(w)[AT.GOING_CALL] < 0:
            begin(w, a)
            words(w)[AT.GOING_CALL] = table(w, AT.CALL_START, a)
        stopped = run_program(w, a, words(w)[AT.GOING_CALL])
        if stopped:
            return stopped
        over(w, a)
        words(w)[AT.GOING_AT] += 1
        words(w)[AT.GOING_CALL] = -1
    count = words(w)[AT.GOING_COUNT]
    words(w)[AT.GOING_COUNT] = 0
    hand_on_together(w, count)
    if words(w)[AT.LEFT] == 0:
        through(w)
    return 0


@njit
def through(w: int) -> None:
    """All admitted acts are made: tell the caller, who may be waiting for just that."""
    store_release(constant(w, AT.FINISHED) + BYTES * SPACING * constant(w, AT.ME), words(w)[AT.SEEN_STEPS])
    if not constant(w, AT.ALONE):
        rouse(w, constant(w, AT.WORKERS))


@njit
def hand_on_together(w: int, count: int) -> None:
    """A rendezvous: every member finishes and frees its stream before any message is delivered."""
    going = column(w, AT.GOING)
    ended = 0
    for n in range(count):
        ended = finish(w, going[n], ended)
    for n in range(count):
        release(w, going[n])
    tell(w, ended)


@njit
def hand_on_host(w: int) -> None:
    a = words(w)[AT.PENDING]
    if a >= 0:
        words(w)[AT.PENDING] = -1
        take(w, a)
        tell(w, finish(w, a, 0))


@inline
def wanted_host(w: int) -> int:
    """The host actor that the caller waits for and that can act (by priority, fewest acts, row), or -1."""
    best = -1
    for n in range(words(w)[AT.WANTED_COUNT]):
        a = at(w, AT.WANTED, n)
        if ready(w, a) and (best < 0 or before(w, a, best)):
            best = a
    return best


@inline
def react(w: int) -> bool:
    """Take in steps that were admitted and messages that have come; True when the run is stopped."""
    if load_acquire(constant(w, AT.STOP)):
        return True
    if load_acquire(constant(w, AT.STEPS)) != words(w)[AT.SEEN_STEPS]:
        admit(w, load_acquire(constant(w, AT.STEPS)))
    receive(w)
    return False


@inline
def rest_from_work(w: int) -> bool:
    words(w)[AT.LOOKED] = 0
    return rest(w)


@njit
def work(w: int) -> int:
    """Act, receive and rest until something concerns Python; returns what."""
    words(w)[AT.BUDGET_START] = now(w)
    if words(w)[AT.GOING_COUNT] == 0:  # no act is under way
        words(w)[AT.LOOKED] = words(w)[AT.BUDGET_START]
    event = loop(w)
    if words(w)[AT.DOUBT]:
        settle(w)
    return event


@inline
def loop(w: int) -> int:
    while True:
        if react(w):
            return STOPPED
        host = wanted_host(w)
        if host >= 0:
            words(w)[AT.ROW] = host
            return READY
        if constant(w, AT.RECORDING) and words(w)[AT.RECORD_COUNT] + constant(w, AT.RECORD_ROOM) > constant(w, AT.RECORD_CAPACITY):
            return FULL_RECORDS
        if words(w)[AT.GOING_COUNT] > 0:
            stopped = resume(w)
        else:
            a = choose(w)
            if a >= 0:
                stopped = go(w, a)
            elif a == -2:
                stopped = resume(w)
            elif constant(w, AT.ALONE) or drained(w):
                return IDLE
            elif rest_from_work(w):
                continue
            else:
                return IDLE if load_acquire(constant(w, AT.AWAKE)) == 0 and not pending(w) else TICK
        if stopped:
            return stopped
        if tick(w):
            return TICK


def worker(w: int) -> int:
    """Run a worker's world until something concerns Python. PENDING, if not -1: the host actor that the caller has just run."""
    hand_on_host(w)
    return work(w)


def host(w: int) -> int:
    """The caller has run host actor PENDING: its slots are taken and handed on."""
    hand_on_host(w)
    if words(w)[AT.DOUBT]:
        settle(w)
    return 0


def stop(w: int) -> int:
    """End the run: every worker sees it within a tick, those that sleep at once."""
    exchange(constant(w, AT.STOP), 1)
    for target in range(constant(w, AT.WORKERS) + 1):
        rouse(w, target)
    return 0


def admit_steps(w: int) -> int:
    """Publish that STATUS steps are admitted, and wake everyone."""
    exchange(constant(w, AT.STEPS), words(w)[AT.STATUS])
    for target in range(constant(w, AT.WORKERS)):
        rouse(w, target)
    return 0
