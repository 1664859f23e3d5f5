"""of.recompute: marks what is computed again in the backward pass, so that between the passes only its inputs are kept.

Chen et al. 2016, "Training deep nets with sublinear memory cost". The marks are regions of the graph; the pass
`oflow.compiler.recompute` acts on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, TypeVar, overload

from oflow.errors import TraceError
from oflow.frontend.capture import active
from oflow.frontend.module import Module
from oflow.ops.tensor import user_line

F = TypeVar("F", bound=Callable[..., Any])


@overload
def recompute() -> AbstractContextManager[None]: ...
@overload
def recompute(what: Module) -> Module: ...
@overload
def recompute(what: F) -> F: ...
def recompute(what: Any = None) -> Any:
    """Values made inside are not kept for the backward pass but computed again in it, from the values that come in from outside.

        y = of.recompute(block)(x)              a module: its parameters keep their names
        @of.recompute                           a function
        def feed_forward(x): ...
        with of.recompute(): ...                a part of a function

    Each call is a region of its own; regions may nest: the inner one's values are then kept neither between the passes nor while
    the outer one is computed again. Results are the same bits. Without an optimizer it changes nothing.

    Raises TraceError for what cannot be called, and where the region is entered outside a traced function.
    """
    if what is None:
        return _region()
    if isinstance(what, Module):
        return Recomputed(what)
    if not callable(what):
        raise TraceError(f"of.recompute takes a module, a function or nothing, got {what!r}", line=user_line())

    @wraps(what)
    def inside(*args: Any, **kwargs: Any) -> Any:
        with _region():
            return what(*args, **kwargs)

    return inside


@contextmanager
def _region() -> Iterator[None]:
    trace = active("of.recompute")
    number, trace.regions = trace.regions, trace.regions + 1
    with trace.builder.at(region=(*trace.builder.region, number)):
        yield


class Recomputed(Module):
    """A module whose calls are regions: its parameters, modules and attributes are those of the module inside."""

    def __init__(self, module: Module) -> None:
        self.__dict__.update(_parameters=module._parameters, _modules=module._modules, _inside=module)

    @property
    def training(self) -> bool:
        return bool(self._inside.training)

    @training.setter
    def training(self, mode: bool) -> None:
        self._inside.training = mode

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with _region():
            return self._inside(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inside"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_inside"], name, value)
