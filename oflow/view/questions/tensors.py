"""What there is to know about a tensor of a program: where it lives and why, who makes and reads it, how it moves, which memory it has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from oflow.boxings import TO_GLOBAL, Boxing
from oflow.errors import PlanError
from oflow.graph import Graph, Node, Parameter, SignatureChoice, Value, time_type
from oflow.ops import REGISTRY
from oflow.plan import Plan
from oflow.view.questions.names import Known, rows_of
from oflow.view.questions.registers import RegisterAnswer, register_answer
from oflow.view.questions.steady import Steady, steady_state

ANNOTATION, ASKED, OWNER, SPLIT, AUTOMATIC, EVERYWHERE, INFERENCE = (
    "annotation", "to_global", "owner", "zero", "automatic", "no annotation", "inference"
)  # fmt: skip
"""Who asked for a layout: the user's annotation of a parameter or input, or to_global in the program; the parameter that it belongs to;
zero=; layout="auto"; nobody, so all devices have all of it; inference, with the least seconds."""

MOST_CHOICES = 8
"""Tensors up to which it is looked up what the next best signature would cost: each takes a search."""


class Compiled(Protocol):
    """A program, as `of.compile` makes it."""

    passes: dict[str, Graph | Plan]
    graph: Graph
    plan: Plan
    given: Any
    specs: tuple[Any, ...]

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


def explain_tensor(program: Compiled, name: str) -> tuple[TensorAnswer, ...]:
    """Answers about the tensors that `name` means: parameters and inputs by name, results as ``matmul.3``, all of a line as ``mlp.py:14``,
    gradients as ``up.weight.grad``; else names that end with it or match it as a glob.

    Raises `Unknown`, which lists near names.
    """
    found = _Tensors(program)
    rows = rows_of("tensor", name, found.known())
    state = steady_state(program.plan)
    choices = program.signature_choices(rows) if len(rows) <= MOST_CHOICES else {}
    return tuple(found.answer(v, state, choices.get(v)) for v in rows)


def known_tensors(program: Compiled) -> Known:
    """The tensors of a program, by value, with their names."""
    return _Tensors(program).known()


class _Tensors:
    """The graphs of a program, as looked up by value: after inference, and as it runs."""

    def __init__(self, program: Compiled) -> None:
        self.program, self.plan, self.final = program, program.plan, program.graph
        self.inferred, self.before = self._graph("infer_sbp"), self._graph("micro_batches")
        self.makers, self.readers = self.inferred.producers(), self.inferred.consumers()
        self.final_makers = self.final.producers()
        self.parameters = {p.value: p for p in self.inferred.parameters}
        self.gradients = {p.gradient: p.name for p in self._graph("differentiate").parameters if p.gradient is not None}
        self.updates = {p.update: p for p in self.inferred.parameters if p.update is not None}
        self.names = {v: names[0] for v, names in self.known()}
        self.moved: dict[int, list[Boxing]] = {}
        for one in program.boxings():
            self.moved.setdefault(one.value, []).append(one)
        self.actors: dict[int, list[str]] = {}
        for actor in self.plan.actor_templates:
            for node in actor.nodes:
                self.actors.setdefault(node, []).append(actor.name)

    def _graph(self, name: str) -> Graph:
        found = self.program.passes[name]
        if not isinstance(found, Graph):
            raise PlanError(f"{name} made no graph")
        return found

    # ------------------------------------------------------------ names

    def known(self) -> Known:
        usual: dict[str, int] = {}
        values = [v for v in self.inferred.values if v in self.makers or v in self.parameters or v in self.inferred.inputs]
        for v in values:
            usual.setdefault(self._usual(v), v)
        return [(v, tuple(dict.fromkeys(self._names(v, usual)))) for v in values]

    def _usual(self, v: int) -> str:
        value = self.inferred.values[v]
        return value.name or f"{self.makers[v].op}.{v}"

    def _names(self, v: int, usual: Mapping[str, int]) -> Iterator[str]:
        name = self._usual(v)
        if usual[name] == v:
            yield name
        yield f"{name}.{v}"
        yield f"%{v}"
        yield from (f"{one}" for one, out in self.inferred.outputs if out == v)
        if v in self.gradients:
            yield f"{self.gradients[v]}.grad"
        for makers in (self.makers, self.final_makers):
            if v in makers:
                yield f"{makers[v].op}.{v}"
        if v in self.makers and self.makers[v].line:
            yield self.makers[v].line

    # ------------------------------------------------------------ answers

    def answer(self, v: int, state: Steady | None, choice: SignatureChoice | None) -> TensorAnswer:
        value, maker = self.inferred.values[v], self.makers.get(v)
        name = self.names[v]
        layout = value.layout
        assert layout is not None
        kind, of = self._kind(value)
        asked, line = self._asked(value)
        own = self._copies(v)
        registers = [i for i, r in enumerate(self.plan.register_templates) if r.value in own or self._waits_on_host(r.name, own)]
        rate = maker.rate if maker else max([n.rate for n in self.readers.get(v, ())], default=1)
        return TensorAnswer(
            name, v, kind, of, str(value.type), str(time_type(self.inferred, v)), rate, str(layout), layout.sbp_text, str(layout.placement),
            layout.placement.mesh, asked, line, choice,
            self._operator(maker) if maker else None, tuple(self._reader(n, v) for n in self.readers.get(v, ())),
            tuple(self.moved.get(v, ())) + tuple(self._fed(value)),
            tuple(register_answer(self.plan, i, state) for i in registers), self._fate(v), self._again(v),
            tuple(one for one, out in self.inferred.outputs if out == v),
        )  # fmt: skip

    def _fed(self, value: Value) -> Iterator[Boxing]:
        """Of an input, its way from the caller's memory."""
        if value.id in self.inferred.inputs:
            yield from (one for some in self.moved.values() for one in some if one.name == value.name and one.value != value.id)

    def _kind(self, value: Value) -> tuple[str, str]:
        p = self.parameters.get(value.id)
        if p is not None:
            return ("state", self._usual(p.state_of)) if p.state_of is not None else ("parameter" if p.trainable else "state", "")
        if value.id in self.inferred.inputs:
            return "input", ""
        if value.id in self.gradients:
            return "gradient", self.gradients[value.id]
        if value.gradient_of is not None:
            return "gradient", self._usual(value.gradient_of) if value.gradient_of in self.inferred.values else ""
        return "value", ""

    def _asked(self, value: Value) -> tuple[str, str]:
        """Who asked for the layout, and the user's line."""
        maker, p = self.makers.get(value.id), self.parameters.get(value.id)
        if maker is not None:
            pull = REGISTRY[maker.op].lowering == "pull"
            return (str(maker.attributes.get("why", TO_GLOBAL)), maker.line) if pull else (INFERENCE, maker.line)
        if p is None:
            spec = self.program.specs[self.inferred.inputs.index(value.id)]
            return (ANNOTATION if value.fixed else AUTOMATIC), str(spec.line)
        return self._parameter_asked(value, p), ""

    def _parameter_asked(self, value: Value, p: Parameter) -> str:
        earlier = self.before.values.get(value.id)
        if self.program.given.zero.stage and earlier is not None and earlier.layout != value.layout:
            return SPLIT
        if p.state_of is not None:
            return OWNER
        if value.fixed:
            return ANNOTATION
        return AUTOMATIC if self.program.given.layout == "auto" else EVERYWHERE

    # ------------------------------------------------------------ operators

    def _operator(self, node: Node, wants: str = "") -> Operator:
        return Operator(node.op, node.line, node.stage, node.phase, tuple(self._runs(node)), wants)

    def _reader(self, node: Node, v: int) -> Operator:
        have = self.inferred.values[v].layout
        wants = dict(zip(node.ins, node.wants, strict=False)).get(v)
        return self._operator(node, str(wants) if wants is not None and wants != have else "")

    def _runs(self, node: Node) -> list[str]:
        """The actors that run a node: by its number, else those that make what it made, or what became of that."""
        if node.id in self.actors and any(n.id == node.id and n.op == node.op for n in self.final.nodes):
            return self.actors[node.id]
        heirs = [self._heir(out) for out in node.outs]
        return list(dict.fromkeys(name for heir in heirs if heir is not None for name in self.actors.get(heir.id, ())))

    def _heir(self, v: int) -> Node | None:
        """The node that makes a value as the program runs: of a value that was fused away, who makes the first one after it."""
        seen, front = {v}, [v]
        while front:
            for one in front:
                if one in self.final_makers:
                    return self.final_makers[one]
            front = [out for one in front for node in self.readers.get(one, ()) for out in node.outs if out not in seen]
            front = list(dict.fromkeys(front))
            seen.update(front)
        return None

    # ------------------------------------------------------------ memory

    def _copies(self, v: int) -> set[int]:
        """The value and what boxings make of it, until another operator reads it."""
        found = {v}
        if (update := self.updates.get(v)) is not None:
            found.add(update.value)
        for node in self.final.nodes:
            if REGISTRY[node.op].lowering == "pull" and node.ins[0] in found:
                named = self.final.values[node.outs[0]]
                if node.outs[0] == v or node.outs[0] not in self.inferred.values or (named.name and v in self.inferred.inputs):
                    found.update(node.outs)
            elif node.outs and REGISTRY[node.op].lowering == "pull" and node.outs[0] in found and v in self.inferred.inputs:
                found.add(node.ins[0])
        return found

    def _waits_on_host(self, name: str, own: set[int]) -> bool:
        """Whether a register is a copy that an offload makes of one of these."""
        base, _, end = name.rpartition(".")
        return end in ("host", "back") and any(r.name == base and r.value in own for r in self.plan.register_templates)

    def _fate(self, v: int) -> str:
        if any(r.value == v for r in self.plan.register_templates):
            return ""
        if v in self.updates:
            return f"written over {self.updates[v].name}, in its memory"
        maker = self.final_makers.get(v)
        if maker is not None:
            runs = self.actors.get(maker.id)
            if runs:
                return f"scratch memory within {runs[0]}: nothing else reads it"
            return f"no bytes of its own: it is read where {self._named(maker.ins[0])} lies" if maker.ins else "no bytes of its own"
        heir = self._heir(v)
        if heir is None:
            return "nothing: no part of the program that runs needs it"
        runs = self.actors.get(heir.id) or [f"{heir.op}.{heir.id}"]
        return f"never in memory: its operator runs within {heir.op}.{heir.outs[0]}, in {runs[0]}"

    def _named(self, v: int) -> str:
        value = self.final.values[v]
        return value.name or (f"{self.final_makers[v].op}.{v}" if v in self.final_makers else f"%{v}")

    def _again(self, v: int) -> tuple[str, ...]:
        maker = self.final_makers.get(v)
        copies = [node.id for node in self.final.nodes if maker is not None and node.again == maker.id]
        return tuple(dict.fromkeys(name for node in copies for name in self.actors.get(node, ())))
