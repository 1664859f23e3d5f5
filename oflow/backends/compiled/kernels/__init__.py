"""The kernels: numba code over argument blocks. Imported only by the process that compiles them (see `oflow.native`).

A kernel factory takes a dtype name and returns ``kernel(block) -> status``: 0, or a `Status` that the driver turns into the
error of the NumPy kernel. Kernels read `block` through `words`, never allocate, never raise, and give the same bits for the
same shapes whatever runs beside them.
"""
