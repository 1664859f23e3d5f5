"""What a compiled form of an operator's call is: routines and the words of their argument blocks.

A form is a function ``(call) -> steps`` registered under the operator's name; it returns None where it has no kernel for
these types, and the NumPy kernel is used. It decides everything that depends on shapes; kernels only read their block.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from oflow.ops import REGISTRY, Op
from oflow.ops.half import any_half
from oflow.types import TensorType

KERNELS = "oflow.backends.compiled.kernels"


@dataclass(frozen=True, slots=True)
class Address:
    """A word that is filled in when the plan is linked: where operand `index` of the call lies, plus `offset` bytes.

    Results are numbered first, then operands. WORKSPACE is the call's scratch memory, which results and operands never touch.
    """

    index: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Symbol:
    """A word that is filled in when the plan is linked: the address of a library's function in this process.

    Names are those of `oflow.native.blas.symbol`, e.g. "gemm.float32".
    """

    name: str


WORKSPACE = -1
Word = int | Address | Symbol


@dataclass(frozen=True, slots=True)
class Step:
    """One routine and the words of its argument block."""

    routine: str
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class OpCall:
    """A call on one rank: shard types and local attributes. All tensors are contiguous in row-major order.

    For an operator with `inplace` results the rewritten operand is not among `ins`; its memory is the result's.
    """

    op: str
    outs: tuple[TensorType, ...]
    ins: tuple[TensorType, ...]
    attrs: Mapping[str, Any]
    workspace_nbytes: int = 0
    accumulate: bool = False
    """Add to the (one, float) result what is there instead of overwriting it; a form that cannot returns None."""

    def out(self, index: int, offset: int = 0) -> Address:
        return Address(index, offset)

    def operand(self, index: int, offset: int = 0) -> Address:
        return Address(len(self.outs) + index, offset)


Steps = tuple[Step, ...]
Form = Callable[[OpCall], Steps | None]
FORMS: dict[str, Form] = {}


def form(*operators: str) -> Callable[[Form], Form]:
    """Register a form under the names of operators."""

    def register(made: Form) -> Form:
        for name in operators:
            FORMS[name] = made
        return made

    return register


CLASS_FORMS: dict[type[Op], Form] = {}
"""Forms of operators by their class, for those that have none by name: operators that users declare get one too."""


def form_of(name: str) -> Form | None:
    """The form of an operator, by its name or else by its class; None where it has only a NumPy kernel."""
    op = REGISTRY.get(name)
    return FORMS.get(name) or next((made for kind, made in CLASS_FORMS.items() if isinstance(op, kind)), None)


def steps_of(call: OpCall) -> Steps | None:
    """The steps of a call; None where it has no form, so that NumPy runs it: calls on 16 bits have none yet."""
    made = None if any_half((*call.outs, *call.ins)) else form_of(call.op)
    return made(call) if made is not None else None


def kernel(module: str, name: str, *arguments: str) -> str:
    """The routine ``name(*arguments)`` of ``kernels/module.py``."""
    return f"{KERNELS}.{module}:{name}" + (f":{','.join(arguments)}" if arguments else "")


def real(x: float) -> int:
    """The bits of a float64 as a word; kernels read them with float64_of_bits."""
    found: int = struct.unpack("<q", struct.pack("<d", x))[0]
    return found


OUT_OF_RANGE = 1
NOT_FINITE = 2
"""What kernels return instead of raising: a whole-number operand (label, row number) is out of range; NaN or infinity."""
