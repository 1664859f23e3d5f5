"""Measuring a machine: rates of matrix products by shape, of memory by size, of every kernel that has its own, and hand-over.

Kernels are timed as plans run them: compiled where there is a form, NumPy's where there is none, one thread each.
"""

from oflow.calibrate.measure import measure

__all__ = ["measure"]
