"""Messages between workers, and resting while there are none.

A ring has one writer and one reader and holds all messages that can be under way between them. Who finds nothing to do spins,
yields, then sleeps; who sends to a sleeper wakes it.
"""

from __future__ import annotations

from numba import njit

from oflow.actors.native.fields import AT, RING_ENTRIES, RING_HEAD, RING_TAIL, SPACING, TICK_NANOSECONDS
from oflow.actors.native.machine.words import BYTES, column, constant, inline, table
from oflow.native.intrinsics import call_c, exchange, fence, fetch_add, load_acquire, pause, store_release, words


@njit
def send(w: int, target: int, message: int) -> None:
    """Write into the ring to `target` (it holds all messages that can be under way) and wake its reader if it sleeps."""
    ring = table(w, AT.RINGS, constant(w, AT.ME) * (constant(w, AT.WORKERS) + 1) + target)
    tail = words(ring)[RING_TAIL]
    words(ring)[RING_ENTRIES + (tail & words(ring)[RING_TAIL + 1])] = message
    store_release(ring + BYTES * RING_TAIL, tail + 1)
    if load_acquire(constant(w, AT.PARKED) + BYTES * SPACING * target) == 1:
        wake_worker(w, target)
    elif words(w)[AT.DOUBT] == 0:
        words(w)[AT.DOUBT] = 1


@njit
def settle(w: int) -> None:
    """Look again who sleeps, now that every message sent is visible to them.

    A worker says that it sleeps before it looks at its rings once more, so one of us sees the other (Dekker); but that takes a
    fence, which waits for the other core. So it is done once for several messages: before anything that takes long.
    """
    words(w)[AT.DOUBT] = 0
    fence()
    for target in range(constant(w, AT.WORKERS) + 1):
        if table(w, AT.RINGS, constant(w, AT.ME) * (constant(w, AT.WORKERS) + 1) + target):
            wake_worker(w, target)


@njit
def rouse(w: int, target: int) -> None:
    """Wake a worker that sleeps, after what it has to see."""
    fence()
    wake_worker(w, target)


@njit
def wake_worker(w: int, target: int) -> None:
    parked = constant(w, AT.PARKED) + BYTES * SPACING * target
    if load_acquire(parked) == 1 and exchange(parked, 0) == 1:
        if target < constant(w, AT.WORKERS):
            fetch_add(constant(w, AT.AWAKE), 1)
        call_c(constant(w, AT.SYSCALL), constant(w, AT.FUTEX), parked, 1, 1 << 30, 0, 0)


@inline
def drained(w: int) -> bool:
    """Whether the caller waits for the end of some steps, and every worker has finished them."""
    if words(w)[AT.DRAINING] == 0 or words(w)[AT.LEFT] > 0:
        return False
    for n in range(constant(w, AT.WORKERS)):
        if load_acquire(constant(w, AT.FINISHED) + BYTES * SPACING * n) < words(w)[AT.DRAINING]:
            return False
    return True


@njit
def pending(w: int) -> bool:
    """Whether anything has come that `receive`, `admit` or the end of the run would react to."""
    if load_acquire(constant(w, AT.STOP)) or load_acquire(constant(w, AT.STEPS)) != words(w)[AT.SEEN_STEPS] or drained(w):
        return True
    for n in range(constant(w, AT.SOURCE_COUNT)):
        ring = table(w, AT.SOURCES, n)
        if words(ring)[RING_HEAD] != load_acquire(ring + BYTES * RING_TAIL):
            return True
    return False


@njit
def rest(w: int) -> bool:
    """Nothing to do: spin, then yield, then sleep until a message comes. False when nothing can come (or it is time to look)."""
    if words(w)[AT.DOUBT]:
        settle(w)
    for _ in range(constant(w, AT.SPINS)):
        if pending(w):
            return True
        pause()
    for _ in range(constant(w, AT.YIELDS)):
        if pending(w):
            return True
        call_c(constant(w, AT.YIELD), 0, 0, 0, 0, 0, 0)
    parked = constant(w, AT.PARKED) + BYTES * SPACING * constant(w, AT.ME)
    a_worker = constant(w, AT.ME) < constant(w, AT.WORKERS)
    exchange(parked, 1)
    fence()
    idle = not a_worker and load_acquire(constant(w, AT.AWAKE)) == 0
    if pending(w) or idle:
        if exchange(parked, 0) == 0 and a_worker:
            fetch_add(constant(w, AT.AWAKE), -1)  # somebody counted us awake already
        return pending(w)
    if a_worker and fetch_add(constant(w, AT.AWAKE), -1) == 1:
        rouse(w, constant(w, AT.WORKERS))  # the last one tells the caller that nothing moves any more
    while load_acquire(parked) == 1:
        sleep(w, parked)
        if not a_worker and load_acquire(parked) == 1:
            exchange(parked, 0)
            return False
        if a_worker and orphaned(w):
            exchange(constant(w, AT.STOP), 1)
            return True
    return True


@njit
def orphaned(w: int) -> bool:
    """Whether this is a worker process whose caller has gone."""
    owner = constant(w, AT.OWNER)
    return owner > 0 and call_c(constant(w, AT.GETPPID), 0, 0, 0, 0, 0, 0) & 0x7FFFFFFF != owner


@njit
def sleep(w: int, parked: int) -> None:
    """Sleep while the word at `parked` is 1, at most a tick: a futex where there is one, else a nap."""
    clock = column(w, AT.CLOCK)
    clock[0], clock[1] = 0, TICK_NANOSECONDS
    call_c(constant(w, AT.SYSCALL), constant(w, AT.FUTEX), parked, 0, 1, constant(w, AT.CLOCK), 0)
