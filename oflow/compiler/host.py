"""host copies: inputs start and outputs end in the caller's memory, as boxings from and to the host.

A device cuts its own part (of the micro-batch and of the shard) out of the whole input; the host adds up or joins what devices
hold of an output.
"""

from __future__ import annotations

from oflow.compiler.insert_boxing import route_nodes
from oflow.compiler.options import Options
from oflow.graph import Builder, Graph, Node
from oflow.sbp import HOST, B, Layout
from oflow.types import freeze

WHOLE = Layout(HOST, (B,))


def host(graph: Graph, options: Options) -> Graph:
    builder = Builder.without_nodes(graph)
    readers = graph.consumers()
    builder.inputs = [_copy_in(builder, v, readers.get(v, [])) for v in graph.inputs]
    builder.nodes += graph.nodes
    producers = graph.producers()
    outputs = []
    for name, v in graph.outputs:
        maker = producers.get(v, Node(-1, "boxing", (), ()))
        steps = route_nodes(builder, v, WHOLE, maker, stream="copy_out")
        outputs.append((name, steps[-1].outs[0]))
    builder.outputs = outputs
    return builder.build()


def _copy_in(builder: Builder, value: int, readers: list[Node]) -> int:
    """A host value, and the boxing that makes `value` of it: a slice of the batch an act, a shard a rank."""
    target = builder.values[value]
    assert target.layout is not None
    source = builder.value(target.type, name=target.name, time=B, layout=WHOLE)
    rate = builder.micro_batches if target.time is not None and target.time.is_split else 1
    builder.node(
        "boxing", (source.id,), attrs=freeze({"flat": False}), outs=(value,),
        stage=readers[0].stage if readers else None, phase="F", rate=rate,
        placement=target.layout.placement, stream="copy_in", line=readers[0].line if readers else "",
    )  # fmt: skip
    return source.id
