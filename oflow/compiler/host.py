"""host copies: inputs start and outputs end in the caller's memory, as boxings from and to the host.

A device cuts its own part (of the micro-batch and of the shard) out of the whole input; the host adds up or joins what devices
hold of an output.
"""

from __future__ import annotations

from dataclasses import replace

from oflow.boxings import INPUT, OUTPUT
from oflow.compiler.insert_boxing import Cause, route_nodes, step_nodes
from oflow.compiler.options import Options
from oflow.graph import Builder, Graph, Node, time_type
from oflow.sbp import WHOLE, B, Layout, Planner, pullable
from oflow.types import freeze


def host(graph: Graph, options: Options) -> Graph:
    builder = Builder.without_nodes(graph)
    planner = options.planner
    readers = graph.consumers()
    builder.inputs = [_copy_in(builder, planner, v, readers.get(v, [])) for v in graph.inputs]
    builder.nodes += graph.nodes
    producers = graph.producers()
    outputs = []
    for name, v in graph.outputs:
        maker = producers.get(v, Node(-1, "boxing", (), ()))
        steps = route_nodes(builder, planner, v, WHOLE, Cause(OUTPUT, maker), stream="copy_out")
        outputs.append((name, steps[-1].outs[0]))
    builder.outputs = outputs
    return builder.build()


def _one_pull(wanted: Layout) -> Layout:
    """What one pull from the host makes of it: all but the inner ones of joins that nest, which are still whole."""
    outer = next((s for s in wanted.sbp if s.is_partial), B)
    inner = Layout(wanted.placement, tuple(B if s.is_partial and s != outer else s for s in wanted.sbp))
    return wanted if pullable(WHOLE, wanted) else inner


def _copy_in(builder: Builder, planner: Planner, value: int, readers: list[Node]) -> int:
    """A host value, and the boxing that makes `value` of it: a slice of the batch an act, a shard a rank.

    Where the joins of partial ranks nest, further boxings on the devices follow the first.
    """
    target = builder.values[value]
    assert target.layout is not None
    first = _one_pull(target.layout)
    kind = time_type(builder, value)
    further = planner.route(first, target.layout, kind.shape, kind.itemsize).steps
    reader = readers[0] if readers else Node(-1, "boxing", (), ())
    source = builder.value(target.type, name=target.name, time=B, layout=WHOLE)
    rate = builder.micro_batches if target.time is not None and target.time.is_split else 1
    held = value if not further else builder.value(target.type, name=target.name, time=target.time, layout=first).id
    builder.node(
        "boxing", (source.id,), attrs=freeze({"flat": False, "why": INPUT, "reader": "", "leg": 0}), outs=(held,),
        stage=reader.stage, phase="F", rate=rate, placement=first.placement, stream="copy_in", line=reader.line,
    )  # fmt: skip
    if further:
        last = step_nodes(builder, held, further, Cause(INPUT, reader), "copy_in", target.layout, 1)[-1]
        builder.nodes[-1] = replace(last, outs=(value,))
        del builder.values[last.outs[0]]
    return source.id
