"""The logical graph: what is computed, on logical (global) tensors, before anyone asks where.

A `Graph` is frozen data; its node order is topological (an invariant that `verify` checks). Passes make new graphs with a
`Builder`. Values carry what the passes found out: `time` (their Sbp on the micro-batch axis) and `layout`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from oflow.errors import OflowError
from oflow.sbp import Layout, Placement, Sbp
from oflow.types import Attrs, TensorType


@dataclass(frozen=True, slots=True)
class Value:
    """An edge: `id` is unique in its graph. `fixed`: the layout was asked for by the user and may not be changed.

    gradient_of: the value whose gradient it is, or a summand of it (that value may be gone by now). again: it is made for every
    micro-batch anew, though it is the same in all.
    """

    id: int
    type: TensorType
    name: str = ""
    time: Sbp | None = None
    layout: Layout | None = None
    fixed: bool = False
    gradient_of: int | None = None
    again: bool = False

    def __str__(self) -> str:
        marks = "".join(f" {mark}" for mark in (f"t:{self.time}" if self.time else "", self.layout or "") if mark)
        return f"%{self.id}: {self.type}{marks}"


@dataclass(frozen=True, slots=True)
class Node:
    """One operator call. `line` is the user's file:line; `phase` F, B (or its halves I and W) or update; `rate` acts per step;
    `stage` a pipeline chunk.

    `region`: the of.recompute regions it was traced in, outermost first; gradients are in those of their forward node.
    `placement` is where it runs; `wants` the layout it reads each operand in, from SBP inference until boxings are inserted.
    """

    id: int
    op: str
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    attrs: Attrs = ()
    stage: int | None = None
    phase: str = "F"
    rate: int = 1
    placement: Placement | None = None
    stream: str = "compute"
    line: str = ""
    wants: tuple[Layout, ...] = ()
    region: tuple[int, ...] = ()
    again: int | None = None
    """The node that this one computes again in the backward pass."""

    @property
    def attributes(self) -> dict[str, Any]:
        return dict(self.attrs)


@dataclass(frozen=True, slots=True)
class Parameter:
    """Kept state: a weight, a buffer or optimizer state, under its attribute path. `update` is the value that replaces it.

    `init` names the rule that fills it, with `init_args`; `trainable` weights get a `gradient`, which the optimizer turns into
    an `update`. state_of: the weight whose optimizer state it is.
    """

    name: str
    value: int
    init: str = "zeros"
    init_args: Attrs = ()
    trainable: bool = True
    gradient: int | None = None
    update: int | None = None
    state_of: int | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """What inference found: seconds per step of work and boxings, a bound that no choice of layouts is below, and how."""

    seconds: float
    bound: float
    method: str

    def __str__(self) -> str:
        gap = "exact" if self.seconds <= self.bound * (1 + 1e-9) else f"at least {self.bound:.4g} s"
        return f"{self.seconds:.4g} s of work and boxings a step, {gap} ({self.method})"


@dataclass(frozen=True, slots=True)
class SignatureChoice:
    """What decided a layout: the signature of the operator that makes the value (of an input or parameter its layout), one of `ways`.

    work: its seconds a step; alike: operators that were decided together. seconds: of work and boxings of the whole step with it.
    second: the best other choice on one mesh axis, all others free on that axis, and second_seconds of the step with it ("" and infinity
    where there is none); moves_annotated: it would move what the user placed, which inference avoids.
    """

    signature: str
    work: float
    ways: int
    alike: int
    seconds: float
    second: str = ""
    second_seconds: float = math.inf
    moves_annotated: bool = False


@dataclass(frozen=True, slots=True)
class Recomputed:
    """Values made by one operator at one line of one stage.

    copies: nodes that run again (0 where the values are only kept in place of others). seconds: that they add to a step. nbytes: of
    the values, a device, that are no longer kept between the passes, in all slots; negative where they were not kept before.
    """

    op: str
    line: str
    stage: int | None
    copies: int
    seconds: float
    nbytes: int


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in topological order, values by id, inputs and named outputs. `micro_batches` is the size of the time axis."""

    nodes: tuple[Node, ...] = ()
    values: Mapping[int, Value] = field(default_factory=dict)
    inputs: tuple[int, ...] = ()
    outputs: tuple[tuple[str, int], ...] = ()
    parameters: tuple[Parameter, ...] = ()
    micro_batches: int = 1
    assignment: Assignment | None = field(default=None, compare=False)
    """How the layouts were found (after inference)."""
    evaluator: Callable[..., Any] | None = field(default=None, compare=False, repr=False)
    """Bound by the program: the NumPy reference of `Graph.evaluate`."""

    def evaluate(self, *inputs: Any) -> Any:
        """The reference: node by node in NumPy, no plan, no actors. Returns what the program returns for these inputs."""
        if self.evaluator is None:
            raise OflowError("this graph was not made by of.compile; it has no parameters to evaluate with")
        return self.evaluator(self, *inputs)

    def producers(self) -> dict[int, Node]:
        return {out: node for node in self.nodes for out in node.outs}

    def consumers(self) -> dict[int, list[Node]]:
        found: dict[int, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.ins):
                found.setdefault(value, []).append(node)
        return found

    def sinks(self) -> set[int]:
        """Values that leave the step: outputs and new values of kept state."""
        return {v for _, v in self.outputs} | {p.update for p in self.parameters if p.update is not None}


