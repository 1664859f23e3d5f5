"""The answer about a tensor, as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from oflow.boxings import Boxing
from oflow.graph import Graph, SignatureChoice
from oflow.plan import Plan
from oflow.view.questions.registers import RegisterAnswer

ANNOTATION, ASKED, OWNER, SPLIT, AUTOMATIC, EVERYWHERE, INFERENCE = (
    "annotation", "to_global", "owner", "zero", "automatic", "no annotation", "inference"
)  # fmt: skip
"""Who asked for a layout: the user's annotation of a parameter or input, or to_global in the program; the parameter that it belongs to;
zero=; layout="auto"; nobody, so all devices have all of it; inference, with the least seconds."""


class Compiled(Protocol):
    """A program, as `of.compile` makes it."""

    passes: dict[str, Graph | Plan]
    graph: Graph
    plan: Plan
    given: Any
    specs: tuple[Any, ...]
    captured: Any

    def boxings(self) -> tuple[Boxing, ...]: ...

    def signature_choices(self, values: Iterable[int]) -> dict[int, SignatureChoice]: ...


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator that makes or reads a tensor: in which actors it runs; wants: the layout it reads it in, where that is another."""

    op: str
    line: str
    stage: int | None
    phase: str
    actors: tuple[str, ...]
    wants: str = ""


@dataclass(frozen=True, slots=True)
class TensorAnswer:
    """All about one logical tensor.

    kind: parameter, state, input, gradient or value; of: the parameter whose state it is, or the value whose gradient. type: of all of it;
    part: of one micro-batch, of which there are `times`. asked: who asked for the layout; line: where. choice: inference's, where it had
    one, and no more than MOST_CHOICES tensors are meant. registers: that hold it or copies of it in other layouts. fate: what became of
    it where it has no register of its own, else ""; again: actors that compute it again in the backward pass.
    """

    name: str
    value: int
    kind: str
    of: str
    type: str
    part: str
    times: int
    layout: str
    sbp: str
    devices: str
    mesh: tuple[int, ...]
    asked: str
    line: str
    choice: SignatureChoice | None
    writer: Operator | None
    readers: tuple[Operator, ...]
    boxings: tuple[Boxing, ...]
    registers: tuple[RegisterAnswer, ...]
    fate: str
    again: tuple[str, ...]
    outputs: tuple[str, ...]
