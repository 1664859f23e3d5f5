"""Routines by name: compiled where the cache lacks them, loaded into this process once.

A routine is named ``module:function`` or ``module:function:arguments`` (the function takes the arguments, strings, and returns
the kernel), or by its whole source: text of several lines that defines ``kernel(block)``. The cache holds one object file a
routine; its name is a hash of the routine, the modules it is made from, the CPU, and the numba version.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from oflow.errors import KernelMissing
from oflow.live.phases import phase
from oflow.native import builders

PACKAGE = __package__.partition(".")[0]
WIDE = "-prefer-256-bit"
"""LLVM prefers 256-bit vectors on CPUs where 512 bits are faster for these loops."""
PARALLEL_BUILDS = 8
"""Routines from which a build is worth a second process."""


@cache
def available() -> bool:
    """Whether numba is installed, so that routines can be built and loaded."""
    return all(importlib.util.find_spec(name) is not None for name in ("numba", "llvmlite"))


def addresses(routines: Iterable[str]) -> dict[str, int]:
    """The address of each routine; what the cache lacks is compiled first (about 0.2 s a routine, once a machine).

    Raises KernelMissing where numba is missing or a routine does not compile.
    """
    wanted = list(dict.fromkeys(routines))
    if not available():
        raise KernelMissing("compiled kernels need numba; install it with pip install 'oflow[native]', or use executor='threads'")
    build([r for r in wanted if not object_path(r).exists()])
    return {routine: _load(routine) for routine in wanted}


# ---------------------------------------------------------------- the cache


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "oflow"


@cache
def cpu() -> tuple[str, str]:
    """Name and features of this machine's CPU, as LLVM writes them."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features().flatten()
    return llvm.get_host_cpu_name(), f"{features},{WIDE}" if "+avx512f" in features else features


@cache
def _toolchain() -> str:
    """What turns any routine into code: the CPU, Python, numba, and how routines are compiled."""
    made_with = [*cpu(), importlib.metadata.version("numba"), sys.version_info[:2]]
    return json.dumps(made_with) + "".join(_text(f"{__package__}.{name}") for name in ("build", "intrinsics"))


@cache
def _text(module: str) -> str:
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).read_text() if spec is not None and spec.origin is not None else ""


@cache
def _sources(module: str) -> str:
    """The text of a module and of all modules of this package that it imports, and that they import."""
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen[name] = _text(name)
            waiting += re.findall(rf"^from ({PACKAGE}[\w.]*) import", seen[name], re.MULTILINE)
    return "".join(seen[name] for name in sorted(seen))


@cache
def symbol(routine: str) -> str:
    """The routine's name in its object file, which is the file's name too."""
    sources = "" if "\n" in routine else _sources(routine.partition(":")[0])
    return "oflow_" + hashlib.sha256(f"{_toolchain()}\n{sources}\n{routine}".encode()).hexdigest()[:32]


def object_path(routine: str) -> Path:
    return cache_folder() / f"{symbol(routine)}.o"


def build(routines: Sequence[str]) -> None:
    """Compile routines into the cache, in child processes: numba is told there which CPU to compile for."""
    if not routines:
        return
    cache_folder().mkdir(parents=True, exist_ok=True)
    name, features = cpu()
    count = min(os.cpu_count() or 1, -(-len(routines) // PARALLEL_BUILDS))
    shares = [[(r, str(object_path(r)), symbol(r)) for r in routines[i::count]] for i in range(count)]
    paths = [object_path(routine) for routine in routines]
    share = (lambda: sum(path.exists() for path in paths) / len(paths)) if len(paths) > 1 else None
    with phase(f"compile {len(paths)} routine{'s' * (len(paths) > 1)}", share):
        failures = builders.run(shares, {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features})
    if failures:
        raise KernelMissing("a kernel could not be compiled:\n" + "\n".join(failures))


# ---------------------------------------------------------------- loading


@cache
def _engine() -> Any:
    """The process's loader."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


@cache
def _load(routine: str) -> int:
    import llvmlite.binding as llvm

    engine = _engine()
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(object_path(routine).read_bytes()))
    engine.finalize_object()
    return int(engine.get_function_address(symbol(routine)))
