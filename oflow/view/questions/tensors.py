"""What there is to know about a tensor of a program: where it lives and why, who makes and reads it, how it moves, which memory it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from oflow.boxings import TO_GLOBAL, Boxing
from oflow.errors import PlanError
from oflow.graph import Graph, Node, Parameter, SignatureChoice, Value, time_type
from oflow.ops import REGISTRY
from oflow.plan import Plan
from oflow.view.questions.lookup import Lookup
from oflow.view.questions.names import Known, rows_of
from oflow.view.questions.registers import register_answer
from oflow.view.questions.tensor import (
    ANNOTATION,
    AUTOMATIC,
    EVERYWHERE,
    INFERENCE,
    OWNER,
    SPLIT,
    Compiled,
    Operator,
    TensorAnswer,
)  # fmt: skip

MOST_CHOICES = 8
"""Tensors up to which it is looked up what the next best signature would cost: each takes a search."""


def explain_tensor(program: Compiled, name: str) -> tuple[TensorAnswer, ...]:
    """Answers about the tensors that `name` means: parameters and inputs by name, results as ``matmul.3``, all of a line as ``mlp.py:14``,
    gradients as ``up.weight.grad``; else names that end with it or match it as a glob.

    Raises `Unknown`, which lists near names.
    """
    found = _Tensors(program)
    rows = rows_of("tensor", name, found.known())
    choices = program.signature_choices(rows) if len(rows) <= MOST_CHOICES else {}
    return tuple(found.answer(v, choices.get(v)) for v in rows)


def known_tensors(program: Compiled) -> Known:
    """The tensors of a program, by value, with their names."""
    return _Tensors(program).known()


def _rows_of_values(plan: Plan) -> dict[int, list[int]]:
    """By value the register templates that hold it, with the copies of them that an offload makes."""
    found: dict[int, list[int]] = {}
    values: dict[str, int] = {}
    for row, register in enumerate(plan.register_templates):
        base, _, end = register.name.rpartition(".")
        value = values.get(base, -1) if end in ("host", "back") and register.value < 0 else register.value
        values[register.name] = value
        if value >= 0:
            found.setdefault(value, []).append(row)
    return found


class _Tensors:
    """The graphs of a program, as looked up by value: after inference, and as it runs."""

    def __init__(self, program: Compiled) -> None:
        self.program, self.plan, self.final = program, program.plan, program.graph
        self.lookup = Lookup(program.plan)
        self.inferred, self.before = self._graph("infer_sbp"), self._graph("micro_batches")
        self.makers, self.readers = self.inferred.producers(), self.inferred.consumers()
        self.final_makers = self.final.producers()
        self.pulls = [node for node in self.final.nodes if REGISTRY[node.op].lowering == "pull"]
        self.parameters = {p.value: p for p in self.inferred.parameters}
        self.gradients = {p.gradient: p.name for p in self._graph("differentiate").parameters if p.gradient is not None}
        self.updates = {p.update: p for p in self.inferred.parameters if p.update is not None}
        self.names = {v: names[0] for v, names in self.known()}
        self.moved: dict[int, list[Boxing]] = {}
        for one in program.boxings():
            self.moved.setdefault(one.value, []).append(one)
        self.rows = _rows_of_values(self.plan)
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

    def answer(self, v: int, choice: SignatureChoice | None) -> TensorAnswer:
        value, maker = self.inferred.values[v], self.makers.get(v)
        name = self.names[v]
        layout = value.layout
        assert layout is not None
        kind, of = self._kind(value)
        asked, line = self._asked(value)
        own = self._copies(v)
        registers = sorted(row for one in own for row in self.rows.get(one, ()))
        rate = maker.rate if maker else max([n.rate for n in self.readers.get(v, ())], default=1)
        return TensorAnswer(
            name, v, kind, of, str(value.type), str(time_type(self.inferred, v)), rate, str(layout), layout.sbp_text, str(layout.placement),
            layout.placement.mesh, asked, line, choice,
            self._operator(maker) if maker else None, tuple(self._reader(n, v) for n in self.readers.get(v, ())),
            tuple(self.moved.get(v, ())) + tuple(self._fed(value)),
            tuple(register_answer(self.lookup, i) for i in registers), self._fate(v), self._again(v),
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
        owner = value.id if p.state_of is None else p.state_of
        return self._parameter_asked(value, p), dict(self.program.captured.placed_at).get(self.parameters[owner].name, "")

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
        """The value and what boxings make of it, until another operator reads it; of an input also what the caller's memory holds."""
        found = {v}
        if (update := self.updates.get(v)) is not None:
            found.add(update.value)
        fed = v in self.inferred.inputs
        for node in self.pulls:
            (source,), (made,) = node.ins[:1], node.outs
            if source in found and (made not in self.inferred.values or (fed and self.final.values[made].name)):
                found.add(made)
            elif fed and made in found:
                found.add(source)
        return found

    def _fate(self, v: int) -> str:
        if v in self.rows:
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
