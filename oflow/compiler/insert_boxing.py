"""insert boxing: where an operand is not in the layout its reader wants, the route between the two becomes pull nodes.

Equal changes of one value are made once. A boxing runs on the communication stream of the devices that receive. Its attributes say
where in its route it stands (`leg`), why it is there (`why`, see `oflow.boxings`) and which operator reads it (`reader`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from oflow.boxings import GRADIENT, HOME, OUTPUT, READER, SHARDED, SLICE, TO_GLOBAL, UNPLACED
from oflow.compiler.options import Options
from oflow.compiler.stages import target_layout
from oflow.compiler.strict import slices, unplaced
from oflow.graph import Builder, Graph, Node, rate_of, time_type
from oflow.ops import REGISTRY
from oflow.sbp import Layout, Planner, S, Step
from oflow.types import TensorType, freeze

STREAM = "comm"


def insert_boxing(graph: Graph, options: Options) -> Graph:
    builder = Builder.without_nodes(graph)
    made = Made(builder, options.planner, Causes(graph))
    same: dict[int, int] = {}
    for node in graph.nodes:
        node = replace(node, ins=tuple(same.get(v, v) for v in node.ins))
        is_pull = REGISTRY[node.op].lowering == "pull"
        if is_pull and graph.values[node.outs[0]].time == builder.values[node.ins[0]].time:
            want = graph.values[node.outs[0]].layout
            assert want is not None
            same[node.outs[0]] = made.box(node.ins[0], want, node)
            continue
        ins = tuple(made.box(v, want, node) for v, want in zip(node.ins, node.wants, strict=True))
        stream = "copy" if is_pull else node.stream
        attrs = freeze({**node.attributes, **_attrs(Cause(SLICE, node), 0)}) if is_pull else node.attrs
        builder.nodes.append(replace(node, ins=ins, attrs=attrs, wants=(), stream=stream))
    builder.outputs = [(name, same.get(v, v)) for name, v in graph.outputs]
    builder.values = {v: value for v, value in builder.values.items() if v not in same}
    homes = [(p, builder.values[p.value].layout) for p in graph.parameters]
    producers = {out: node for node in builder.nodes for out in node.outs}
    builder.parameters = [
        replace(p, update=made.box(same.get(p.update, p.update), home, producers[same.get(p.update, p.update)]))
        if p.update is not None and home
        else p
        for p, home in homes
    ]
    return builder.build()


class Cause(NamedTuple):
    """Why a boxing is there, and the node whose line, stage and phase it has."""

    why: str
    reader: Node
    line: str = ""
    """The line to blame, where it is not the reader's."""


class Causes:
    """Why boxings of a graph are inserted."""

    def __init__(self, graph: Graph) -> None:
        self._values = graph.values
        self._kept = {p.value for p in graph.parameters}
        self._slices, self._unplaced = slices(graph), unplaced(graph)
        self._asked = {v: node for node in graph.nodes if target_layout(node) for v in node.outs}

    def of(self, value: int, want: Layout, reader: Node) -> Cause:
        """Of bringing `value` to this reader in layout `want`, or to its home, where the reader is the node that makes it."""
        if target_layout(reader):
            return Cause(str(reader.attributes.get("why", TO_GLOBAL)), reader)
        if value in self._slices:
            return Cause(SLICE, reader)
        if value in self._unplaced and (home := self._values[value].layout) and home.placement == want.placement:
            return Cause(UNPLACED, reader)
        owner = self._values[value].gradient_of if value in self._values else None
        if reader.phase == "update" or owner in self._kept:
            return Cause(HOME, reader)
        asked = self._asked.get(owner) if owner is not None else None
        return Cause(GRADIENT, reader, asked.line) if asked else Cause(READER, reader)


class Made:
    """The boxing nodes of a graph under construction, each change of a value made once; routes over the links of one machine."""

    def __init__(self, builder: Builder, planner: Planner, causes: Causes) -> None:
        self._builder, self._planner, self._causes = builder, planner, causes
        self._routes: dict[tuple[int, Layout, object], range] = {}
        """The nodes of each route, by their places; a boxing that was asked for as a copy of its own has one."""

    def box(self, value: int, want: Layout, reader: Node) -> int:
        """The value in layout `want`, through boxing nodes appended to the builder if it is not there yet."""
        nodes = self._builder.nodes
        if self._builder.values[value].layout == want:
            return value
        cause = self._causes.of(value, want, reader)
        key = (value, want, reader.attributes.get("copy") if cause.why == SHARDED else None)
        places = self._routes.get(key)
        if places is None:
            first = len(nodes)
            route_nodes(self._builder, self._planner, value, want, cause)
            places = self._routes[key] = range(first, len(nodes))
        elif cause.why == TO_GLOBAL and nodes[places[0]].attributes["why"] == READER:
            for leg, place in enumerate(places):  # what was asked for later was asked for
                nodes[place] = replace(nodes[place], attrs=freeze({**nodes[place].attributes, **_attrs(cause, leg)}), line=reader.line)
        return nodes[places[-1]].outs[0]


def _attrs(cause: Cause, leg: int) -> dict[str, str | int]:
    reader = "" if cause.why in (TO_GLOBAL, SHARDED, SLICE, OUTPUT) else cause.reader.op  # these have others, or none
    return {"why": cause.why, "reader": reader, "leg": leg}


def route_nodes(builder: Builder, planner: Planner, value: int, want: Layout, cause: Cause, stream: str = STREAM) -> list[Node]:
    """Append the steps of the route from the value's layout to `want`; returns them (none where the layouts are equal)."""
    source = builder.values[value]
    assert source.layout is not None
    kind = time_type(builder, value)
    steps = planner.route(source.layout, want, kind.shape, kind.itemsize).steps
    return step_nodes(builder, value, steps, cause, stream, want)


def step_nodes(builder: Builder, value: int, steps: Sequence[Step], cause: Cause, stream: str, want: Layout, leg: int = 0) -> list[Node]:
    """Append these steps, the first of which reads `value`; returns them. leg: how many steps of the route there are before them."""
    source, reader = builder.values[value], cause.reader
    names = (want,) if source.layout is None else (source.layout, want)
    again = cause.why == SHARDED and reader.rate > rate_of(builder, value)
    found: list[Node] = []
    for step, after in zip(steps, (*steps[1:], None), strict=True):
        # a flattened intermediate is partial or split in time like the value, so all elements are counted
        flat = after is not None and step.flat and after.flat
        time = S(0) if flat and source.time is not None and source.time.is_split else source.time
        layout = step.dst.labelled(names)
        node = builder.node(
            "boxing", (value,), (TensorType((source.type.size,), source.type.dtype) if flat else source.type,),
            freeze({"flat": step.flat, **_attrs(cause, leg + len(found))}), stage=reader.stage, phase=reader.phase,
            line=cause.line or reader.line, placement=layout.placement, rate=reader.rate if again else rate_of(builder, value),
            stream=stream, region=reader.region,
        )  # fmt: skip
        builder.update_value(node.outs[0], time=time, layout=layout, name=source.name, again=again)
        value = node.outs[0]
        found.append(node)
    return found
