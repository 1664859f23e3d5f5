"""The logical graph as text, one node a line, and back: ``parse_graph(format_graph(graph)) == graph``.

    graph: 2 micro-batches
    input %0: f32[512, 64] "x" t:S(0) S(0)@cpu:0-3 fixed
    parameter %1: f32[64, 256] B@cpu:0-3 = uniform(high=0.1, low=-0.1)   # "up.weight" trainable gradient %9 update %12
    %3: f32[512, 256] t:S(0) S(0)@cpu:0-3 = relu(%2)   # mlp.py:14 stage 0 F x2 at cpu:0-3
    output "loss" %3

What has its default value is left out. A node's number is its position unless ``node N`` says otherwise. Attributes are
numbers, strings, tuples, None, layouts and types. The evaluator is not part of the text.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from oflow.errors import OflowError
from oflow.graph import Graph, Node, Parameter, Value, verify
from oflow.sbp import Layout, Placement, Sbp
from oflow.types import Attrs, TensorType

STRING = r'"(?:[^"\\]|\\.)*"'
WORD = rf"(?:[A-Za-z_][\w.\-]*|{STRING})"
LINE = r"[\w./\-]+:\d+"
PLACEMENT = r"[a-z]+:(?:\d+-\d+|\d+(?:,\d+)*)(?: \([\w=,]+\))?"
LAYOUT = rf"(?:\((?:[^()@]|\(\w+\))*\)|[SBP](?:\(\w+\))?)@{PLACEMENT}"
PLAIN: dict[str, type] = {"Layout": Layout, "Placement": Placement, "Sbp": Sbp, "TensorType": TensorType}
"""Types of attributes that are written ``Name("text")``, besides numbers, strings and tuples."""


# ---------------------------------------------------------------- printing


def format_graph(graph: Graph) -> str:
    """The graph's lines, each ended by a newline. Raises OflowError for an attribute that has no text form."""
    lines = [f"graph: {graph.micro_batches} micro-batches"]
    kept = {p.value for p in graph.parameters}
    made = {out for node in graph.nodes for out in node.outs}
    lines += [f"input {_value(graph, v)}" for v in graph.inputs]
    lines += [f"parameter {_value(graph, p.value)} = {_parameter(p)}" for p in graph.parameters]
    lines += [f"value {_value(graph, v)}" for v in graph.values if v not in made | kept | set(graph.inputs)]
    lines += [_node(graph, at, node) for at, node in enumerate(graph.nodes)]
    lines += [f"output {_quote(name)} %{v}" for name, v in graph.outputs]
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _word(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z_][\w.\-]*", text) else _quote(text)


def _value(graph: Graph, number: int) -> str:
    value = graph.values[number]
    facts = [_quote(value.name)] if value.name else []
    facts += [f"t:{value.time}"] if value.time else []
    facts += [str(value.layout)] if value.layout else []
    facts += ["fixed"] if value.fixed else []
    facts += [f"gradient-of %{value.gradient_of}"] if value.gradient_of is not None else []
    facts += ["again"] if value.again else []
    return " ".join([f"%{number}: {value.type}", *facts])


def _parameter(p: Parameter) -> str:
    facts = [_quote(p.name)]
    facts += ["trainable"] if p.trainable else []
    facts += [f"gradient %{p.gradient}"] if p.gradient is not None else []
    facts += [f"update %{p.update}"] if p.update is not None else []
    facts += [f"state-of %{p.state_of}"] if p.state_of is not None else []
    return f"{_word(p.init)}({_attrs(p.init_args)})   # {' '.join(facts)}"


