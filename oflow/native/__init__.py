"""Machine code: Python functions compiled once by numba in a child process, cached as object files, loaded by address.

A routine is a function ``(block) -> status`` over one argument block: `block` is the address of 64-bit words (addresses,
sizes, bits of numbers), status 0 says that all is well. `library.addresses` gives the address of each routine asked for; it
needs llvmlite only, so a process with a warm cache never imports numba. `intrinsics` is what routines are written with.
"""

from oflow.native.library import addresses, available

__all__ = ["addresses", "available"]
