"""Compiled loops of the calibration: calls repeated without Python between them, and a word handed to and fro.

Imported by numba's process only.
"""

from __future__ import annotations

from oflow.native.intrinsics import call, load_acquire, pause, store_release, words


def repeat(block: int) -> int:
    """Words: rounds, number of calls, then (routine, argument block) of each; the first status but 0 ends it."""
    q = words(block)
    rounds, count = q[0], q[1]
    for _ in range(rounds):
        for i in range(count):
            status = call(q[2 + 2 * i], q[3 + 2 * i])
            if status:
                return status
    return 0


def exchange(block: int) -> int:
    """Words: rounds, address of the own word, of the partner's, 1 where the own word goes first, patience.

    Each round one side counts its word up, and the other answers. Returns 1 where the partner has not answered in time.
    """
    q = words(block)
    rounds, mine, theirs, first, patience = q[0], q[1], q[2], q[3], q[4]
    for i in range(1, rounds + 1):
        if first:
            store_release(mine, i)
        waited = 0
        while load_acquire(theirs) < i:
            pause()
            waited += 1
            if waited > patience:
                return 1
        if not first:
            store_release(mine, i)
    return 0
