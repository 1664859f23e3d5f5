"""The compiled twin of `oflow.actors.actor` and its streams: one loop a worker, over a plan as arrays.

The rules are those of ``actor.py``; read it first. What differs is how they are kept: a slot counts the acks it is owed (a ring
neither loses nor repeats nor reorders), an in port counts its full slots, an actor counts the ports it waits for. A message
is a word in the ring between two workers; on one worker it is a few stores. Imported by numba's process only.

`w` is the address of the worker's world (see `fields`), `a` an actor row, `p` a port, `e` an edge (its in port).
"""

from __future__ import annotations

from typing import Any

from numba import njit

from oflow.actors.native.fields import (
    ACK,
    AT,
    BUSY_ENOUGH,
    FAILED,
    FREE,
    FULL_RECORDS,
    FULL_SLOT,
    IDLE,
    PYTHON,
    READY,
    RECORD_WORDS,
    REQ,
    RING_ENTRIES,
    RING_HEAD,
    RING_TAIL,
    SPACING,
    SPAN,
    STOPPED,
    TICK,
    TICK_NANOSECONDS,
    WRITE,
)  # fmt: skip
from oflow.arrays import FIRST, LATER
from oflow.native.intrinsics import call, call_c, exchange, fence, fetch_add, fixed, load_acquire, pause, store_release, words

inline = njit(forceinline=True)
DOUBTED = 16
"""Short acts after which a worker makes sure that nobody sleeps on its messages."""
BYTES = 8


@inline
def column(w: int, field: int) -> Any:
    """The array that a field of the world names."""
    return words(fixed(w + BYTES * field))


@inline
def at(w: int, field: int, index: int) -> int:
    return column(w, field)[index]


@inline
def table(w: int, field: int, index: int) -> int:
    """An entry of a table or program: fixed for the whole run."""
    return fixed(fixed(w + BYTES * field) + BYTES * index)


@inline
def put(w: int, field: int, index: int, value: int) -> None:
    column(w, field)[index] = value


@inline
def constant(w: int, field: int) -> int:
    """A number of the world that is set before the run."""
    return fixed(w + BYTES * field)


# ---------------------------------------------------------------- one actor


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


# ---------------------------------------------------------------- streams


@inline
def wake(w: int, a: int) -> None:
    """`a` became ready: its stream is queued if it is idle and wants it."""
    if table(w, AT.CALLED, a):
        return
    s = table(w, AT.STREAM, a)
    start = table(w, AT.ORDER_START, s)
    if table(w, AT.ORDER_START, s + 1) == start:
        heap_push(w, s, a)
    elif table(w, AT.ORDER, start + at(w, AT.POINTER, s)) != a:
        return
    if at(w, AT.IDLE, s):
        put(w, AT.IDLE, s, 0)
        enqueue(w, s)


@inline
def enqueue(w: int, s: int) -> None:
    place = words(w)[AT.QUEUE_HEAD] + words(w)[AT.QUEUE_COUNT]
    put(w, AT.QUEUE, place - constant(w, AT.QUEUE_SIZE) if place >= constant(w, AT.QUEUE_SIZE) else place, s)
    words(w)[AT.QUEUE_COUNT] += 1


@inline
def choose(w: int) -> int:
    """The actor that goes now, -1 if there is none, -2 if the members of a rendezvous go together: they are in GOING."""
    going = column(w, AT.GOING)
    while words(w)[AT.QUEUE_COUNT] > 0:
        head = words(w)[AT.QUEUE_HEAD]
        s = at(w, AT.QUEUE, head)
        words(w)[AT.QUEUE_HEAD] = head + 1 if head + 1 < constant(w, AT.QUEUE_SIZE) else 0
        words(w)[AT.QUEUE_COUNT] -= 1
        start = table(w, AT.ORDER_START, s)
        ordered = table(w, AT.ORDER_START, s + 1) > start
        a = table(w, AT.ORDER, start + at(w, AT.POINTER, s)) if ordered else heap_pop(w, s)
        group = table(w, AT.MEETING, a)
        if group < 0:
            return a
        met = column(w, AT.MET)
        met[group] += 1
        first, last = table(w, AT.GROUP_START, group), table(w, AT.GROUP_START, group + 1)
        if met[group] == last - first:
            met[group] = 0
            for k in range(first, last):
                going[k - first] = table(w, AT.GROUP, k)
            words(w)[AT.GOING_COUNT], words(w)[AT.GOING_AT], words(w)[AT.GOING_CALL] = last - first, 0, -1
            return -2
    return -1


@inline
def release(w: int, a: int) -> None:
    """The stream of `a` may go on; called before any message of the act is delivered, so that nobody is woken twice."""
    s = table(w, AT.STREAM, a)
    start = table(w, AT.ORDER_START, s)
    length = table(w, AT.ORDER_START, s + 1) - start
    if length > 0:
        pointer = at(w, AT.POINTER, s) + 1
        if pointer == length:
            pointer = 0
        put(w, AT.POINTER, s, pointer)
        going = ready(w, table(w, AT.ORDER, start + pointer))
    else:
        if ready(w, a):
            heap_push(w, s, a)
        going = at(w, AT.HEAP_SIZE, s) > 0
    if going:
        enqueue(w, s)
    else:
        put(w, AT.IDLE, s, 1)


