"""The machine code of a loop: its module's functions over pointers. Imported by numba's process only."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from numba import njit

from oflow.native.intrinsics import words


def twin(loop: Callable[..., int]) -> Callable[[int], int]:
    """The routine of a loop: the words of its argument block are the addresses of its columns.

    A function of the loop's module may call those above and below it, and those that it imports from modules of its package:
    to them, a name means the same in all these modules.
    """
    package = loop.__globals__["__package__"]
    name, code = loop.__name__, loop.__code__
    room: dict[str, Any] = {}
    functions: dict[str, FunctionType] = {}
    waiting = [loop]
    while waiting:
        module = waiting.pop().__globals__
        room.update(module)
        for key, found in module.items():
            if isinstance(found, FunctionType) and found.__globals__["__package__"] == package and key not in functions:
                functions[key] = found
                waiting.append(found)
    for key, found in functions.items():
        room[key] = njit(error_model="numpy", fastmath=False)(FunctionType(found.__code__, room, key))
    room["words"] = words
    columns = ", ".join(f"words(q[{i}])" for i in range(code.co_argcount))
    exec(f"def kernel(block):\n    q = words(block)\n    return {name}({columns})\n", room)
    made: Callable[[int], int] = room["kernel"]
    return made
