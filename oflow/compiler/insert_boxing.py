"""insert boxing: where an operand is not in the layout its reader wants, the route between the two becomes pull nodes.

Equal changes of one value are made once. A boxing runs on the communication stream of the devices that receive.
"""

from __future__ import annotations

from dataclasses import replace

from oflow.compiler.options import Options
from oflow.graph import Builder, Graph, Node, rate_of
from oflow.ops import REGISTRY
from oflow.sbp import Layout, route
from oflow.types import TensorType, freeze

STREAM = "comm"


def insert_boxing(graph: Graph, options: Options) -> Graph:
    builder = Builder.without_nodes(graph)
    made: dict[tuple[int, Layout], int] = {}
    same: dict[int, int] = {}
    for node in graph.nodes:
        node = replace(node, ins=tuple(same.get(v, v) for v in node.ins))
        is_pull = REGISTRY[node.op].lowering == "pull"
        if is_pull and graph.values[node.outs[0]].time == graph.values[node.ins[0]].time:
            want = graph.values[node.outs[0]].layout
            assert want is not None
            same[node.outs[0]] = box(builder, made, node.ins[0], want, node)
            continue
        ins = tuple(box(builder, made, v, want, node) for v, want in zip(node.ins, node.wants, strict=True))
        stream = "copy" if is_pull else node.stream
        builder.nodes.append(replace(node, ins=ins, wants=(), stream=stream))
    builder.outputs = [(name, same.get(v, v)) for name, v in graph.outputs]
    builder.values = {v: value for v, value in builder.values.items() if v not in same}
    homes = [(p, builder.values[p.value].layout) for p in graph.parameters]
    producers = {out: node for node in builder.nodes for out in node.outs}
    builder.parameters = [
        replace(p, update=box(builder, made, same.get(p.update, p.update), home, producers[same.get(p.update, p.update)]))
        if p.update is not None and home
        else p
        for p, home in homes
    ]
    return builder.build()


def box(builder: Builder, made: dict[tuple[int, Layout], int], value: int, want: Layout, reader: Node) -> int:
    """The value in layout `want`, through boxing nodes appended to the builder if it is not there yet."""
    if builder.values[value].layout == want:
        return value
    if (value, want) not in made:
        route_nodes(builder, value, want, reader)
        made[value, want] = builder.nodes[-1].outs[0]
    return made[value, want]


def route_nodes(builder: Builder, value: int, want: Layout, reader: Node, stream: str = STREAM) -> list[Node]:
    """Append the steps of the route from the value's layout to `want`; returns them (none where the layouts are equal)."""
    source = builder.values[value]
    assert source.layout is not None
    found = []
    current = value
    steps = route(source.layout, want).steps
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        # a flattened intermediate is partial or split in time like the value, so all elements are counted
        kind = source.type if last or not step.flat else TensorType((source.type.size,), source.type.dtype)
        node = builder.node(
            "boxing", (current,), (kind,), freeze({"flat": step.flat}),
            stage=reader.stage, phase=reader.phase, line=reader.line, placement=step.dst.placement,
            rate=rate_of(builder, value), stream=stream,
        )  # fmt: skip
        builder.update_value(node.outs[0], time=source.time, layout=step.dst, name=source.name)
        current = node.outs[0]
        found.append(node)
    return found
