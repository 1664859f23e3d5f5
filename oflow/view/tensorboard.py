"""TensorBoard's view of a program, by its own writer (the extra ``tensorboard``): the logical graph, and scalars step by step.

The graph is a GraphDef: a node for every operator, parameter and input, under the scopes of its stage and phase, on the devices of its
mesh; its attributes tell shape, SBP and the user's line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oflow.errors import OflowError
from oflow.graph import Graph, Value

Scalars = Callable[[int, Mapping[str, float]], None]
"""Write these scalars of a step, by their tags."""


def graph_events(graph: Graph, folder: str | Path) -> None:
    """Write the logical graph into an event file in `folder`, which is made where there is none.

    Raises OflowError without the extra ``tensorboard``.
    """
    with _writer(folder) as (writer, event, _):
        writer.add_event(event(graph_def=_graph_def(graph).SerializeToString()))


@contextmanager
def scalar_events(folder: str | Path) -> Iterator[Scalars]:
    """A function of (step, {tag: value}) that writes into an event file in `folder` until the block ends.

    Raises OflowError without the extra ``tensorboard``.
    """
    with _writer(folder) as (writer, event, summary):

        def write(step: int, values: Mapping[str, float]) -> None:
            found = [summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
            writer.add_event(event(step=step, summary=summary(value=found)))

        yield write


@contextmanager
def _writer(folder: str | Path) -> Iterator[tuple[Any, Any, Any]]:
    """(writer, its Event, its Summary)."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as e:
        raise OflowError("TensorBoard's event files are written by its own package; pip install 'oflow[tensorboard]'") from e
    writer = EventFileWriter(str(folder))
    try:
        yield writer, _timed(Event), Summary
    finally:
        writer.close()


def _timed(event: Any) -> Callable[..., Any]:
    from time import time

    return lambda **fields: event(wall_time=time(), **fields)


def _graph_def(graph: Graph) -> Any:
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    made, names = GraphDef(), dict[int, str]()
    sources = [(v, graph.values[v].name or f"input{i}", "input") for i, v in enumerate(graph.inputs)]
    sources += [(p.value, p.name.replace(".", "/"), "parameter") for p in graph.parameters]
    for v, name, op in sources:
        names[v] = f"{op}s/{name}"
        _add(made, names[v], op, (), [graph.values[v]])
    for node in graph.nodes:
        scope = node.phase if node.stage is None else f"stage{node.stage}/{node.phase}"
        name = f"{scope}/{node.op}_{node.id}"
        names |= {v: f"{name}:{i}" if i else name for i, v in enumerate(node.outs)}
        _add(made, name, node.op, [names[v] for v in node.ins], [graph.values[v] for v in node.outs], str(node.placement or ""), node.line)
    for name, v in graph.outputs:
        _add(made, f"outputs/{name}", "output", [names[v]], [graph.values[v]])
    return made


def _add(made: Any, name: str, op: str, ins: Any, outs: list[Value], device: str = "", line: str = "") -> None:
    node = made.node.add(name=name, op=op, input=ins, device=device)
    words = {"type": [str(value.type) for value in outs], "layout": [str(value.layout or "") for value in outs], "line": [line]}
    for key, texts in words.items():
        if any(texts):
            node.attr[key].s = ", ".join(texts).encode()
    shapes = node.attr["_output_shapes"].list
    for value in outs:
        shape = shapes.shape.add()
        for size in value.type.shape:
            shape.dim.add(size=size)
