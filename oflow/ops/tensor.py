"""Tensor: a handle on a value of a graph under construction. Users and gradient rules write with the same notation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from oflow.errors import TraceError
from oflow.errors import user_line as user_line
from oflow.graph import Builder
from oflow.types import TensorType

if TYPE_CHECKING:
    from oflow.sbp import Placement, Sbps

class Tensor:
    """A logical tensor in a traced function: it has a type but no values. Operators follow NumPy's names and broadcasting."""

    __slots__ = ("builder", "id")

    def __init__(self, builder: Builder, id: int) -> None:
        self.builder = builder
        self.id = id

    @property
    def type(self) -> TensorType:
        return self.builder.values[self.id].type

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> str:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        return f"Tensor({self.type})"

    # ------------------------------------------------------------ layout

    def to_global(self, placement: Placement, sbp: Sbps) -> Tensor:
        """The same tensor in the layout (placement, sbp): a boxing if it is not there already."""
        from oflow.ops.boxing import to_global

        return to_global(self, placement, sbp)

    # ------------------------------------------------------------ what a traced tensor cannot do

    def _no_value(self, what: str, remedy: str) -> NoReturn:
        raise TraceError(
            f"{what} needs the values of {self!r}, but a traced function runs once, before there are any. {remedy}",
            line=user_line(),
        )

    def __bool__(self) -> bool:
        self._no_value("a branch (if, while, and, or, not)", "Choose elementwise with of.where(condition, a, b).")

    def __int__(self) -> int:
        self._no_value("int()", "Keep it a tensor, or use of.where for a choice.")

    def __float__(self) -> float:
        self._no_value("float()", "Keep it a tensor; to look at it, name it with of.tap(name, t).")

    __index__ = __int__

    def __iter__(self) -> NoReturn:
        self._no_value("iteration", "Loop over range(t.shape[0]) outside the graph, or use whole-tensor operators and of.where.")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self._no_value("a NumPy function", "Use the operator of the same name in oflow.")

    __array_ufunc__ = None
    __hash__ = object.__hash__
