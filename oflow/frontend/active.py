"""The capture that is tracing right now, if any: how a parameter declaration becomes a tensor of the graph under construction."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from oflow.frontend.module import Parameter
    from oflow.ops.tensor import Tensor


class Capture(Protocol):
    """What declarations ask of the trace in progress."""

    def parameter(self, p: Parameter) -> Tensor:
        """The tensor of `p` in this graph; the same one at every use."""

    def assign_buffer(self, p: Parameter, tensor: Tensor) -> None:
        """Record that buffer `p` takes the value `tensor` at the end of the step."""


ACTIVE: ContextVar[Capture | None] = ContextVar("oflow_active_capture", default=None)
"""Set by the capture for the duration of a trace. A context variable, so concurrent traces do not see each other."""