def _node(graph: Graph, at: int, node: Node) -> str:
    outs = ", ".join(_value(graph, v) for v in node.outs) or "()"
    ins = [f"%{v}" for v in node.ins] + ([_attrs(node.attrs)] if node.attrs else [])
    facts = [node.line if re.fullmatch(LINE, node.line) else _quote(node.line)] if node.line else []
    facts += [f"stage {node.stage}"] if node.stage is not None else []
    facts.append(_word(node.phase))
    facts += [f"x{node.rate}"] if node.rate != 1 else []
    facts += [f"at {node.placement}"] if node.placement else []
    facts += [f"stream {_word(node.stream)}"] if node.stream != "compute" else []
    facts += [f"region {'.'.join(map(str, node.region))}"] if node.region else []
    facts += [f"again {node.again}"] if node.again is not None else []
    facts += [f"wants {'; '.join(map(str, node.wants))}"] if node.wants else []
    facts += [f"node {node.id}"] if node.id != at else []
    return f"{outs} = {_word(node.op)}({', '.join(ins)})   # {' '.join(facts)}"


def _attrs(attrs: Attrs) -> str:
    return ", ".join(f"{name}={_plain(value)}" for name, value in attrs)


def _plain(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple):
        inside = ", ".join(map(_plain, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, str):
        return _quote(value)
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if type(value) in PLAIN.values():
        return f"{type(value).__name__}({_quote(str(value))})"
    raise OflowError(f"attribute {value!r} of type {type(value).__name__} has no text form")


# ---------------------------------------------------------------- parsing


class _Line:
    """A line of text and a position in it."""

    def __init__(self, text: str, number: int) -> None:
        self.text, self.number, self.at = text, number, 0

    def find(self, pattern: str) -> str | None:
        """The text that `pattern` matches here (blanks before it are skipped), or None."""
        match = re.compile(rf"\s*({pattern})").match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return match[1]

    def need(self, pattern: str, what: str) -> str:
        found = self.find(pattern)
        if found is None:
            raise self.error(f"expected {what} at {self.text[self.at :]!r}")
        return found

    def after(self, keyword: str, pattern: str) -> str | None:
        """What follows `keyword`, where it stands here."""
        return self.need(pattern, f"what follows {keyword!r}") if self.find(rf"{keyword}(?=\s)") else None

    def number_after(self, keyword: str, mark: str = "") -> int | None:
        found = self.after(keyword, rf"{mark}\d+")
        return None if found is None else int(found.removeprefix(mark))

    def word(self, what: str) -> str:
        return _unquote(self.need(WORD, what))

    def value(self) -> int:
        return int(self.need(r"%\d+", "a value such as %3")[1:])

    def end(self) -> None:
        if self.text[self.at :].strip():
            raise self.error(f"{self.text[self.at :]!r} is left over")

    def error(self, message: str) -> OflowError:
        return OflowError(f"graph text, line {self.number}: {message}", line_number=self.number)


def parse_graph(text: str) -> Graph:
    """The graph that `format_graph` printed. Raises OflowError that names the line that does not parse."""
    if not text.startswith("graph:"):
        raise OflowError("this is not a graph's text; it starts with a line such as 'graph: 1 micro-batches'")
    reader = _Reader()
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            reader.read(_Line(line, number))
    made = Graph(
        tuple(reader.nodes), reader.values, tuple(reader.inputs), tuple(reader.outputs), tuple(reader.parameters),
        reader.micro_batches,
    )  # fmt: skip
    verify(made)
    return made


class _Reader:
    """Collects the parts of a graph line by line."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.values: dict[int, Value] = {}
        self.inputs: list[int] = []
        self.outputs: list[tuple[str, int]] = []
        self.parameters: list[Parameter] = []
        self.micro_batches = 1

    def read(self, line: _Line) -> None:
        readers: dict[str, Callable[[_Line], None]] = {
            "graph:": self._head, "input": self._input, "parameter": self._parameter, "value": self._orphan,
            "output": self._output,
        }  # fmt: skip
        readers.get(line.find(r"(?:graph:|input|parameter|value|output)(?=\s)") or "", self._node)(line)
        line.end()

    def _head(self, line: _Line) -> None:
        self.micro_batches = int(line.need(r"\d+", "a number of micro-batches"))
        line.need("micro-batches", "'micro-batches'")

    def _input(self, line: _Line) -> None:
        self.inputs.append(self._value(line))

    def _orphan(self, line: _Line) -> None:
        self._value(line)

    def _output(self, line: _Line) -> None:
        name = _unquote(line.need(STRING, "a quoted name"))
        self.outputs.append((name, line.value()))

    def _parameter(self, line: _Line) -> None:
        value = self._value(line)
        line.need("=", "'='")
        init = line.word("an init rule")
        args = _call(line)[1]
        line.need("#", "'#'")
        name = _unquote(line.need(STRING, "a quoted name"))
        trainable = line.find("trainable") is not None
        gradient, update, weight = (line.number_after(what, "%") for what in ("gradient", "update", "state-of"))
        self.parameters.append(Parameter(name, value, init, args, trainable, gradient, update, weight))

    def _value(self, line: _Line) -> int:
        number = line.value()
        line.need(":", "':'")
        kind = TensorType.parse(line.need(r"\w+\[[^\]]*\]", "a type such as f32[64, 128]"))
        name = line.find(STRING)
        time = line.find(r"t:\w(?:\(\w+\))?")
        layout = line.find(LAYOUT)
        fixed = line.find("fixed") is not None
        self.values[number] = Value(
            number, kind, _unquote(name or '""'), Sbp.parse(time[2:]) if time else None,
            Layout.parse(layout) if layout else None, fixed, line.number_after("gradient-of", "%"), line.find("again") is not None,
        )  # fmt: skip
        return number

    def _node(self, line: _Line) -> None:
        outs: list[int] = []
        if line.find(r"\(\)") is None:
            outs.append(self._value(line))
            while line.find(","):
                outs.append(self._value(line))
        line.need("=", "'='")
        op = line.word("an operator")
        ins, attrs = _call(line)
        line.need("#", "'#'")
        where = line.find(LINE) or line.find(STRING)
        stage, phase = line.number_after("stage"), line.word("a phase")
        rate, placement, stream = line.find(r"x\d+(?!\S)"), line.after("at", PLACEMENT), line.after("stream", WORD)
        region = line.after("region", r"[\d.]+")
        again = line.number_after("again")
        wants = line.after("wants", rf"{LAYOUT}(?:; {LAYOUT})*")
        number = line.number_after("node")
        self.nodes.append(Node(
            len(self.nodes) if number is None else number, op, ins, tuple(outs), attrs, stage, phase,
            int(rate[1:]) if rate else 1, Placement.parse(placement) if placement else None,
            _unquote(stream or "compute"), _unquote(where or ""), tuple(map(Layout.parse, wants.split("; "))) if wants else (),
            tuple(map(int, region.split("."))) if region else (), again,
        ))  # fmt: skip


def _unquote(text: str) -> str:
    return str(json.loads(text)) if text.startswith('"') else text


def _call(line: _Line) -> tuple[tuple[int, ...], Attrs]:
    """Operands and attributes between parentheses."""
    line.need(r"\(", "'('")
    ins: list[int] = []
    while (found := line.find(r"%\d+")) is not None:
        ins.append(int(found[1:]))
        line.find(",")
    text, depth = "", 1
    while depth:
        piece = line.need(rf'{STRING}|[()]|[^()"]+', "')'")
        depth += {"(": 1, ")": -1}.get(piece, 0)
        text += piece if depth else ""
    try:
        call = ast.parse(f"call({text})", mode="eval").body
        keywords: Iterable[ast.keyword] = call.keywords if isinstance(call, ast.Call) else ()
        return tuple(ins), tuple((str(k.arg), _read(k.value)) for k in keywords)
    except (SyntaxError, ValueError) as e:
        raise line.error(f"({text}) are not attributes: {e}") from e


def _read(tree: ast.expr) -> Any:
    """The value of a literal: nothing is called but the parsers of plain types."""
    match tree:
        case ast.Constant(value=value):
            return value
        case ast.Tuple(elts=parts):
            return tuple(map(_read, parts))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_read(operand)
        case ast.Name(id="inf" | "nan" as name):
            return float(name)
        case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(text))]) if name in PLAIN:
            return PLAIN[name].parse(text)  # type: ignore[attr-defined]
    raise ValueError(f"{ast.unparse(tree)} is not plain data")
