"""Which actor of a worker's streams goes next: by the stream's order, else by priority. The twin of `oflow.actors.streams`."""

from __future__ import annotations

from numba import njit

from oflow.actors.native.fields import AT
from oflow.actors.native.machine.words import BYTES, at, column, constant, inline, put, table
from oflow.native.intrinsics import words


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
