"""The native driver: the actor protocol compiled, over a plan as arrays."""

from oflow.actors.native.compiled import Compiled
from oflow.actors.native.processes import processes, shared_bytes
from oflow.actors.native.rehearse import rehearse
from oflow.actors.native.session import native

__all__ = ["Compiled", "native", "processes", "rehearse", "shared_bytes"]