def verify(graph: Graph) -> None:
    """Raises OflowError (our fault) unless every value is defined once before its use and all references exist."""
    defined: set[int] = set(graph.inputs) | {p.value for p in graph.parameters}
    if len(defined) != len(graph.inputs) + len(graph.parameters):
        raise OflowError("a value is both input and parameter, or listed twice")
    for node in graph.nodes:
        missing = [v for v in node.ins if v not in defined]
        if missing:
            raise OflowError(f"node {node.id} {node.op} reads %{missing[0]} before it is made", line=node.line)
        for out in node.outs:
            if out in defined:
                raise OflowError(f"value %{out} is made twice", line=node.line)
            defined.add(out)
    lost = [v for v in (*defined, *graph.sinks()) if v not in graph.values or v not in defined]
    if lost:
        raise OflowError(f"value %{lost[0]} has no type or no producer")


def common_region(*regions: tuple[int, ...]) -> tuple[int, ...]:
    """The of.recompute regions, outermost first, in which all of these stand."""
    return tuple(same[0] for same in takewhile(lambda same: len(set(same)) == 1, zip(*regions, strict=False)))


def rate_of(graph: Graph | Builder, value: int) -> int:
    """How many times a step `value` is made: once, or once a micro-batch."""
    found = graph.values[value]
    return graph.micro_batches if found.again or (found.time is not None and found.time.kind != "B") else 1


def time_type(graph: Graph | Builder, value: int) -> TensorType:
    """The type of one micro-batch's part of `value` (all of it where it is whole or partial in time)."""
    found = graph.values[value]
    if found.time is None or not found.time.is_split:
        return found.type
    shape = list(found.type.shape)
    shape[found.time.axis] //= graph.micro_batches
    return TensorType(tuple(shape), found.type.dtype)


def weights_alone(graph: Graph) -> set[int]:
    """Parameters, and what is made from them alone: values that no input of the step reaches."""
    found = {p.value for p in graph.parameters}
    for node in graph.nodes:
        if node.ins and found.issuperset(node.ins):
            found.update(node.outs)
    return found


class Builder:
    """Appends nodes to a graph under construction. `at` sets the line, stage and phase that new nodes carry."""

    def __init__(self, graph: Graph | None = None) -> None:
        start = graph or Graph()
        self.nodes: list[Node] = list(start.nodes)
        self.values: dict[int, Value] = dict(start.values)
        self.inputs: list[int] = list(start.inputs)
        self.outputs: list[tuple[str, int]] = list(start.outputs)
        self.parameters: list[Parameter] = list(start.parameters)
        self.micro_batches = start.micro_batches
        self.assignment = start.assignment
        self.evaluator = start.evaluator
        self._value_id = max(self.values, default=-1) + 1
        self._node_id = max((n.id for n in self.nodes), default=-1) + 1
        self.line = ""
        self.stage: int | None = None
        self.phase = "F"
        self.placement: Placement | None = None
        self.region: tuple[int, ...] = ()

    @classmethod
    def without_nodes(cls, graph: Graph) -> Builder:
        """A builder of a graph with the values, parameters and outputs of `graph` but none of its nodes; ids go on from it.

        For passes that walk the nodes and append each, changed or not, in its place.
        """
        made = cls(graph)
        made.nodes = []
        return made

    @contextmanager
    def at(self, **facts: Any) -> Iterator[None]:
        """Within the block new nodes carry these facts (line, stage, phase, placement, region)."""
        before = {name: getattr(self, name) for name in facts}
        for name, fact in facts.items():
            setattr(self, name, fact)
        try:
            yield
        finally:
            for name, fact in before.items():
                setattr(self, name, fact)

    def value(self, type: TensorType, **facts: Any) -> Value:
        made = Value(self._value_id, type, **facts)
        self._value_id += 1
        self.values[made.id] = made
        return made

    def node(
        self, op: str, ins: Iterable[int], types: Iterable[TensorType] = (), attrs: Attrs = (), *, outs: Iterable[int] = (),
        **facts: Any,
    ) -> Node:  # fmt: skip
        """Append a node. Its results are the values `outs`, which are there already, then new ones of these types."""
        outs = (*outs, *(self.value(type).id for type in types))
        here = {"line": self.line, "stage": self.stage, "phase": self.phase, "placement": self.placement, "region": self.region}
        made = Node(self._node_id, op, tuple(ins), outs, attrs, **{**here, **facts})
        self._node_id += 1
        self.nodes.append(made)
        return made

    def update_value(self, value: int, **facts: Any) -> None:
        self.values[value] = replace(self.values[value], **facts)

    def build(self) -> Graph:
        made = Graph(
            tuple(self.nodes), dict(self.values), tuple(self.inputs), tuple(self.outputs), tuple(self.parameters),
            self.micro_batches, self.assignment, self.evaluator,
        )  # fmt: skip
        verify(made)
        return made