@inline
def ready(w: int, a: int) -> bool:
    return at(w, AT.MISSING, a) == 0 and at(w, AT.ACT, a) < at(w, AT.LIMIT, a)


@inline
def before(w: int, a: int, b: int) -> bool:
    """Which of two ready actors goes first where no order is given: by priority, then fewest acts, then row."""
    if table(w, AT.PRIORITY, a) != table(w, AT.PRIORITY, b):
        return table(w, AT.PRIORITY, a) > table(w, AT.PRIORITY, b)
    if at(w, AT.ACT, a) != at(w, AT.ACT, b):
        return at(w, AT.ACT, a) < at(w, AT.ACT, b)
    return a < b


@njit
def heap_push(w: int, s: int, a: int) -> None:
    heap = words(constant(w, AT.HEAP) + BYTES * table(w, AT.HEAP_START, s))
    sizes = column(w, AT.HEAP_SIZE)
    place = sizes[s]
    sizes[s] = place + 1
    while place > 0 and before(w, a, heap[(place - 1) // 2]):
        heap[place] = heap[(place - 1) // 2]
        place = (place - 1) // 2
    heap[place] = a


@njit
def heap_pop(w: int, s: int) -> int:
    heap = words(constant(w, AT.HEAP) + BYTES * table(w, AT.HEAP_START, s))
    sizes = column(w, AT.HEAP_SIZE)
    top = heap[0]
    size = sizes[s] - 1
    sizes[s] = size
    last, place = heap[size], 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and before(w, heap[child + 1], heap[child]):
            child += 1
        if not before(w, heap[child], last):
            break
        heap[place] = heap[child]
        place = child
    heap[place] = last
    return top


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


# ---------------------------------------------------------------- programs


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
    if constant(w, AT.RECORDING):
        words(w)[AT.STARTED] = now(w)
    take(w, a)
    patch(w, a)


@inline
def over(w: int, a: int) -> None:
    """The program of `a` has run."""
    if constant(w, AT.RECORDING):
        record(w, SPAN, a, at(w, AT.ACT, a), words(w)[AT.STARTED], now(w))
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


@inline
def drained(w: int) -> bool:
    """Whether the caller waits for the end of some steps, and every worker has finished them."""
    if words(w)[AT.DRAINING] == 0:
        return False
    for n in range(constant(w, AT.WORKERS)):
        if load_acquire(constant(w, AT.FINISHED) + BYTES * SPACING * n) < words(w)[AT.DRAINING]:
            return False
    return True


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


# ---------------------------------------------------------------- messages between workers


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


# ---------------------------------------------------------------- time and records


@njit
def now(w: int) -> int:
    """Nanoseconds of the monotonic clock."""
    clock = column(w, AT.CLOCK)
    call_c(constant(w, AT.CLOCK_GETTIME), 1, constant(w, AT.CLOCK) + 2 * BYTES, 0, 0, 0, 0)
    return clock[2] * 1_000_000_000 + clock[3]


@njit
def record(w: int, kind: int, a: int, b: int, c: int, d: int) -> None:
    entry = words(constant(w, AT.RECORDS) + BYTES * RECORD_WORDS * words(w)[AT.RECORD_COUNT])
    entry[0], entry[1], entry[2], entry[3], entry[4] = kind, a, b, c, d
    words(w)[AT.RECORD_COUNT] += 1


@njit
def note_full(w: int, p: int) -> None:
    register, slot, time = table(w, AT.REGISTER, p), at(w, AT.HELD, p), now(w)
    record(w, FULL_SLOT, register, slot, time, 0)
    if table(w, AT.READER_START, p) == table(w, AT.READER_START, p + 1):
        record(w, FREE, register, slot, time, 0)


@inline
def tick(w: int) -> bool:
    """Whether it is time to let Python look at signals; the clock is read once in a while only."""
    if words(w)[AT.BUSY] < BUSY_ENOUGH:
        return False
    words(w)[AT.BUSY] = 0
    return now(w) - words(w)[AT.BUDGET_START] > TICK_NANOSECONDS


# ---------------------------------------------------------------- the loop


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


@njit
def work(w: int) -> int:
    """Act, receive and rest until something concerns Python; returns what."""
    event = loop(w)
    if words(w)[AT.DOUBT]:
        settle(w)
    return event


@inline
def loop(w: int) -> int:
    words(w)[AT.BUDGET_START] = now(w)
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
            elif rest(w):
                continue
            else:
                return IDLE if load_acquire(constant(w, AT.AWAKE)) == 0 and not pending(w) else TICK
        if stopped:
            return stopped
        if tick(w):
            return TICK


def worker(w: int) -> int:
    """Run a worker's world until something concerns Python."""
    return work(w)


def host(w: int) -> int:
    """The caller has run host actor ROW: its slots are taken and handed on."""
    take(w, words(w)[AT.ROW])
    tell(w, finish(w, words(w)[AT.ROW], 0))
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


def program(w: int) -> int:
    """Run the program of ROW on the slots in HELD, from CALL: for drivers whose actors are Python's."""
    patch(w, words(w)[AT.ROW])
    return run_program(w, words(w)[AT.ROW], words(w)[AT.CALL])
