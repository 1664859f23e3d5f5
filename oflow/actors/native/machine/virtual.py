"""Virtual time: acts run no programs and take the seconds that a machine gives them. The twin of `oflow.actors.simulator.VirtualTime`.

Times are the bits of float64 numbers >= 0, which are in order as integers too. The agenda is a heap of the acts that run.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from oflow.actors.native.fields import AGENDA_WORDS, AT, IDLE, SPAN_WORDS
from oflow.actors.native.machine.loop import admit
from oflow.actors.native.machine.slots import finish, take, tell
from oflow.actors.native.machine.streams import choose, release
from oflow.actors.native.machine.words import BYTES, at, column, constant, inline, table
from oflow.native.intrinsics import bits_of_float64, float64_of_bits, load_acquire, words


@inline
def entry(w: int, n: int) -> Any:
    """Place `n` of the agenda."""
    return words(constant(w, AT.AGENDA) + BYTES * AGENDA_WORDS * n)


@inline
def before(w: int, n: int, stop: int, number: int) -> bool:
    """Whether place `n` of the agenda goes before an act that stops then and was started as the `number`-th."""
    act = entry(w, n)
    return act[0] < stop or (act[0] == stop and act[1] < number)


@inline
def move(w: int, source: int, target: int) -> None:
    one, other = entry(w, source), entry(w, target)
    other[0], other[1], other[2] = one[0], one[1], one[2]


@njit
def push(w: int, stop: int, key: int) -> None:
    """Note that an actor (key: its row) or a rendezvous (key: -1 - its number) stops at that time."""
    place, number = words(w)[AT.AGENDA_COUNT], words(w)[AT.BEGUN]
    words(w)[AT.AGENDA_COUNT], words(w)[AT.BEGUN] = place + 1, number + 1
    while place > 0 and not before(w, (place - 1) // 2, stop, number):
        move(w, (place - 1) // 2, place)
        place = (place - 1) // 2
    act = entry(w, place)
    act[0], act[1], act[2] = stop, number, key


@njit
def pop(w: int) -> int:
    """Take the first act off the agenda; returns its key."""
    key, size = entry(w, 0)[2], words(w)[AT.AGENDA_COUNT] - 1
    words(w)[AT.AGENDA_COUNT] = size
    last = entry(w, size)
    stop, number, place = last[0], last[1], 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size:
            right = entry(w, child + 1)
            child += not before(w, child, right[0], right[1])
        if not before(w, child, stop, number):
            break
        move(w, child, place)
        place = child
    if size:
        move(w, size, place)
    return key


@inline
def begin(w: int, a: int, stop: int) -> None:
    span = words(constant(w, AT.SPANS) + BYTES * SPAN_WORDS * words(w)[AT.SPAN_COUNT])
    words(w)[AT.SPAN_COUNT] += 1
    take(w, a)
    span[0], span[1], span[2], span[3] = a, at(w, AT.ACT, a), words(w)[AT.TIME], stop


@njit
def start_all(w: int) -> None:
    """Start every act that can start now; the members of a rendezvous stop together."""
    seconds, going = column(w, AT.SECONDS), column(w, AT.GOING)
    now = float64_of_bits(words(w)[AT.TIME])
    a = choose(w)
    while a != -1:
        if a >= 0:
            stop = bits_of_float64(now + float64_of_bits(seconds[a]))
            begin(w, a, stop)
            push(w, stop, a)
        else:
            longest = 0
            for n in range(words(w)[AT.GOING_COUNT]):
                longest = max(longest, seconds[going[n]])
            stop = bits_of_float64(now + float64_of_bits(longest))
            for n in range(words(w)[AT.GOING_COUNT]):
                begin(w, going[n], stop)
            push(w, stop, -1 - table(w, AT.MEETING, going[0]))
            words(w)[AT.GOING_COUNT] = 0
        a = choose(w)


@njit
def stop_next(w: int) -> None:
    """Go to the time at which the next acts stop; all of them finish and free their streams before any message is delivered."""
    words(w)[AT.TIME] = entry(w, 0)[0]
    ended = 0
    while words(w)[AT.AGENDA_COUNT] > 0 and entry(w, 0)[0] == words(w)[AT.TIME]:
        key = pop(w)
        if key >= 0:
            ended = finish(w, key, ended)
            release(w, key)
        else:
            first, last = table(w, AT.GROUP_START, -1 - key), table(w, AT.GROUP_START, -key)
            for k in range(first, last):
                ended = finish(w, table(w, AT.GROUP, k), ended)
            for k in range(first, last):
                release(w, table(w, AT.GROUP, k))
    tell(w, ended)


def virtual(w: int) -> int:
    """Run all admitted acts to the end, or until nobody can act."""
    admit(w, load_acquire(constant(w, AT.STEPS)))
    start_all(w)
    while words(w)[AT.AGENDA_COUNT] > 0:
        stop_next(w)
        start_all(w)
    return IDLE
