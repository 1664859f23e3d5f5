"""Machine code of the loops: the same functions, over pointers. Imported by numba's process only."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from numba import njit

from oflow.check.loops.play import play_step
from oflow.check.loops.potentials import raised_cycles, sweep
from oflow.check.loops.turns import clock, takeovers
from oflow.native.intrinsics import words

LOOPS = {loop.__name__: loop for loop in (play_step, sweep, raised_cycles, takeovers, clock)}


def kernel(name: str) -> Callable[[int], int]:
    """The routine of the loop `name`: the words of its argument block are the addresses of its columns."""
    module = LOOPS[name].__globals__
    room: dict[str, Any] = {**module, "words": words}
    for key, found in module.items():
        if isinstance(found, FunctionType) and found.__module__ == module["__name__"]:
            room[key] = njit(error_model="numpy", fastmath=False)(FunctionType(found.__code__, room, key))
    columns = ", ".join(f"words(q[{i}])" for i in range(LOOPS[name].__code__.co_argcount))
    exec(f"def kernel(block):\n    q = words(block)\n    return {name}({columns})\n", room)
    made: Callable[[int], int] = room["kernel"]
    return made
