"""The process that compiles routines: ``python -m oflow.native.build``. Only this process imports numba.

A line of JSON on stdin is a list of jobs [routine, object file to write, symbol]; the answer is a line {"error": ...}.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

IDLE_SECONDS = 20
FASTMATH = {"reassoc", "contract", "nsz", "arcp", "afn"}
"""Not nnan and ninf: checks for NaN and infinity must stay."""


def function_of(routine: str) -> Callable[[int], int]:
    """The Python function behind a routine's name; see `oflow.native.library`."""
    if "\n" in routine:
        room: dict[str, Any] = {}
        exec(compile(routine, "<generated kernel>", "exec"), room)
        return room["kernel"]  # type: ignore[no-any-return]
    module, _, rest = routine.partition(":")
    name, _, arguments = rest.partition(":")
    found = getattr(importlib.import_module(module), name)
    return found(*arguments.split(",")) if arguments else found  # type: ignore[no-any-return]


def compile_routine(routine: str, symbol: str) -> bytes:
    """Object code of the routine as the function `symbol`."""
    import llvmlite.binding as llvm
    from numba import cfunc, types

    llvm.initialize_native_asmparser()  # for inline assembly
    made: Any = cfunc(types.int64(types.int64), fastmath=FASTMATH, error_model="numpy")(function_of(routine))
    library = made._library
    module = library._final_module
    module.get_function(made.native_name).name = symbol
    module.link_in(llvm.parse_assembly(_dead_ends(module)))
    for function in module.functions:
        if not function.is_declaration and function.name != symbol:
            function.linkage = "internal"  # numba's names repeat in other routines, and the loader would take the first of a name
    return bytes(library.codegen._tm.emit_object(module))


def _dead_ends(module: Any) -> str:
    """Bodies for the parts of numba's runtime that the paths of errors name: routines never raise, and run without numba."""
    names = [f.name for f in module.functions if f.is_declaration and f.name.startswith(("numba_", "NRT_"))]
    bodies = [f"define linkonce_odr void @{name}() {{ call void @abort()\n unreachable }}" for name in names]
    return "\n".join(["declare void @abort()", *bodies])


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    while select.select([sys.stdin], [], [], IDLE_SECONDS)[0]:
        line = sys.stdin.readline()
        if not line:
            return
        print(json.dumps({"error": _build(json.loads(line))}), file=answers)


def _build(jobs: list[tuple[str, str, str]]) -> str:
    try:
        for routine, path, symbol in jobs:
            part = Path(f"{path}.{os.getpid()}")
            part.write_bytes(compile_routine(routine, symbol))
            part.replace(path)  # another process may be building the same
    except Exception:
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    main()
