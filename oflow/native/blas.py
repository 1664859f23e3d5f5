"""The products of matrices of a BLAS library, as addresses in this process: NumPy's own OpenBLAS, or MKL from its wheel."""

from __future__ import annotations

import ctypes
import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from oflow.errors import KernelMissing

PREFIXES = {64: ("scipy_cblas_{}64_", "cblas_{}64_"), 32: ("scipy_cblas_{}", "cblas_{}")}
"""Names of a C function of BLAS by the width of its whole numbers: NumPy's wheels, plain OpenBLAS and MKL."""
LETTERS = {"float32": "s", "float64": "d"}
FUNCTIONS = ("gemm", "gemv")


@dataclass(frozen=True, slots=True)
class Blas:
    """A library and its products: "gemm.float32" and the like (matrices), "gemv.float32" (matrix by vector) -> address of
    cblas_sgemm and the like in this process; `integer_bits`: width of the whole numbers that its functions take."""

    provider: str
    path: str
    integer_bits: int
    functions: Mapping[str, int]


@cache
def blas(provider: str = "numpy") -> Blas:
    """The BLAS of a provider, "numpy" or "mkl". Raises KernelMissing, with what to install, where there is none."""
    if provider not in PROVIDERS:
        raise KernelMissing(f"no BLAS provider {provider!r}; there are {', '.join(PROVIDERS)}")
    find, remedy = PROVIDERS[provider]
    for path in find():
        if found := _read(provider, path):
            return found
    raise KernelMissing(f"no BLAS of {provider!r} with cblas_sgemm was found; {remedy}")


def symbol(name: str, provider: str = "numpy") -> int:
    """The address that a word Symbol(name) stands for in this process, e.g. "gemm.float32". Raises KernelMissing."""
    functions = blas(provider).functions
    if name not in functions:
        raise KernelMissing(f"no function {name!r}; there are {', '.join(functions)}")
    return functions[name]


def _read(provider: str, path: Path) -> Blas | None:
    """What a library has; the handle stays open for the life of the process (ctypes never closes one)."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        return None
    wanted = {f"{function}.{dtype}": letter + function for function in FUNCTIONS for dtype, letter in LETTERS.items()}
    for bits, names in PREFIXES.items():
        for pattern in names:
            found = {name: getattr(library, pattern.format(suffix), None) for name, suffix in wanted.items()}
            if all(found.values()):
                addresses = {name: ctypes.cast(f, ctypes.c_void_p).value or 0 for name, f in found.items() if f is not None}
                return Blas(provider, str(path), bits, addresses)
    return None


def _numpy_libraries() -> Iterable[Path]:
    """Beside NumPy's package in its wheels; else what is loaded already (a NumPy built against the system's BLAS)."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        yield from sorted(path for path in folder.glob("*openblas*") if path.is_file())
    from threadpoolctl import threadpool_info

    yield from (Path(pool["filepath"]) for pool in threadpool_info() if pool["user_api"] == "blas")


def _mkl_libraries() -> Iterable[Path]:
    """`libmkl_rt` of the wheel `mkl`, which keeps it in lib/ of the environment."""
    try:
        files = importlib.metadata.files("mkl") or ()
    except importlib.metadata.PackageNotFoundError:
        return
    yield from sorted(Path(str(file.locate())) for file in files if "mkl_rt" in file.name)


PROVIDERS = {
    "numpy": (_numpy_libraries, "install NumPy from its wheel: pip install numpy"),
    "mkl": (_mkl_libraries, "pip install mkl"),
}
